// A line with chosen faults between one browser and the relay's UDP port: `loadtest impair`, one process for each line.
//
// Unlike `UdpLink` it has a rate and a queue, profiles by name, and the same seed gives every datagram the same fate. The
// browser sends to `port` (the test page rewrites the relay's candidates).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { program } from './relay.mjs';

const READY_MS = 10_000;
const ANSWER_MS = 10_000;
const STOP_MS = 3_000;
const HEADERS = 28;
const KEPT_LINES = 200;

/** A profile as the line's commands take it: a name, or a table of TOML made from an object. */
export function profileText(profile) {
  if (typeof profile === 'string') return profile;
  const value = (one) => {
    if (Array.isArray(one)) return `[${one.map(value).join(', ')}]`;
    if (one !== null && typeof one === 'object') return `{ ${Object.entries(one).map(([key, inner]) => `${key} = ${value(inner)}`).join(', ')} }`;
    return JSON.stringify(one);
  };
  return value(profile);
}

export class Line {
  constructor(child, port, control) {
    this.child = child;
    this.port = port;
    this.control = control;
    this.waiting = [];
    this.ended = once(child, 'exit').catch(() => {});
  }

  /** A line to the relay's UDP port that does what `profile` says; `listen` is where browsers find it. */
  static async open(relayPort, { profile = 'clean', seed = 1, listen = '0.0.0.0:0' } = {}) {
    const words = ['impair', '--listen', listen, '--to', `127.0.0.1:${relayPort}`, '--profile', profileText(profile), '--seed', String(seed), '--control', '127.0.0.1:0'];
    const child = spawn(program('loadtest', 'LOADTEST_BIN'), words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const lines = [];
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (more) => {
        if (lines.length < KEPT_LINES) lines.push(more);
        text = lines.join('');
      });
    }
    const until = Date.now() + READY_MS;
    for (;;) {
      const ready = /impair ready: media \S+:(\d+) to .*control (\S+):(\d+)/.exec(text);
      if (ready) return new Line(child, Number(ready[1]), { host: ready[2], port: Number(ready[3]) });
      if (child.exitCode !== null || Date.now() > until) {
        child.kill('SIGKILL');
        throw new Error(`the line did not get ready: ${text}`);
      }
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  /** From now on the line does what `profile` says; `way` is `up`, `down` or `both`. */
  become(profile, way = 'both') {
    return this.tell(`profile ${profileText(profile)} ${way}`);
  }

  /** Everything offered within `ms` is lost. */
  outage(ms) {
    return this.tell(`outage ${Math.round(ms)}`);
  }

  /** The relay sees the browser come from a new port from now on. */
  rebind() {
    return this.tell('rebind');
  }

  /** Both directions of the path that carries media, as counted since the line opened; undefined before there is one. */
  async stats() {
    const { clients } = JSON.parse(await this.tell('stats'));
    const busiest = clients.sort((a, b) => b.down.counts.offered + b.up.counts.offered - a.down.counts.offered - a.up.counts.offered)[0];
    if (!busiest) return undefined;
    const way = ({ counts, wait_us: wait, bits_per_s: rate, queue }) => ({
      ...counts,
      at: performance.now(),
      bits: (counts.delivered_bytes + HEADERS * counts.delivered) * 8,
      waitMs: wait / 1000,
      rate,
      queue,
    });
    return { up: way(busiest.up), down: way(busiest.down) };
  }

  /** Sends a command and resolves with its answer. Commands are answered in their order. */
  async tell(command) {
    const socket = await this.#connection();
    const answer = new Promise((done, fail) => {
      const late = setTimeout(() => {
        fail(new Error(`the line did not answer ${command}`));
        socket.destroy();
      }, ANSWER_MS);
      this.waiting.push({ done: (text) => (clearTimeout(late), done(text)), fail: (error) => (clearTimeout(late), fail(error)) });
    });
    socket.write(`${command}\n`);
    const text = await answer;
    if (text.startsWith('error')) throw new Error(`${command}: ${text}`);
    return text;
  }

  async close() {
    this.socket?.destroy();
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    const insist = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await this.ended;
    clearTimeout(insist);
  }

  /** The connection for commands. The line closes one that has been silent for a minute. */
  async #connection() {
    if (this.socket && !this.socket.destroyed) return this.socket;
    const socket = net.connect({ ...this.control, noDelay: true });
    this.socket = socket;
    socket.setEncoding('utf8');
    let rest = '';
    socket.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) this.waiting.shift()?.done(line);
    });
    socket.on('error', () => {});
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      for (const one of this.waiting.splice(0)) one.fail(new Error('the line is closed'));
    });
    await once(socket, 'connect');
    return socket;
  }
}
