// Mute, leave, come back, come twice, reload, vanish: after each the roster is exact, at every client and at the server API.

import assert from 'node:assert/strict';
import { settled } from '../lib/call.mjs';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';
import { roomService, token } from '../lib/token.mjs';

const ROOM = 'comings';

/** Identities and tracks as `one` sees them, and as the server API lists them. */
async function rosterIs(stage, people, expected, within = 3_000) {
  const rooms = roomService(stage.relay);
  const want = Object.entries(expected).map(([identity, tracks]) => `${identity}: ${tracks.join(' ')}`.trim()).sort();
  const shape = (list) => list.map((each) => `${each.identity}: ${each.tracks.map((track) => `${track.source}${track.muted ? '(muted)' : ''}`).sort().join(' ')}`.trim()).sort();
  const names = { 0: 'unknown', 1: 'camera', 2: 'microphone', 3: 'screen_share', 4: 'screen_share_audio' };
  const listed = async () => shape((await rooms.listParticipants(ROOM)).map((each) => ({ identity: each.identity, tracks: each.tracks.map((track) => ({ source: names[track.source], muted: track.muted })) })));
  const seenBy = async (one) => {
    const roster = await one.call('roster');
    return shape([roster.self, ...roster.others]);
  };
  for (const [who, look] of [['the server API', listed], ...people.map((one) => [one.name, () => seenBy(one)])]) {
    let last;
    await until(`roster at ${who}`, async () => JSON.stringify((last = await look())) === JSON.stringify(want), { within }).catch(() => assert.deepEqual(last, want, `roster at ${who}`));
  }
}

