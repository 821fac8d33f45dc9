import { afterEach, describe, expect, it, vi } from 'vitest';
import { consultationNews, readBeside, readReceives } from '../src/consult';
import { CONSENT_TEXT, Desk, DeskError, deskProblem } from '../src/desk';
import { parseFragment, takeLink } from '../src/link';
import { snapshot, type ParticipantLike, type RoomLike } from '../src/snapshot';
import type { CallState } from '../src/state';
import { refusalOf, swap } from '../src/swap';
import { bannerFor } from '../src/ui/call';

function person(identity: string, role: string, more: Record<string, string> = {}): ParticipantLike {
  const attributes = Object.fromEntries(Object.entries({ role, ...more }).map(([key, value]) => [`consultation.${key}`, value]));
  return { identity, name: identity, attributes, isSpeaking: false, connectionQuality: 'good', videoTrackPublications: new Map(), audioTrackPublications: new Map() };
}

function seen(local: ParticipantLike, ...remotes: ParticipantLike[]): CallState {
  const room: RoomLike = { state: 'connected', canPlaybackAudio: true, localParticipant: local, remoteParticipants: new Map(remotes.map((one) => [one.identity, one])) };
  return snapshot(room, { name: 'Me', role: '' });
}

const inside = { state: 'admitted', gate: 'open' };
const outside = { state: 'waiting', gate: 'admission' };

describe('the consultation as the relay tells it', () => {
  it('is none in a plain room', () => {
    const { consultation } = seen(person('me', 'doctor'), person('p', 'patient'));
    expect([consultation.gate, consultation.waiting, consultation.aside]).toEqual(['', [], undefined]);
  });

  it('keeps who waits out of the tiles and shows them to the doctor', () => {
    const state = seen(person('d', 'doctor', inside), person('p', 'patient', outside), person('n', 'companion', inside));
    expect(state.tiles.map((tile) => tile.identity)).toEqual(['n', 'd']);
    expect(state.consultation.waiting).toEqual([{ identity: 'p', name: 'p', role: 'patient', gate: 'admission' }]);
  });

  it('says who speaks apart and since when, to those in it and those left out', () => {
    const apart = { ...inside, aside: '1700000000000' };
    const left = seen(person('p', 'patient', inside), person('d', 'doctor', apart), person('n', 'companion', apart)).consultation.aside;
    expect([left?.mine, left?.since, left?.members.map((one) => one.identity)]).toEqual([false, 1_700_000_000_000, ['d', 'n']]);
    expect(seen(person('d', 'doctor', apart), person('n', 'companion', apart)).consultation.aside?.mine).toBe(true);
  });

  it('reads who is beside somebody and ignores what is none', () => {
    expect(readBeside('relative:1,companion:2')).toEqual([{ role: 'relative', count: 1 }, { role: 'companion', count: 2 }]);
    expect(readBeside(',relative,:3,x:0,y:77,z:?')).toEqual([]);
  });

  it('says what of mine falls short on the way to another, and nothing of what others send', () => {
    const mine = [{ trackSid: 'TR_cam' }, { trackSid: 'TR_mic' }];
    expect(readReceives('TR_cam=720 TR_mic=clear TR_other=180/720', mine)).toBeUndefined();
    expect(readReceives('TR_cam=180/720@5 TR_mic=gaps', mine)).toEqual({ lines: 180, still: false, slow: true, gaps: true });
    expect(readReceives('TR_cam=0/720', mine)?.lines).toBe(0);
    expect(readReceives('TR_cam=still', mine)?.still).toBe(true);
    for (const odd of ['', 'TR_cam', 'TR_cam=', 'TR_cam=<b>', '=180/720', 'TR_cam=180/720/9']) expect(readReceives(odd, mine)).toBeUndefined();
  });

  it('has a banner for every closed gate and for the end that comes', () => {
    const banner = (more: Record<string, string>, now = 0): string | undefined => bannerFor(seen(person('p', 'patient', { ...inside, ...more }), person('d', 'doctor', inside)), true, now)?.key;
    expect(banner({ gate: 'admission' })).toBe('call.waiting');
    expect(banner({ gate: 'consent' })).toBe('call.no_consent');
    expect(banner({ gate: 'third_person' })).toBe('call.third_person');
    expect(banner({ ends_at: '1000000' }, 0)).toBeUndefined();
    expect(banner({ ends_at: '1000000' }, 700_001)).toBe('call.ending');
  });
});

