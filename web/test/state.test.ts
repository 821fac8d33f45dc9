import { describe, expect, it } from 'vitest';
import { ChatLog, collect, MAX_MESSAGE } from '../src/chat';
import { consultationNews } from '../src/consult';
import { chooseLanguage, roleName, setLanguage, t } from '../src/i18n';
import { en } from '../src/i18n/en';
import { fr } from '../src/i18n/fr';
import { level } from '../src/meter';
import { snapshot, type ParticipantLike, type PublicationLike, type RoomLike, type TrackLike } from '../src/snapshot';
import { announcements, arrange, bestGrid, initials, type CallState, type Tile } from '../src/state';
import { bannerFor } from '../src/ui/call';
import { shortcutFor } from '../src/ui/shortcuts';

const track = (more: object = {}): TrackLike => ({ mediaStreamTrack: { muted: false, readyState: 'live' }, attach: () => undefined, detach: () => undefined, ...more });
const pub = (source: string, more: Partial<PublicationLike> = {}): PublicationLike => ({ trackSid: `TR_${source}`, source, isMuted: false, track: track(), ...more });

function participant(identity: string, pubs: PublicationLike[] = [], more: Partial<ParticipantLike> = {}): ParticipantLike {
  const by = (audio: boolean): Map<string, PublicationLike> =>
    new Map(pubs.filter((p) => /micro|audio/.test(p.source) === audio).map((p) => [p.trackSid, p]));
  return { identity, name: identity, attributes: {}, isSpeaking: false, connectionQuality: 'good', videoTrackPublications: by(false), audioTrackPublications: by(true), ...more };
}

function room(local: ParticipantLike, remotes: ParticipantLike[] = [], state = 'connected'): RoomLike {
  return { state, canPlaybackAudio: true, localParticipant: local, remoteParticipants: new Map(remotes.map((r) => [r.identity, r])) };
}

const ME = { name: 'Me', role: 'patient' };
const face = (state: CallState, identity: string): Tile | undefined => state.tiles.find((tile) => tile.identity === identity && tile.kind === 'person');

describe('the snapshot of a room', () => {
  it('never calls a camera on that shows nothing', () => {
    const camera = (more: Partial<PublicationLike>): string | undefined => face(snapshot(room(participant('me'), [participant('d', [pub('camera', more)])]), ME), 'd')?.camera;
    expect(camera({})).toBe('on');
    expect(camera({ isMuted: true })).toBe('off');
    expect(camera({ track: undefined })).toBe('starting');
    expect(camera({ permissionStatus: 'not_allowed' })).toBe('withheld');
    expect(camera({ track: { ...track(), streamState: 'paused' } })).toBe('paused');
    expect(face(snapshot(room(participant('me'), [participant('d')]), ME), 'd')?.camera).toBe('off');
  });

  it('says when our own device fell silent', () => {
    const silent = track({ mediaStreamTrack: { muted: true, readyState: 'live' } });
    const me = face(snapshot(room(participant('me', [pub('microphone', { track: silent }), pub('camera', { track: silent })])), ME), 'me');
    expect([me?.microphone, me?.camera, me?.picture]).toEqual(['interrupted', 'interrupted', undefined]);
  });

  it('gives screens and further cameras tiles of their own', () => {
    const cart = participant('cart', [pub('camera'), pub('camera', { trackSid: 'TR_2' }), pub('screen_share')]);
    const state = snapshot(room(participant('me'), [cart]), ME);
    expect(state.tiles.map((tile) => tile.kind)).toEqual(['person', 'extra', 'screen', 'person']);
    expect(arrange(state.tiles)).toBe('shared');
  });

  it('trusts the relay for role and name, and the token until it speaks', () => {
    const state = snapshot(room(participant('me', [], { name: '' }), [participant('d', [], { attributes: { 'consultation.role': 'doctor', 'consultation.aside': 'a1' } })]), ME);
    expect(face(state, 'me')).toMatchObject({ name: 'Me', role: 'patient', self: true });
    expect(face(state, 'd')).toMatchObject({ role: 'doctor', aside: true, waiting: false });
  });

  it('keeps one picture per track and mirrors only the front camera of oneself', () => {
    const mine = participant('me', [pub('camera')]);
    const [one, two] = [snapshot(room(mine), ME), snapshot(room(mine), ME)];
    expect(face(one, 'me')?.picture).toBe(face(two, 'me')?.picture);
    expect(face(one, 'me')?.mirrored).toBe(true);
    const back = pub('camera', { track: track({ mediaStreamTrack: { muted: false, readyState: 'live', getSettings: () => ({ facingMode: 'environment' }) } }) });
    expect(face(snapshot(room(participant('me', [back])), ME), 'me')?.mirrored).toBe(false);
  });

  it('is reconnecting in every state but connected', () => {
    for (const state of ['reconnecting', 'signalReconnecting']) expect(snapshot(room(participant('me'), [], state), ME).connection).toBe('reconnecting');
  });
});

