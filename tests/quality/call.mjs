// The call every row measures: one publisher on a clean line, viewers behind impaired ones, samples once a second.

import { decodedDuring, settled } from '../browser/lib/call.mjs';
import { sleep, until } from '../browser/lib/stage.mjs';

/** Three layers that a narrow line tells apart; small enough for a machine of two cores to encode beside three browsers. */
export const CAMERA = {
  width: 1024,
  height: 576,
  rate: 15,
  grain: 0.14,
  encoding: { maxBitrate: 700_000, maxFramerate: 15 },
  options: {
    videoCodec: 'vp8',
    videoSimulcastLayers: [
      { width: 256, height: 144, encoding: { maxBitrate: 80_000, maxFramerate: 15 } },
      { width: 512, height: 288, encoding: { maxBitrate: 250_000, maxFramerate: 15 } },
    ],
  },
};
export const TOP = 576;
export const LOW = 144;

// The publisher's own estimate lets it send its top layer after some seconds.
const LAYERS_MS = 25_000;
const SETTLE_MS = 30_000;
const SAMPLE_MS = 1_000;
const LOOK_MS = 100;
// A standstill shorter than this at the end of a measurement is no freeze yet.
const OPEN_S = 0.5;
/** Counters of the relay whose growth is kept beside the figures of a row. */
const COUNTERS = /^colloque_(nacked|retransmitted|key_frame_requests|sound_recovered|freeze|drops|failures|path_changes|resumes|probes|padding|tracks_paused|tracks_resumed)/;

/** Opens a publisher that sends all of its layers. Viewers come by `viewer`. */
export async function openCall(stage, { seed, publisher = {}, camera = {}, roomOptions, line } = {}) {
  const call = new Call(stage, seed);
  call.publisher = await stage.participant('publisher', publisher.kind ?? 'chromium', { udpLink: line });
  await stage.join(call.publisher, 'quality', { roomOptions });
  await call.publisher.call('publishTone');
  await call.publisher.call('publishCanvas', { ...CAMERA, ...camera });
  return call;
}

export class Call {
  constructor(stage, seed) {
    this.stage = stage;
    this.seed = seed;
    this.viewers = 0;
  }

  /** Waits until the publisher sends every layer. */
  async allLayers() {
    return until('all layers are sent', async () => {
      const layers = await this.layers();
      return layers.length === 3 && layers.every((layer) => layer.framesSent > 5);
    }, { within: LAYERS_MS, every: 200 });
  }

  /** What the publisher's camera sends, lowest layer first. */
  async layers() {
    const camera = (await this.publisher.call('sent')).find((track) => track.kind === 'video');
    return Object.values(camera?.layers ?? {}).sort((a, b) => a.height - b.height);
  }

  /** A participant behind a line of its own that behaves as `profile` says, not yet in the room. */
  async visitor(name, { kind = 'chromium', profile = 'clean' } = {}) {
    this.viewers += 1;
    // Each line has chance of its own, the same in every run with the same seed.
    const line = await this.stage.line({ profile, seed: this.seed * 10 + this.viewers });
    const one = await this.stage.participant(name, kind, { udpLink: line });
    one.line = line;
    return one;
  }

  /** A viewer that sees and hears the publisher. */
  async viewer(name, options = {}) {
    const one = await this.visitor(name, options);
    await this.stage.join(one, 'quality', options.join);
    await settled(one, 2, SETTLE_MS);
    return one;
  }

  /** Measures `viewers` for `ms`; `meanwhile(sampler)` may spoil the line or ask for things. */
  async measure(viewers, ms, meanwhile = async () => {}) {
    const list = [viewers].flat();
    const before = await this.stage.relay.metrics();
    await Promise.all([this.publisher, ...list].map((one) => one.call('mark')));
    const samplers = list.map((one) => new Sampler(this, one));
    const start = performance.now();
    const running = samplers.map((sampler) => sampler.run(start, ms));
    running.forEach((one) => one.catch(() => {}));
    await Promise.all([meanwhile(...samplers), ...running]);
    const measured = await Promise.all(samplers.map((sampler) => sampler.result()));
    const sent = (await this.publisher.call('sentSince')).find((track) => track.kind === 'video');
    const most = (CAMERA.rate * (performance.now() - start)) / 1000;
    const encoded = Object.values(sent.layers).map((layer) => ({ height: layer.height, share: layer.framesEncoded / most, kbits: Math.round((layer.bytesSent * 8) / (performance.now() - start)) }));
    const after = await this.stage.relay.metrics();
    const counted = Object.entries(after).filter(([name, value]) => COUNTERS.test(name) && value !== before[name]);
    for (const one of measured) {
      one.capturedShare = sent.captured / most;
      one.encoded = encoded;
      one.counted = Object.fromEntries(counted.map(([name, value]) => [name, value - (before[name] ?? 0)]));
    }
    return Array.isArray(viewers) ? measured : measured[0];
  }

  /** Frames that `one` decodes within `ms`. */
  decoded(one, ms) {
    return decodedDuring(one, 'publisher', ms);
  }
}

/** Looks at one viewer once a second, and at its line ten times a second. */
export class Sampler {
  constructor(call, viewer) {
    this.call = call;
    this.viewer = viewer;
    this.samples = [];
    this.waits = [];
    this.over = false;
  }

  /** Seconds since measuring began. */
  get now() {
    return (performance.now() - this.start) / 1000;
  }

