// A few rows of the quality table, short and with room for a busy machine; `make quality` measures all of them in full.

import assert from 'node:assert/strict';
import { settled } from '../lib/call.mjs';
import { figure, scenario, sleep, until } from '../lib/stage.mjs';

const OUT_MS = 8_000;

/** A viewer behind a line, and somebody who sends a voice and a picture in three layers. */
async function call(stage, room, { url, profile } = {}) {
  const sender = await stage.participant('sender', 'chromium');
  const line = await stage.line({ seed: 7 });
  const viewer = await stage.participant('viewer', 'chromium', { udpLink: line });
  await stage.join(sender, room);
  await sender.call('publishTone');
  await sender.call('publishCanvas', { width: 960, height: 540, rate: 10, encoding: { maxBitrate: 500_000, maxFramerate: 10 } });
  await stage.join(viewer, room, url ? { url } : {});
  await settled(viewer, 2, 15_000);
  if (profile) await line.become(profile);
  return { sender, viewer, line };
}

function heard(audio) {
  return audio.since.concealedSamples / audio.since.totalSamplesReceived;
}

scenario('a line that loses every tenth datagram: sound stays whole, pictures go on', async (stage) => {
  const { viewer, line } = await call(stage, 'loss', { profile: { base: 'loss-10', up: { loss: 0 } } });
  await sleep(1_000);
  await viewer.call('mark');
  await sleep(8_000);
  const video = await viewer.receivedFrom('sender');
  const audio = await viewer.receivedFrom('sender', 'microphone');
  const { down } = await line.stats();
  figure('10 % loss', `concealed ${(heard(audio) * 100).toFixed(1)} %, decoded ${video.since.framesDecoded}, gap ${Math.round(video.gap)} ms, lost on the line ${down.lost} of ${down.offered}`);
  assert.ok(down.lost > 0.05 * down.offered, 'the line lost nothing');
  assert.ok(heard(audio) <= 0.07, `${(heard(audio) * 100).toFixed(1)} % of the sound was made up`);
  assert.ok(video.since.framesDecoded >= 15, `only ${video.since.framesDecoded} pictures in 8 s`);
});

scenario('a line of 300 kbit/s: the voice stays whole, the picture takes what is left', async (stage) => {
  const { viewer, line } = await call(stage, 'narrow', { profile: { both: { delay_ms: 20 }, down: { bits_per_s: 300_000, queue_ms: 300 } } });
  // The first moments are those of the queue that fills.
  await sleep(4_000);
  await viewer.call('mark');
  await sleep(8_000);
  const video = await viewer.receivedFrom('sender');
  const audio = await viewer.receivedFrom('sender', 'microphone');
  const { down } = await line.stats();
  figure('300 kbit/s', `concealed ${(heard(audio) * 100).toFixed(1)} %, decoded ${video.since.framesDecoded}, ${video.width}x${video.height}, gap ${Math.round(video.gap)} ms, dropped on the line ${down.dropped_queue} of ${down.offered}`);
  assert.ok(heard(audio) <= 0.1, `${(heard(audio) * 100).toFixed(1)} % of the sound was made up`);
  assert.ok(video.since.framesDecoded >= 15, `only ${video.since.framesDecoded} pictures in 8 s`);
  // Half of the frames of the top layer may fit; all that is sent has to.
  assert.ok(down.dropped_queue <= 0.02 * down.offered, `${down.dropped_queue} of ${down.offered} dropped: more was sent than fits into this line`);
});

scenario('a relay out of reach for 8 s and another source address: the call resumes by itself', async (stage) => {
  const tcp = await stage.tcpLink();
  const { sender, viewer, line } = await call(stage, 'away', { url: tcp.ws });
  await sleep(2_000);
  const trouble = async () => (await viewer.events('disconnected', 'reconnecting', 'trackUnsubscribed', 'participantDisconnected')).length;
  const counts = async () => {
    const [video, audio] = [await viewer.receivedFrom('sender'), await viewer.receivedFrom('sender', 'microphone')];
    return [video?.total.framesDecoded ?? 0, audio?.total.packetsReceived ?? 0];
  };
  const goesOn = (before) => async () => (await counts()).every((count, index) => count > before[index]);

  await line.rebind();
  // What was on its way arrives first.
  await sleep(300);
  const moved = await until('pictures and sound from the new address', goesOn(await counts()), { within: 8_000 });
  figure('another source address: back after', Math.round(moved.ms) + 300, 'ms');
  assert.equal(await trouble(), 0);

  await sleep(1_000);
  await line.outage(OUT_MS);
  tcp.hold(OUT_MS);
  await sleep(OUT_MS - 500);
  const before = await counts();
  await sleep(500);
  const back = await until('pictures and sound after the outage', goesOn(before), { within: 8_000 });
  figure('8 s out of reach: back after', Math.round(back.ms), 'ms');
  await sender.call('mute', 'camera');
  await until('a mute gets through', async () => (await viewer.events('trackMuted')).length > 0, { within: 15_000 });
  assert.equal(await trouble(), 0, 'it was more than a pause');
});
