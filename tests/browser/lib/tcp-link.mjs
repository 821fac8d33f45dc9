// A network between a client and the relay's HTTP port that can be cut, can refuse for a while, and can go silent.

import { once } from 'node:events';
import net from 'node:net';

export class TcpLink {
  constructor(relayPort) {
    this.relayPort = relayPort;
    this.pairs = new Set();
    this.refuseUntil = 0;
    this.heldUntil = 0;
    this.opened = 0;
    this.refused = 0;
  }

  static async open(relayPort) {
    const link = new TcpLink(relayPort);
    link.server = net.createServer((front) => link.#accept(front)).listen(0, '127.0.0.1');
    await once(link.server, 'listening');
    link.port = link.server.address().port;
    link.http = `http://127.0.0.1:${link.port}`;
    link.ws = `ws://127.0.0.1:${link.port}`;
    return link;
  }

  /** Breaks every open connection, and refuses new ones for `ms`. */
  cut(ms = 0) {
    this.refuse(ms);
    const broken = this.pairs.size;
    for (const [front, back] of this.pairs) {
      front.resetAndDestroy();
      back.resetAndDestroy();
    }
    this.pairs.clear();
    return broken;
  }

  refuse(ms) {
    this.refuseUntil = Date.now() + ms;
  }

  /** Passes nothing on for `ms`, and closes nothing: as behind a mast that is gone. New connections wait as well. */
  hold(ms) {
    this.heldUntil = Date.now() + ms;
    for (const pair of this.pairs) this.#hold(pair, ms);
  }

  async close() {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }

  #accept(front) {
    front.on('error', () => {});
    if (Date.now() < this.refuseUntil) {
      this.refused += 1;
      front.resetAndDestroy();
      return;
    }
    this.opened += 1;
    const back = net.connect({ port: this.relayPort, host: '127.0.0.1', noDelay: true });
    front.setNoDelay(true);
    const pair = [front, back];
    this.pairs.add(pair);
    const end = () => {
      this.pairs.delete(pair);
      front.destroy();
      back.destroy();
    };
    back.on('error', end);
    front.on('close', end);
    back.on('close', end);
    const left = this.heldUntil - Date.now();
    if (left > 0) this.#hold(pair, left);
    else this.#pass(pair);
  }

  #pass([front, back]) {
    front.pipe(back);
    back.pipe(front);
  }

  #hold(pair, ms) {
    const [front, back] = pair;
    front.unpipe(back).pause();
    back.unpipe(front).pause();
    setTimeout(() => this.pairs.has(pair) && this.#pass(pair), ms).unref();
  }
}
