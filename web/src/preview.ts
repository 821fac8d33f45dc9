/**
 * Camera and microphone before the call: opened one by one, so that the lack of one does not cost the other.
 * Nothing leaves the device from here. Entry points: `Preview.start`, `toggle`, `choose`, `handOver`, `stop`.
 */
import { createLocalAudioTrack, createLocalTracks, createLocalVideoTrack, LocalAudioTrack, LocalVideoTrack, VideoPresets } from 'livekit-client';
import { hasMediaDevices, type DeviceChoice } from './devices';
import { deviceFault, type DeviceFault } from './errors';

export type InputKind = 'camera' | 'microphone';

export interface InputState {
  /** What the person asked for. */
  wanted: boolean;
  starting: boolean;
  fault: DeviceFault | undefined;
}

export interface PreviewTracks {
  camera: LocalVideoTrack | undefined;
  microphone: LocalAudioTrack | undefined;
}

export class Preview {
  readonly inputs: Record<InputKind, InputState> = {
    camera: { wanted: true, starting: false, fault: undefined },
    microphone: { wanted: true, starting: false, fault: undefined },
  };
  readonly tracks: PreviewTracks = { camera: undefined, microphone: undefined };
  private closed = false;
  /** Counts the latest request per input: an answer to an older one is thrown away. */
  private turn: Record<InputKind, number> = { camera: 0, microphone: 0 };

  constructor(
    private readonly choice: DeviceChoice,
    private readonly changed: () => void,
    wanted: Record<InputKind, boolean>,
  ) {
    this.inputs.camera.wanted = wanted.camera;
    this.inputs.microphone.wanted = wanted.microphone;
  }

  /** Asks for both at once where both are wanted: one question of the browser instead of two. */
  async start(): Promise<void> {
    const { camera, microphone } = this.inputs;
    if (!(camera.wanted && microphone.wanted && hasMediaDevices())) {
      await Promise.all([camera.wanted ? this.open('camera') : undefined, microphone.wanted ? this.open('microphone') : undefined]);
      return;
    }
    const turns = { camera: this.begin('camera'), microphone: this.begin('microphone') };
    try {
      const tracks = await createLocalTracks({ audio: this.audioOptions(), video: this.videoOptions() });
      for (const track of tracks) {
        if (track instanceof LocalVideoTrack) this.settle('camera', turns.camera, track);
        else if (track instanceof LocalAudioTrack) this.settle('microphone', turns.microphone, track);
        else track.stop();
      }
    } catch {
      if (turns.microphone === this.turn.microphone) await this.open('microphone');
      if (turns.camera === this.turn.camera) await this.open('camera');
    }
  }

  async toggle(kind: InputKind): Promise<void> {
    const input = this.inputs[kind];
    input.wanted = !input.wanted || input.fault !== undefined;
    if (input.wanted) await this.open(kind);
    else this.drop(kind);
  }

  async choose(kind: InputKind, id: string): Promise<void> {
    this.choice[kind] = id;
    this.inputs[kind].wanted = true;
    await this.open(kind);
  }

  /** Gives the open tracks to the call; the preview forgets them. */
  handOver(): PreviewTracks {
    const tracks = { ...this.tracks };
    this.tracks.camera = undefined;
    this.tracks.microphone = undefined;
    this.closed = true;
    return tracks;
  }

  stop(): void {
    this.closed = true;
    this.tracks.camera?.stop();
    this.tracks.microphone?.stop();
    this.tracks.camera = undefined;
    this.tracks.microphone = undefined;
  }

  private async open(kind: InputKind): Promise<void> {
    const turn = this.begin(kind);
    try {
      if (!hasMediaDevices()) throw new TypeError('no media devices');
      const track = kind === 'camera' ? await createLocalVideoTrack(this.videoOptions()) : await createLocalAudioTrack(this.audioOptions());
      this.settle(kind, turn, track);
    } catch (error) {
      if (this.turn[kind] !== turn || this.closed) return;
      this.inputs[kind].starting = false;
      this.inputs[kind].fault = deviceFault(error, hasMediaDevices());
      // A device chosen earlier may be gone; the next attempt takes any.
      delete this.choice[kind];
      this.changed();
    }
  }

  private begin(kind: InputKind): number {
    this.release(kind);
    this.turn[kind] += 1;
    this.inputs[kind].starting = true;
    this.inputs[kind].fault = undefined;
    this.changed();
    return this.turn[kind];
  }

  private settle(kind: InputKind, turn: number, track: LocalVideoTrack | LocalAudioTrack): void {
    if (this.closed || this.turn[kind] !== turn) {
      track.stop();
      return;
    }
    this.inputs[kind].starting = false;
    if (track instanceof LocalVideoTrack) this.tracks.camera = track;
    else this.tracks.microphone = track;
    this.changed();
  }

  private drop(kind: InputKind): void {
    this.turn[kind] += 1;
    this.release(kind);
    this.inputs[kind].starting = false;
    this.inputs[kind].fault = undefined;
    this.changed();
  }

  private release(kind: InputKind): void {
    this.tracks[kind]?.stop();
    this.tracks[kind] = undefined;
  }

  private videoOptions() {
    return { resolution: VideoPresets.h720.resolution, ...(this.choice.camera ? { deviceId: this.choice.camera } : { facingMode: 'user' as const }) };
  }

  private audioOptions() {
    return this.choice.microphone ? { deviceId: this.choice.microphone } : {};
  }
}
