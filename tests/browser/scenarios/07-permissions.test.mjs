// A waiting room made of permissions, as platforms build it with the server SDK; and what an administrator may and may not do.

import assert from 'node:assert/strict';
import { TrackSource } from 'livekit-server-sdk';
import { settled } from '../lib/call.mjs';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';
import { roomService } from '../lib/token.mjs';

const ADMITTED_MS = 1_000;
const ROOM = 'waiting';

for (const kind of ['chromium', 'firefox']) {
  scenario(`permissions: ${kind} waits, is admitted, is sent back, is removed`, async (stage) => {
    const rooms = roomService(stage.relay);
    const doctor = await stage.participant('doctor', 'chromium');
    const patient = await stage.participant('patient', kind);
    await stage.join(doctor, ROOM);
    await doctor.call('publishMicrophone');
    await doctor.call('publishCamera');

    // Connects although it may do nothing, and is shown nothing.
    const waited = await stage.join(patient, ROOM, { grant: { canPublish: false, canSubscribe: false, canPublishData: false } });
    figure(`${kind}: waiting room entered after`, Math.round(waited), 'ms');
    await sleep(1_500);
    assert.deepEqual(await patient.call('received'), []);
    assert.equal((await patient.events('trackSubscribed')).length, 0);
    await doctor.call('sendText', 'not for those who wait');
    await sleep(500);
    assert.deepEqual(await patient.call('texts'), []);

    const admit = async (on) =>
      rooms.updateParticipant(ROOM, 'patient', { permission: { canPublish: on, canSubscribe: on, canPublishData: on, canPublishSources: [] } });
    for (let round = 1; round <= 2; round += 1) {
      const start = performance.now();
      await admit(true);
      const seen = await until(
        'the admitted patient sees the doctor',
        async () => (await patient.call('firstPictures')).some((picture) => picture.identity === 'doctor' && picture.first !== null),
        { within: 5_000, every: 10 },
      );
      const ms = performance.now() - start;
      figure(`${kind}: admitted (${round}): first picture after`, Math.round(ms), `ms (call included, ${Math.round(seen.ms)} after its answer)`);
      assert.ok(ms <= ADMITTED_MS, `admitted: picture after ${ms} ms`);
      await patient.call('publishCamera');
      await patient.call('publishMicrophone');
      await Promise.all([settled(patient, 2), settled(doctor, 2)]);
      await doctor.call('sendText', `hello ${round}`);
      await until('chat reaches the admitted', async () => (await patient.call('texts')).length === round);

      await admit(false);
      await until('the doctor loses the tracks of the patient', async () => (await doctor.call('received')).length === 0, { within: 2_000 });
      await until('the patient loses the tracks of the doctor', async () => (await patient.call('received')).length === 0, { within: 2_000 });
      assert.equal(await patient.call('state'), 'connected', 'who waits stays connected');
      await doctor.call('sendText', 'not for those who wait again');
      await sleep(500);
      assert.equal((await patient.call('texts')).length, round);
      step(`sent back (${round}): nothing either way`);
    }
    const changes = (await patient.events('permissionsChanged')).filter((event) => event.identity === 'patient');
    assert.deepEqual(changes.slice(-4).map((event) => event.canSubscribe), [true, false, true, false]);

    // Only some sources.
    await rooms.updateParticipant(ROOM, 'patient', { permission: { canPublish: true, canSubscribe: true, canPublishData: true, canPublishSources: [TrackSource.MICROPHONE] } });
    await until('the patient sees again', async () => (await patient.call('received')).length === 2);
    await patient.call('publishMicrophone');
    await until('the doctor hears the patient', async () => (await doctor.receivedFrom('patient', 'microphone'))?.since.packetsReceived > 5);
    assert.equal(await doctor.receivedFrom('patient', 'camera'), undefined);

    // Muting from outside is possible, unmuting is not.
    const info = await rooms.getParticipant(ROOM, 'patient');
    const [microphone] = info.tracks;
    await rooms.mutePublishedTrack(ROOM, 'patient', microphone.sid, true);
    await until('the doctor sees the mute', async () => (await doctor.events('trackMuted')).some((event) => event.identity === 'patient'));
    await until('the patient knows of it', async () => (await patient.call('roster')).self.tracks.find((track) => track.source === 'microphone').muted);
    await assert.rejects(rooms.mutePublishedTrack(ROOM, 'patient', microphone.sid, false), (error) => {
      step(`unmute refused: ${error.status} ${error.code} ${error.message}`);
      return error.status >= 400 && error.status < 500;
    });
    assert.equal((await rooms.getParticipant(ROOM, 'patient')).tracks[0].muted, true);

    await rooms.removeParticipant(ROOM, 'patient');
    const gone = await until('the patient is disconnected', async () => (await patient.events('disconnected'))[0], { within: 2_000 });
    assert.equal(gone.value.reason, 'PARTICIPANT_REMOVED');
    await until('the doctor is alone', async () => (await doctor.call('roster')).others.length === 0, { within: 2_000 });
    assert.deepEqual((await rooms.listParticipants(ROOM)).map((each) => each.identity), ['doctor']);
    await assert.rejects(rooms.getParticipant(ROOM, 'patient'), (error) => error.status === 404);
    await sleep(1_500);
    assert.equal((await patient.events('signalReconnecting', 'reconnecting')).length, 0, 'the removed tried to come back');
  });
}
