/**
 * One call: the only module that holds a room of the client library.
 * Reports a `CallState` after every change; never draws. Entry points: `Session.join`, `CallActions`, `leave`.
 */
import { ConnectionState, DisconnectReason, LocalVideoTrack, Room, RoomEvent, Track, VideoPresets, type LocalTrack } from 'livekit-client';
import { askBusy } from './busy';
import { ChatLog, collect, MAX_MESSAGE, type ChatEntry } from './chat';
import { hasMediaDevices, listDevices, mediaKind, type DeviceChoice, type DeviceKind } from './devices';
import { connectFault, deviceFault, disconnectFault, type Fault } from './errors';
import { Desk, type DeskActions } from './desk';
import type { Key } from './i18n';
import type { Link, Seat } from './link';
import type { InputKind, PreviewTracks } from './preview';
import { snapshot, type RoomLike } from './snapshot';
import type { CallState } from './state';

const CHAT_TOPIC = 'lk.chat';
/** The library allows 15 s for the socket, 5 s for the first message and 15 s for the media; it may retry without end. */
const JOIN_DEADLINE_MS = 38_000;

/** What the call screen can ask for. */
export interface CallActions {
  readonly chat: ChatLog;
  readonly devices: DeviceChoice;
  readonly desk: DeskActions;
  toggle(kind: InputKind): Promise<void>;
  toggleScreen(): Promise<void>;
  flipCamera(): Promise<void>;
  choose(kind: DeviceKind, id: string): Promise<void>;
  send(text: string): Promise<void>;
  resend(entry: ChatEntry): Promise<void>;
  startSound(): Promise<void>;
  leave(): void;
}

export interface SessionEvents {
  changed(state: CallState): void;
  chat(entry: ChatEntry): void;
  /** Something went wrong that does not end the call. */
  problem(key: Key): void;
  /** The call is over; no fault when the person left. */
  over(fault: Fault | undefined): void;
}

export class Session implements CallActions {
  readonly chat = new ChatLog();
  readonly desk: DeskActions;
  private readonly room: Room;
  private readonly sound = document.createElement('div');
  private pending: Partial<Record<InputKind, LocalTrack>> = {};
  private queued = false;
  private joined = false;
  private ended = false;
  private wakeLock: { release(): Promise<void> } | undefined;

  constructor(
    private readonly link: Link,
    private readonly seat: Seat,
    readonly devices: DeviceChoice,
    private readonly events: SessionEvents,
  ) {
    this.room = new Room({
      adaptiveStream: true,
      dynacast: true,
      disconnectOnPageLeave: true,
      videoCaptureDefaults: { resolution: VideoPresets.h720.resolution, ...(devices.camera ? { deviceId: devices.camera } : {}) },
      ...(devices.microphone ? { audioCaptureDefaults: { deviceId: devices.microphone } } : {}),
      ...(devices.speaker ? { audioOutput: { deviceId: devices.speaker } } : {}),
    });
    this.desk = new Desk(link, seat, () => this.token ?? link.token);
    this.sound.hidden = true;
    this.listen();
  }

  /** The state as it is now. */
  get state(): CallState {
    // The library's types narrow what we read; the shape is what counts.
    return snapshot(this.room as unknown as RoomLike, this.seat);
  }

  /** The token in use: the relay renews it during the call. */
  get token(): string | undefined {
    // Not in the library's public types, so it is read with care and never relied upon.
    const engine = (this.room as unknown as { engine?: { token?: unknown } }).engine;
    return typeof engine?.token === 'string' ? engine.token : undefined;
  }

  /** Connects, then sends what the lobby opened. Answers `true` once in the call. */
  async join(tracks: PreviewTracks): Promise<boolean> {
    const { link } = this;
    document.body.append(this.sound);
    this.pending = {
      ...(tracks.microphone ? { microphone: tracks.microphone } : {}),
      ...(tracks.camera ? { camera: tracks.camera } : {}),
    };
    const deadline = window.setTimeout(() => {
      this.finish({ kind: 'unreachable' });
      void this.room.disconnect(true).catch(() => undefined);
    }, JOIN_DEADLINE_MS);
    try {
      await this.room.connect(link.url, link.token);
    } catch (error) {
      let fault = connectFault(error);
      if (fault?.kind === 'unreachable') {
        const retryAfter = await askBusy(link);
        if (retryAfter !== undefined) fault = { kind: 'busy', retryAfter };
      }
      this.finish(fault);
      return false;
    } finally {
      window.clearTimeout(deadline);
    }
    if (this.ended) return false;
    this.joined = true;
    this.events.changed(this.state);
    void this.keepAwake();
    // The voice goes first: it must be there even when the camera is slow.
    void this.publishPending();
    return true;
  }

