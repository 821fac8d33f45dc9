// `make quality`: runs the rows of the table one after the other, prints a line for each, writes results, page and plots.
//
//   ROWS=name,name   only these; the page in docs/ is then left as it is
//   RUNS=n           each row n times, with n seeds
//   LENGTH=f         shortens (or lengthens) what is measured; for trying a row out
//   SEED=n           the first seed (7)
//   RELAY_CONFIG=f   a configuration for the relay instead of the defaults
//   VERBOSE=1        prints what else was noted, and the page's and relay's last words when a row breaks

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { sleep, Stage } from '../browser/lib/stage.mjs';
import { summary, verdict } from './check.mjs';
import { page } from './page.mjs';
import { attestedRows } from './rows/attested.mjs';
import { elsewhereRows } from './rows/elsewhere.mjs';
import { eventRows } from './rows/events.mjs';
import { lossRows, profileRows } from './rows/loss.mjs';
import { rateRows } from './rows/rates.mjs';
import { plot } from './svg.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const OUT = path.join(ROOT, '.build/quality');
const DOCS = path.join(ROOT, 'docs');
const CLOSE_MS = 20_000;
// Below this the publisher's machine did not even draw the pictures asked for, and a freeze may be its own.
const CAPTURED_SHARE = 0.8;

export const rows = [...lossRows, ...rateRows, ...eventRows, ...profileRows, ...attestedRows, ...elsewhereRows];

function chosen() {
  const names = process.env.ROWS?.split(',').map((name) => name.trim()).filter(Boolean) ?? [];
  const unknown = names.filter((name) => !rows.some((row) => row.name === name));
  if (unknown.length > 0) {
    console.error(`quality: no row is called ${unknown.join(', ')}; there are ${rows.map((row) => row.name).join(', ')}`);
    process.exit(64);
  }
  return names.length === 0 ? rows : rows.filter((row) => names.includes(row.name));
}

function positive(name, usual) {
  const value = Number(process.env[name] ?? usual);
  if (value > 0) return value;
  console.error(`quality: ${name} must be a number above 0`);
  process.exit(64);
}

let running;
let stopped = false;

/** Ends what a run started, within a bound. */
async function end({ stage, abort }) {
  abort.abort();
  await Promise.race([stage?.close().catch(() => {}), sleep(CLOSE_MS)]);
}

/** One run of a row: never longer than the row's bound and the time to close. */
async function runOnce(row, { seed, length }) {
  const abort = new AbortController();
  const stage = row.alone ? undefined : new Stage();
  running = { stage, abort };
  const started = performance.now();
  let late;
  const bound = new Promise((_, fail) => {
    late = setTimeout(() => fail(new Error(`longer than ${row.seconds} s`)), row.seconds * 1000);
  });
  const body = (async () => {
    await stage?.open({ args: process.env.RELAY_CONFIG ? ['--config', process.env.RELAY_CONFIG] : [] });
    return row.run({ stage, seed, ms: (ms) => ms * length, signal: abort.signal });
  })();
  body.catch(() => {});
  let outcome;
  try {
    const { checks, measured, notes } = await Promise.race([body, bound]);
    outcome = { seed, checks, notes, counted: measured?.counted, samples: measured?.samples, waits: row.plot ? measured?.waits : undefined, capturedShare: measured?.capturedShare, encoded: measured?.encoded };
    outcome.held = checks.every((check) => check.held);
    const faults = stage ? [...stage.relay.faults()] : [];
    if (faults.length > 0) outcome = { ...outcome, held: false, trouble: `the relay logged a fault: ${faults[0].slice(0, 200)}` };
    else if (outcome.capturedShare < CAPTURED_SHARE) {
      outcome.slow = true;
      // Where no bound would show it, slowness must not pass for the line's doing.
      outcome.held &&= !row.reported;
    }
  } catch (error) {
    outcome = { seed, checks: [], held: false, trouble: error.message.split('\n')[0] };
    if (stage?.relay && process.env.VERBOSE) console.log(await Promise.race([stage.describe(), sleep(5_000)]));
  } finally {
    clearTimeout(late);
    await end(running);
    running = undefined;
  }
  if (process.env.VERBOSE) console.log(JSON.stringify({ ...outcome, samples: undefined, waits: undefined, checks: undefined }));
  outcome.seconds = Math.round((performance.now() - started) / 1000);
  return outcome;
}

async function writeAll(results, whole) {
  await mkdir(OUT, { recursive: true });
  const machine = { processor: os.cpus()[0]?.model.trim(), cores: os.cpus().length, memoryGiB: Math.round(os.totalmem() / 2 ** 30) };
  // Rows of earlier runs stay until they are run again.
  const file = path.join(OUT, 'results.json');
  const earlier = await readFile(file, 'utf8').then(JSON.parse, () => ({ rows: [] }));
  const merged = rows.map((row) => results.find((result) => result.name === row.name) ?? earlier.rows.find((result) => result.name === row.name)).filter(Boolean);
  await writeFile(file, JSON.stringify({ schema: 1, machine, rows: merged }));
  const docs = whole ? DOCS : OUT;
  const plots = whole ? path.join(DOCS, 'quality') : OUT;
  await mkdir(plots, { recursive: true });
  const plotted = merged.filter((result) => rows.find((row) => row.name === result.name).plot && result.runs[0].samples);
  for (const result of plotted) await writeFile(path.join(plots, `${result.name}.svg`), plot(result));
  const text = page({ rows: merged, machine, plots: plotted.map((result) => ({ name: result.name, what: result.what, path: whole ? `quality/${result.name}.svg` : `${result.name}.svg` })), verdict });
  await writeFile(path.join(docs, 'quality.md'), text);
  return path.relative(ROOT, path.join(docs, 'quality.md'));
}

async function main() {
  const list = chosen();
  const runs = Math.round(positive('RUNS', 1));
  const length = positive('LENGTH', 1);
  const first = Math.round(positive('SEED', 7));
  const stop = (code) => async () => {
    if (stopped) return;
    stopped = true;
    if (running) await end(running);
    process.exit(code);
  };
  process.on('SIGINT', stop(130));
  process.on('SIGTERM', stop(143));
  const results = [];
  for (const row of list) {
    const outcomes = [];
    for (let run = 0; run < runs && !stopped; run += 1) outcomes.push(await runOnce(row, { seed: first + run, length }));
    if (stopped) return;
    const result = summary(row, outcomes);
    results.push(result);
    const took = outcomes.reduce((sum, outcome) => sum + outcome.seconds, 0);
    console.log(`${verdict(result).padEnd(12)} ${row.name.padEnd(20)} ${result.seen.join('; ')} (${took} s)`);
  }
  const written = await writeAll(results, list.length === rows.length && length >= 1);
  const missed = results.filter((result) => verdict(result) !== 'kept');
  console.log(`${results.length - missed.length} of ${results.length} rows kept${missed.length > 0 ? `, not: ${missed.map((row) => row.name).join(', ')}` : ''}; ${written}`);
  process.exit(missed.length > 0 ? 1 : 0);
}

await main();
