/**
 * Sound that stays on this device: the level of the microphone, and a test sound.
 * Entry points: `LevelMeter`, `playTestSound`.
 */

const INTERVAL_MS = 80;
/** Root mean square that speech at arm's length reaches on a laptop microphone. */
export const HEARD = 0.02;

export class LevelMeter {
  private context: AudioContext | undefined;
  private timer: number | undefined;

  /** Reports a level between 0 and 1 until `stop`. */
  start(track: MediaStreamTrack, report: (level: number) => void): void {
    this.stop();
    if (typeof AudioContext !== 'function') return;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.context = context;
    // Some browsers start it only after the first touch.
    void context.resume().catch(() => undefined);
    this.timer = window.setInterval(() => {
      if (context.state === 'suspended') void context.resume().catch(() => undefined);
      analyser.getFloatTimeDomainData(samples);
      report(level(samples));
    }, INTERVAL_MS);
  }

  stop(): void {
    window.clearInterval(this.timer);
    this.timer = undefined;
    void this.context?.close().catch(() => undefined);
    this.context = undefined;
  }
}

/** Root mean square of samples between -1 and 1. */
export function level(samples: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < samples.length; i += 1) sum += (samples[i] ?? 0) ** 2;
  return samples.length === 0 ? 0 : Math.min(1, Math.sqrt(sum / samples.length));
}

/** Two soft notes on the chosen speaker. */
export async function playTestSound(speaker: string | undefined): Promise<void> {
  const context = new AudioContext();
  try {
    const routable = context as AudioContext & { setSinkId?(id: string): Promise<void> };
    if (speaker && routable.setSinkId) await routable.setSinkId(speaker);
    await context.resume();
    const gain = context.createGain();
    gain.gain.setValueAtTime(0.0001, context.currentTime);
    gain.gain.exponentialRampToValueAtTime(0.2, context.currentTime + 0.05);
    gain.gain.exponentialRampToValueAtTime(0.0001, context.currentTime + 1);
    const tone = context.createOscillator();
    tone.frequency.setValueAtTime(523, context.currentTime);
    tone.frequency.setValueAtTime(659, context.currentTime + 0.4);
    tone.connect(gain).connect(context.destination);
    tone.start();
    tone.stop(context.currentTime + 1);
    await new Promise((done) => tone.addEventListener('ended', done));
  } finally {
    await context.close().catch(() => undefined);
  }
}
