/**
 * The consultation as the relay tells it: every participant's `consultation.*` attributes, which only the relay can write.
 * Pure. Entry points: `readConsultation`, `consultationNews`.
 */
import type { Key } from './i18n';
import type { ParticipantLike, RoomLike } from './snapshot';
import type { Shortfall } from './state';

/** What a seat waits for; empty in a room that is no consultation. */
export type Gate = '' | 'open' | 'admission' | 'consent' | 'third_person';

export interface Person {
  identity: string;
  /** May be empty: a platform may withhold names. */
  name: string;
  role: string;
}

export interface Waiting extends Person {
  gate: Gate;
}

/** Somebody who was asked and said no. */
export interface Declined extends Person {
  /** To which third person, by role; empty for the consultation itself, or part of it. */
  about: string;
}

export interface Beside {
  role: string;
  count: number;
}

export interface Aside {
  /** Milliseconds since 1970. */
  since: number;
  members: readonly Person[];
  /** Whether I am in it. */
  mine: boolean;
}

export interface Consultation {
  /** Mine. */
  gate: Gate;
  role: string;
  /** The version of the text I agreed to; empty without consent. */
  consent: string;
  /** Those outside whom I am shown: a doctor sees who waits, a patient who needs the patient's agreement. */
  waiting: readonly Waiting[];
  /** Who of the others said no, and to what. */
  declined: readonly Declined[];
  /** I said no myself; or I wait, and a patient said no to me. */
  saidNo: boolean;
  aside: Aside | undefined;
  /** People beside me, off camera. */
  beside: readonly Beside[];
  /** Milliseconds since 1970. */
  endsAt: number | undefined;
  locked: boolean;
}

/**
 * What of my tracks falls short on the way to somebody, from the words of the relay about everything that reaches that person:
 * `TR_1=180/720@5 TR_2=gaps`. Nothing where all arrives as wished.
 */
export function readReceives(words: string, sent: readonly { trackSid: string }[]): Shortfall | undefined {
  const short: Shortfall = { lines: undefined, still: false, slow: false, gaps: false };
  for (const word of words.split(' ')) {
    const at = word.indexOf('=');
    if (at < 0 || !sent.some((pub) => pub.trackSid === word.slice(0, at))) continue;
    const what = word.slice(at + 1);
    const picture = /^(\d{1,5})(\/\d{1,5})?(@\d{1,3})?$/.exec(what);
    if (picture?.[2] !== undefined) short.lines = Math.min(Number(picture[1]), short.lines ?? Infinity);
    if (picture?.[3] !== undefined) short.slow = true;
    if (what === 'still') short.still = true;
    if (what === 'gaps') short.gaps = true;
  }
  return short.lines !== undefined || short.still || short.slow || short.gaps ? short : undefined;
}

const GATES: readonly string[] = ['open', 'admission', 'consent', 'third_person'];
const PREFIX = 'consultation.';

export function gateOf(person: { attributes: Readonly<Record<string, string>> }): Gate {
  const word = person.attributes[`${PREFIX}gate`] ?? '';
  if (GATES.includes(word)) return word as Gate;
  const state = person.attributes[`${PREFIX}state`];
  if (state === 'waiting') return 'admission';
  return state === 'admitted' ? 'open' : '';
}

/** Whether somebody is in the room, and not before its door. */
export function isInside(person: { attributes: Readonly<Record<string, string>> }): boolean {
  const gate = gateOf(person);
  return gate === '' || gate === 'open';
}

export function readConsultation(room: RoomLike, self: { name: string; role: string }): Consultation {
  const local = room.localParticipant;
  const everybody = [...room.remoteParticipants.values(), local];
  const said = (person: ParticipantLike, key: string): string => person.attributes[PREFIX + key] ?? '';
  const speaking = everybody.filter((person) => said(person, 'aside') !== '');
  const since = Math.min(...speaking.map((person) => Number(said(person, 'aside'))).filter(Number.isFinite));
  const waiting = [...room.remoteParticipants.values()].filter((person) => !isInside(person));
  const endsAt = Number(said(local, 'ends_at'));
  return {
    gate: gateOf(local),
    role: said(local, 'role') || self.role,
    consent: said(local, 'consent'),
    waiting: waiting.map((person) => ({ ...personOf(person), gate: gateOf(person) })),
    declined: [...room.remoteParticipants.values()].flatMap((person) => readDeclined(personOf(person), said(person, 'declined'))),
    saidNo: said(local, 'declined') !== '',
    aside: speaking.length === 0 ? undefined : { since, members: speaking.map(personOf), mine: speaking.includes(local) },
    beside: readBeside(said(local, 'beside')),
    endsAt: endsAt > 0 ? endsAt : undefined,
    locked: said(local, 'locked') === 'true',
  };
}

function personOf(person: ParticipantLike): Person {
  return { identity: person.identity, name: person.name ?? '', role: person.attributes[`${PREFIX}role`] ?? '' };
}

/** `teleconsultation,third_person:interpreter`; a person who waits and whom a patient turned down is no author of a no. */
export function readDeclined(person: Person, text: string): Declined[] {
  if (person.role !== 'patient') return [];
  const about = text.split(',').filter((scope) => scope !== '').map((scope) => (scope.startsWith('third_person:') ? scope.slice('third_person:'.length) : ''));
  return [...new Set(about)].map((role) => ({ ...person, about: role }));
}

/** `relative:1,companion:2` */
export function readBeside(text: string): Beside[] {
  const found: Beside[] = [];
  for (const part of text.split(',')) {
    const [role, count] = part.split(':');
    const number = Number(count);
    if (role && number >= 1 && number <= 9) found.push({ role, count: number });
  }
  return found;
}

export interface News {
  key: Key;
  /** Whose name fills the words. */
  people: readonly Person[];
  /** A role that fills the words. */
  role?: string;
  /** Interrupts what is being read. */
  urgent?: boolean;
}

/** The words for somebody's no. */
export function declinedKey(one: Declined): Key {
  return one.about === '' ? 'declined.whole' : 'declined.third';
}

/** What changed in the consultation and is worth saying aloud. */
export function consultationNews(before: Consultation, after: Consultation): News[] {
  const news: News[] = [];
  if (before.gate !== after.gate) {
    if (after.gate === 'open' && before.gate !== '') news.push({ key: 'say.admitted', people: [] });
    if (after.gate === 'consent') news.push({ key: before.gate === 'open' ? 'say.withdrawn' : 'say.consent', people: [], urgent: true });
    if (after.gate === 'third_person') news.push({ key: 'say.third_person', people: [] });
  }
  const known = new Set(before.waiting.map((person) => person.identity));
  for (const person of after.waiting) if (!known.has(person.identity)) news.push({ key: 'say.waits', people: [person] });
  if (!before.saidNo && after.saidNo) news.push({ key: after.gate === 'third_person' ? 'call.third_declined' : 'consent.said_no', people: [], urgent: true });
  const no = new Set(before.declined.map((one) => `${one.about} ${one.identity}`));
  for (const one of after.declined) {
    if (!no.has(`${one.about} ${one.identity}`)) news.push({ key: declinedKey(one), people: [one], role: one.about, urgent: true });
  }
  if (before.aside === undefined && after.aside !== undefined) {
    news.push({ key: after.aside.mine ? 'say.aside_mine' : 'say.aside', people: after.aside.members, urgent: true });
  }
  if (before.aside !== undefined && after.aside === undefined) news.push({ key: 'say.aside_over', people: [], urgent: true });
  if (before.locked !== after.locked) news.push({ key: after.locked ? 'say.locked' : 'say.unlocked', people: [] });
  return news;
}
