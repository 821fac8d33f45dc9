// A line that bears little: the page says in words what the others really receive, and what it is when all is well again.

import assert from 'node:assert/strict';
import { mkdtemp, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { figure, scenario, step, until } from '../lib/stage.mjs';

const id = (name) => `[data-testid=${name}]`;
const NARROW = { down: { bits_per_s: 300_000, queue_ms: 300 } };
const WORDS = { en: /receives you at \d+p|receives no moving picture of you|receives few pictures/, fr: /vous reçoit en \d+p|ne reçoit pas d’image animée de vous|reçoit peu d’images/ };
// A few looks of the relay, and the time in which a line fills and an estimate follows.
const SAID_MS = 40_000;
const GONE_MS = 60_000;

// The relay listens on one address of this machine and names another, where the line to it begins: the page finds it by itself.
const config = path.join(await mkdtemp(path.join(os.tmpdir(), 'truth-')), 'colloque.toml');
await writeFile(config, '[media]\nadapt = true\nbind = ["127.0.0.1"]\nadvertise = ["127.0.0.2"]\n');

async function join(stage, role, link, language) {
  const { browser } = await stage.browser('chromium');
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 800 });
  await page.evaluateOnNewDocument((language) => Object.defineProperty(navigator, 'languages', { get: () => [language] }), language);
  await page.goto(link);
  const inState = (state) => until(`${role} is in state ${state}`, () => page.evaluate((state) => document.body.dataset.state === state, state), { within: 15_000 });
  await inState('lobby');
  await page.locator(id('join')).click();
  await inState('call');
  return {
    page,
    /** What stands on the tile of the other. */
    words: () => page.$$eval(`${id('tile')}[data-self=false]`, (list) => list.map((tile) => tile.textContent).join(' ')),
    shown: (name) => until(`${role} is shown ${name}`, () => page.$eval(id(name), (element) => element.checkVisibility()).catch(() => false), { within: 10_000 }),
    sees: () =>
      until(`${role} sees the other`, () => page.$$eval(`${id('tile')}[data-self=false] video`, (list) => list.some((video) => !video.hidden && video.currentTime > 0)), { within: 15_000 }),
  };
}

scenario('the page says what the others receive, in two languages', async (stage) => {
  const line = await stage.line({ seed: 3, listen: `127.0.0.2:${stage.relay.udpPort}` });
  const links = await stage.relay.links();
  const doctor = await join(stage, 'doctor', links.doctor, 'fr');
  const patient = await join(stage, 'patient', links.patient, 'en');
  await doctor.shown('admit');
  await doctor.page.click(id('admit'));
  await patient.shown('agree');
  await patient.page.click(id('agree'));
  await Promise.all([doctor.sees(), patient.sees()]);
  step('both see each other');
  await until('nothing to complain of', async () => !WORDS.en.test(await patient.words()) && !WORDS.fr.test(await doctor.words()), { within: SAID_MS, every: 200 });

  await line.become(NARROW);
  const said = await until('the patient reads what the doctor receives', async () => WORDS.en.exec(await patient.words())?.[0], { within: SAID_MS, every: 200 });
  figure(`the patient reads "${said.value}" after`, Math.round(said.ms), 'ms');
  const dit = await until('the doctor reads what the patient receives', async () => WORDS.fr.exec(await doctor.words())?.[0], { within: SAID_MS, every: 200 });
  figure(`the doctor reads "${dit.value}" after`, Math.round(said.ms + dit.ms), 'ms');
  assert.ok(!/TR_|PA_/.test(`${await patient.words()} ${await doctor.words()}`), 'words, no ids');

  await line.become('clean');
  const gone = await until('the words are gone', async () => !WORDS.en.test(await patient.words()) && !WORDS.fr.test(await doctor.words()), { within: GONE_MS, every: 200 });
  figure('the words are gone after', Math.round(gone.ms), 'ms');
}, { relay: { args: ['--config', config] } });
