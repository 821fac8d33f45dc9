// A consultation in the page itself: the waiting room, consent, an aside and a withdrawal, measured on packets and on sound.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';
import { AccessToken } from 'livekit-server-sdk';
import { KEY, SECRET } from '../lib/token.mjs';

// On a quiet machine it takes half a second; three browsers share two cores here, and whatever else runs.
const FIRST_FRAME_MS = 5_000;
const SHUT_MS = 100;
const HERTZ = 1_000;
/** A tone this far above the noise beside it is heard; one below the other is not. */
const HEARD_DB = 25;
const UNHEARD_DB = 10;

const id = (name) => `[data-testid=${name}]`;
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Two seconds of 1 kHz in bursts: a steady tone is what noise suppression takes out. */
function bursts() {
  const rate = 48_000;
  const samples = new Int16Array(rate * 2);
  samples.forEach((_, at) => (samples[at] = at % (rate / 2) < rate / 5 ? Math.sin((2 * Math.PI * HERTZ * at) / rate) * 16_000 : 0));
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + samples.byteLength, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(rate * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([head, Buffer.from(samples.buffer)]);
}

/** Runs in the page before its own scripts: keeps its connections, its calls, and when what was first and last seen. */
function instrument() {
  window.seen = { calls: [], firstFrame: null, lastPacket: 0, packets: {} };
  const connections = [];
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...words) {
      super(...words);
      connections.push(this);
    }
  };
  const ask = window.fetch.bind(window);
  window.fetch = async (target, init) => {
    const answer = await ask(target, init);
    window.seen.calls.push({ method: init?.method ?? 'GET', path: new URL(target, location.href).pathname, status: answer.status, at: Date.now() });
    return answer;
  };
  setInterval(() => {
    const playing = [...document.querySelectorAll('[data-testid=tile][data-self=false] video')].some((video) => !video.hidden && video.videoWidth > 0 && video.currentTime > 0);
    if (playing && window.seen.firstFrame === null) window.seen.firstFrame = Date.now();
    if (!playing) window.seen.firstFrame = null;
  }, 10);
  setInterval(async () => {
    for (const connection of connections) {
      for (const report of (await connection.getStats()).values()) {
        if (report.type !== 'inbound-rtp') continue;
        window.seen.packets[`${report.ssrc}`] = report.packetsReceived;
        window.seen.lastPacket = Math.max(window.seen.lastPacket, report.lastPacketReceivedTimestamp ?? 0);
      }
    }
  }, 20);
  /** Level of the tone over its neighbourhood in all that is heard, the loudest within some time, in dB. */
  window.tone = async (hertz, ms) => {
    const context = new AudioContext();
    await context.resume();
    const analyser = context.createAnalyser();
    analyser.fftSize = 4096;
    analyser.smoothingTimeConstant = 0;
    for (const element of document.querySelectorAll('audio')) if (element.srcObject) context.createMediaStreamSource(element.srcObject).connect(analyser);
    const bins = new Float32Array(analyser.frequencyBinCount);
    const at = (wanted) => Math.round((wanted * analyser.fftSize) / context.sampleRate);
    let best = -Infinity;
    for (const end = performance.now() + ms; performance.now() < end; ) {
      await new Promise((done) => setTimeout(done, 20));
      analyser.getFloatFrequencyData(bins);
      const near = Math.max(...bins.slice(at(hertz) - 2, at(hertz) + 3));
      const beside = [...bins.slice(at(hertz * 1.3), at(hertz * 1.7))].sort((a, b) => a - b);
      // Digital silence is minus infinity.
      const floor = Math.max(beside[beside.length >> 1], -110);
      best = Math.max(best, Math.max(near, -110) - floor);
    }
    await context.close();
    return best;
  };
}

class Person {
  constructor(role, page) {
    this.role = role;
    this.page = page;
  }

  static async open(stage, role, link, flags = []) {
    const { browser } = await stage.browser('chromium', { flags });
    const page = await browser.newPage();
    await page.evaluateOnNewDocument(instrument);
    await page.goto(link);
    const person = new Person(role, page);
    await person.inState('lobby');
    await page.locator(id('join')).click();
    await person.inState('call');
    return person;
  }

  inState = (state) => until(`${this.role} is in state ${state}`, () => this.page.evaluate((state) => document.body.dataset.state === state, state), { within: 15_000 });
  present = (name, within = 8_000) => until(`${this.role} is shown ${name}`, () => this.page.$eval(id(name), (element) => element.checkVisibility()).catch(() => false), { within });
  absent = (name) => until(`${this.role} is shown ${name} no longer`, () => this.page.$eval(id(name), (element) => !element.checkVisibility()).catch(() => true));
  tiles = () => this.page.$$eval(`${id('tile')}[data-self=false]`, (list) => list.map((tile) => tile.dataset.role).sort());
  seen = () => this.page.evaluate(() => window.seen);
  tone = (ms = 1_200) => this.page.evaluate((hertz, ms) => window.tone(hertz, ms), HERTZ, ms);
  packets = async () => Object.values((await this.seen()).packets).reduce((sum, count) => sum + count, 0);

