// The signalling socket breaks while a call runs: media does not notice, the client resumes, no message is lost or doubled.

import assert from 'node:assert/strict';
import { settled } from '../lib/call.mjs';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';

const GAP_MS = 500;
const RESUME_MS = 15_000;

async function cutAndResume(stage, { one, other, link, refuse, round }) {
  await Promise.all([one, other].map((each) => each.call('mark')));
  const eventsBefore = (await one.events()).length;
  const otherBefore = (await other.events()).length;
  const dataBefore = [(await one.call('data')).length, (await other.call('data')).length];
  const sending = Promise.all([one.call('sendNumbered', `up-${round}-`, 40, 100), other.call('sendNumbered', `down-${round}-`, 40, 100)]);
  await sleep(500);
  assert.ok(link.cut(refuse) >= 1, 'nothing was there to cut');
  const resumed = await until(`${one.name} resumes`, async () => (await one.events('reconnected')).length === round + 1, { within: RESUME_MS });
  const accepted = await sending;
  await sleep(1_500);

  const events = (await one.events()).slice(eventsBefore).map((event) => event.event);
  step(`${one.name}: ${events.join(', ')}`);
  figure(`${one.name} cut (refused for ${refuse} ms): resumed after`, Math.round(resumed.ms), 'ms');
  for (const name of ['trackUnsubscribed', 'trackUnpublished', 'participantDisconnected', 'disconnected', 'reconnecting']) {
    assert.ok(!events.includes(name), `${one.name} got ${name} instead of a quiet resume`);
  }
  const seen = (await other.events()).slice(otherBefore).map((event) => event.event);
  for (const name of ['trackUnsubscribed', 'trackUnpublished', 'participantDisconnected', 'participantConnected', 'signalReconnecting', 'reconnecting']) {
    assert.ok(!seen.includes(name), `${other.name} noticed: ${name}`);
  }
  for (const [receiver, from] of [[one, other], [other, one]]) {
    const video = await receiver.receivedFrom(from.name);
    const audio = await receiver.receivedFrom(from.name, 'microphone');
    figure(`${from.name} -> ${receiver.name} over the cut`, `decoded ${video.since.framesDecoded} in ${Math.round(video.ms)} ms, largest gap ${Math.round(video.gap)} ms, sound packets ${audio.since.packetsReceived}`);
    assert.ok(video.gap <= GAP_MS, `${receiver.name}: gap of ${video.gap} ms`);
    assert.ok(audio.since.packetsReceived > video.ms / 40, `${receiver.name}: sound stopped`);
  }
  for (const [index, [receiver, prefix, sent]] of [[one, `down-${round}-`, accepted[1]], [other, `up-${round}-`, accepted[0]]].entries()) {
    assert.deepEqual(sent.refused, [], 'sending was refused');
    assert.equal(sent.accepted, 40);
    const expected = Array.from({ length: 40 }, (_, number) => `${prefix}${number}`);
    await until(`${receiver.name} has all messages`, async () => (await receiver.call('data')).length - dataBefore[index] >= 40, { within: 5_000 }).catch(() => {});
    await sleep(300);
    const got = (await receiver.call('data')).slice(dataBefore[index]).map((message) => message.text);
    assert.deepEqual(got, expected, `${receiver.name} did not get each message once and in order`);
  }
  step('40 messages each way, each once, in order');
}

for (const kind of ['chromium', 'firefox']) {
  scenario(`resume: a broken signalling socket of ${kind} is no event for the call`, async (stage) => {
    const link = await stage.tcpLink();
    const one = await stage.participant('one', kind);
    const other = await stage.participant('other', 'chromium');
    for (const each of [one, other]) {
      await stage.join(each, 'resume', each === one ? { url: link.ws } : {});
      // A steady voice: in the pauses of the fake device's beeps nothing is sent, and the count below would say little.
      await each.call(each.kind === 'chromium' ? 'publishTone' : 'publishMicrophone');
      await each.call('publishCamera');
    }
    await Promise.all([one, other].map((each) => settled(each, 2)));
    await sleep(2_000);
    await cutAndResume(stage, { one, other, link, refuse: 0, round: 0 });
    await cutAndResume(stage, { one, other, link, refuse: 3_000, round: 1 });
    // The socket in use after two resumes still carries what comes later.
    await other.call('mute', 'camera');
    await until('a later mute arrives', async () => (await one.events('trackMuted')).length === 1);
    const { colloque_resumes_total: resumes } = await stage.relay.metrics();
    assert.equal(resumes, 2);
  });
}
