// A scenario: a relay, a test page, participants in browsers, links between them; all of it closed at the end, and the
// relay asked whether anything went wrong inside it.

import assert from 'node:assert/strict';
import test from 'node:test';
import { openBrowser } from './browsers.mjs';
import { Line } from './impaired.mjs';
import { servePage } from './page-server.mjs';
import { Relay } from './relay.mjs';
import { TcpLink } from './tcp-link.mjs';
import { token } from './token.mjs';
import { UdpLink } from './udp-link.mjs';

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Prints a measured value; these lines are what a reader of a run looks for. */
export function figure(what, value, unit = '') {
  const text = typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : typeof value === 'string' ? value : JSON.stringify(value);
  console.log(`figure: ${what}: ${text}${unit && ` ${unit}`}`);
}

export function step(text) {
  console.log(`  - ${text}`);
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Waits until `probe` gives something true and returns it with the milliseconds it took. */
export async function until(what, probe, { within = 5_000, every = 50 } = {}) {
  const start = performance.now();
  let last;
  for (;;) {
    last = await probe();
    const ms = performance.now() - start;
    if (last) return { value: last, ms };
    if (ms > within) throw new assert.AssertionError({ message: `${what}: not within ${within} ms` });
    await sleep(every);
  }
}

/** One participant: a page in a browser. */
export class Participant {
  constructor(name, opened, page) {
    this.name = name;
    this.kind = opened.kind;
    this.opened = opened;
    this.page = page;
    this.problems = [];
    page.on('pageerror', (error) => this.problems.push(`page error: ${error.message}`));
    page.on('console', (message) => {
      if (['error', 'warn', 'warning'].includes(message.type())) this.problems.push(`${message.type()}: ${message.text()}`);
    });
  }

  call(method, ...words) {
    return this.page.evaluate((name, list) => window.call[name](...list), method, words);
  }

  async events(...names) {
    const all = await this.call('events');
    return names.length === 0 ? all : all.filter((one) => names.includes(one.event));
  }

  /** The one received track of `identity` and `source`, measured since `mark`. */
  async receivedFrom(identity, source = 'camera') {
    const list = await this.call('received');
    return list.find((one) => one.identity === identity && one.source === source);
  }
}

export class Stage {
  constructor() {
    this.browsers = [];
    this.participants = [];
    this.links = [];
  }

  async open(options) {
    this.relay = await Relay.start(options);
    this.site = await servePage();
    return this;
  }

  async browser(kind, options) {
    const opened = await openBrowser(kind, options);
    this.browsers.push(opened);
    return opened;
  }

  /** A participant in a browser of its own. `udpLink` puts a link into its media path. */
  async participant(name, kind = 'chromium', { udpLink, ...options } = {}) {
    const opened = await this.browser(kind, options);
    return this.participantIn(name, opened, { udpLink });
  }

  /** A participant in a page of a browser that is already open, in storage of its own where the browser can. */
  async participantIn(name, opened, { udpLink } = {}) {
    const page = await opened.browser.newPage();
    const one = new Participant(name, opened, page);
    this.participants.push(one);
    await page.goto(`${this.site.url}${udpLink ? `?udp=${udpLink.port}` : ''}`);
    await page.waitForFunction(() => window.call !== undefined);
    return one;
  }

  async tcpLink() {
    const link = await TcpLink.open(this.relay.port);
    this.links.push(link);
    return link;
  }

  async udpLink(seed) {
    const link = await UdpLink.open(this.relay.udpPort, seed);
    this.links.push(link);
    return link;
  }

  /** A line with a rate, a queue and faults; `options` are `profile` and `seed`. */
  async line(options) {
    const line = await Line.open(this.relay.udpPort, options);
    this.links.push(line);
    return line;
  }

  /** Connects and insists on it; answers the time it took. */
  async join(one, room, { url = this.relay.ws, grant, attributes, ...options } = {}) {
    const answer = await one.call('connect', url, await token(one.name, room, { grant, attributes }), options);
    assert.equal(answer.error, undefined, `${one.name} did not connect: ${JSON.stringify(answer.error)}`);
    return answer.ms;
  }

  async describe() {
    const lines = [];
    for (const one of this.participants) {
      const events = await Promise.race([one.events().catch(() => []), sleep(3_000).then(() => [])]);
      lines.push(`--- ${one.name} (${one.kind}), last events:`);
      lines.push(...events.slice(-40).map((event) => `    ${Math.round(event.at)} ${JSON.stringify({ ...event, at: undefined })}`));
      lines.push(...one.problems.slice(-25).map((problem) => `    ! ${problem.slice(0, 400)}`));
    }
    if (this.relay) {
      const metrics = await this.relay.metrics().catch((error) => ({ unreachable: error.message }));
      lines.push('--- relay, samples that are not 0:');
      lines.push(...Object.entries(metrics).filter(([, value]) => value !== 0).map(([name, value]) => `    ${name} ${value}`));
      lines.push('--- relay, last lines:', this.relay.tail());
    }
    return lines.join('\n');
  }

  async close() {
    await Promise.all(this.browsers.map((opened) => opened.close()));
    await Promise.all(this.links.map((link) => link.close()));
    this.site?.close();
    return this.relay?.stop();
  }
}

/** A test in which the relay must neither log an error, nor contain a panic, nor end by itself. */
export function scenario(name, body, { relay, timeout = 180_000, todo = false } = {}) {
  test(name, { timeout, todo }, async (t) => {
    const stage = new Stage();
    let failed = true;
    try {
      await stage.open(relay);
      await body(stage, t);
      const { colloque_panics_total: panics = 0 } = await stage.relay.metrics();
      assert.equal(panics, 0, 'the relay contained a panic');
      failed = false;
    } finally {
      if (failed) console.log(await stage.describe());
      const code = await stage.close();
      if (!failed) {
        assert.deepEqual(stage.relay.faults(), [], 'the relay logged a fault');
        assert.equal(code, 0, `the relay did not end in order\n${stage.relay.tail()}`);
      }
    }
  });
}
