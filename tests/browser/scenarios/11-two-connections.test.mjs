// Clients with two peer connections (`/rtc`), among themselves and among clients with one: every part of a call works.

import assert from 'node:assert/strict';
import { chatBothWays, decodedDuring, nothingBroke, settled, threeInACall } from '../lib/call.mjs';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';
import { roomService } from '../lib/token.mjs';

const TWO = { roomOptions: { singlePeerConnection: false } };
const RESUME_MS = 15_000;

/** The connections the client really has: two peer connections, or one. */
async function insistOn(one, count) {
  assert.equal(await one.call('connections'), count, `${one.name} has another number of peer connections`);
}

/** A participant that always joins with two connections. */
function withTwo(one) {
  one.options = TWO;
  return one;
}

/** Joins like `stage.join`, with the participant's own options. */
function dressed(stage) {
  const join = stage.join.bind(stage);
  stage.join = (one, room, options = {}) => join(one, room, { ...one.options, ...options });
  return stage;
}

scenario('two connections each: two Chromium and one Firefox, pictures, sound, chat, coming and going', async (stage) => {
  dressed(stage);
  const people = [
    withTwo(await stage.participant('doctor', 'chromium')),
    withTwo(await stage.participant('patient', 'firefox')),
    withTwo(await stage.participant('companion', 'chromium')),
  ];
  await threeInACall(stage, people);
  for (const one of people) await insistOn(one, 2);
}, { timeout: 240_000 });

scenario('two connections and one in the same room: all of a call', async (stage) => {
  dressed(stage);
  const [old, fox, now] = [
    withTwo(await stage.participant('old', 'chromium')),
    withTwo(await stage.participant('fox', 'firefox')),
    await stage.participant('now', 'chromium'),
  ];
  const people = [old, fox, now];
  for (const one of people) await stage.join(one, 'mixed');
  for (const one of people) {
    await one.call(one.kind === 'chromium' ? 'publishTone' : 'publishMicrophone');
    await one.call('publishCamera');
  }
  await Promise.all(people.map((one) => settled(one, 4)));
  await insistOn(old, 2);
  await insistOn(fox, 2);
  await insistOn(now, 1);
  await chatBothWays(people);

  // Raw data, both kinds.
  const before = await Promise.all(people.map(async (one) => (await one.call('data')).length));
  await Promise.all(people.map((one) => one.call('sendData', `reliable of ${one.name}`)));
  await until('everybody has the reliable messages', async () => {
    const counts = await Promise.all(people.map(async (one) => (await one.call('data')).length));
    return counts.every((count, index) => count >= before[index] + 2);
  });

  // Mute, and the picture that comes back.
  await now.call('mute', 'camera');
  await until('old sees the mute', async () => (await old.events('trackMuted')).length === 1);
  await until('the picture stops', async () => (await decodedDuring(old, 'now', 700)) === 0, { within: 10_000 });
  await now.call('unmute', 'camera');
  await until('the picture comes back', async () => (await decodedDuring(old, 'now', 500)) > 3, { within: 10_000 });
  await until('also to firefox', async () => (await decodedDuring(fox, 'now', 500)) > 3, { within: 10_000 });

  // Subscription off and on: the section of one track is free for it again.
  for (const one of [old, fox]) {
    await one.call('setSubscribed', 'now', 'camera', false);
    await until(`${one.name} has left the picture`, async () => (await one.call('received')).length === 3);
    await sleep(400);
    await one.call('setSubscribed', 'now', 'camera', true);
    await settled(one, 4);
    await until(`${one.name} sees it again`, async () => (await decodedDuring(one, 'now', 500)) > 3, { within: 10_000 });
  }

  // Unpublish and publish again, with a screen beside the camera.
  await now.call('unpublish', 'camera');
  await Promise.all([old, fox].map((one) => until(`${one.name} loses the picture`, async () => (await one.call('received')).length === 3)));
  await now.call('publishCamera');
  await now.call('publishCanvas', { width: 640, height: 360, source: 'screen_share', simulcast: false });
  await Promise.all([old, fox].map((one) => settled(one, 5)));
  for (const one of [old, fox]) {
    await until(`${one.name} decodes the camera`, async () => (await decodedDuring(one, 'now', 500)) > 3, { within: 10_000 });
  }
  // The other way: the client with one connection sees what those with two publish afresh.
  await old.call('unpublish', 'camera');
  await until('now loses the picture', async () => (await now.call('received')).length === 3);
  await old.call('publishCamera');
  await settled(now, 4);
  await until('now decodes it', async () => (await decodedDuring(now, 'old', 500)) > 3, { within: 10_000 });
  await nothingBroke(people);
  const metrics = await stage.relay.metrics();
  assert.equal(metrics.colloque_participants, 3);
  assert.equal(metrics.colloque_peers, 5);
});

