// A relay at its limit, seen from the consultation page: it says so, waits, and joins by itself once there is a place.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { figure, scenario, until } from '../lib/stage.mjs';

// Hints are 2 to 8 s while few are refused; the page may have to wait for two of them, and then joins.
const BACK_WITHIN_MS = 25_000;

const folder = await mkdtemp(path.join(os.tmpdir(), 'colloque-busy-'));
const config = path.join(folder, 'colloque.toml');
await writeFile(config, '[limits]\nmax_participants = 1\n');

scenario(
  'the consultation page waits for a busy relay',
  async (stage) => {
    const links = await stage.relay.links();
    const { browser } = await stage.browser('chromium');
    const open = async (role) => {
      const page = await (await browser.createBrowserContext()).newPage();
      await page.goto(links[role]);
      const inState = (state, within = 12_000) =>
        until(`${role} is in state ${state}`, () => page.evaluate((state) => document.body.dataset.state === state, state), { within });
      await inState('lobby');
      await page.locator('[data-testid=join]').click();
      return { page, inState };
    };
    const doctor = await open('doctor');
    await doctor.inState('call');
    const patient = await open('patient');
    await patient.inState('error');
    const told = await patient.page.$eval('[data-testid=error]', (card) => ({ kind: card.dataset.kind, text: card.textContent }));
    assert.equal(told.kind, 'busy');
    assert.match(told.text, /\b[2-8] (seconds|secondes)\b/);
    assert.equal(await doctor.page.evaluate(() => document.body.dataset.state), 'call', 'the call that runs goes on');

    await doctor.page.click('[data-testid=leave]');
    const back = await patient.inState('call', BACK_WITHIN_MS);
    figure('busy: in the call by itself after', Math.round(back.ms), 'ms');
    await until('the own picture moves', () => patient.page.$$eval('video', (list) => list.some((video) => video.videoWidth > 0 && !video.paused)));
    await patient.page.click('[data-testid=leave]');
    await patient.inState('left');
    await rm(folder, { recursive: true });
  },
  { relay: { args: ['--config', config] } },
);
