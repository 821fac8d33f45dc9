// What a good call is, in figures: used by the scenarios with three participants.

import assert from 'node:assert/strict';
import { figure, median, sleep, step, until } from './stage.mjs';

const SETTLE_MS = 5_000;
const MEASURE_MS = 15_000;
const DECODED_SHARE = 0.9;
const GAP_MS = 500;
const FIRST_MEDIAN_MS = 1_000;
const FIRST_WORST_MS = 2_500;

/** Waits until `one` is subscribed to `count` tracks and has a first picture of each video. */
export async function settled(one, count, within = 10_000) {
  await until(`${one.name} gets ${count} tracks`, async () => (await one.call('received')).length === count, { within });
  await until(`${one.name} sees a picture of each`, async () => (await one.call('firstPictures')).every((picture) => picture.first !== null), { within });
}

/**
 * Three participants, camera and microphone each: pictures, gaps, sound, chat, and the time to the first picture of those
 * who come later.
 */
export async function threeInACall(stage, people) {
  const room = 'three';
  const first = [];
  const subscribed = [];
  // Each comes after the others have published, so that each join is measured against tracks that exist.
  const come = async (one, others) => {
    const ms = await stage.join(one, room);
    step(`${one.name} (${one.kind}) connected in ${Math.round(ms)} ms`);
    if (others > 0) {
      await settled(one, others * 2);
      const pictures = await one.call('firstPictures');
      assert.equal(pictures.length, others);
      first.push(...pictures.map((picture) => picture.first));
      subscribed.push(...pictures.map((picture) => picture.subscribed));
      step(`${one.name} first pictures ${pictures.map((picture) => `${picture.identity} ${Math.round(picture.first)} (subscribed ${Math.round(picture.subscribed)})`).join(', ')} ms`);
    }
    await one.call('publishMicrophone');
    await one.call('publishCamera');
  };
  for (const [index, one] of people.entries()) await come(one, index);
  await Promise.all(people.map((one) => settled(one, 4)));

  await sleep(SETTLE_MS);
  await Promise.all(people.map((one) => one.call('mark')));
  await sleep(MEASURE_MS);
  const received = await Promise.all(people.map((one) => one.call('received')));
  const sent = await Promise.all(people.map((one) => one.call('sentSince')));

  const failures = [];
  for (const [index, one] of people.entries()) {
    for (const [from, other] of people.entries()) {
      if (from === index) continue;
      const video = received[index].find((track) => track.identity === other.name && track.kind === 'video');
      const audio = received[index].find((track) => track.identity === other.name && track.kind === 'audio');
      const camera = sent[from].find((track) => track.kind === 'video');
      const encoded = Math.max(...Object.values(camera.layers).map((layer) => layer.framesEncoded));
      // A frame that the publisher's own machine did not encode is a frame lost as well.
      const captured = Math.max(camera.captured, encoded);
      const share = video.since.framesDecoded / captured;
      const energy = audio.since.totalAudioEnergy;
      figure(
        `${other.name} -> ${one.name}`,
        `captured ${captured}, encoded ${encoded}, decoded ${video.since.framesDecoded} (${(share * 100).toFixed(1)} %), largest gap ${Math.round(video.gap)} ms, ` +
          `freezes ${video.since.freezeCount}, ${video.width}x${video.height}, sound energy ${energy.toPrecision(3)}, packets lost ${video.since.packetsLost}+${audio.since.packetsLost}`,
      );
      if (!(captured >= 100)) failures.push(`${other.name} captured only ${captured} frames`);
      if (!(share >= DECODED_SHARE)) failures.push(`${one.name} decoded ${video.since.framesDecoded} of ${captured} frames of ${other.name}`);
      if (!(video.gap <= GAP_MS)) failures.push(`${one.name} saw a gap of ${Math.round(video.gap)} ms from ${other.name}`);
      if (!(energy > 0)) failures.push(`${one.name} heard nothing of ${other.name}`);
    }
  }
  assert.deepEqual(failures, []);

  await chatBothWays(people);

  // Each leaves and comes back twice, for more than a handful of first pictures.
  for (const one of [...people, ...people]) {
    await one.call('disconnect');
    await come(one, people.length - 1);
    const others = people.filter((other) => other !== one);
    await Promise.all(others.map((other) => settled(other, 4)));
  }
  figure('first picture after join, median', Math.round(median(first)), `ms of ${first.length}`);
  figure('first picture after join, worst', Math.round(Math.max(...first)), 'ms');
  figure('subscribed after join, median', Math.round(median(subscribed)), 'ms');
  assert.ok(median(first) <= FIRST_MEDIAN_MS, `first picture: median ${median(first)} ms`);
  assert.ok(Math.max(...first) <= FIRST_WORST_MS, `first picture: worst ${Math.max(...first)} ms`);
  await nothingBroke(people);
}

/** Every participant writes one line; everybody else gets it once. */
export async function chatBothWays(people) {
  const before = await Promise.all(people.map((one) => one.call('texts')));
  await Promise.all(people.map((one) => one.call('sendText', `hello from ${one.name}: é 漢 🙂`)));
  for (const [index, one] of people.entries()) {
    const expected = people.filter((other) => other !== one).map((other) => `${other.name}: hello from ${other.name}: é 漢 🙂`).sort();
    const { ms } = await until(`${one.name} reads the others`, async () => (await one.call('texts')).length >= before[index].length + expected.length);
    const texts = (await one.call('texts')).slice(before[index].length).map((text) => `${text.from}: ${text.text}`).sort();
    assert.deepEqual(texts, expected);
    step(`chat reached ${one.name} (${Math.round(ms)} ms)`);
  }
}

/** No reconnect, no lost subscription and no error in any page. */
export async function nothingBroke(people) {
  for (const one of people) {
    const bad = await one.events('reconnecting', 'signalReconnecting', 'trackSubscriptionFailed', 'mediaDevicesError');
    assert.deepEqual(bad, [], `${one.name} had trouble`);
    assert.deepEqual(one.problems.filter((problem) => problem.startsWith('page error')), []);
  }
}

/** Frames that `one` decoded from `identity` over `ms`. */
export async function decodedDuring(one, identity, ms) {
  const before = await one.receivedFrom(identity);
  await sleep(ms);
  const after = await one.receivedFrom(identity);
  return (after?.total.framesDecoded ?? 0) - (before?.total.framesDecoded ?? 0);
}
