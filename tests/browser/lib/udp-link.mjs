// A network between a browser and the relay's UDP port that can be spoilt: loss, delay, silence, a new source address.
//
// The browser sends to `port` (the test page rewrites the relay's candidates); every browser socket gets its own socket
// towards the relay, as behind an address translator. Chance has a fixed seed.

import dgram from 'node:dgram';
import { once } from 'node:events';

const BUFFER = 4 << 20;

/** A small generator of chance (mulberry32), so that a run can be repeated. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const isStun = (datagram) => datagram.length >= 20 && datagram[0] < 2 && datagram.readUInt32BE(4) === 0x2112a442;
const isCheck = (datagram) => isStun(datagram) && datagram.readUInt16BE(0) === 0x0001;
const isMedia = (datagram) => datagram.length >= 12 && datagram[0] >= 128 && datagram[0] < 192;

export class UdpLink {
  constructor(relayPort, seed) {
    this.relayPort = relayPort;
    this.random = chance(seed);
    this.flows = new Map();
    /** Called with every datagram before its fate is decided: ('up' | 'down', datagram). */
    this.tap = () => {};
    this.lost = 0;
    this.passed = 0;
    this.drop = 0;
    this.wait = 0;
    this.silent = false;
    /** Set by `rebind`: when it was, when the browser's first check went up and the first media came down after it. */
    this.move = undefined;
  }

  static async open(relayPort, seed = 1) {
    const link = new UdpLink(relayPort, seed);
    link.front = dgram.createSocket({ type: 'udp4', recvBufferSize: BUFFER, sendBufferSize: BUFFER });
    link.front.on('message', (datagram, from) => void link.#up(datagram, from));
    link.front.bind(0, '0.0.0.0');
    await once(link.front, 'listening');
    link.port = link.front.address().port;
    return link;
  }

  /** Loses each datagram with probability `p`, both ways. */
  loss(p) {
    this.drop = p;
  }

  /** Holds each datagram for `ms`, both ways; order is kept. */
  delay(ms) {
    this.wait = ms;
  }

  /** Nothing passes until `mend`. */
  cut() {
    this.silent = true;
  }

  mend() {
    this.silent = false;
  }

  /** From now on the relay sees every browser socket come from a new address; the old one is closed. */
  async rebind() {
    this.move = { at: performance.now(), check: undefined, media: undefined };
    await Promise.all(
      [...this.flows.values()].map(async (flow) => {
        const old = flow.back;
        flow.back = await this.#back(flow.browser);
        flow.moved = true;
        old.removeAllListeners('message');
        old.close();
      }),
    );
  }

  async close() {
    for (const flow of this.flows.values()) {
      await flow.ready;
      flow.back?.close();
    }
    this.front.close();
  }

  async #back(browser) {
    const back = dgram.createSocket({ type: 'udp4', recvBufferSize: BUFFER, sendBufferSize: BUFFER });
    back.on('message', (datagram) => this.#down(datagram, browser));
    back.on('error', () => {});
    back.bind(0, '0.0.0.0');
    await once(back, 'listening');
    return back;
  }

  async #up(datagram, from) {
    this.tap('up', datagram);
    const key = `${from.address}:${from.port}`;
    let flow = this.flows.get(key);
    if (!flow) {
      flow = { browser: from, to: from.address, back: undefined, moved: false };
      flow.ready = this.#back(from);
      this.flows.set(key, flow);
    }
    flow.back ??= await flow.ready;
    if (this.move && this.move.check === undefined && isCheck(datagram)) this.move.check = performance.now();
    // The relay listens on every address of this machine; the browser's own is one of them.
    this.#pass(() => flow.back.send(datagram, this.relayPort, flow.to));
  }

  #down(datagram, browser) {
    this.tap('down', datagram);
    if (this.move && this.move.media === undefined && isMedia(datagram)) this.move.media = performance.now();
    this.#pass(() => this.front.send(datagram, browser.port, browser.address));
  }

  #pass(send) {
    if (this.silent || (this.drop > 0 && this.random() < this.drop)) {
      this.lost += 1;
      return;
    }
    this.passed += 1;
    const guarded = () => {
      try {
        send();
      } catch {
        // The socket was closed while the datagram waited: a network loses it too.
      }
    };
    if (this.wait > 0) setTimeout(guarded, this.wait);
    else guarded();
  }
}