scenario('comings and goings: mute, leave, twice, reload, vanish', async (stage) => {
  const anna = await stage.participant('anna', 'chromium');
  const ben = await stage.participant('ben', 'firefox');
  const both = [anna, ben];
  for (const one of both) {
    await stage.join(one, ROOM);
    // Chromium's fake microphone only beeps: too little to count as speech.
    await one.call(one.kind === 'chromium' ? 'publishTone' : 'publishMicrophone');
    await one.call('publishCamera');
  }
  await Promise.all(both.map((one) => settled(one, 2)));
  const full = ['camera', 'microphone'];
  await rosterIs(stage, both, { anna: full, ben: full });

  // Both hum: they are speakers to the other and to themselves.
  for (const [one, speaker] of [[anna, 'ben'], [ben, 'anna'], [anna, 'anna']]) {
    await until(`${one.name} learns that ${speaker} speaks`, async () => (await one.events('activeSpeakersChanged')).some((event) => event.identities.includes(speaker)), { within: 10_000 });
  }
  step('speakers are told');

  for (const [one, other] of [[anna, ben], [ben, anna]]) {
    for (const source of ['microphone', 'camera']) {
      const start = performance.now();
      await one.call('mute', source);
      await until(`${other.name} sees the mute`, async () => (await other.events('trackMuted')).some((event) => event.identity === one.name && event.source === source), { every: 10 });
      figure(`${one.name} mutes ${source}: seen after`, Math.round(performance.now() - start), 'ms');
    }
    await rosterIs(stage, both, { anna: full, ben: full, [one.name]: ['camera(muted)', 'microphone(muted)'] });
    await sleep(500);
    const still = (await other.receivedFrom(one.name)).total.framesDecoded;
    await sleep(1_500);
    assert.equal((await other.receivedFrom(one.name)).total.framesDecoded, still, 'pictures of a muted camera');
    const start = performance.now();
    await one.call('unmute', 'camera');
    await one.call('unmute', 'microphone');
    await until(`${other.name} sees ${one.name} again`, async () => (await other.receivedFrom(one.name)).total.framesDecoded > still + 2, { every: 20 });
    figure(`${one.name} unmutes: pictures after`, Math.round(performance.now() - start), 'ms');
    await rosterIs(stage, both, { anna: full, ben: full });
  }

  // A screen share is one more video track, and goes as it came.
  await anna.call('publishCanvas', { width: 960, height: 540, rate: 5, source: 'screen_share', simulcast: false });
  await until('ben sees the screen', async () => (await ben.receivedFrom('anna', 'screen_share'))?.total.framesDecoded > 0);
  await rosterIs(stage, both, { anna: [...full, 'screen_share'], ben: full });
  await anna.call('unpublish', 'screen_share');
  await rosterIs(stage, both, { anna: full, ben: full });
  assert.equal((await ben.events('trackUnsubscribed')).filter((event) => event.source === 'screen_share').length, 1);
  step('screen share came and went');

  // A call between participants.
  await ben.call('registerRpc', 'echo');
  const answered = await anna.call('performRpc', 'ben', 'echo', 'good morning');
  assert.equal(answered.answer, 'anna:good morning', JSON.stringify(answered));
  figure('a remote call is answered after', Math.round(answered.ms), 'ms');
  assert.equal((await anna.call('performRpc', 'ben', 'echo', 'fail')).error.code, 1999);

  await ben.call('disconnect');
  await until('anna sees ben leave', async () => (await anna.events('participantDisconnected')).length === 1, { within: 1_000 });
  await rosterIs(stage, [anna], { anna: full });
  await stage.join(ben, ROOM);
  await ben.call('publishCamera');
  await rosterIs(stage, both, { anna: full, ben: ['camera'] });
  step('leave and return');

  // The same identity again, from another browser: the first is told why, and does not come back.
  const twin = await stage.participant('twin', 'chromium');
  await ben.call('clearEvents');
  await anna.call('clearEvents');
  const answer = await twin.call('connect', stage.relay.ws, await token('ben', ROOM));
  assert.equal(answer.error, undefined);
  const told = await until('the first ben is told', async () => (await ben.events('disconnected'))[0], { within: 2_000 });
  assert.equal(told.value.reason, 'DUPLICATE_IDENTITY');
  await rosterIs(stage, [anna, twin], { anna: full, ben: [] });
  await sleep(2_000);
  assert.equal(await twin.call('state'), 'connected', 'the second was thrown out');
  assert.deepEqual(await ben.events('reconnecting', 'signalReconnecting'), []);
  await twin.call('disconnect');
  await rosterIs(stage, [anna], { anna: full });
  await twin.opened.close();
  stage.participants.splice(stage.participants.indexOf(twin), 1);
  step('duplicate identity: the newer one stays');

  // A page that reloads: no orderly leave is promised, the new stay must take over at once.
  await stage.join(ben, ROOM);
  await ben.call('publishCamera');
  await until('anna sees ben', async () => (await anna.receivedFrom('ben'))?.total.framesDecoded > 0);
  await ben.page.reload();
  await ben.page.waitForFunction(() => window.call !== undefined);
  await stage.join(ben, ROOM);
  await ben.call('publishCamera');
  await until('anna sees ben after the reload', async () => (await anna.receivedFrom('ben'))?.total.framesDecoded > 0);
  await rosterIs(stage, both, { anna: full, ben: ['camera'] });
  step('reload');

  // A browser that is gone without a word: the same identity from elsewhere takes over at once.
  const child = ben.opened.browser.process();
  child.kill('SIGKILL');
  await sleep(300);
  await ben.opened.close();
  const benAgain = await stage.participant('ben', 'chromium');
  await stage.join(benAgain, ROOM);
  await benAgain.call('publishCamera');
  await until('anna sees the new ben', async () => (await anna.receivedFrom('ben'))?.total.framesDecoded > 0);
  await rosterIs(stage, [anna, benAgain], { anna: full, ben: ['camera'] });
  stage.participants.splice(stage.participants.indexOf(ben), 1);
  step('a killed browser is replaced');

  // And one that stays away is gone for everybody within the time the relay keeps a stay.
  benAgain.opened.browser.process().kill('SIGKILL');
  stage.participants.splice(stage.participants.indexOf(benAgain), 1);
  const gone = await until('anna is alone', async () => (await anna.call('roster')).others.length === 0, { within: 60_000, every: 250 });
  figure('a vanished participant leaves the roster after', Math.round(gone.ms), 'ms');
  await rosterIs(stage, [anna], { anna: full });
  // The relay hands its counters out once a second.
  await until('one participant is counted', async () => (await stage.relay.metrics()).colloque_participants === 1, { within: 3_000, every: 200 });
});