  async toggle(kind: InputKind): Promise<void> {
    const local = this.room.localParticipant;
    const pub = local.getTrackPublication(kind === 'camera' ? Track.Source.Camera : Track.Source.Microphone);
    const interrupted = pub?.track !== undefined && pub.track.mediaStreamTrack.readyState === 'ended';
    const on = pub === undefined || pub.isMuted || interrupted;
    try {
      if (interrupted && !pub.isMuted && pub.track) await local.unpublishTrack(pub.track, true);
      if (kind === 'camera') await local.setCameraEnabled(on, this.devices.camera ? { deviceId: this.devices.camera } : undefined);
      else await local.setMicrophoneEnabled(on, this.devices.microphone ? { deviceId: this.devices.microphone } : undefined);
    } catch (error) {
      this.events.problem(inputProblem(kind, error));
    }
    this.touch();
  }

  async toggleScreen(): Promise<void> {
    const on = !this.room.localParticipant.isScreenShareEnabled;
    try {
      // Text and medical images need sharp lines more than smooth motion.
      await this.room.localParticipant.setScreenShareEnabled(on, { contentHint: 'detail', selfBrowserSurface: 'exclude', surfaceSwitching: 'include' });
    } catch (error) {
      // Closing the browser's own chooser is a decision, not a fault.
      if (deviceFault(error, hasMediaDevices()) !== 'denied') this.events.problem('screen.failed');
    }
    this.touch();
  }

  async flipCamera(): Promise<void> {
    const track = this.room.localParticipant.getTrackPublication(Track.Source.Camera)?.track;
    try {
      if (track instanceof LocalVideoTrack && !track.isMuted) {
        const facing = track.mediaStreamTrack.getSettings().facingMode;
        if (facing === 'user' || facing === 'environment') {
          await track.restartTrack({ facingMode: facing === 'user' ? 'environment' : 'user', resolution: VideoPresets.h720.resolution });
          this.watch(track);
          return;
        }
      }
      const { camera } = await listDevices();
      const now = this.room.getActiveDevice('videoinput');
      const next = camera[(camera.findIndex((device) => device.id === now) + 1) % camera.length];
      if (next) await this.choose('camera', next.id);
    } catch {
      this.events.problem('device.switch_failed');
    } finally {
      this.touch();
    }
  }

  async choose(kind: DeviceKind, id: string): Promise<void> {
    const before = this.devices[kind];
    this.devices[kind] = id;
    try {
      await this.room.switchActiveDevice(mediaKind(kind), id);
    } catch {
      if (before === undefined) delete this.devices[kind];
      else this.devices[kind] = before;
      this.events.problem('device.switch_failed');
    }
    this.touch();
  }

  async send(text: string): Promise<void> {
    const trimmed = text.trim().slice(0, MAX_MESSAGE);
    if (trimmed === '') return;
    const { name, role } = this.seat;
    const entry = this.chat.add({ author: name, role, self: true, text: trimmed, cut: false, at: Date.now(), state: 'sending' });
    await this.deliver(entry);
  }

  async resend(entry: ChatEntry): Promise<void> {
    if (entry.state === 'failed') await this.deliver(entry);
  }

  async startSound(): Promise<void> {
    await this.room.startAudio().catch(() => undefined);
    this.touch();
  }

  leave(): void {
    void this.room.disconnect(true).catch(() => undefined);
    this.finish(undefined);
  }

