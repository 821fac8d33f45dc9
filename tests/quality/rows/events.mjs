// Rows in which something happens to the call: changes of what is wanted, another address, a relay out of reach, nobody there.

import { settled } from '../../browser/lib/call.mjs';
import { sleep, until } from '../../browser/lib/stage.mjs';
import { chance } from '../../browser/lib/udp-link.mjs';
import { openCall } from '../call.mjs';
import { most, told } from '../check.mjs';

const CHANGES = 1_000;
const CHANGE_MS = [150, 850];
const LOOK_MS = 200;
const AGAIN_MS = 2_500;
// How late a freeze may be found in the relay's counts: their second, a look, and the reading.
const LATE_MS = 1_300;
const TROUBLE = ['reconnecting', 'signalReconnecting', 'reconnected', 'disconnected', 'trackUnsubscribed', 'participantDisconnected'];

/** Random changes. Answers when the picture was still on purpose, as pairs of moments on the viewer's clock. */
async function changeAtRandom(call, viewer, count, seed) {
  const random = chance(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const paused = [];
  // What keeps the picture still, and since when.
  const holds = new Set();
  let since;
  const hold = async (name, on) => {
    const at = await viewer.call('now');
    if (on && holds.size === 0) since = at;
    if (on) holds.add(name);
    else holds.delete(name);
    if (!on && holds.size === 0 && since !== undefined) {
      paused.push([since, at]);
      since = undefined;
    }
  };
  const holding = {
    mute: (on) => call.publisher.call(on ? 'mute' : 'unmute', 'camera'),
    disable: (on) => viewer.call('setEnabled', 'publisher', 'camera', !on),
    leave: (on) => viewer.call('setSubscribed', 'publisher', 'camera', !on),
  };
  const turn = async (name) => {
    const on = !holds.has(name);
    await hold(name, on);
    await holding[name](on);
  };
  for (let number = 0; number < count; number += 1) {
    const what = random();
    // What keeps the picture still is soon taken back: mostly there is one to look at.
    if (holds.size > 0 && what < 0.6) await turn(pick([...holds]));
    else if (what < 0.75) await viewer.call('setQuality', 'publisher', 'camera', pick(['LOW', 'MEDIUM', 'HIGH']));
    else if (what < 0.92) await viewer.call('setDimensions', 'publisher', 'camera', ...pick([[256, 144], [512, 288], [1024, 576]]));
    else await turn(pick(Object.keys(holding)));
    await sleep(CHANGE_MS[0] + random() * (CHANGE_MS[1] - CHANGE_MS[0]));
  }
  for (const name of [...holds]) await turn(name);
  return paused;
}

/** Follows the relay's count of freezes: what it grew by, when on the viewer's clock, and for which cause. */
class Guard {
  constructor(relay, viewer) {
    this.relay = relay;
    this.viewer = viewer;
    this.log = [];
  }

  async start() {
    this.seen = await this.#causes();
    this.from = await this.viewer.call('now');
    this.running = this.#follow();
    this.running.catch(() => {});
  }

  async stop() {
    this.over = true;
    await this.running;
  }

  async #follow() {
    while (!this.over) {
      await sleep(LOOK_MS);
      const now = await this.#causes();
      const at = await this.viewer.call('now');
      for (const [cause, count] of Object.entries(now)) {
        if (count > this.seen[cause]) this.log.push({ at, cause, count: count - this.seen[cause] });
      }
      this.seen = now;
    }
  }

  async #causes() {
    const samples = Object.entries(await this.relay.metrics()).filter(([name]) => name.startsWith('colloque_freezes_total'));
    return Object.fromEntries(samples.map(([name, count]) => [/cause="(\w+)"/.exec(name)[1], count]));
  }
}

/**
 * The relay's freezes, each with its own moment. Its page of counts is up to a second old: one that both saw was when the browser saw
 * it, first of all those that are not `meant`, and another in the middle of that second.
 */
export function timed(guard, freezes, meant = () => false) {
  const left = freezes.flatMap((one) => Array(one.count).fill(one)).sort((a, b) => meant(a) - meant(b));
  return guard
    .flatMap(({ at, count }) => Array(count).fill(at))
    .map((at) => {
      const seen = left.findIndex((other) => other.at >= at - LATE_MS && other.at <= at + LOOK_MS);
      return { at: seen >= 0 ? left.splice(seen, 1)[0].at : at - LATE_MS / 2, count: 1 };
    });
}