  /** Presses a button; answers when, on the wall clock of the machine. */
  async press(name) {
    return this.page.$eval(id(name), (button) => {
      button.click();
      return Date.now();
    });
  }

  /** When the relay answered the last call of a kind. */
  async answered(method, ending) {
    const find = async () => (await this.seen()).calls.findLast((call) => call.method === method && call.path.endsWith(ending));
    const { value } = await until(`${this.role}: ${method} …${ending} is answered`, find);
    assert.ok(value.status < 300, `${method} ${ending}: ${value.status}`);
    return value.at;
  }

  async firstFrame() {
    const { value } = await until(`${this.role} sees a picture`, async () => (await this.seen()).firstFrame, { within: 10_000 });
    return value;
  }

  /** What automated rules of accessibility find wrong with the screen as it stands. */
  async accessible(where) {
    await this.page.evaluate(axe);
    const { violations } = await this.page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }));
    const found = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target).join(' | ')}`);
    assert.deepEqual(found, [], `${this.role}, ${where}`);
  }
}

/** The platform: its own key, JSON in and out. */
async function platform(stage) {
  const made = new AccessToken(KEY, SECRET);
  made.addGrant({ roomCreate: true });
  const headers = { authorization: `Bearer ${await made.toJwt()}`, 'content-type': 'application/json' };
  const call = async (where, body) => {
    const answer = await fetch(`${stage.relay.http}/v1${where}`, { method: 'POST', headers, body: JSON.stringify(body) });
    const told = await answer.json();
    assert.equal(answer.status, 201, JSON.stringify(told));
    return told;
  };
  const { id: room } = await call('/consultations', { ends_at: Math.round(Date.now() / 1_000) + 3_600 });
  return {
    link: async (seat, role, name) => (await call(`/consultations/${room}/seats`, { seat, role, name })).link,
    support: async () => (await fetch(`${stage.relay.http}/v1/consultations/${room}/support`, { headers })).json(),
  };
}

const forwarded = async (stage) => (await stage.relay.metrics()).colloque_forwarded_packets_total;

scenario('a consultation in the page: waiting, consent, aside, withdrawal', async (stage) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'colloque-tone-'));
  const wave = path.join(folder, 'tone.wav');
  await writeFile(wave, bursts());
  const desk = await platform(stage);

  const doctor = await Person.open(stage, 'doctor', await desk.link('d', 'doctor', 'Dr A'), [`--use-file-for-fake-audio-capture=${wave}`]);
  const patient = await Person.open(stage, 'patient', await desk.link('p', 'patient', ''));

  // The waiting room: cameras are on, and nothing crosses.
  await doctor.present('waiting');
  await sleep(2_500);
  assert.deepEqual(await patient.tiles(), [], 'nobody is in the roster of somebody who waits');
  assert.deepEqual(await doctor.tiles(), [], 'who waits is no tile');
  assert.equal(await patient.packets(), 0, 'packets to somebody who waits');
  assert.equal(await doctor.packets(), 0, 'packets of somebody who waits');
  assert.equal(await forwarded(stage), 0, 'packets forwarded while one waits');
  await patient.accessible('in the waiting room');
  await doctor.accessible('with somebody waiting');
  step('waiting: 0 packets either way');

  await doctor.press('admit');
  await patient.present('consent');
  await sleep(1_500);
  assert.equal(await forwarded(stage), 0, 'packets forwarded before consent');
  await patient.accessible('asked for consent');

  // A no is told to the doctor in words, and changes nothing of what crosses: nothing.
  await patient.press('decline');
  await patient.answered('POST', '/refusals');
  await patient.present('said-no');
  await doctor.present('declined');
  assert.match(await doctor.page.$eval(id('declined'), (list) => list.textContent), /does not agree|n’accepte pas/);
  await sleep(1_500);
  assert.equal(await forwarded(stage), 0, 'packets forwarded after a no');
  await patient.accessible('after a no');
  await doctor.accessible('told of a no');
  step('a no: told in words, 0 packets either way');
  const agreed = await patient.press('agree');
  figure('consent answered after', (await patient.answered('POST', '/consents')) - agreed, 'ms');
  const [doctorSees, patientSees] = [await doctor.firstFrame(), await patient.firstFrame()].map((at) => at - agreed);
  figure('first frame after consent: at the doctor', doctorSees, 'ms');
  figure('first frame after consent: at the patient', patientSees, 'ms');
  assert.ok(doctorSees <= FIRST_FRAME_MS && patientSees <= FIRST_FRAME_MS, `${doctorSees} and ${patientSees} ms`);

  // The colleague comes in once the doctor and the patient agree.
  const colleague = await Person.open(stage, 'colleague', await desk.link('c', 'colleague', 'Dr B'));
  await doctor.present('waiting');
  await doctor.press('admit');
  await patient.present('third-person');
  await patient.press('agree-third');
  for (const person of [doctor, patient, colleague]) await until(`${person.role} sees two others`, async () => (await person.tiles()).length === 2);
  await until('the patient hears the doctor', async () => (await patient.tone()) > HEARD_DB, { within: 15_000 });
  await doctor.absent('declined');
  figure('1 kHz of the doctor at the patient', await patient.tone(), 'dB');

  // Apart: the colleague hears the doctor, the patient does not and is told who speaks.
  await doctor.press('desk');
  await doctor.present('desk-dialog');
  await doctor.page.click(`${id('aside-with')}[data-role=colleague]`);
  await doctor.accessible('in the dialogue about people');
  await doctor.press('aside-start');
  await doctor.answered('POST', '/aside');
  // What was said before lies in the patient's jitter buffer; up to 0.4 s of it were heard on a busy machine.
  await sleep(700);
  const before = await patient.packets();
  const [apart, among] = await Promise.all([patient.tone(2_500), colleague.tone(2_500)]);
  figure('1 kHz during the aside: at the patient', apart, 'dB');
  figure('1 kHz during the aside: at the colleague', among, 'dB');
  assert.ok(apart < UNHEARD_DB, `the patient hears ${apart} dB`);
  assert.ok(among > HEARD_DB, `the colleague hears ${among} dB`);
  assert.equal((await patient.packets()) - before, 0, 'packets of an aside at the one who is left out');
  const told = await patient.page.$eval(id('aside'), (banner) => banner.textContent);
  assert.match(told, /Dr A/);
  assert.match(told, /Dr B/);
  assert.match(told, /\d\d[:h]\d\d/);
  assert.equal(await patient.page.$eval(id('aside-end'), (button) => button.offsetParent), null, 'who is left out cannot end it');
  await patient.accessible('left out of an aside');
  await doctor.press('aside-stop');
  await doctor.answered('DELETE', '/aside');
  await until('the patient hears the doctor again', async () => (await patient.tone()) > HEARD_DB, { within: 10_000 });
  await patient.absent('aside');
  step('aside: nothing of it at the patient');
  await doctor.page.keyboard.press('Escape');
  await colleague.press('leave');
  await colleague.inState('left');

  // Withdrawn as easily as given.
  await until('the patient is with the doctor', async () => (await patient.tiles()).length === 1);
  await patient.press('desk');
  assert.equal(await patient.page.$eval(id('support-code'), (shown) => shown.offsetParent), null, 'a patient is not asked to read a code out');
  await patient.press('withdraw-here');
  const shut = await patient.answered('DELETE', '/consents/p');
  await sleep(2_200);
  const last = [(await doctor.seen()).lastPacket - shut, (await patient.seen()).lastPacket - shut];
  figure('last packet after the withdrawal was answered: at the doctor', Math.round(last[0]), 'ms');
  figure('last packet after the withdrawal was answered: at the patient', Math.round(last[1]), 'ms');
  assert.ok(last.every((ms) => ms <= SHUT_MS), `${last} ms`);
  const closed = await forwarded(stage);
  await sleep(2_200);
  assert.equal(await forwarded(stage), closed, 'packets forwarded without consent');
  assert.deepEqual(await patient.tiles(), []);
  await patient.page.keyboard.press('Escape');
  await patient.present('consent');
  await patient.press('agree');
  await until('both are together again', async () => (await patient.tiles()).length === 1 && (await doctor.tiles()).length === 1);
  await doctor.press('desk');
  await doctor.press('remove-p');
  await until('the patient is told', () => patient.page.evaluate(() => document.querySelector('[data-testid=error]')?.dataset.kind === 'removed'));
  await rm(folder, { recursive: true });
}, { relay: { args: [] } });

scenario('a clinician finds the code to read out to support', async (stage) => {
  const desk = await platform(stage);
  const doctor = await Person.open(stage, 'doctor', await desk.link('d', 'doctor', 'Dr A'));
  await doctor.press('desk');
  await doctor.present('desk-dialog');
  await doctor.present('support-code');
  const shown = await doctor.page.$eval(id('support-code'), (code) => code.textContent);
  assert.match(shown, /^\d{3} \d{3}$/);
  assert.equal(shown.replace(' ', ''), (await desk.support()).code, 'the code of this call');
  await doctor.accessible('with the code for support');
}, { relay: { args: [] } });