describe('what is said aloud', () => {
  const at = (local: ParticipantLike, remotes: ParticipantLike[] = [], state?: string): CallState => snapshot(room(local, remotes, state), ME);
  const said = (before: CallState, after: CallState): string[] =>
    [...announcements(before, after), ...consultationNews(before.consultation, after.consultation)].map((a) => a.key);

  it('joins, leaves and screens', () => {
    const alone = at(participant('me'));
    const two = at(participant('me'), [participant('d')]);
    const screen = at(participant('me'), [participant('d', [pub('screen_share')])]);
    expect(said(alone, two)).toEqual(['say.joined']);
    expect(said(two, alone)).toEqual(['say.left']);
    expect(said(two, screen)).toEqual(['say.screen_on']);
    expect(said(screen, two)).toEqual(['say.screen_off']);
    expect(said(two, two)).toEqual([]);
  });

  it('the network and the waiting room', () => {
    const waiting = at(participant('me', [], { attributes: { 'consultation.state': 'waiting' } }));
    const inside = at(participant('me', [], { attributes: { 'consultation.state': 'admitted' } }));
    expect(said(waiting, inside)).toEqual(['say.admitted']);
    expect(said(inside, at(participant('me'), [], 'reconnecting'))).toEqual(['say.reconnecting']);
    expect(said(at(participant('me'), [], 'reconnecting'), inside)).toEqual(['say.reconnected']);
  });

  it('puts the gravest thing into the banner', () => {
    const waiting = participant('me', [], { attributes: { 'consultation.state': 'waiting' }, connectionQuality: 'poor' });
    expect(bannerFor(at(waiting, [], 'reconnecting'), true)?.key).toBe('call.reconnecting');
    expect(bannerFor(at(waiting, [], 'reconnecting'), false)?.key).toBe('call.offline');
    expect(bannerFor(at(waiting), true)?.key).toBe('call.waiting');
    expect(bannerFor(at(participant('me', [], { connectionQuality: 'lost' })), true)?.key).toBe('call.lost_self');
    expect(bannerFor(at(participant('me'), [participant('d')]), true)).toBeUndefined();
  });
});

describe('small things', () => {
  it('arranges tiles so that they are large', () => {
    expect(bestGrid(1, 1200, 700)).toBe(1);
    expect(bestGrid(4, 1200, 700)).toBe(2);
    expect(bestGrid(3, 300, 900)).toBe(1);
    expect(bestGrid(0, 0, 0)).toBe(1);
  });

  it('makes initials without titles', () => {
    expect(initials('Dr Anne Lefèvre')).toBe('AL');
    expect(initials('Élodie')).toBe('É');
    expect(initials('')).toBe('');
    expect(initials('007')).toBe('');
  });

  it('measures level as root mean square', () => {
    expect(level([])).toBe(0);
    expect(level([0.5, -0.5])).toBeCloseTo(0.5);
  });

  it('acts on single keys only when nobody types', () => {
    const press = { key: 'M', ctrlKey: false, altKey: false, metaKey: false, repeat: false };
    expect(shortcutFor(press, false)).toBe('microphone');
    expect(shortcutFor(press, true)).toBeUndefined();
    expect(shortcutFor({ ...press, ctrlKey: true }, false)).toBeUndefined();
    expect(shortcutFor({ ...press, repeat: true }, false)).toBeUndefined();
    expect(shortcutFor({ ...press, key: 'x' }, false)).toBeUndefined();
  });

  it('speaks the first language it knows', () => {
    expect(chooseLanguage(['de-DE', 'fr-CA', 'en'])).toBe('fr');
    expect(chooseLanguage(['de'])).toBe('en');
    expect(chooseLanguage(['fr'], 'en')).toBe('en');
  });

  it('has the same places to fill in both languages', () => {
    const places = (words: string): string[] => (words.match(/\{\w+\}/g) ?? []).sort();
    for (const key of Object.keys(en) as (keyof typeof en)[]) expect([key, places(fr[key])]).toEqual([key, places(en[key])]);
    setLanguage('fr');
    expect(t('say.joined', { name: '$& <b>' })).toBe('$& <b> a rejoint la consultation.');
    expect(roleName('doctor')).toBe('Médecin');
    expect(roleName('toString')).toBe('Participant(e)');
    setLanguage('en');
  });
});

describe('the chat', () => {
  it('counts what was not read and forgets the oldest', () => {
    const log = new ChatLog();
    const entry = { author: 'a', role: '', self: false, text: 'x', cut: false, at: 0, state: 'received' as const };
    for (let i = 0; i < 600; i += 1) log.add(entry);
    expect([log.entries.length, log.unread, log.entries[0]?.id]).toEqual([500, 600, 101]);
    log.show(true);
    log.add(entry);
    expect(log.unread).toBe(0);
  });

  it('stops reading a message that never ends', async () => {
    let read = 0;
    async function* endless(): AsyncGenerator<string> {
      for (;;) {
        read += 1;
        yield 'x'.repeat(1_000);
      }
    }
    const { text, cut } = await collect(endless());
    expect([text.length, cut, read]).toEqual([MAX_MESSAGE, true, 5]);
  });
});