function changes(name, what, { line, view, agree }) {
  return {
    name,
    what,
    seconds: 900,
    async run({ stage, seed, ms }) {
      const link = await stage.line({ seed: seed * 10 });
      const call = await openCall(stage, { seed, line: link });
      await call.allLayers();
      const viewer = await call.viewer('viewer', { profile: view });
      await link.become(line);
      await sleep(1_000);
      const guard = new Guard(stage.relay, viewer);
      await guard.start();
      const changes = Math.round(ms(CHANGES));
      const paused = await changeAtRandom(call, viewer, changes, seed);
      await settled(viewer, 2, 15_000);
      await sleep(5_000);
      const { freezes, stills } = await viewer.call('stillness');
      const received = (await viewer.call('received')).find((track) => track.kind === 'video');
      const buffer = received && received.total.jitterBufferDelay / received.total.jitterBufferEmittedCount;
      await guard.stop();
      // Pictures that were not to come do not count, neither here nor there, nor does the time in which they begin again.
      const meant = ({ at }) => at < guard.from || paused.some(([begin, end]) => begin <= at && at <= end + AGAIN_MS);
      const count = (list) => list.filter((one) => !meant(one)).reduce((sum, one) => sum + one.count, 0);
      const [counted, guarded] = [count(freezes), count(timed(guard.log, freezes, meant))];
      const longest = Math.max(0, ...stills.filter((still) => still.at >= guard.from).map((still) => still.ms)) / 1000;
      const difference = Math.abs(guarded - counted) / Math.max(counted, 1);
      return {
        checks: [
          most('longest freeze while packets come', longest, 3, 's'),
          agree ? most("the relay's count differs from the browser's by", difference, 0.1, 'percent') : told("the relay's count differs from the browser's by", difference, 'percent'),
          told("freezes by the browser's count", counted, 'count'),
          told("freezes by the relay's count", guarded, 'count'),
          told('changes', changes, 'count'),
        ],
        notes: { buffer, from: guard.from, guard: guard.log, paused, freezes, stills },
      };
    },
  };
}

/** The publisher's page looks at what the viewer sends as well. */
async function bothWays(stage, seed, options = {}) {
  const call = await openCall(stage, { seed });
  await call.allLayers();
  const viewer = await call.visitor('viewer', options);
  await stage.join(viewer, 'quality', options.join);
  await viewer.call('publishMicrophone');
  await viewer.call('publishCamera', { simulcast: false });
  await settled(viewer, 2, 15_000);
  await settled(call.publisher, 2, 15_000);
  await sleep(3_000);
  return { call, viewer };
}

function address(name, kind) {
  return {
    name,
    what: `another source address, as from Wi-Fi to mobile, three times${kind === 'firefox' ? ', in Firefox' : ''}`,
    seconds: 120,
    async run({ stage, seed }) {
      const { call, viewer } = await bothWays(stage, seed, { kind, profile: { both: { delay_ms: 20 } } });
      const before = (await viewer.events()).length;
      const gaps = { down: [], up: [] };
      for (let round = 0; round < 3; round += 1) {
        await Promise.all([call.publisher, viewer].map((one) => one.call('mark')));
        await viewer.line.rebind();
        await sleep(6_500 + round * 700);
        gaps.down.push((await viewer.receivedFrom('publisher')).gap / 1000);
        gaps.up.push((await call.publisher.receivedFrom('viewer')).gap / 1000);
      }
      const trouble = (await viewer.events()).slice(before).filter((event) => TROUBLE.includes(event.event));
      return {
        checks: [
          most('longest gap of what the viewer sees', Math.max(...gaps.down), 1.5, 's'),
          most('longest gap of what others see of them', Math.max(...gaps.up), 1.5, 's'),
          most('reconnects', trouble.length, 0, 'count'),
        ],
        notes: { gaps, trouble },
      };
    },
  };
}

const OUT_MS = 8_000;

