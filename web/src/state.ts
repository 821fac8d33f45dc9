/**
 * What the call screen shows, free of any media stack: the view draws it, tests and the demo page feed it.
 * Pure. Entry points: `CallState`, `announcements`, `bestGrid`, `arrange`.
 */

import type { Beside, Consultation } from './consult';

export type MicrophoneState = 'on' | 'off' | 'interrupted';
export type CameraState = 'on' | 'off' | 'starting' | 'paused' | 'interrupted' | 'withheld';
export type LinkQuality = 'good' | 'weak' | 'lost';

/** `lines` is the height of the picture that arrives, 0 where none does; `slow` are few pictures a second. */
export interface Shortfall {
  lines: number | undefined;
  still: boolean;
  slow: boolean;
  gaps: boolean;
}

/** A picture that can be put into a `<video>` and taken out again. The same object means the same picture. */
export interface Picture {
  attach(element: HTMLVideoElement): void;
  detach(element: HTMLVideoElement): void;
}

export interface Tile {
  /** Stable for the life of the tile. */
  key: string;
  kind: 'person' | 'screen' | 'extra';
  identity: string;
  /** May be empty: a platform may withhold names. */
  name: string;
  role: string;
  self: boolean;
  microphone: MicrophoneState;
  camera: CameraState;
  speaking: boolean;
  quality: LinkQuality;
  /** What falls short of my picture and my voice on the way to this person, as the relay knows it. */
  receives: Shortfall | undefined;
  waiting: boolean;
  aside: boolean;
  /** People beside this person, off camera. */
  beside: readonly Beside[];
  /** A doctor went on without this person's consent, in an emergency. */
  emergency: boolean;
  mirrored: boolean;
  picture: Picture | undefined;
}

export interface CallState {
  connection: 'connected' | 'reconnecting';
  tiles: readonly Tile[];
  sharing: boolean;
  canPublish: boolean;
  soundBlocked: boolean;
  consultation: Consultation;
}

export type Announcement =
  | { key: 'say.joined' | 'say.left' | 'say.screen_on' | 'say.screen_off'; tile: Tile }
  | { key: 'say.reconnecting' | 'say.reconnected' };

export function selfTile(state: CallState): Tile | undefined {
  return state.tiles.find((tile) => tile.self && tile.kind === 'person');
}

export function others(state: CallState): Tile[] {
  return state.tiles.filter((tile) => !tile.self && tile.kind === 'person');
}

/** What changed between two states and is worth saying aloud. */
export function announcements(before: CallState, after: CallState): Announcement[] {
  const said: Announcement[] = [];
  if (before.connection !== after.connection) {
    said.push({ key: after.connection === 'reconnecting' ? 'say.reconnecting' : 'say.reconnected' });
  }
  const old = new Map(before.tiles.map((tile) => [tile.key, tile]));
  for (const tile of after.tiles) {
    if (old.delete(tile.key) || tile.self) continue;
    if (tile.kind === 'person') said.push({ key: 'say.joined', tile });
    if (tile.kind === 'screen') said.push({ key: 'say.screen_on', tile });
  }
  for (const tile of old.values()) {
    if (tile.self) continue;
    if (tile.kind === 'person') said.push({ key: 'say.left', tile });
    if (tile.kind === 'screen') said.push({ key: 'say.screen_off', tile });
  }
  return said;
}

export type Arrangement = 'alone' | 'duo' | 'grid' | 'shared';

/** How the tiles stand: one shared picture large, two people as picture in picture, or a grid. */
export function arrange(tiles: readonly Tile[]): Arrangement {
  if (tiles.some((tile) => tile.kind !== 'person')) return 'shared';
  if (tiles.length <= 1) return 'alone';
  if (tiles.length === 2 && tiles.some((tile) => tile.self)) return 'duo';
  return 'grid';
}

/** The number of columns that gives `count` tiles of shape `ratio` the largest area. */
export function bestGrid(count: number, width: number, height: number, ratio = 4 / 3): number {
  let best = 1;
  let bestArea = 0;
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(count / columns);
    const w = Math.min(width / columns, (height / rows) * ratio);
    const area = w * (w / ratio);
    if (area > bestArea) {
      bestArea = area;
      best = columns;
    }
  }
  return best;
}

/** Up to two letters that stand for a person without a picture. */
export function initials(name: string): string {
  const words = name
    .replace(/[().,]/g, ' ')
    .split(/[\s-]+/)
    .filter((word) => /^\p{L}/u.test(word) && !/^(dr|pr|prof|mme|mrs|mr|ms|me|docteur|professeur)$/i.test(word));
  const first = words[0];
  const last = words.length > 1 ? words[words.length - 1] : undefined;
  return [first, last].map((word) => (word ? (Array.from(word)[0] ?? '') : '')).join('').toUpperCase();
}
