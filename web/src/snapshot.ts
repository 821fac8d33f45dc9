/**
 * Reads a room of the client library into a `CallState`.
 * Names only the shape it needs of that room, so that tests can build one. Entry point: `snapshot`.
 */
import { isInside, readBeside, readConsultation, readReceives } from './consult';
import type { CallState, CameraState, LinkQuality, MicrophoneState, Picture, Tile } from './state';

export interface TrackLike {
  mediaStreamTrack?: { muted: boolean; readyState: string; getSettings?(): { facingMode?: string } };
  attach(element: HTMLMediaElement): unknown;
  detach(element: HTMLMediaElement): unknown;
}

export interface PublicationLike {
  trackSid: string;
  source: string;
  isMuted: boolean;
  permissionStatus?: string;
  track?: TrackLike & { streamState?: string };
}

export interface ParticipantLike {
  identity: string;
  name?: string;
  attributes: Readonly<Record<string, string>>;
  isSpeaking: boolean;
  connectionQuality: string;
  permissions?: { canPublish: boolean };
  videoTrackPublications: ReadonlyMap<string, PublicationLike>;
  audioTrackPublications: ReadonlyMap<string, PublicationLike>;
}

export interface RoomLike {
  state: string;
  canPlaybackAudio: boolean;
  localParticipant: ParticipantLike;
  remoteParticipants: ReadonlyMap<string, ParticipantLike>;
}

export interface Fallback {
  name: string;
  role: string;
}

const pictures = new WeakMap<object, Picture>();

/** The state of the call now; `self` fills in what the relay has not told us about ourselves. */
export function snapshot(room: RoomLike, self: Fallback): CallState {
  const tiles: Tile[] = [];
  // Who waits before the door is no tile: nothing of theirs arrives, and they see nobody.
  const mine = [...room.localParticipant.videoTrackPublications.values(), ...room.localParticipant.audioTrackPublications.values()];
  for (const remote of room.remoteParticipants.values()) if (isInside(remote)) tiles.push(...tilesOf(remote, undefined, mine));
  tiles.push(...tilesOf(room.localParticipant, self));
  const local = room.localParticipant;
  return {
    connection: room.state === 'connected' ? 'connected' : 'reconnecting',
    tiles,
    sharing: [...local.videoTrackPublications.values()].some((pub) => pub.source === 'screen_share'),
    canPublish: local.permissions?.canPublish ?? true,
    soundBlocked: !room.canPlaybackAudio,
    consultation: readConsultation(room, self),
  };
}

function tilesOf(person: ParticipantLike, self: Fallback | undefined, sent: readonly PublicationLike[] = []): Tile[] {
  const videos = [...person.videoTrackPublications.values()];
  const face = videos.find((pub) => pub.source === 'camera') ?? videos.find((pub) => pub.source !== 'screen_share');
  const voices = [...person.audioTrackPublications.values()].filter((pub) => pub.source !== 'screen_share_audio');
  const base = {
    identity: person.identity,
    name: (person.name || self?.name) ?? '',
    role: (person.attributes['consultation.role'] || self?.role) ?? '',
    self: self !== undefined,
    microphone: voiceState(voices, self !== undefined),
    speaking: person.isSpeaking,
    quality: linkQuality(person.connectionQuality),
    receives: readReceives(person.attributes['consultation.receives'] ?? '', sent.filter((pub) => !pub.isMuted)),
    waiting: !isInside(person),
    aside: isSet(person.attributes['consultation.aside']),
    beside: readBeside(person.attributes['consultation.beside'] ?? ''),
    emergency: isSet(person.attributes['consultation.emergency']),
  };
  const mine = self !== undefined;
  const tiles: Tile[] = [{ ...base, key: `${person.identity}/person`, kind: 'person', ...picture(face, mine) }];
  for (const pub of videos) {
    if (pub === face) continue;
    const kind = pub.source === 'screen_share' ? 'screen' : 'extra';
    if (kind === 'extra' && pub.isMuted) continue;
    tiles.push({ ...base, key: `${person.identity}/${pub.trackSid}`, kind, ...picture(pub, mine), mirrored: false });
  }
  return tiles;
}

function voiceState(voices: readonly PublicationLike[], mine: boolean): MicrophoneState {
  const open = voices.filter((pub) => !pub.isMuted);
  if (open.length === 0) return 'off';
  return mine && open.every((pub) => interrupted(pub)) ? 'interrupted' : 'on';
}

function picture(pub: PublicationLike | undefined, mine: boolean): Pick<Tile, 'camera' | 'mirrored' | 'picture'> {
  const camera = cameraState(pub, mine);
  const track = pub?.track;
  const shown = track !== undefined && (camera === 'on' || camera === 'paused');
  const facing = track?.mediaStreamTrack?.getSettings?.().facingMode;
  return { camera, mirrored: mine && facing !== 'environment', picture: shown ? pictureOf(track) : undefined };
}

function cameraState(pub: PublicationLike | undefined, mine: boolean): CameraState {
  if (pub === undefined || pub.isMuted) return 'off';
  if (pub.permissionStatus === 'not_allowed') return 'withheld';
  if (pub.track === undefined) return 'starting';
  if (mine) return interrupted(pub) ? 'interrupted' : 'on';
  return pub.track.streamState === 'paused' ? 'paused' : 'on';
}

/** The device itself fell silent: a phone call came in, a lid was closed, a cable pulled. */
function interrupted(pub: PublicationLike): boolean {
  const device = pub.track?.mediaStreamTrack;
  return device !== undefined && (device.muted || device.readyState === 'ended');
}

function linkQuality(quality: string): LinkQuality {
  if (quality === 'lost') return 'lost';
  return quality === 'poor' ? 'weak' : 'good';
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== 'false' && value !== '0';
}

/** One `Picture` per track, so that the view can tell by identity whether it changed. */
function pictureOf(track: TrackLike): Picture {
  let known = pictures.get(track);
  if (known === undefined) {
    known = { attach: (element) => void track.attach(element), detach: (element) => void track.detach(element) };
    pictures.set(track, known);
  }
  return known;
}
