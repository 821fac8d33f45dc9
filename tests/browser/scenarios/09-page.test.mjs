// The consultation page as people use it: open the link, join, see, write, mute, leave. Screenshots go where SCREENSHOTS says.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { figure, scenario, sleep, step, until } from '../lib/stage.mjs';

const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 320, height: 640 };
const shots = process.env.SCREENSHOTS;

const id = (name) => `[data-testid=${name}]`;

/** A person before the page: everything the page complains about is kept. */
async function open(stage, role, kind, address, viewport) {
  const opened = await stage.browser(kind);
  const page = await opened.browser.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' || /content.security|violat/i.test(message.text())) complaints.push(`console: ${message.text()}`);
  });
  // Chromium counts a call that was answered "204 No Content" as one whose body never came.
  page.on('requestfailed', (request) => request.response()?.status() === 204 || complaints.push(`request failed: ${request.url().split('?')[0]}`));
  page.on('response', (response) => response.status() >= 400 && complaints.push(`${response.status()}: ${response.url().split('?')[0]}`));
  await page.setViewport(viewport);
  await page.goto(address);
  await page.evaluate(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  const person = {
    role, kind, page, complaints,
    state: () => page.evaluate(() => document.body.dataset.state),
    inState: (state, within = 10_000) => until(`${role} is in state ${state}`, async () => (await person.state()) === state, { within }),
    // A locator waits until what it clicks has stopped moving.
    click: (name) => page.locator(id(name)).click(),
    /** Tiles of everybody: role, devices, and whether the picture plays. */
    tiles: () =>
      page.evaluate(async (selector) => {
        const videos = [...document.querySelectorAll(selector)].map((tile) => ({ tile, video: tile.querySelector('video') }));
        const before = videos.map(({ video }) => video?.currentTime ?? 0);
        await new Promise((done) => setTimeout(done, 300));
        return videos.map(({ tile, video }, index) => ({
          ...tile.dataset,
          playing: Boolean(video && !video.hidden && video.videoWidth > 0 && !video.paused && video.currentTime > before[index]),
        }));
      }, id('tile')),
    shot: async (name) => {
      if (!shots) return;
      await mkdir(shots, { recursive: true });
      await page.screenshot({ path: path.join(shots, `${name}.png`) });
    },
  };
  return person;
}

/** Waits until something is on a person's page and can be seen. */
const present = (person, name) =>
  until(`${person.role} is shown ${name}`, () => person.page.$eval(id(name), (element) => element.offsetParent !== null).catch(() => false));

/** Waits until `person` sees the picture of `role` move; says what it saw instead when it does not. */
async function untilSees(person, role) {
  const seen = await until(`${person.role} sees the ${role}`, sees(person, role), { within: 10_000 }).catch(async (error) => {
    await person.shot(`failed-${person.role}`);
    console.log(`${person.role}: ${JSON.stringify(await person.tiles())} ${person.complaints.join(' | ')}`);
    throw error;
  });
  return seen.ms;
}

const sees = (person, role) => async () => (await person.tiles()).some((tile) => tile.role === role && tile.self !== 'true' && tile.playing);

