// A publisher sends three layers; a receiver asks for one, then another.

import assert from 'node:assert/strict';
import { nothingBroke, settled } from '../lib/call.mjs';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';

const SIZES = { LOW: '320x180', MEDIUM: '640x360', HIGH: '1280x720' };
const SWITCH_MS = 2_000;
const GAP_MS = 500;
// Chromium starts its upper layers when its estimate of the path allows it; relays cannot make it faster than their feedback.
const LAYERS_MS = 15_000;

scenario('simulcast: every layer arrives, switches are quick and without a freeze', async (stage) => {
  const publisher = await stage.participant('publisher', 'chromium');
  const chromium = await stage.participant('chromium', 'chromium');
  const firefox = await stage.participant('firefox', 'firefox');
  await stage.join(publisher, 'layers');
  await publisher.call('publishCanvas', { width: 1280, height: 720, rate: 15 });
  for (const receiver of [chromium, firefox]) {
    await stage.join(receiver, 'layers');
    await settled(receiver, 1);
  }

  const { value: sent, ms } = await until(
    'all three layers are sent',
    async () => {
      const [camera] = await publisher.call('sent');
      const layers = Object.values(camera.layers);
      return layers.length === 3 && layers.every((layer) => layer.framesSent > 0) && camera;
    },
    { within: LAYERS_MS },
  );
  figure('three layers sent after', Math.round(ms), 'ms');
  for (const [rid, layer] of Object.entries(sent.layers)) step(`layer ${rid}: ${layer.width}x${layer.height}, ${layer.framesSent} frames`);
  assert.deepEqual(Object.values(sent.layers).map((layer) => `${layer.width}x${layer.height}`).sort(), Object.values(SIZES).sort());

  const size = async (receiver) => {
    const track = await receiver.receivedFrom('publisher');
    return `${track.width}x${track.height}`;
  };
  const failures = [];
  // The second HIGH and LOW repeat a switch that has already been made once.
  for (const receiver of [chromium, firefox]) {
    for (const quality of ['LOW', 'HIGH', 'MEDIUM', 'HIGH', 'LOW', 'MEDIUM', 'LOW', 'HIGH']) {
      await receiver.call('mark');
      await receiver.call('setQuality', 'publisher', 'camera', quality);
      const took = await until(`${receiver.name} gets ${quality}`, async () => (await size(receiver)) === SIZES[quality], { within: 10_000, every: 25 });
      await sleep(1_500);
      const track = await receiver.receivedFrom('publisher');
      figure(`${receiver.name} asks ${quality}`, `${Math.round(took.ms)} ms, gap ${Math.round(track.gap)} ms, freezes ${track.since.freezeCount}, pli ${track.since.pliCount}`);
      if (took.ms > SWITCH_MS) failures.push(`${receiver.name} waited ${Math.round(took.ms)} ms for ${quality}`);
      if (track.gap > GAP_MS) failures.push(`${receiver.name} froze ${Math.round(track.gap)} ms on the way to ${quality}`);
      if ((await size(receiver)) !== SIZES[quality]) failures.push(`${receiver.name} did not stay at ${quality}`);
      if (track.since.framesDropped > 2) failures.push(`${receiver.name} dropped ${track.since.framesDropped} frames on the way to ${quality}`);
    }
  }
  assert.deepEqual(failures, []);

  for (const receiver of [chromium, firefox]) {
    const frames = async () => (await receiver.receivedFrom('publisher')).total.framesDecoded;
    await receiver.call('setEnabled', 'publisher', 'camera', false);
    await sleep(1_000);
    const stopped = await frames();
    await sleep(2_000);
    assert.equal(await frames(), stopped, `${receiver.name} still gets pictures of a track it disabled`);
    await receiver.call('setEnabled', 'publisher', 'camera', true);
    const again = await until(`${receiver.name} gets pictures again`, async () => (await frames()) > stopped + 3, { within: SWITCH_MS, every: 25 });
    figure(`${receiver.name} enabled again: pictures after`, Math.round(again.ms), 'ms');

    // Not subscribed at all, then again: another track line, the same rules.
    await receiver.call('setSubscribed', 'publisher', 'camera', false);
    await until(`${receiver.name} lost its subscription`, async () => (await receiver.events('trackUnsubscribed')).length === 1);
    await receiver.call('setSubscribed', 'publisher', 'camera', true);
    const back = await until(
      `${receiver.name} is subscribed again and sees`,
      async () => (await receiver.call('firstPictures')).some((picture) => picture.first !== null),
      { within: SWITCH_MS, every: 25 },
    );
    figure(`${receiver.name} subscribed again: first picture after`, Math.round(back.ms), 'ms');
  }
  await nothingBroke([publisher, chromium, firefox]);
});

scenario('simulcast with dynacast and adaptive stream: layers nobody shows rest, and come back', async (stage) => {
  const publisher = await stage.participant('publisher', 'chromium');
  const receiver = await stage.participant('receiver', 'chromium');
  await stage.join(publisher, 'layers', { roomOptions: { dynacast: true } });
  await stage.join(receiver, 'layers');
  await publisher.call('publishCanvas', { width: 1280, height: 720, rate: 15 });
  await settled(receiver, 1);
  await receiver.call('setQuality', 'publisher', 'camera', 'LOW');
  const active = async () => Object.values((await publisher.call('sent'))[0].layers).filter((layer) => layer.active).map((layer) => layer.width || 'unsent').length;
  const rested = await until('the upper layers rest', async () => (await active()) === 1, { within: 20_000, every: 200 });
  figure('upper layers rest after', Math.round(rested.ms), 'ms');
  await receiver.call('setQuality', 'publisher', 'camera', 'HIGH');
  const woken = await until('the top layer is back', async () => (await receiver.receivedFrom('publisher')).width === 1280, { within: 10_000 });
  figure('a resting top layer reaches the receiver after', Math.round(woken.ms), 'ms');
  await nothingBroke([publisher, receiver]);
}, { todo: 'the relay does not tell publishers yet which layers are wanted' });
