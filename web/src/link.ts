/**
 * The link a person opens: reads it, keeps it for a reload, and says what its token claims.
 * The token is decoded, never verified: that is the relay's work.
 * Entry points: `parseFragment`, `readToken`, `validity`, `takeLink`, `keepToken`.
 */

export interface Link {
  /** Empty until the code has been swapped for one. */
  token: string;
  /** Address of the relay's signalling door, `ws:` or `wss:`. */
  url: string;
  /** The code of an invitation: worth a token as long as the seat's window is open. */
  code?: string;
}

export interface Seat {
  identity: string;
  name: string;
  room: string;
  role: string;
  /** Seconds since 1970, as in the token. */
  expires: number | undefined;
  notBefore: number | undefined;
}

export type Validity = 'valid' | 'expired' | 'early';

const STORAGE_KEY = 'colloque.link';
/** A token with every claim we know of stays far below this; more is not a token of ours. */
const MAX_TOKEN_LENGTH = 16_384;
/** Clocks of homes and hospitals differ; the relay has the last word anyway. */
const CLOCK_LEEWAY_S = 60;

/** What the fragment holds: `undefined` when it names neither a token nor a code. */
export function parseFragment(hash: string, pageUrl: string): Link | undefined {
  const params = new URLSearchParams(hash.replace(/^#/, ''));
  const token = params.get('token')?.trim() ?? '';
  const code = params.get('code')?.trim() ?? '';
  if (token === '' && code === '') return undefined;
  return { token, url: relayUrl(params.get('url'), pageUrl), ...(token === '' ? { code } : {}) };
}

/** The page's own origin unless the link names another relay by a WebSocket or HTTP address. */
export function relayUrl(wanted: string | null, pageUrl: string): string {
  const page = new URL(pageUrl);
  const own = `${page.protocol === 'https:' ? 'wss:' : 'ws:'}//${page.host}`;
  if (wanted === null || wanted === '') return own;
  try {
    const url = new URL(wanted);
    if (url.protocol === 'http:') url.protocol = 'ws:';
    if (url.protocol === 'https:') url.protocol = 'wss:';
    if ((url.protocol !== 'ws:' && url.protocol !== 'wss:') || url.username || url.password) return own;
    return `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
  } catch {
    return own;
  }
}

/** The other host a link leads to, to be shown to the person; `undefined` for the page's own. */
export function foreignHost(link: Link, pageUrl: string): string | undefined {
  const host = new URL(link.url).host;
  return host === new URL(pageUrl).host ? undefined : host;
}

/** The address of one of the relay's calls. */
export function callUrl(link: Link, path: string): string {
  return `${link.url.replace(/^ws/, 'http')}${path}`;
}

/** Who the token is for, or `undefined` when it is no token: cut off, or not ours. */
export function readToken(token: string): Seat | undefined {
  if (token.length > MAX_TOKEN_LENGTH) return undefined;
  const parts = token.split('.');
  const body = parts[1];
  if (parts.length !== 3 || body === undefined || parts[2] === '') return undefined;
  try {
    const bytes = Uint8Array.from(atob(body.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (!isRecord(claims)) return undefined;
    const video = isRecord(claims['video']) ? claims['video'] : {};
    const attributes = isRecord(claims['attributes']) ? claims['attributes'] : {};
    const identity = text(claims['sub'], 256);
    if (identity === '') return undefined;
    return {
      identity,
      name: text(claims['name'], 120),
      room: text(video['room'], 256),
      role: text(attributes['consultation.role'], 32),
      expires: seconds(claims['exp']),
      notBefore: seconds(claims['nbf']),
    };
  } catch {
    return undefined;
  }
}

/** Whether the token's window holds `nowMs`, in milliseconds since 1970. */
export function validity(seat: Seat, nowMs: number): Validity {
  const now = nowMs / 1000;
  if (seat.expires !== undefined && now > seat.expires + CLOCK_LEEWAY_S) return 'expired';
  if (seat.notBefore !== undefined && now + CLOCK_LEEWAY_S < seat.notBefore) return 'early';
  return 'valid';
}

/** Takes the link out of the address bar, or from this tab's storage after a reload. */
export function takeLink(win: Window): Link | undefined {
  const fresh = parseFragment(win.location.hash, win.location.href);
  if (fresh !== undefined) {
    win.history.replaceState(null, '', win.location.pathname + win.location.search);
    store(win, fresh);
    return fresh;
  }
  try {
    const kept: unknown = JSON.parse(win.sessionStorage.getItem(STORAGE_KEY) ?? 'null');
    if (!isRecord(kept) || typeof kept['token'] !== 'string' || typeof kept['url'] !== 'string') return undefined;
    const code = kept['code'];
    return { token: kept['token'], url: relayUrl(kept['url'], win.location.href), ...(typeof code === 'string' ? { code } : {}) };
  } catch {
    return undefined;
  }
}

/** Keeps a token the relay renewed, so that a reload late in a long call still works. */
export function keepToken(win: Window, link: Link, token: string): Link {
  if (token === link.token || readToken(token) === undefined) return link;
  const renewed = { ...link, token };
  store(win, renewed);
  return renewed;
}

function store(win: Window, link: Link): void {
  try {
    win.sessionStorage.setItem(STORAGE_KEY, JSON.stringify(link));
  } catch {
    // Storage is refused in some private windows: the call works, only a reload does not.
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown, max: number): string {
  return typeof value === 'string' ? value.trim().slice(0, max) : '';
}

function seconds(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : undefined;
}
