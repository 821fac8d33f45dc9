// The network address of a participant changes in a call (another mobile mast, another translator): media follows.

import assert from 'node:assert/strict';
import { nothingBroke, settled } from '../lib/call.mjs';
import { figure, scenario, sleep, until } from '../lib/stage.mjs';

// The relay asks for itself as soon as media comes from elsewhere; browsers check a working path every 2.5 s (Chromium) to 5 s (Firefox).
const BACK_MS = 1_500;

for (const kind of ['chromium', 'firefox']) {
  scenario(`rebind: ${kind} comes from a new address, media follows`, async (stage) => {
    const link = await stage.udpLink(7);
    const mover = await stage.participant('mover', kind, { udpLink: link });
    const other = await stage.participant('other', 'chromium');
    for (const each of [mover, other]) {
      await stage.join(each, 'rebind');
      await each.call('publishMicrophone');
      await each.call('publishCamera');
    }
    await Promise.all([mover, other].map((each) => settled(each, 2)));
    await sleep(3_000);
    assert.ok(link.passed > 200, 'the media did not take the link');

    // Browsers may settle on another of their own addresses while they connect; only what comes now counts.
    const settledMoves = (await stage.relay.metrics()).colloque_path_changes_total;
    for (let round = 1; round <= 2; round += 1) {
      const before = await mover.receivedFrom('other');
      await Promise.all([mover, other].map((each) => each.call('mark')));
      await link.rebind();
      await until('media comes down again', () => link.move.media !== undefined, { within: 10_000, every: 10 });
      await sleep(2_500);
      const after = await mover.receivedFrom('other');
      const up = await other.receivedFrom('mover');
      const back = link.move.media - link.move.at;
      const check = link.move.check === undefined ? 'not within 2.5 s' : `${Math.round(link.move.check - link.move.at)} ms`;
      figure(`${kind} move ${round}: media down after`, Math.round(back), `ms (its own next check: ${check})`);
      figure(`${kind} move ${round}: largest gap seen`, `mover ${Math.round(after.gap)} ms, other ${Math.round(up.gap)} ms`);
      assert.ok(back <= BACK_MS, `media came back after ${back} ms`);
      assert.ok(after.gap <= BACK_MS && up.gap <= BACK_MS, `pictures stood still for ${after.gap} and ${up.gap} ms`);
      assert.ok(after.total.framesDecoded > before.total.framesDecoded);
      await sleep(2_000);
    }
    await nothingBroke([mover, other]);
    const { colloque_path_changes_total: moves } = await stage.relay.metrics();
    assert.equal(moves - settledMoves, 2, 'the relay counts path changes');
    for (const each of [mover, other]) assert.deepEqual(await each.events('trackUnsubscribed', 'participantDisconnected', 'disconnected'), []);
  });
}

scenario('a path with loss and delay: the call goes on, sound and pictures', async (stage) => {
  const link = await stage.udpLink(11);
  const mover = await stage.participant('mover', 'chromium', { udpLink: link });
  const other = await stage.participant('other', 'chromium');
  for (const each of [mover, other]) {
    await stage.join(each, 'lossy');
    await each.call('publishMicrophone');
    await each.call('publishCamera');
  }
  await Promise.all([mover, other].map((each) => settled(each, 2)));
  link.delay(30);
  link.loss(0.05);
  await sleep(3_000);
  await Promise.all([mover, other].map((each) => each.call('mark')));
  await sleep(10_000);
  for (const [receiver, from] of [[mover, other], [other, mover]]) {
    const video = await receiver.receivedFrom(from.name);
    const audio = await receiver.receivedFrom(from.name, 'microphone');
    const [camera] = (await from.call('sentSince')).filter((track) => track.kind === 'video');
    const encoded = Math.max(...Object.values(camera.layers).map((layer) => layer.framesEncoded));
    figure(`5 % loss, 60 ms: ${from.name} -> ${receiver.name}`, `encoded ${encoded}, decoded ${video.since.framesDecoded}, gap ${Math.round(video.gap)} ms, freezes ${video.since.freezeCount}, nack ${video.since.nackCount}, pli ${video.since.pliCount}, sound packets ${audio.since.packetsReceived}`);
    assert.ok(video.since.framesDecoded >= 0.9 * encoded, `${receiver.name} decoded ${video.since.framesDecoded} of ${encoded}`);
    assert.ok(audio.since.totalAudioEnergy > 0);
  }
  figure('datagrams lost on the link', link.lost);
  assert.ok(link.lost > 50, 'the link lost nothing');
  await nothingBroke([mover, other]);
});