scenario('the consultation page: doctor and patient meet', async (stage) => {
  const front = await fetch(stage.relay.http, { headers: { accept: 'text/html' } });
  assert.equal(front.status, 200);
  assert.match(front.headers.get('content-type'), /text\/html/);
  const policy = front.headers.get('content-security-policy');
  const scripts = policy?.split(';').find((part) => part.trim().startsWith('script-src'));
  assert.ok(scripts && !scripts.includes("'unsafe-inline'") && !scripts.includes("'unsafe-eval'"), `content security policy: ${policy}`);

  const links = await stage.relay.links();
  assert.deepEqual(Object.keys(links).sort(), ['companion', 'doctor', 'patient']);
  const doctor = await open(stage, 'doctor', 'chromium', links.doctor, DESKTOP);
  const patient = await open(stage, 'patient', 'firefox', links.patient, PHONE);
  for (const person of [doctor, patient]) {
    await person.inState('lobby');
    assert.ok(!(await person.page.evaluate(() => location.href)).includes('code'), 'the code leaves the address bar');
  }
  await sleep(1_500);
  await doctor.shot('lobby-desktop');
  await patient.shot('lobby-phone');
  step('both in the lobby');

  const start = performance.now();
  await doctor.click('join');
  await doctor.inState('call');
  figure('doctor joined after', Math.round(performance.now() - start), 'ms');
  await patient.click('join');
  await patient.inState('call');
  // Nobody is in the room of somebody who waits; the doctor sees who does.
  await present(doctor, 'waiting');
  assert.deepEqual((await patient.tiles()).map((tile) => tile.self), ['true']);
  await doctor.shot('waiting-room-desktop');
  await doctor.click('admit');
  await present(patient, 'consent');
  await patient.shot('consent-phone');
  await patient.click('agree');
  for (const [person, other] of [[doctor, 'patient'], [patient, 'doctor']]) {
    figure(`${person.role} sees the ${other} after`, Math.round(await untilSees(person, other)), 'ms of looking');
    const own = (await person.tiles()).find((tile) => tile.self === 'true');
    assert.equal(own.role, person.role);
    assert.ok(own.playing, `${person.role} does not see itself`);
  }
  await sleep(1_000);
  await doctor.shot('call-desktop');
  await patient.shot('call-phone');

  // A third comes: the companion, on a desk as well.
  const companion = await open(stage, 'companion', 'chromium', links.companion, DESKTOP);
  await companion.inState('lobby');
  await companion.click('join');
  await companion.inState('call');
  await present(doctor, 'waiting');
  await doctor.click('admit');
  // A third person comes in once the patient agrees.
  await present(patient, 'third-person');
  await patient.click('agree-third');
  const people = [doctor, patient, companion];
  for (const person of people) {
    for (const other of people) if (other !== person) await untilSees(person, other.role);
  }
  step('all three see each other');
  await companion.shot('call-three-desktop');
  await patient.shot('call-three-phone');

  for (const [from, text] of [[doctor, 'Good morning'], [patient, 'Bonjour, docteur — ça va ?']]) {
    if (!(await from.page.$eval(id('chat-input'), (input) => input.offsetParent !== null))) await from.click('chat-toggle');
    await from.page.type(id('chat-input'), text);
    await from.click('chat-send');
    for (const person of people) {
      await until(`${person.role} reads "${text}"`, () => person.page.$$eval(id('chat-message'), (list, text) => list.some((item) => item.textContent.includes(text)), text));
    }
  }
  await doctor.shot('chat-desktop');
  await patient.shot('chat-phone');
  await patient.click('chat-toggle');
  await sleep(300);
  await doctor.click('chat-toggle');
  step('chat reaches everybody');

  const deviceOf = (person, role, device) => async () => (await person.tiles()).find((tile) => tile.role === role)?.[device];
  for (const [button, device] of [['mic', 'microphone'], ['camera', 'camera']]) {
    await patient.click(button);
    await until(`the doctor sees the patient's ${device} off`, async () => (await deviceOf(doctor, 'patient', device)()) === 'off');
    await patient.click(button);
    await until(`the doctor sees the patient's ${device} on`, async () => (await deviceOf(doctor, 'patient', device)()) === 'on');
  }
  await untilSees(doctor, 'patient');
  step('mute shows at the other side');

  await companion.click('leave');
  await companion.inState('left');
  await until('the companion is gone at the doctor', async () => !(await doctor.tiles()).some((tile) => tile.role === 'companion'), { within: 3_000 });
  await patient.click('leave');
  await patient.inState('left');
  await patient.shot('left-phone');
  await until('the doctor is alone', async () => (await doctor.tiles()).length === 1, { within: 3_000 });
  await doctor.click('leave');
  await doctor.inState('left');

  for (const person of people) {
    assert.deepEqual(await person.page.evaluate(() => window.violations), [], `${person.role}: content security policy`);
    assert.deepEqual(person.complaints, [], `${person.role}: complaints of the page`);
  }
});
