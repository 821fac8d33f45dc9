// Rows on a line that only loses: what a viewer hears and sees.

import { until } from '../../browser/lib/stage.mjs';
import { openCall, TOP } from '../call.mjs';
import { least, most, told } from '../check.mjs';

const MEASURE_MS = 40_000;

/** Time from the order to join until the full picture, in seconds. */
async function fullPicture(call, viewer) {
  const start = performance.now();
  await call.stage.join(viewer, 'quality');
  await until('the full picture', async () => (await viewer.receivedFrom('publisher'))?.height === TOP, { within: 15_000, every: 25 });
  return (performance.now() - start) / 1000;
}

function clean(name, kind) {
  return {
    name,
    what: `clean line${kind === 'firefox' ? ', Firefox' : ''}`,
    seconds: 120,
    async run({ stage, seed, ms }) {
      const call = await openCall(stage, { seed });
      await call.allLayers();
      const viewer = await call.visitor('viewer', { kind });
      const full = await fullPicture(call, viewer);
      const seen = await call.measure(viewer, ms(20_000));
      return {
        checks: [most('freezes', seen.freezes, 0, 'count'), most('full picture after the join', full, 3, 's'), told('concealed sound', seen.concealed, 'percent'), told('pictures', seen.pictures, 'hz')],
        measured: seen,
      };
    },
  };
}

function loss(percent, { sound, picture, kind = 'chromium' }) {
  return {
    name: kind === 'firefox' ? `loss-${percent}-firefox` : `loss-${percent}`,
    what: `${percent} % of datagrams lost by chance on the way to the viewer${kind === 'firefox' ? ', Firefox' : ''}`,
    seconds: 150,
    async run({ stage, seed, ms }) {
      const call = await openCall(stage, { seed });
      await call.allLayers();
      const viewer = await call.viewer('viewer', { kind, profile: { base: `loss-${percent}`, up: { loss: 0 } } });
      const seen = await call.measure(viewer, ms(MEASURE_MS));
      return {
        checks: [
          sound === undefined ? told('concealed sound', seen.concealed, 'percent') : most('concealed sound', seen.concealed, sound, 'percent'),
          most('time frozen', seen.frozen, picture, 'percent'),
          told('freezes', seen.freezes, 'count'),
          told('longest time without a new picture', seen.gap, 's'),
          told('pictures', seen.pictures, 'hz'),
        ],
        measured: seen,
      };
    },
  };
}

/** A named profile, both ways: reported. */
function profile(name, about, { seconds = MEASURE_MS / 1000, plot = false } = {}) {
  return {
    name,
    what: about,
    seconds: 150,
    reported: true,
    plot,
    async run({ stage, seed, ms }) {
      const call = await openCall(stage, { seed });
      await call.allLayers();
      const viewer = await call.viewer('viewer', { profile: name });
      const seen = await call.measure(viewer, ms(seconds * 1000));
      return {
        checks: [
          told('concealed sound', seen.concealed, 'percent'),
          told('freezes', seen.freezes, 'count'),
          told('time frozen', seen.frozen, 'percent'),
          told('longest time without a new picture', seen.gap, 's'),
          least('pictures', seen.pictures, 1, 'hz'),
          told('picture at the end', seen.samples.at(-1).height, 'px'),
          told('longest wait in the queue from 10 s on', seen.longestWait(10), 'ms'),
        ],
        measured: seen,
      };
    },
  };
}

export const lossRows = [
  clean('clean', 'chromium'),
  clean('clean-firefox', 'firefox'),
  loss(5, { sound: 0.03, picture: 0.03 }),
  loss(10, { sound: 0.05, picture: 0.06 }),
  // Firefox takes no redundant sound, so what is lost is lost.
  loss(10, { picture: 0.06, kind: 'firefox' }),
  loss(30, { sound: 0.15, picture: 0.35 }),
];

export const profileRows = [
  profile('island', 'satellite: 600 ms there and back'),
  profile('care-home', 'an old line of 300 kbit/s', { plot: true }),
  profile('mobile', 'a phone on the move', { seconds: 60, plot: true }),
  profile('home-wifi', 'busy Wi-Fi at home'),
  profile('bursts', 'loss in bursts of ten, 4 %'),
  profile('bufferbloat', '1 Mbit/s behind a queue of two seconds', { plot: true }),
];