for (const kind of ['chromium', 'firefox']) {
  scenario(`two connections: ${kind} resumes when its signalling breaks`, async (stage) => {
    dressed(stage);
    const link = await stage.tcpLink();
    const one = withTwo(await stage.participant('one', kind));
    const other = await stage.participant('other', 'chromium');
    await stage.join(one, 'resume', { url: link.ws });
    await stage.join(other, 'resume');
    for (const each of [one, other]) {
      await each.call(each.kind === 'chromium' ? 'publishTone' : 'publishMicrophone');
      await each.call('publishCamera');
    }
    await Promise.all([one, other].map((each) => settled(each, 2)));
    await sleep(1_500);
    for (const [round, refuse] of [0, 3_000].entries()) {
      await Promise.all([one, other].map((each) => each.call('mark')));
      const dataBefore = [(await one.call('data')).length, (await other.call('data')).length];
      const eventsBefore = (await one.events()).length;
      const sending = Promise.all([one.call('sendNumbered', `up-${round}-`, 40, 100), other.call('sendNumbered', `down-${round}-`, 40, 100)]);
      await sleep(500);
      assert.ok(link.cut(refuse) >= 1, 'nothing was there to cut');
      const resumed = await until('one resumes', async () => (await one.events('reconnected')).length === round + 1, { within: RESUME_MS });
      const accepted = await sending;
      await sleep(1_500);
      const events = (await one.events()).slice(eventsBefore).map((event) => event.event);
      step(`one: ${events.join(', ')}`);
      figure(`${kind} cut (refused for ${refuse} ms): resumed after`, Math.round(resumed.ms), 'ms');
      for (const name of ['trackUnsubscribed', 'participantDisconnected', 'disconnected', 'reconnecting']) {
        assert.ok(!events.includes(name), `one got ${name} instead of a quiet resume`);
      }
      for (const [receiver, from] of [[one, other], [other, one]]) {
        const video = await receiver.receivedFrom(from.name);
        figure(`${from.name} -> ${receiver.name} over the cut`, `decoded ${video.since.framesDecoded} in ${Math.round(video.ms)} ms, largest gap ${Math.round(video.gap)} ms`);
        assert.ok(video.gap <= 500, `${receiver.name}: gap of ${video.gap} ms`);
      }
      for (const [index, [receiver, prefix, sent]] of [[one, `down-${round}-`, accepted[1]], [other, `up-${round}-`, accepted[0]]].entries()) {
        assert.deepEqual(sent.refused, [], 'sending was refused');
        const expected = Array.from({ length: 40 }, (_, number) => `${prefix}${number}`);
        await until('all messages', async () => (await receiver.call('data')).length - dataBefore[index] >= 40, { within: 5_000 }).catch(() => {});
        assert.deepEqual((await receiver.call('data')).slice(dataBefore[index]).map((message) => message.text), expected);
      }
    }
    // What was published or left while the socket was down comes with the resume.
    link.cut(1_500);
    await other.call('unpublish', 'camera');
    await other.call('publishCanvas', { width: 640, height: 360, source: 'screen_share', simulcast: false });
    await until('one resumes again', async () => (await one.events('reconnected')).length === 3, { within: RESUME_MS });
    await until('one sees the screen', async () => ((await one.receivedFrom('other', 'screen_share'))?.total.framesDecoded ?? 0) > 3, { within: 10_000 });
    assert.equal(await one.receivedFrom('other'), undefined, 'the camera is gone');
    const { colloque_resumes_total: resumes } = await stage.relay.metrics();
    assert.equal(resumes, 3);
  });
}

for (const kind of ['chromium', 'firefox']) {
  scenario(`two connections: ${kind} waits, is let in, is shut out and let in again`, async (stage) => {
    dressed(stage);
    const doctor = await stage.participant('doctor', 'chromium');
    const patient = withTwo(await stage.participant('patient', kind));
    await stage.join(doctor, 'waiting');
    await doctor.call('publishTone');
    await doctor.call('publishCamera');
    await stage.join(patient, 'waiting', { grant: { canPublish: false, canSubscribe: false, canPublishData: false } });
    await sleep(700);
    assert.deepEqual(await patient.call('received'), [], 'nothing comes before the door opens');
    const permit = (permission) => roomService(stage.relay).updateParticipant('waiting', 'patient', { permission: { canPublishSources: [], ...permission } });
    const all = { canPublish: true, canSubscribe: true, canPublishData: true };
    await permit(all);
    await settled(patient, 2);
    await patient.call('publishCamera');
    await settled(doctor, 1);
    await chatBothWays([doctor, patient]);
    await permit({ ...all, canSubscribe: false });
    await until('nothing comes any more', async () => (await patient.call('received')).length === 0);
    await permit(all);
    await settled(patient, 2);
    await until('pictures again', async () => (await decodedDuring(patient, 'doctor', 500)) > 3, { within: 10_000 });
    await nothingBroke([doctor, patient]);
  });
}

scenario('two connections: one who only looks on, and one who comes back by a full reconnect', async (stage) => {
  dressed(stage);
  const viewer = withTwo(await stage.participant('viewer', 'chromium'));
  const talker = withTwo(await stage.participant('talker', 'chromium'));
  await stage.join(viewer, 'looking', { grant: { canPublish: false, canPublishData: false } });
  await stage.join(talker, 'looking');
  await talker.call('publishTone');
  await talker.call('publishCamera');
  await settled(viewer, 2);
  // Longer than a join may take: the line on which nothing is published need not come up.
  await sleep(25_000);
  assert.equal(await viewer.call('state'), 'connected');
  assert.ok((await decodedDuring(viewer, 'talker', 500)) > 3);
  await talker.call('simulate', 'full-reconnect');
  await until('talker is back', async () => (await talker.events('reconnected')).length === 1, { within: 15_000 });
  await settled(viewer, 2);
  await until('its picture too', async () => (await decodedDuring(viewer, 'talker', 500)) > 3, { within: 10_000 });
});
