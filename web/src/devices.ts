/**
 * Cameras, microphones and speakers of this device.
 * Entry points: `listDevices`, `Device`, `canChooseSpeaker`, `onDeviceChange`.
 */

export type DeviceKind = 'camera' | 'microphone' | 'speaker';

export interface Device {
  id: string;
  /** Empty until the person has allowed access. */
  label: string;
}

export type DeviceLists = Record<DeviceKind, Device[]>;
export type DeviceChoice = Partial<Record<DeviceKind, string>>;

const KINDS: Record<DeviceKind, MediaDeviceKind> = {
  camera: 'videoinput',
  microphone: 'audioinput',
  speaker: 'audiooutput',
};

export function mediaKind(kind: DeviceKind): MediaDeviceKind {
  return KINDS[kind];
}

/** False on a page that was not opened securely, and in some browsers inside other applications. */
export function hasMediaDevices(): boolean {
  return typeof navigator.mediaDevices?.getUserMedia === 'function';
}

export function canChooseSpeaker(): boolean {
  return 'setSinkId' in HTMLMediaElement.prototype;
}

export function canShareScreen(): boolean {
  return typeof navigator.mediaDevices?.getDisplayMedia === 'function';
}

export async function listDevices(): Promise<DeviceLists> {
  const lists: DeviceLists = { camera: [], microphone: [], speaker: [] };
  if (!hasMediaDevices()) return lists;
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  for (const kind of ['camera', 'microphone', 'speaker'] as const) {
    if (kind === 'speaker' && !canChooseSpeaker()) continue;
    lists[kind] = all
      .filter((device) => device.kind === KINDS[kind] && device.deviceId !== '')
      .map((device) => ({ id: device.deviceId, label: device.label }));
  }
  return lists;
}

/** Calls back when something is plugged or pulled; answers how to stop. */
export function onDeviceChange(callback: () => void): () => void {
  if (!hasMediaDevices()) return () => undefined;
  navigator.mediaDevices.addEventListener('devicechange', callback);
  return () => navigator.mediaDevices.removeEventListener('devicechange', callback);
}
