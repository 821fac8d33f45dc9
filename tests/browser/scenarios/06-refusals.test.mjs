// What a door must refuse, and how: status and text as clients understand them. Meanwhile a call runs and notices nothing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { ConnectionSettings, JoinRequest, LeaveRequest, SignalRequest, SignalResponse, WrappedJoinRequest, WrappedJoinRequest_Compression } from '@livekit/protocol';
import WebSocket from 'ws';
import { nothingBroke, settled } from '../lib/call.mjs';
import { figure, scenario, sleep, step } from '../lib/stage.mjs';
import { claims, rawToken, token } from '../lib/token.mjs';

const now = () => Math.floor(Date.now() / 1000);

function joinRequest({ compression = WrappedJoinRequest_Compression.GZIP, inner, extra = {} } = {}) {
  const request = inner ?? new JoinRequest({ connectionSettings: new ConnectionSettings({ autoSubscribe: true }), ...extra }).toBinary();
  const bytes = compression === WrappedJoinRequest_Compression.GZIP ? gzipSync(request) : request;
  return Buffer.from(new WrappedJoinRequest({ compression, joinRequest: bytes }).toBinary()).toString('base64url');
}

/** Opens a signalling socket by hand; answers the status of a refusal, or the socket. */
async function socket(stage, jwt, { join = joinRequest(), more = '' } = {}) {
  const ws = new WebSocket(`${stage.relay.ws}/rtc/v1?access_token=${jwt}&join_request=${join}${more}`, { maxPayload: 1 << 26 });
  ws.messages = [];
  ws.on('message', (bytes) => ws.messages.push(SignalResponse.fromBinary(new Uint8Array(bytes))));
  ws.on('error', () => {});
  return new Promise((done) => {
    ws.once('open', () => done({ ws }));
    ws.once('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => done({ status: response.statusCode, body }));
    });
    ws.once('close', (code) => done({ code }));
  });
}

async function closing(ws, within = 5_000) {
  if (ws.readyState === WebSocket.CLOSED) return undefined;
  const timer = setTimeout(() => ws.terminate(), within);
  const [code] = await once(ws, 'close');
  clearTimeout(timer);
  return code;
}

