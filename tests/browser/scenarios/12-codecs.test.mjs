// Each codec that Chromium publishes reaches a Chromium and a Firefox receiver; where it has layers, they can be chosen.

import assert from 'node:assert/strict';
import { nothingBroke, settled } from '../lib/call.mjs';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';

const SIZES = { LOW: '320x180', MEDIUM: '640x360', HIGH: '1280x720' };
// Software encoders of three layers take their time until the estimate lets them send all of them.
const LAYERS_MS = 20_000;
const SWITCH_MS = 5_000;

const CODECS = [
  { codec: 'vp8', options: {} },
  { codec: 'h264', options: {} },
  { codec: 'vp9', options: { scalabilityMode: 'L3T3_KEY', backupCodec: false } },
  { codec: 'av1', options: { scalabilityMode: 'L3T3_KEY', backupCodec: false } },
];

for (const { codec, options } of CODECS) {
  scenario(`${codec}: decodes at both browsers, and layers are chosen within it`, async (stage) => {
    const publisher = await stage.participant('publisher', 'chromium');
    const chromium = await stage.participant('chromium', 'chromium');
    const firefox = await stage.participant('firefox', 'firefox');
    const room = `codec-${codec}`;
    await stage.join(publisher, room);
    await publisher.call('publishCanvas', { width: 1280, height: 720, rate: 15, options: { videoCodec: codec, ...options } });
    await stage.join(chromium, room);
    await settled(chromium, 1);
    await stage.join(firefox, room);
    const sees = await settled(firefox, 1, 8_000).then(() => true, () => false);
    step(`firefox ${sees ? 'decodes' : 'does not decode'} ${codec}`);

    const size = async (receiver) => {
      const track = await receiver.receivedFrom('publisher');
      return `${track.width}x${track.height}`;
    };
    const full = await until('the largest size arrives', async () => (await size(chromium)) === SIZES.HIGH, { within: LAYERS_MS }).then(
      ({ ms }) => ms,
      () => undefined,
    );
    assert.notEqual(full, undefined, `only ${await size(chromium)} arrived`);
    figure(`${codec}: 1280x720 after`, Math.round(full), 'ms');

    const failures = [];
    for (const receiver of sees ? [chromium, firefox] : [chromium]) {
      for (const quality of ['LOW', 'HIGH', 'MEDIUM', 'LOW', 'HIGH']) {
        await receiver.call('mark');
        await receiver.call('setQuality', 'publisher', 'camera', quality);
        const took = await until(`${receiver.name} gets ${quality}`, async () => (await size(receiver)) === SIZES[quality], {
          within: SWITCH_MS,
          every: 25,
        }).then(({ ms }) => ms, () => undefined);
        await sleep(1_000);
        const track = await receiver.receivedFrom('publisher');
        figure(`${codec}, ${receiver.name} asks ${quality}`, `${took === undefined ? `stays at ${await size(receiver)}` : `${Math.round(took)} ms`}, gap ${Math.round(track.gap)} ms, freezes ${track.since.freezeCount}, pli ${track.since.pliCount}, decoded ${track.since.framesDecoded}`);
        if (took === undefined) failures.push(`${receiver.name} did not get ${quality}`);
        if (track.since.framesDecoded < 5) failures.push(`${receiver.name} saw nothing at ${quality}`);
      }
    }
    assert.deepEqual(failures, []);
    await nothingBroke(sees ? [publisher, chromium, firefox] : [publisher, chromium]);
  });
}