  async run(start, ms) {
    this.start = start;
    const looks = this.#look();
    try {
      for (let second = 0; second * SAMPLE_MS <= ms; second += 1) {
        const wait = start + second * SAMPLE_MS - performance.now();
        if (wait > 0) await sleep(wait);
        else if (wait < -SAMPLE_MS) continue;
        this.samples.push(await this.#sample());
      }
    } finally {
      this.over = true;
    }
    await looks;
  }

  async #look() {
    while (!this.over) {
      const stats = await this.viewer.line.stats().catch(() => undefined);
      if (stats) {
        this.last = stats;
        this.waits.push({ at: this.now, ms: stats.down.waitMs });
      }
      await sleep(LOOK_MS);
    }
  }

  async #sample() {
    const [tracks, metrics] = await Promise.all([this.viewer.call('received'), this.call.stage.relay.metrics().catch(() => ({}))]);
    const video = tracks.find((track) => track.kind === 'video');
    const audio = tracks.find((track) => track.kind === 'audio');
    const { down } = this.last ?? {};
    return {
      at: this.now,
      height: video?.height ?? 0,
      frames: video?.since.framesDecoded ?? 0,
      freezes: video?.since.freezeCount ?? 0,
      frozen: video?.since.totalFreezesDuration ?? 0,
      concealed: audio?.since.concealedSamples ?? 0,
      samples: audio?.since.totalSamplesReceived ?? 0,
      videoBits: (video?.since.bytesReceived ?? 0) * 8,
      audioBits: (audio?.since.bytesReceived ?? 0) * 8,
      buffer: video?.since.jitterBufferDelay ?? 0,
      emitted: video?.since.jitterBufferEmittedCount ?? 0,
      line: down && { at: (down.at - this.start) / 1000, bits: down.bits, delivered: down.delivered, offered: down.offered, dropped: down.dropped_queue, rate: down.rate, waitMs: down.waitMs },
      estimate: this.#estimate(metrics),
    };
  }

  /** Bits per second that the relay took the line to bear, by what its histogram gained since the last look; one viewer only, or it would be of several lines. */
  #estimate(metrics) {
    const [sum, count] = ['sum', 'count'].map((part) => metrics[`colloque_line_estimate_kbps_${part}`] ?? 0);
    const before = this.noted ?? { sum, count };
    this.noted = { sum, count };
    return this.call.viewers === 1 && count > before.count ? ((sum - before.sum) / (count - before.count)) * 1000 : undefined;
  }

  async result() {
    const tracks = await this.viewer.call('received');
    const video = tracks.find((track) => track.kind === 'video');
    const audio = tracks.find((track) => track.kind === 'audio');
    return new Measured(this, video, audio);
  }
}

/** What one viewer saw and heard in the measured time. */
export class Measured {
  constructor(sampler, video, audio) {
    this.samples = sampler.samples;
    this.waits = sampler.waits;
    this.start = sampler.start;
    this.video = video;
    this.audio = audio;
    this.seconds = (video ?? audio).ms / 1000;
  }

  /** Share of the sound that was made up by the receiver. */
  get concealed() {
    return share(this.audio?.since.concealedSamples, this.audio?.since.totalSamplesReceived);
  }

  /** The same between two moments, in seconds. */
  concealedBetween(from, to) {
    const [first, last] = [this.sampleAt(from), this.sampleAt(to)];
    return share(last.concealed - first.concealed, last.samples - first.samples);
  }

  /** Share of the time in which the picture stood still. Browsers count a freeze when it ends, and call the longest pauses. */
  get frozen() {
    const { totalFreezesDuration, totalPausesDuration } = this.video?.since ?? {};
    return (totalFreezesDuration + totalPausesDuration + this.#open) / this.seconds;
  }

  get freezes() {
    const { freezeCount, pauseCount } = this.video?.since ?? {};
    return freezeCount + pauseCount + (this.#open > 0 ? 1 : 0);
  }

  /** How long the picture has stood still at the end of the measured time, in seconds. */
  get #open() {
    const still = (this.video?.still ?? NaN) / 1000;
    return still < OPEN_S ? 0 : still;
  }

  /** The longest time without a new picture, in seconds. */
  get gap() {
    return (this.video?.gap ?? NaN) / 1000;
  }

  /** Pictures a second. */
  get pictures() {
    return (this.video?.since.framesDecoded ?? 0) / this.seconds;
  }

  sampleAt(second) {
    return this.samples.reduce((best, sample) => (Math.abs(sample.at - second) < Math.abs(best.at - second) ? sample : best));
  }

  /** Heights of the picture from one second to another. */
  heights(from = 0, to = Infinity) {
    return this.samples.filter((sample) => sample.at >= from && sample.at <= to).map((sample) => sample.height);
  }

  /** The longest that a datagram would have waited before the bottleneck between two seconds, in ms. */
  longestWait(from, to = Infinity) {
    return Math.max(0, ...this.waits.filter((wait) => wait.at >= from && wait.at <= to).map((wait) => wait.ms));
  }

  /** Bits a second that left the line between two seconds, with IP and UDP headers. */
  lineRate(from, to) {
    const [first, last] = [this.sampleAt(from).line, this.sampleAt(to).line];
    return (last.bits - first.bits) / (last.at - first.at);
  }

  /** Share of datagrams the bottleneck dropped between two seconds. */
  dropped(from, to) {
    const [first, last] = [this.sampleAt(from).line, this.sampleAt(to).line];
    return share(last.dropped - first.dropped, last.offered - first.offered);
  }
}

function share(part, whole) {
  return whole > 0 ? part / whole : NaN;
}