scenario('refusals: bad tokens, bad joins and bad frames, while a call goes on', async (stage) => {
  const one = await stage.participant('one', 'chromium');
  const other = await stage.participant('other', 'firefox');
  const visitor = await stage.participant('visitor', 'chromium');
  for (const each of [one, other]) {
    await stage.join(each, 'running');
    await each.call('publishMicrophone');
    await each.call('publishCamera');
  }
  await Promise.all([one, other].map((each) => settled(each, 2)));
  await Promise.all([one, other].map((each) => each.call('mark')));

  const bad = (changes, options) => rawToken(claims('eve', 'running', changes), options);
  const cases = [
    ['no token', '', 401, /permissions denied/],
    ['not a token', 'hello', 401, /invalid authorization token/],
    ['expired', bad({ exp: now() - 120, nbf: now() - 600 }), 401, /invalid authorization token/],
    ['not yet', bad({ nbf: now() + 600, exp: now() + 1200 }), 401, /invalid authorization token/],
    ['no expiry', bad({ exp: undefined }), 401, /invalid authorization token/],
    ['alg none', bad({}, { alg: 'none' }), 401, /invalid authorization token/],
    ['alg HS512', bad({}, { alg: 'HS512' }), 401, /invalid authorization token/],
    ['wrong secret', bad({}, { secret: 'another secret that is long enough for anyone' }), 401, /invalid authorization token/],
    ['unknown key', bad({ iss: 'nobody' }), 401, /invalid API key/],
    ['signature cut off', bad({}).split('.').slice(0, 2).join('.') + '.', 401, /invalid authorization token/],
    ['payload changed', bad({}).replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify(claims('admin', 'running'))).toString('base64url')}.`), 401, /invalid authorization token/],
    ['no grant', bad({ video: undefined }), 401, /permissions denied/],
    ['no roomJoin', bad({ video: { room: 'running' } }), 401, /permissions denied/],
    ['hidden', bad({ video: { room: 'running', roomJoin: true, hidden: true } }), 401, /hidden/],
  ];
  for (const [name, jwt, status, text] of cases) {
    const answer = await fetch(`${stage.relay.http}/rtc/v1/validate?access_token=${jwt}&join_request=${joinRequest()}`, { headers: { origin: 'https://else.example' } });
    const body = await answer.text();
    assert.equal(answer.status, status, `${name}: ${body}`);
    assert.match(body, text, name);
    assert.equal(answer.headers.get('access-control-allow-origin'), '*', `${name}: a page could not read this`);
    const upgrade = await socket(stage, jwt);
    assert.deepEqual([upgrade.status, upgrade.body], [status, body], `${name}: upgrade and validate differ`);
  }
  step(`${cases.length} bad tokens refused, by validate and by upgrade alike`);

  // No name at all is a malformed wish, not a permission.
  for (const [name, changes] of [['no room', { video: { roomJoin: true } }], ['no identity', { sub: undefined }]]) {
    const answer = await fetch(`${stage.relay.http}/rtc/v1/validate?access_token=${bad(changes)}&join_request=${joinRequest()}`);
    step(`${name}: ${answer.status} ${await answer.text()}`);
    assert.ok([400, 401].includes(answer.status), `${name}: ${answer.status}`);
  }
  const good = await token('eve', 'running');
  const fine = await fetch(`${stage.relay.http}/rtc/v1/validate?access_token=${good}&join_request=${joinRequest()}`);
  assert.deepEqual([fine.status, await fine.text()], [200, 'success']);

  // What the client makes of it: an error that says why, at once, without trying again.
  for (const [name, jwt, , text] of cases.filter(([name]) => ['expired', 'not yet', 'wrong secret', 'no roomJoin'].includes(name))) {
    const { error } = await visitor.call('connect', stage.relay.ws, jwt);
    assert.equal(error?.reason, 'NotAllowed', `${name}: ${JSON.stringify(error)}`);
    assert.equal(error.status, 401);
    assert.match(error.message, text);
    assert.ok(error.ms < 2_000, `${name} took ${error.ms} ms`);
  }
  // A token for another room opens that room and nothing of this one.
  await stage.join(visitor, 'elsewhere');
  assert.deepEqual((await visitor.call('roster')).others, []);
  await sleep(500);
  assert.deepEqual(await visitor.call('received'), []);
  await visitor.call('disconnect');
  step('the client shows the reason; another room is another room');

  const long = await fetch(`${stage.relay.http}/rtc/v1/validate?access_token=${good}&join_request=${joinRequest()}&pad=${'a'.repeat(64_000)}`);
  assert.equal(long.status, 200, 'a request line of 64 kB');
  const longer = await fetch(`${stage.relay.http}/rtc/v1/validate?access_token=${good}&pad=${'a'.repeat(8 << 20)}`).then((answer) => answer.status, () => 'closed');
  step(`request line of 8 MiB: ${longer}`);
  assert.ok(['closed', 414, 431].includes(longer), `a request line of 8 MiB: ${longer}`);

  const bomb = joinRequest({ inner: Buffer.alloc(32 << 20) });
  const before = await stage.relay.metrics();
  const bombed = await socket(stage, good, { join: bomb });
  assert.equal(bombed.status, 400, 'a compressed join request of 32 MiB');
  const after = await stage.relay.metrics();
  figure('memory taken by a gzip bomb of 32 MiB', Math.round((after.colloque_process_resident_memory_bytes - before.colloque_process_resident_memory_bytes) / 1024), 'KiB');
  for (const [name, join] of [['not base64', '!!!!'], ['not protobuf', Buffer.from('hello, world').toString('base64url')], ['half a gzip', joinRequest().slice(0, 24)]]) {
    assert.equal((await socket(stage, good, { join })).status, 400, name);
  }

  const guest = async () => (await socket(stage, await token('guest', 'frames'))).ws;
  const frames = [
    ['text', (ws) => ws.send('{"leave":{}}'), [1003]],
    ['garbage', (ws) => ws.send(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3])), [1002, 1007, 1008]],
    ['16 MiB', (ws) => ws.send(Buffer.alloc(16 << 20)), [1009]],
    ['reserved bits', (ws) => ws._socket.write(Buffer.from([0xf2, 0x80, 0, 0, 0, 0])), [1002]],
    ['not masked', (ws) => ws._socket.write(Buffer.from([0x82, 0x01, 0x00])), [1002]],
    ['a length of 2^63', (ws) => ws._socket.write(Buffer.from([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0])), [1002, 1009]],
    // 1006: no close frame came at all.
  ];
  for (const [name, send, expected] of frames) {
    const ws = await guest();
    const closed = closing(ws);
    send(ws);
    const code = await closed;
    step(`${name}: closed with ${code}`);
    assert.ok(expected.includes(code), `${name}: closed with ${code}, expected ${expected.join(' or ')}`);
  }
  // Unknown messages and thousands of small ones are borne or refused, never by a panic.
  const flood = await guest();
  for (let number = 0; number < 3_000; number += 1) flood.send(new SignalRequest({ message: { case: 'ping', value: BigInt(number) } }).toBinary());
  flood.send(Buffer.from([0xfa, 0x7f, 0x01, 0x00]));
  await sleep(1_500);
  step(`a flood of 3000 pings: ${flood.messages.filter((message) => message.message.case === 'pong').length} answered, socket ${flood.readyState === WebSocket.OPEN ? 'open' : 'closed'}`);
  flood.send(new SignalRequest({ message: { case: 'leave', value: new LeaveRequest({ reason: 1 }) } }).toBinary());
  flood.close();

  for (const [receiver, from] of [[one, other], [other, one]]) {
    const video = await receiver.receivedFrom(from.name);
    figure(`${from.name} -> ${receiver.name} all the while`, `decoded ${video.since.framesDecoded} in ${Math.round(video.ms)} ms, largest gap ${Math.round(video.gap)} ms`);
    assert.ok(video.since.framesDecoded >= (video.ms / 1000) * 15 * 0.9, `${receiver.name} decoded ${video.since.framesDecoded} frames in ${video.ms} ms`);
    assert.ok(video.gap <= 500, `${receiver.name} saw a gap of ${video.gap} ms`);
  }
  await nothingBroke([one, other]);
  const roster = await one.call('roster');
  assert.deepEqual(roster.others.map((each) => each.identity), ['other']);
});
