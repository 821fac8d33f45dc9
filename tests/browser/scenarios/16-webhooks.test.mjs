// A tenant's events, pushed and signed, as LiveKit's server SDK for JavaScript takes them. No browser is needed.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { AccessToken, WebhookReceiver } from 'livekit-server-sdk';
import { Relay } from '../lib/relay.mjs';
import { until } from '../lib/stage.mjs';

const KEY = 'APIhooked';
const SECRET = 'a secret of more than thirty-two bytes';

test('the webhook receiver of the JavaScript server SDK takes pushed events', { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'colloque-webhooks-'));
  const receiver = new WebhookReceiver(KEY, SECRET);
  const taken = [];
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    taken.push({ body, token: request.headers.authorization, kind: request.headers['content-type'] });
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const config = path.join(folder, 'colloque.toml');
  const url = `http://127.0.0.1:${server.address().port}/hook`;
  await writeFile(config, `[[tenants]]\nname = "hooked"\npolicy = "consultation"\nkeys = [{ id = "${KEY}", secret = "${SECRET}" }]\nwebhooks = [{ url = "${url}", key = "${KEY}" }]\n`);
  const relay = await Relay.start({ args: ['--config', config] });
  try {
    const platform = new AccessToken(KEY, SECRET, { ttl: 600 });
    platform.addGrant({ roomCreate: true });
    const headers = { authorization: `Bearer ${await platform.toJwt()}`, 'content-type': 'application/json' };
    const post = (place, body) => fetch(`${relay.http}/v1/${place}`, { method: 'POST', headers, body: JSON.stringify(body) });
    assert.equal((await post('consultations', { id: 'c-1' })).status, 201);
    assert.equal((await post('consultations/c-1/seats', { seat: 'p-1', role: 'patient' })).status, 201);
    await until('both events', () => taken.length >= 2, { within: 10_000 });

    const events = await Promise.all(taken.map(({ body, token }) => receiver.receive(body, token)));
    assert.deepEqual(events.map((event) => event.event), ['consultation.created', 'seat.invited']);
    assert.equal(events[1].room.name, 'c-1');
    assert.equal(events[1].participant.identity, 'p-1');
    assert.ok(Math.abs(Number(events[0].createdAt) - Date.now() / 1000) < 120);
    assert.ok(taken.every(({ kind }) => kind === 'application/webhook+json'));
    assert.deepEqual(taken.map(({ body }) => JSON.parse(body).number), [1, 2]);

    const [{ body, token }] = taken;
    await assert.rejects(receiver.receive(body.replace('c-1', 'c-2'), token), /checksum/);
    await assert.rejects(new WebhookReceiver(KEY, `${SECRET}x`).receive(body, token));
  } finally {
    await relay.stop();
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
});
