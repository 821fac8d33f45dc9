// Rows on lines with a limited rate: the voice comes first, the picture takes what is left.

import { openCall, TOP } from '../call.mjs';
import { least, most, told } from '../check.mjs';

const DELAY = { delay_ms: 20 };
const CAP_300 = { up: DELAY, down: { ...DELAY, bits_per_s: 300_000, queue_ms: 300 } };
const STEADY = { up: { delay_ms: 25 }, down: { delay_ms: 25, bits_per_s: 1_000_000, queue_ms: 300 } };
// With the voice, this top layer takes seven eighths of a link of 1 Mbit/s.
const FILLING = { maxBitrate: 720_000, maxFramerate: 15 };
const CAP_AND_RELEASE = { base: 'cap-and-release', up: { bits_per_s: 2_000_000 } };
// When the named profile narrows and when it widens again, in seconds.
const CAPPED = 15;
const RELEASED = 45;
const CALM = 5;

const cap300 = {
  name: 'cap-300',
  what: '300 kbit/s towards the viewer',
  seconds: 150,
  plot: true,
  async run({ stage, seed, ms }) {
    const call = await openCall(stage, { seed });
    await call.allLayers();
    const viewer = await call.viewer('viewer', { profile: CAP_300 });
    const seen = await call.measure(viewer, ms(40_000));
    return {
      checks: [
        most('concealed sound', seen.concealed, 0.02, 'percent'),
        most('longest time without a new picture', seen.gap, 2, 's'),
        most('tallest picture from 10 s on', Math.max(...seen.heights(10)), 288, 'px'),
        least('pictures', seen.pictures, 5, 'hz'),
        told('freezes', seen.freezes, 'count'),
        told('longest wait in the queue from 10 s on', seen.longestWait(10), 'ms'),
      ],
      measured: seen,
    };
  },
};

const capAndRelease = {
  name: 'cap-and-release',
  what: '2 Mbit/s, 150 kbit/s from 15 s on, 2 Mbit/s again from 45 s on',
  seconds: 180,
  plot: true,
  async run({ stage, seed }) {
    const call = await openCall(stage, { seed });
    await call.allLayers();
    const viewer = await call.viewer('viewer');
    await viewer.line.become(CAP_AND_RELEASE);
    const seen = await call.measure(viewer, 75_000);
    // A picture that stands still has its old height.
    const moves = (sample, index) => index > 0 && sample.frames > seen.samples[index - 1].frames;
    const top = seen.samples.find((sample, index) => sample.at > RELEASED + 1 && sample.height === TOP && moves(sample, index));
    return {
      checks: [
        most('concealed sound', seen.concealed, 0.02, 'percent'),
        most('top layer after the release', top ? top.at - RELEASED : Infinity, 10, 's'),
        most('wait in the queue 5 s after the cap', seen.longestWait(CAPPED + CALM, RELEASED), 200, 'ms'),
        most('wait in the queue 5 s after the release', seen.longestWait(RELEASED + CALM), 200, 'ms'),
        told('concealed sound in the 5 s after the cap', seen.concealedBetween(CAPPED, CAPPED + CALM), 'percent'),
        told('freezes', seen.freezes, 'count'),
        told('longest time without a new picture', seen.gap, 's'),
      ],
      measured: seen,
    };
  },
};

const steady = {
  name: 'steady',
  what: 'a steady 1 Mbit/s, 50 ms there and back',
  seconds: 150,
  plot: true,
  async run({ stage, seed, ms }) {
    const call = await openCall(stage, { seed, camera: { encoding: FILLING } });
    await call.allLayers();
    const viewer = await call.viewer('viewer', { profile: STEADY });
    const end = Math.max(20, ms(40_000) / 1000);
    const seen = await call.measure(viewer, end * 1000);
    return {
      checks: [
        least('part of the link in use from 10 s on', seen.lineRate(10, end) / 1e6, 0.8, 'percent'),
        most('dropped in the queue from 10 s on', seen.dropped(10, end), 0.01, 'percent'),
        told('longest wait in the queue from 10 s on', seen.longestWait(10), 'ms'),
        told('concealed sound', seen.concealed, 'percent'),
        told('freezes', seen.freezes, 'count'),
        told('picture at the end', seen.samples.at(-1).height, 'px'),
      ],
      measured: seen,
    };
  },
};

const neighbour = {
  name: 'neighbour',
  what: 'two viewers, one of them capped to 300 kbit/s after 10 s: the other',
  seconds: 150,
  async run({ stage, seed, ms }) {
    const call = await openCall(stage, { seed });
    await call.allLayers();
    const free = await call.viewer('free');
    const capped = await call.viewer('capped');
    const [seen, other] = await call.measure([free, capped], 10_000 + ms(25_000), async (sampler) => {
      while (!(sampler.now >= 10)) await new Promise((done) => setTimeout(done, 50));
      await capped.line.become(CAP_300);
    });
    return {
      checks: [
        most('freezes', seen.freezes, 0, 'count'),
        least('smallest picture', Math.min(...seen.heights(1)), TOP, 'px'),
        most('concealed sound', seen.concealed, 0.01, 'percent'),
        told('the capped one: picture at the end', other.samples.at(-1).height, 'px'),
        told('the capped one: concealed sound', other.concealed, 'percent'),
      ],
      measured: seen,
    };
  },
};

export const rateRows = [cap300, capAndRelease, steady, neighbour];
