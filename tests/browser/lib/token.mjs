// Tokens of the development key, made by the server SDK; and tokens that no SDK would make.

import { createHmac } from 'node:crypto';
import { AccessToken, RoomServiceClient } from 'livekit-server-sdk';

export const KEY = 'devkey';
export const SECRET = 'secret';

/** A token that joins `room` as `identity`; `grant` adds to or replaces the video grant. */
export async function token(identity, room, { grant = {}, attributes, name = identity, ttl = 600 } = {}) {
  const made = new AccessToken(KEY, SECRET, { identity, name, ttl, attributes });
  made.addGrant({ roomJoin: true, room, canPublish: true, canSubscribe: true, canPublishData: true, ...grant });
  return made.toJwt();
}

/** A JWT written by hand: any header, any claims, any secret. */
export function rawToken(claims, { alg = 'HS256', secret = SECRET } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg, typ: 'JWT' })}.${part(claims)}`;
  if (alg === 'none') return `${body}.`;
  const hash = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }[alg];
  return `${body}.${createHmac(hash, secret).update(body).digest('base64url')}`;
}

/** Claims of a good token, to spoil one by one. */
export function claims(identity, room, changes = {}) {
  const now = Math.floor(Date.now() / 1000);
  return { iss: KEY, sub: identity, iat: now, nbf: now - 5, exp: now + 600, video: { roomJoin: true, room }, ...changes };
}

export function roomService(relay) {
  return new RoomServiceClient(relay.http, KEY, SECRET);
}
