// The relay under test: one process per scenario, on ports of its own, ended by its process id.

import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const READY_MS = 15_000;
const STOP_MS = 10_000;
// Enough to read what went wrong; a relay that prints more is cut off from memory, not from its pipe.
const KEPT_LINES = 20_000;

/** What a relay prints when something is its own fault. */
const FAULT = /\bERROR\b|"level":"ERROR"|panicked at|thread '.*' panicked/;

export async function freeTcpPort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export async function freeUdpPort() {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, '0.0.0.0');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

/** A program of this tree: the one that `variable` names, or the debug or release build. */
export function program(name, variable) {
  const asked = process.env[variable];
  const places = asked ? [asked] : ['debug', 'release'].map((kind) => path.join(ROOT, 'target', kind, name));
  const found = places.find((place) => existsSync(place));
  if (!found) throw new Error(`no ${name} at ${places.join(' or ')}: build it, or name it in ${variable}`);
  return path.resolve(found);
}

export class Relay {
  constructor(child, port, udpPort) {
    this.child = child;
    this.port = port;
    this.udpPort = udpPort;
    this.http = `http://127.0.0.1:${port}`;
    this.ws = `ws://127.0.0.1:${port}`;
    this.lines = [];
    this.ended = once(child, 'exit');
    this.ended.catch(() => {});
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop();
        if (this.lines.length < KEPT_LINES) this.lines.push(...lines);
      });
    }
  }

  /** Starts `colloque serve --dev` and waits until it takes calls. */
  static async start({ args = [], env = {} } = {}) {
    const port = await freeTcpPort();
    const udpPort = await freeUdpPort();
    const words = ['serve', '--dev', '--port', String(port), '--udp-port', String(udpPort), ...args];
    const child = spawn(program('colloque', 'COLLOQUE_BIN'), words, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, RUST_BACKTRACE: '1', ...env } });
    const relay = new Relay(child, port, udpPort);
    const until = Date.now() + READY_MS;
    while (!relay.lines.some((line) => line.includes('colloque ready:'))) {
      if (child.exitCode !== null || Date.now() > until) {
        await relay.stop();
        throw new Error(`the relay did not get ready:\n${relay.tail()}`);
      }
      await new Promise((done) => setTimeout(done, 20));
    }
    return relay;
  }

  /** The links of the consultation page: role -> address. */
  async links() {
    const until = Date.now() + 2_000;
    for (;;) {
      const found = this.lines.map((line) => /^\s*(\w+)\s+(http:\/\/\S+#code=\S+)/.exec(line)).filter(Boolean);
      if (found.length >= 3) return Object.fromEntries(found.map(([, role, address]) => [role, address]));
      if (Date.now() > until) throw new Error(`no links printed:\n${this.tail()}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  /** One scrape: sample name with labels -> value. */
  async metrics() {
    const answer = await fetch(`${this.http}/metrics`);
    if (answer.status !== 200) throw new Error(`/metrics answered ${answer.status}`);
    const samples = {};
    for (const line of (await answer.text()).split('\n')) {
      const match = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line);
      if (match) samples[match[1]] = Number(match[2]);
    }
    return samples;
  }

  faults() {
    return this.lines.filter((line) => FAULT.test(line));
  }

  tail(count = 40) {
    return this.lines.map((line) => line.replace(/#code=\S+/, "#code=…")).slice(-count).join('\n');
  }

  /** Asks the process to end, then insists. Returns its exit code, or the name of the signal that ended it. */
  async stop() {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? child.signalCode;
    child.kill('SIGTERM');
    const insist = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    const [code, signal] = await this.ended;
    clearTimeout(insist);
    return code ?? signal;
  }
}
