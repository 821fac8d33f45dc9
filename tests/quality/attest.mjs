// A call of ninety seconds between Chromium and Firefox, and its signed statement held against what each browser counted.
//
//   node tests/quality/attest.mjs            by itself; the row `attestation` of the table calls `attest`
//
// The patient's camera is off from 30 to 50 s, and everything on the doctor's line is lost from 65 to 75 s. Each browser reads
// its own `getStats` four times a second; an interval of the statement must begin and end within a second of where the bytes (of
// sound) or the decoded frames (of pictures) it counted began and ceased to grow.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { program } from '../browser/lib/relay.mjs';
import { sleep, Stage, until } from '../browser/lib/stage.mjs';
import { token as signed } from '../browser/lib/token.mjs';

const run = promisify(execFile);
const OUT = fileURLToPath(new URL('../../.build/quality', import.meta.url));
const ROOM = 'attested';
const CALL_MS = 90_000;
const OFF_MS = [30_000, 50_000];
const LOST_MS = [65_000, 10_000];
const SAMPLE_MS = 250;
const READY_MS = 30_000;
/** Growth no further apart than this is one stretch, as in the statement. */
const TOGETHER_MS = 1_500;
const CAMERA = { simulcast: false, encoding: { maxBitrate: 300_000, maxFramerate: 15 } };

const ROLES = { d: 'doctor', p: 'patient' };

/** Looks at every received track from inside the page, so that nothing but the browser's own time is in it. */
function sampler(every) {
  window.grown = [];
  const look = async () => {
    const list = await window.call.received().catch(() => []);
    const at = performance.timeOrigin + performance.now();
    window.grown.push({ at, tracks: list.map((one) => ({ kind: one.kind, bytes: one.total.bytesReceived, frames: one.total.framesDecoded })) });
    window.looking = setTimeout(look, every);
  };
  void look();
}

/** Stretches in which a counter grew, in ms of the wall clock, each end with how coarse the samples were there. */
function growth(samples, kind) {
  const spans = [];
  let last;
  for (const { at, tracks } of samples) {
    const track = tracks.find((one) => one.kind === kind);
    if (track && last) {
      const count = kind === 'video' ? 'frames' : 'bytes';
      // A track that begins anew counts from nothing.
      if (track[count] > last.track[count] || (track[count] > 0 && track[count] < last.track[count])) {
        const open = spans.at(-1);
        if (open && last.at - open.to <= TOGETHER_MS) Object.assign(open, { to: at, toCoarse: at - last.at });
        else spans.push({ from: last.at, to: at, fromCoarse: at - last.at, toCoarse: at - last.at });
      }
    }
    if (track) last = { at, track };
  }
  return spans;
}

class Platform {
  constructor(relay) {
    this.relay = relay;
  }

