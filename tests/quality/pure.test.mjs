// The parts of the quality table that need no browser.

import assert from 'node:assert/strict';
import test from 'node:test';
import { profileText } from '../browser/lib/impaired.mjs';
import { freezes, Stillness, stills } from '../browser/page/freezes.js';
import { least, most, summary, target, told, verdict } from './check.mjs';
import { timed } from './rows/events.mjs';
import { plot } from './svg.mjs';

const row = { name: 'r', what: 'a row' };
const run = (checks, more = {}) => ({ checks, held: checks.every((check) => check.held), ...more });

test('a bound is told in words, and what is only reported has none', () => {
  assert.equal(target(most('concealed sound', 0.1, 0.02, 'percent')), 'concealed sound ≤ 2 %');
  assert.equal(target(most('freezes', 3, 0, 'count')), 'no freezes');
  assert.equal(target(least('pictures', 3, 5, 'hz')), 'pictures ≥ 5 a second');
  assert.equal(target(told('freezes', 3, 'count')), undefined);
});

test('what was not measured is not kept', () => {
  assert.equal(most('gap', NaN, 2, 's').held, false);
  assert.equal(least('pictures', undefined, 2, 'hz').held, false);
  assert.deepEqual(summary(row, [run([most('gap', NaN, 2, 's')])]).seen, ['gap nothing measured']);
});

test('several runs give the middle and the worst, and are kept only when each was', () => {
  const result = summary(row, [1, 9, 2].map((seen) => run([most('gap', seen, 5, 's'), least('pictures', 10 - seen, 0, 'hz')])));
  assert.deepEqual(result.seen, ['gap 2 s (worst 9 s)', 'pictures 8 a second (worst 1 a second)']);
  assert.deepEqual([result.kept, verdict(result)], [2, 'missed']);
});

test('a machine that was too slow excuses only the runs in which it was', () => {
  const good = run([most('gap', 1, 5, 's')]);
  const slow = run([most('gap', 9, 5, 's')], { slow: true });
  const bad = run([most('gap', 9, 5, 's')]);
  assert.equal(verdict(summary(row, [good, slow])), 'not measured');
  assert.equal(verdict(summary(row, [good, slow, bad])), 'missed');
  assert.equal(verdict(summary(row, [good, { checks: [], held: false, trouble: 'it broke' }])), 'missed');
});

test('a profile becomes a table of TOML on one line', () => {
  assert.equal(profileText('island'), 'island');
  assert.equal(profileText({ base: 'island', down: { loss: 0.02, rates: [{ from_s: 0 }] } }), '{ base = "island", down = { loss = 0.02, rates = [{ from_s = 0 }] } }');
});

test('a picture stands still while packets come, and not while nothing comes', () => {
  stills.length = 0;
  freezes.length = 0;
  const one = new Stillness('a');
  let packets = 0;
  let pictures = 0;
  const look = (at, more = {}) => one.look(at, { packetsReceived: packets, framesDecoded: pictures, ...more });
  for (let at = 0; at <= 1_000; at += 100) look(at, { framesDecoded: (pictures += 1), packetsReceived: (packets += 3) });
  // Packets without pictures for two seconds, then a picture.
  for (let at = 1_100; at <= 3_100; at += 100) look(at, { packetsReceived: (packets += 3) });
  look(3_200, { framesDecoded: (pictures += 1), freezeCount: 1, totalFreezesDuration: 2.2 });
  // Nothing at all for three seconds.
  for (let at = 3_300; at <= 6_300; at += 100) look(at, { freezeCount: 1, totalFreezesDuration: 2.2 });
  // Another stream: its counts begin anew.
  look(6_400, { framesDecoded: 1, freezeCount: 0 });
  look(6_500, { framesDecoded: 2, freezeCount: 1, totalFreezesDuration: 0.4 });
  assert.deepEqual(stills.map(({ at, ms }) => [at, ms]), [[3_100, 2_100]]);
  assert.deepEqual(freezes.map(({ at, count, ms }) => [at, count, ms]), [[3_200, 1, 2_200], [6_500, 1, 400]]);
});

test('a plot has all its lines, no number that is none, and no markup from outside', () => {
  const samples = Array.from({ length: 20 }, (_, at) => ({
    at, height: 144, frames: at < 10 ? at * 15 : 150, videoBits: at * 80_000, audioBits: at * 40_000, buffer: at, emitted: at < 10 ? at * 15 : 150,
    line: at === 0 ? undefined : { at, bits: at * 130_000, rate: 300_000 }, estimate: at % 2 ? 250_000 : undefined,
  }));
  const drawn = plot({ what: 'a <line> & more', runs: [{ samples, waits: [{ at: 1, ms: 20 }, { at: 2, ms: 30 }] }] });
  assert.doesNotMatch(drawn, /NaN|Infinity|undefined|<line>/);
  for (const name of ['the line allows', 'estimate', 'on the line', 'picture', 'sound', 'wait in the queue', 'picture buffer']) assert.match(drawn, new RegExp(`>${name}<`));
  assert.equal(drawn.split('<svg').length, 2);
});

test('a freeze that relay and browser both saw is at one moment', () => {
  const freezes = [{ at: 1_000, count: 1 }, { at: 5_000, count: 2 }];
  const guard = [{ at: 2_200, count: 1 }, { at: 3_000, count: 1 }, { at: 5_900, count: 3 }];
  assert.deepEqual(timed(guard, freezes).map(({ at }) => at), [1_000, 2_350, 5_000, 5_000, 5_250]);
  assert.deepEqual(timed([{ at: 5_900, count: 1 }], [{ at: 5_000, count: 1 }, { at: 5_500, count: 1 }], ({ at }) => at < 5_200), [{ at: 5_500, count: 1 }]);
  assert.deepEqual(timed([{ at: 900, count: 1 }], freezes).map(({ at }) => at), [1_000], 'clocks of two pages');
});
