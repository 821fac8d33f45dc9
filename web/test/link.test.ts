import { describe, expect, it } from 'vitest';
import { foreignHost, keepToken, parseFragment, readToken, relayUrl, takeLink, validity } from '../src/link';

const PAGE = 'http://relay.example:7880/';

function base64url(text: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

function token(claims: object): string {
  const part = (value: object): string => base64url(JSON.stringify(value));
  return `${part({ alg: 'HS256' })}.${part(claims)}.c2ln`;
}

function fakeWindow(href: string, kept: Record<string, string> = {}): { win: Window; kept: Record<string, string>; shown: string[] } {
  const shown: string[] = [];
  const win = {
    location: new URL(href),
    history: { replaceState: (_: unknown, __: string, url: string) => shown.push(url) },
    sessionStorage: { getItem: (key: string) => kept[key] ?? null, setItem: (key: string, value: string) => (kept[key] = value) },
  };
  return { win: win as unknown as Window, kept, shown };
}

describe('the link', () => {
  it('takes the page origin when no relay is named', () => {
    expect(parseFragment('#token=a.b.c', PAGE)).toEqual({ token: 'a.b.c', url: 'ws://relay.example:7880' });
    expect(relayUrl(null, 'https://clinic.example/visit/')).toBe('wss://clinic.example');
  });

  it('takes another relay only by a WebSocket or HTTP address', () => {
    expect(relayUrl('wss://other.example/media/', PAGE)).toBe('wss://other.example/media');
    expect(relayUrl('https://other.example', PAGE)).toBe('wss://other.example');
    expect(relayUrl('javascript:alert(1)', PAGE)).toBe('ws://relay.example:7880');
    expect(relayUrl('wss://user:pw@other.example', PAGE)).toBe('ws://relay.example:7880');
    expect(relayUrl('nonsense', PAGE)).toBe('ws://relay.example:7880');
  });

  it('names a foreign host so that the person sees it', () => {
    expect(foreignHost({ token: 't', url: 'wss://other.example' }, PAGE)).toBe('other.example');
    expect(foreignHost({ token: 't', url: 'ws://relay.example:7880' }, PAGE)).toBeUndefined();
  });

  it('has no link without a token', () => {
    expect(parseFragment('', PAGE)).toBeUndefined();
    expect(parseFragment('#token=', PAGE)).toBeUndefined();
    expect(parseFragment('#url=ws://x', PAGE)).toBeUndefined();
  });

  it('leaves the address bar and survives a reload', () => {
    const first = fakeWindow('http://relay.example:7880/?a=1#token=a.b.c');
    expect(takeLink(first.win)?.token).toBe('a.b.c');
    expect(first.shown).toEqual(['/?a=1']);
    const reloaded = fakeWindow(PAGE, first.kept);
    expect(takeLink(reloaded.win)).toEqual({ token: 'a.b.c', url: 'ws://relay.example:7880' });
    expect(takeLink(fakeWindow(PAGE, { 'colloque.link': '{' }).win)).toBeUndefined();
  });

  it('keeps a renewed token and ignores what is none', () => {
    const { win, kept } = fakeWindow(PAGE);
    const link = { token: 'old', url: 'ws://relay.example:7880' };
    const fresh = token({ sub: 's' });
    expect(keepToken(win, link, fresh).token).toBe(fresh);
    expect(kept['colloque.link']).toContain(fresh);
    expect(keepToken(win, link, 'garbage')).toBe(link);
  });
});

describe('the token', () => {
  it('says who joins', () => {
    const seat = readToken(token({ sub: 's1', name: 'Zoë', video: { room: 'r' }, attributes: { 'consultation.role': 'patient' }, exp: 10, nbf: 5 }));
    expect(seat).toEqual({ identity: 's1', name: 'Zoë', room: 'r', role: 'patient', expires: 10, notBefore: 5 });
  });

  it('bears missing and odd claims', () => {
    expect(readToken(token({ sub: 's1', name: 7, video: 'x', attributes: null, exp: 'soon' }))).toEqual({
      identity: 's1', name: '', room: '', role: '', expires: undefined, notBefore: undefined,
    });
  });

  it.each(['', 'a', 'a.b', 'a.b.c.d', 'a.!!!.c', `x.${base64url('[]')}.y`, token({ name: 'no subject' }), token({ sub: 's' }).slice(0, 30), `a.${'A'.repeat(20_000)}.c`])(
    'refuses %#',
    (bad) => expect(readToken(bad)).toBeUndefined(),
  );

  it('is valid inside its window, give or take a minute', () => {
    const seat = { identity: 's', name: '', room: '', role: '', expires: 1_000, notBefore: 500 };
    expect(validity(seat, 700_000)).toBe('valid');
    expect(validity(seat, 1_059_000)).toBe('valid');
    expect(validity(seat, 1_061_000)).toBe('expired');
    expect(validity(seat, 441_000)).toBe('valid');
    expect(validity(seat, 439_000)).toBe('early');
    expect(validity({ ...seat, expires: undefined, notBefore: undefined }, 9e12)).toBe('valid');
  });
});