  private listen(): void {
    const room = this.room;
    const touch = (): void => this.touch();
    for (const event of [
      RoomEvent.ConnectionStateChanged, RoomEvent.Reconnecting, RoomEvent.SignalReconnecting, RoomEvent.Reconnected,
      RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.ParticipantNameChanged,
      RoomEvent.ParticipantAttributesChanged, RoomEvent.TrackPublished, RoomEvent.TrackUnpublished, RoomEvent.TrackMuted,
      RoomEvent.TrackUnmuted, RoomEvent.ActiveSpeakersChanged, RoomEvent.ConnectionQualityChanged,
      RoomEvent.TrackStreamStateChanged, RoomEvent.TrackSubscriptionPermissionChanged, RoomEvent.TrackSubscriptionStatusChanged,
      RoomEvent.AudioPlaybackStatusChanged, RoomEvent.LocalTrackUnpublished, RoomEvent.Moved,
    ] as const) {
      room.on(event, touch);
    }
    room.on(RoomEvent.TrackSubscribed, (track) => {
      if (track.kind === Track.Kind.Audio) this.sound.append(track.attach());
      this.touch();
    });
    room.on(RoomEvent.TrackUnsubscribed, (track) => {
      for (const element of track.detach()) if (element.parentNode === this.sound) element.remove();
      this.touch();
    });
    room.on(RoomEvent.LocalTrackPublished, (pub) => {
      if (pub.track) this.watch(pub.track);
      this.touch();
    });
    room.on(RoomEvent.ParticipantPermissionsChanged, () => {
      void this.publishPending();
      this.touch();
    });
    room.on(RoomEvent.LocalAudioSilenceDetected, () => this.events.problem('device.silent'));
    room.on(RoomEvent.Disconnected, (reason?: DisconnectReason) => {
      if (this.joined) this.finish(disconnectFault(reason));
    });
    room.registerTextStreamHandler(CHAT_TOPIC, (reader, from) => void this.receive(reader, from.identity));
  }

  private async receive(stream: AsyncIterable<string>, identity: string): Promise<void> {
    try {
      const { text, cut } = await collect(stream);
      if (text.trim() === '' || this.ended) return;
      const author = this.room.remoteParticipants.get(identity);
      const entry = this.chat.add({
        author: author?.name ?? '',
        role: author?.attributes['consultation.role'] ?? '',
        self: false,
        text,
        cut,
        at: Date.now(),
        state: 'received',
      });
      this.events.chat(entry);
    } catch {
      // The sender vanished in the middle of a message: half a sentence is not shown.
    }
  }

  private async deliver(entry: ChatEntry): Promise<void> {
    entry.state = 'sending';
    this.events.chat(entry);
    try {
      await this.room.localParticipant.sendText(entry.text, { topic: CHAT_TOPIC });
      entry.state = 'sent';
    } catch {
      entry.state = 'failed';
    }
    this.events.chat(entry);
  }

  /** Sends what the lobby opened, as soon as the relay allows it. */
  private async publishPending(): Promise<void> {
    for (const kind of ['microphone', 'camera'] as const) {
      const track = this.pending[kind];
      if (track === undefined || this.ended || this.room.localParticipant.permissions?.canPublish === false) continue;
      delete this.pending[kind];
      try {
        await this.room.localParticipant.publishTrack(track);
      } catch {
        track.stop();
        if (!this.ended) this.events.problem(`publish.${kind}_failed`);
      }
      this.touch();
    }
  }

  /** Follows a device that falls silent by itself: a phone call, a closed lid. */
  private watch(track: LocalTrack): void {
    const touch = (): void => this.touch();
    for (const event of ['mute', 'unmute', 'ended'] as const) track.mediaStreamTrack.addEventListener(event, touch);
  }

  /** Reports at most once per turn of the event loop, however many events came. */
  private touch(): void {
    if (this.queued || !this.joined || this.ended) return;
    this.queued = true;
    queueMicrotask(() => {
      this.queued = false;
      if (!this.ended && this.room.state !== ConnectionState.Disconnected) this.events.changed(this.state);
    });
  }

  private finish(fault: Fault | undefined): void {
    if (this.ended) return;
    this.ended = true;
    for (const track of Object.values(this.pending)) track.stop();
    this.pending = {};
    for (const pub of this.room.localParticipant.trackPublications.values()) pub.track?.stop();
    this.sound.remove();
    void this.wakeLock?.release().catch(() => undefined);
    this.wakeLock = undefined;
    this.events.over(fault);
  }

  /** A phone that falls asleep drops the call. */
  private async keepAwake(): Promise<void> {
    const lock = (navigator as { wakeLock?: { request(kind: 'screen'): Promise<{ release(): Promise<void> }> } }).wakeLock;
    if (lock === undefined) return;
    const ask = async (): Promise<void> => {
      if (this.ended) {
        document.removeEventListener('visibilitychange', retry);
        return;
      }
      if (document.visibilityState === 'visible') this.wakeLock = await lock.request('screen').catch(() => undefined);
    };
    const retry = (): void => void ask();
    document.addEventListener('visibilitychange', retry);
    await ask();
  }
}

function inputProblem(kind: InputKind, error: unknown): Key {
  const fault = deviceFault(error, hasMediaDevices());
  // Anything that is not a device's fault happened on the way to the relay.
  return fault === 'other' ? `publish.${kind}_failed` : `device.fault.${kind}.${fault}`;
}