describe('what of it is said aloud', () => {
  const said = (before: CallState, after: CallState): string[] => consultationNews(before.consultation, after.consultation).map((one) => one.key);
  const patient = (more: Record<string, string>): CallState => seen(person('p', 'patient', more));

  it('the door and consent', () => {
    expect(said(patient(outside), patient({ state: 'admitted', gate: 'consent' }))).toEqual(['say.consent']);
    expect(said(patient({ gate: 'consent' }), patient(inside))).toEqual(['say.admitted']);
    expect(said(patient(inside), patient({ gate: 'consent' }))).toEqual(['say.withdrawn']);
    expect(said(patient(inside), patient(inside))).toEqual([]);
  });

  it('a no, to whom it concerns, once', () => {
    const asked = { state: 'admitted', gate: 'consent' };
    const no = { ...asked, declined: 'teleconsultation' };
    expect(said(patient(asked), patient(no))).toEqual(['consent.said_no']);
    const doctor = (more: Record<string, string>): CallState => seen(person('d', 'doctor', inside), person('p', 'patient', more));
    expect(said(doctor(asked), doctor(no))).toEqual(['declined.whole']);
    expect(said(doctor(no), doctor(no))).toEqual([]);
    expect(said(doctor(inside), doctor({ ...inside, declined: 'third_person:interpreter' }))).toEqual(['declined.third']);
    const waits = (more: Record<string, string>): CallState => seen(person('i', 'interpreter', { state: 'admitted', gate: 'third_person', ...more }));
    expect(said(waits({}), waits({ declined: 'third_person:interpreter' }))).toEqual(['call.third_declined']);
    expect(bannerFor(waits({ declined: 'third_person:interpreter' }), true)?.key).toBe('call.third_declined');
    // Of whom a patient turned down nobody says that they said no.
    expect(seen(person('d', 'doctor', inside), person('i', 'interpreter', { state: 'admitted', gate: 'third_person', declined: 'third_person:interpreter' })).consultation.declined).toEqual([]);
  });

  it('who comes to wait, once', () => {
    const alone = seen(person('d', 'doctor', inside));
    const waited = seen(person('d', 'doctor', inside), person('p', 'patient', outside));
    expect(said(alone, waited)).toEqual(['say.waits']);
    expect(said(waited, waited)).toEqual([]);
  });

  it('an aside to those in it and to those left out', () => {
    const apart = { ...inside, aside: '5' };
    const before = seen(person('p', 'patient', inside), person('d', 'doctor', inside));
    const after = seen(person('p', 'patient', inside), person('d', 'doctor', apart));
    expect(said(before, after)).toEqual(['say.aside']);
    expect(said(after, before)).toEqual(['say.aside_over']);
    expect(said(seen(person('d', 'doctor', inside)), seen(person('d', 'doctor', apart)))).toEqual(['say.aside_mine']);
  });
});

describe('calls of the relay', () => {
  afterEach(() => vi.unstubAllGlobals());
  const link = { token: 't', url: 'wss://relay.example' };
  const desk = new Desk(link, { identity: 'p/1', room: 'c 1' }, () => 'fresh');

  it('carry the token in use and name the seat safely', async () => {
    const ask = vi.fn().mockResolvedValue(new Response(null, { status: 204 }));
    vi.stubGlobal('fetch', ask);
    await desk.agree();
    await desk.withdraw();
    await desk.startAside(['n']);
    const sent = ask.mock.calls.map(([url, init]) => `${init.method} ${url} ${init.body ?? ''}`);
    expect(sent).toEqual([
      `POST https://relay.example/v1/consultations/c%201/consents {"text":"${CONSENT_TEXT}","scopes":[]}`,
      'DELETE https://relay.example/v1/consultations/c%201/consents/p%2F1 ',
      'POST https://relay.example/v1/consultations/c%201/aside {"members":["p/1","n"]}',
    ]);
    expect(ask.mock.calls[0]?.[1].headers.Authorization).toBe('Bearer fresh');
  });

  it('read the code for support, and take nothing else for one', async () => {
    const answer = (body: string): void => {
      vi.stubGlobal('fetch', vi.fn().mockImplementation(async () => new Response(body)));
    };
    answer('{"code":"407311"}');
    expect(await desk.support()).toBe('407311');
    for (const other of ['{"code":"4073111"}', '{"code":"<b>407"}', '{"code":407311}', '[]', 'nonsense']) {
      answer(other);
      await expect(desk.support()).rejects.toBeInstanceOf(DeskError);
    }
  });

  it('say why they were not carried out', async () => {
    vi.stubGlobal('fetch', vi.fn().mockResolvedValue(new Response('{"code":"locked"}', { status: 409 })));
    const refused: unknown = await desk.admit('x').catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(DeskError);
    expect(deskProblem(refused)).toBe('desk.failed.locked');
    vi.stubGlobal('fetch', vi.fn().mockRejectedValue(new TypeError('network')));
    expect(deskProblem(await desk.admit('x').catch((error: unknown) => error))).toBe('desk.failed');
  });
});

describe('the code of an invitation', () => {
  afterEach(() => vi.unstubAllGlobals());
  const PAGE = 'http://relay.example:7880/';

  it('stands in the fragment, beside no token', () => {
    expect(parseFragment('#code=abc', PAGE)).toEqual({ token: '', url: 'ws://relay.example:7880', code: 'abc' });
    expect(parseFragment('#code=abc&token=x.y.z', PAGE)).toEqual({ token: 'x.y.z', url: 'ws://relay.example:7880' });
  });

  it('survives a reload with the token it was worth', () => {
    const kept = JSON.stringify({ token: 'x.y.z', url: 'ws://relay.example:7880', code: 'abc' });
    const win = { location: new URL(PAGE), sessionStorage: { getItem: () => kept } } as unknown as Window;
    expect(takeLink(win)).toEqual({ token: 'x.y.z', url: 'ws://relay.example:7880', code: 'abc' });
  });

  it('is swapped in a body, never in an address', async () => {
    const ask = vi.fn().mockResolvedValue(new Response('{"token":"x.y.z"}'));
    vi.stubGlobal('fetch', ask);
    const link = { token: '', url: 'ws://relay.example:7880', code: 'secret' };
    expect(await swap(link)).toEqual({ ...link, token: 'x.y.z' });
    const [url, init] = ask.mock.calls[0] ?? [];
    expect([url, init.method, init.body]).toEqual(['http://relay.example:7880/v1/links', 'POST', '{"code":"secret"}']);
  });

  it('has words for every refusal', () => {
    expect(refusalOf(403, { code: 'early', opens_at: 5 }, null)).toEqual({ kind: 'early', opensAt: 5 });
    expect(refusalOf(410, { code: 'ended' }, null)).toEqual({ kind: 'expired' });
    expect(refusalOf(404, { code: 'not_found' }, null)).toEqual({ kind: 'expired' });
    expect(refusalOf(503, undefined, '7')).toEqual({ kind: 'busy', retryAfter: 7 });
    expect(refusalOf(500, 'x', null)).toEqual({ kind: 'unreachable' });
  });
});