function unreachable(name, what, { kind = 'chromium', block }) {
  return {
    name,
    what,
    seconds: 120,
    async run({ stage, seed }) {
      const tcp = await stage.tcpLink();
      const { call, viewer } = await bothWays(stage, seed, { kind, join: { url: tcp.ws } });
      const before = (await viewer.events()).length;
      const count = async (one, from) => {
        const [video, audio] = [await one.receivedFrom(from), await one.receivedFrom(from, 'microphone')];
        return { pictures: video?.total.framesDecoded ?? 0, sound: audio?.total.packetsReceived ?? 0 };
      };
      await viewer.line.outage(OUT_MS);
      block(tcp, OUT_MS);
      const out = performance.now();
      await sleep(OUT_MS - 300);
      const still = [await count(viewer, 'publisher'), await count(call.publisher, 'viewer')];
      await sleep(Math.max(0, OUT_MS - (performance.now() - out)));
      const start = performance.now();
      const back = {};
      await until(
        'pictures and sound both ways',
        async () => {
          const now = [await count(viewer, 'publisher'), await count(call.publisher, 'viewer')];
          for (const [index, way] of ['down', 'up'].entries()) {
            for (const part of ['pictures', 'sound']) {
              if (now[index][part] !== still[index][part]) back[`${way} ${part}`] ??= (performance.now() - start) / 1000;
            }
          }
          return Object.keys(back).length === 4;
        },
        { within: 30_000, every: 50 },
      ).catch(() => {});
      const times = ['down pictures', 'down sound', 'up pictures', 'up sound'].map((way) => back[way] ?? Infinity);
      // Signalling works again as well: a mute gets through.
      await call.publisher.call('mute', 'camera');
      const through = await until('a mute gets through', async () => (await viewer.events()).slice(before).some((event) => event.event === 'trackMuted'), { within: 20_000 }).then(({ ms }) => ms, () => Infinity);
      const events = (await viewer.events()).slice(before).map((event) => event.event);
      return {
        checks: [
          most('pictures and sound both ways, after the path is back', Math.max(...times), 2, 's'),
          most('a mute gets through after that', through / 1000, 15, 's'),
          most('ended calls', events.filter((event) => event === 'disconnected').length, 0, 'count'),
          told('full reconnects', events.filter((event) => event === 'reconnecting').length, 'count'),
        ],
        notes: { back, events },
      };
    },
  };
}

const dynacast = {
  name: 'dynacast',
  what: 'a publisher alone, then with a viewer who does not watch',
  seconds: 120,
  async run({ stage, seed }) {
    const call = await openCall(stage, { seed, roomOptions: { dynacast: true } });
    const frames = async () => (await call.layers()).reduce((sum, layer) => sum + layer.framesSent, 0);
    /** Seconds until the last frame went out. */
    const rests = async () => {
      const start = performance.now();
      let [last, count] = [start, await frames()];
      while (performance.now() - last < 2_500 && performance.now() - start < 20_000) {
        const now = await frames();
        if (now !== count) [last, count] = [performance.now(), now];
        await sleep(50);
      }
      return performance.now() - last < 2_500 ? Infinity : (last - start) / 1000;
    };
    /** Milliseconds until frames go out again. */
    const wakes = async () => {
      const start = performance.now();
      const before = await frames();
      return until('frames go out', async () => (await frames()) > before, { within: 10_000, every: 10 }).then(() => performance.now() - start, () => Infinity);
    };
    const alone = await rests();
    const viewer = await call.viewer('viewer');
    await sleep(2_000);
    await viewer.call('setSubscribed', 'publisher', 'camera', false);
    const unsubscribed = await rests();
    await viewer.call('setSubscribed', 'publisher', 'camera', true);
    const subscribed = await wakes();
    await sleep(4_000);
    await viewer.call('setEnabled', 'publisher', 'camera', false);
    const disabled = await rests();
    await viewer.call('setEnabled', 'publisher', 'camera', true);
    const enabled = await wakes();
    return {
      checks: [
        most('alone: layers paused after', alone, 3, 's'),
        most('nobody subscribed: paused after', unsubscribed, 3, 's'),
        most('nobody watches: paused after', disabled, 3, 's'),
        most('sent again after a subscription', subscribed, 500, 'ms'),
        most('sent again after the picture is wanted', enabled, 500, 'ms'),
      ],
    };
  },
};

export const eventRows = [
  changes('changes', 'random changes of layer, size, mute, display and subscription; 5 % lost on the way to the relay', {
    line: { up: { loss: 0.05, delay_ms: 20 }, down: { delay_ms: 20 } },
    view: 'clean',
    agree: true,
  }),
  changes('changes-viewer', 'the same with 5 % lost on the way to the viewer', {
    line: 'clean',
    view: { up: { delay_ms: 20 }, down: { delay_ms: 20, loss: 0.05 } },
    agree: false,
  }),
  address('address', 'chromium'),
  address('address-firefox', 'firefox'),
  unreachable('unreachable', 'nothing gets through for 8 s, neither signalling nor media', { block: (tcp, ms) => tcp.hold(ms) }),
  unreachable('unreachable-cut', 'the same, and signalling is cut and refused', { block: (tcp, ms) => tcp.cut(ms) }),
  unreachable('unreachable-firefox', 'the same in Firefox, nothing gets through', { kind: 'firefox', block: (tcp, ms) => tcp.hold(ms) }),
  dynacast,
];