  async call(method, route, body) {
    const token = await signed('platform', '', { grant: { roomJoin: false, roomCreate: true } });
    const answer = await fetch(`${this.relay.http}/v1${route}`, { method, body: body && JSON.stringify(body), headers: { authorization: `Bearer ${token}` } });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${route}: ${answer.status} ${text}`);
    return text;
  }
}

/** What a JWS says, checked with Node's own cryptography. */
function opened(token, pem) {
  const [header, payload, signature] = token.split('.');
  assert.ok(verify(null, Buffer.from(`${header}.${payload}`), createPublicKey(pem), Buffer.from(signature, 'base64url')), 'the signature does not fit');
  return JSON.parse(Buffer.from(payload, 'base64url').toString());
}

async function spoil(patient, line, start, length) {
  const at = (ms) => sleep(Math.max(0, start + ms * length - Date.now()));
  await at(OFF_MS[0]);
  const offAt = Date.now();
  await patient.call('mute', 'camera');
  await at(OFF_MS[1]);
  const onAt = Date.now();
  await patient.call('unmute', 'camera');
  await at(LOST_MS[0]);
  const lostAt = Date.now();
  await line.outage(LOST_MS[1] * length);
  await at(CALL_MS);
  return { offAt, onAt, lostAt };
}

async function arrange(stage, folder, seed) {
  const config = path.join(folder, 'colloque.toml');
  await writeFile(config, `[audit]\ndir = "${folder}/audit"\nroot_key_file = "${folder}/root.key"\ndeployment = "clinic.example/test"\nnode = "n1"\nregion = "FR/par1"\n`);
  await run(program('colloque', 'COLLOQUE_BIN'), ['audit', 'init', '--config', config]);
  await stage.open({ args: ['--config', config] });
  const platform = new Platform(stage.relay);
  await platform.call('POST', '/consultations', { id: ROOM });
  const line = await stage.line({ seed });
  const people = {};
  for (const [seat, kind, udpLink] of [['d', 'chromium', line], ['p', 'firefox', undefined]]) {
    const { token } = JSON.parse(await platform.call('POST', `/consultations/${ROOM}/seats`, { seat, role: ROLES[seat] }));
    people[seat] = await stage.participant(seat, kind, { udpLink });
    const answer = await people[seat].call('connect', stage.relay.ws, token, {});
    assert.equal(answer.error, undefined, `${seat} did not connect: ${JSON.stringify(answer.error)}`);
  }
  await platform.call('POST', `/consultations/${ROOM}/seats/p/admit`);
  await platform.call('POST', `/consultations/${ROOM}/consents`, { seat: 'p', text: 'v1' });
  return { platform, line, people };
}

/** Ends of each interval beside those the receiving browser counted, in ms. */
function compare(said, samples) {
  const number = Object.fromEntries(said.seats.map((seat) => [seat.role, seat.seat]));
  const began = Date.parse(said.opened_at.replace(/(\.\d{3})\d*Z/, '$1Z'));
  const rows = [];
  for (const [from, to] of [['d', 'p'], ['p', 'd']]) {
    for (const kind of ['audio', 'video']) {
      const found = said.delivered.find((one) => one.from === number[ROLES[from]] && one.to === number[ROLES[to]] && one.kind === kind);
      const stated = (found?.intervals ?? []).map((span) => ({ from: began + span.from_ms, to: began + span.to_ms }));
      rows.push({ what: `${kind} of the ${ROLES[from]} to the ${ROLES[to]}`, from, to, kind, stated, counted: growth(samples[to], kind) });
    }
  }
  return rows;
}

/** The call, its statement and what both browsers saw of it. */
export async function attest({ seed = 7, length = 1 } = {}) {
  const stage = new Stage();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'colloque-attest-'));
  try {
    const { platform, line, people } = await arrange(stage, folder, seed);
    for (const one of Object.values(people)) {
      await one.page.evaluate(sampler, SAMPLE_MS);
      // Firefox starts no sound of its own without an audio device; its fake microphone is a tone as well.
      await one.call(one.kind === 'firefox' ? 'publishMicrophone' : 'publishTone');
      await one.call('publishCamera', CAMERA);
    }
    const flows = async (one) => {
      const list = await one.call('received');
      return list.length === 2 && list.every((track) => track.total.bytesReceived > 0 && (track.kind === 'audio' || track.total.framesDecoded > 0));
    };
    await Promise.all(Object.values(people).map((one) => until('both are seen and heard', () => flows(one), { within: READY_MS, every: 100 })));
    const start = Date.now();
    const moments = await spoil(people.p, line, start, length);
    const samples = {};
    for (const [seat, one] of Object.entries(people)) samples[seat] = await one.page.evaluate(() => (clearTimeout(window.looking), window.grown));
    const left = Date.now();
    await people.p.call('disconnect');
    await people.d.call('disconnect');
    await platform.call('DELETE', `/consultations/${ROOM}`);
    const pem = await platform.call('GET', '/attestation-key');
    const { value } = await until('the statement is final', async () => {
      const token = await platform.call('GET', `/consultations/${ROOM}/attestation`);
      return opened(token, pem).ended && token;
    });
    const said = opened(value, pem);
    const file = path.join(folder, 'attestation.jws');
    await writeFile(file, value);
    const table = await run(program('colloque', 'COLLOQUE_BIN'), ['attestation', 'verify', file, '--key', path.join(folder, 'audit/attestation.pub')]);
    const story = JSON.parse(await platform.call('GET', `/consultations/${ROOM}/timeline`));
    const rows = compare(said, samples);
    await mkdir(OUT, { recursive: true });
    await writeFile(path.join(OUT, `attestation-${seed}.json`), JSON.stringify({ start, left, moments, said, rows, story, samples }));
    return { start, left, moments, said, rows, story, table: table.stdout, ...worst(rows, start, left) };
  } finally {
    await stage.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The largest distance of an end that both saw, beyond the coarseness of the browser's samples there; and how many intervals differ. */
function worst(rows, start, left) {
  let off = 0;
  let differing = 0;
  const ends = [];
  for (const { what, stated, counted } of rows) {
    if (stated.length !== counted.length) differing += 1;
    stated.forEach((span, index) => {
      const seen = counted[index];
      if (!seen) return;
      const last = index === counted.length - 1;
      // Who counted stopped a moment before everybody left.
      const to = last && left - seen.to < 2_000 && span.to >= seen.to ? Math.min(span.to, left) - (span.to > left ? span.to - left : 0) : seen.to;
      const [a, b] = [span.from - seen.from, span.to - to];
      ends.push({ what, from: Math.round(span.from - start), to: Math.round(span.to - start), offFrom: Math.round(a), offTo: Math.round(b), coarse: [Math.round(seen.fromCoarse), Math.round(seen.toCoarse)] });
      off = Math.max(off, Math.abs(a) - seen.fromCoarse, Math.abs(b) - (last ? 0 : seen.toCoarse));
    });
  }
  return { off, differing, ends };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const result = await attest({ seed: Number(process.env.SEED ?? 7), length: Number(process.env.LENGTH ?? 1) });
  console.log(result.table);
  for (const end of result.ends) console.log(`figure: ${end.what}: ${end.from} to ${end.to} ms; off by ${end.offFrom} and ${end.offTo} ms (samples ${end.coarse.join(' and ')} ms apart)`);
  for (const { what, counted } of result.rows) console.log(`counted: ${what}: ${counted.map((span) => `${Math.round(span.from - result.start)} to ${Math.round(span.to - result.start)}`).join(', ')}`);
  for (const one of result.said.interruptions) console.log(`interrupted: ${JSON.stringify(one)}`);
  for (const one of result.story.lines) console.log(`story: ${one.at_s} s ${one.class} ${one.text}`);
  console.log(`worst end ${Math.round(result.off)} ms beyond the samples; ${result.differing} streams with another number of intervals`);
  process.exitCode = result.off <= 1_000 && result.differing === 0 ? 0 : 1;
}
