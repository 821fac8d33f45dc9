/** Before the call: who you are, what will happen, your picture, your level, your devices, one large button. */
import type { DeviceChoice } from '../devices';
import { roleName, t } from '../i18n';
import type { Seat } from '../link';
import { HEARD, LevelMeter, playTestSound } from '../meter';
import type { InputKind, Preview } from '../preview';
import { DeviceSelects } from './deviceselect';
import { h, icon, setAttributes, setText } from './dom';

export interface LobbyOptions {
  seat: Seat;
  preview: Preview;
  devices: DeviceChoice;
  foreignHost: string | undefined;
  join(): void;
}

export class LobbyView {
  readonly element: HTMLElement;
  private readonly video = h('video', { autoplay: true, playsinline: true, 'aria-label': t('lobby.preview') });
  private readonly placeholder = h('p', { class: 'preview-off' });
  private readonly buttons = new Map<InputKind, HTMLButtonElement>();
  private readonly bar = h('div', { class: 'level-bar' });
  private readonly meterBox = h('div', { class: 'level', role: 'meter', 'aria-label': t('lobby.level'), 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': 0 }, this.bar);
  private readonly meterText = h('p', { class: 'level-text', id: 'level-text' });
  private readonly alerts = h('div', { class: 'alerts', role: 'alert' });
  private readonly hint = h('p', { class: 'note', hidden: true }, icon('info'), h('span', {}, t('lobby.ask')));
  private readonly joinText = h('span', {});
  private readonly meter = new LevelMeter();
  private readonly selects: DeviceSelects;
  private shownCamera: MediaStreamTrack | undefined;
  private metered: MediaStreamTrack | undefined;
  private heard = false;

  constructor(private readonly options: LobbyOptions) {
    this.video.muted = true;
    const { seat, preview } = options;
    this.selects = new DeviceSelects(options.devices, 'lobby', (kind, id) => {
      if (kind === 'speaker') options.devices.speaker = id;
      else void preview.choose(kind, id);
    });
    for (const kind of ['microphone', 'camera'] as const) {
      const button = h('button', { type: 'button', class: 'toggle', 'data-testid': kind === 'camera' ? 'camera' : 'mic', on: { click: () => void preview.toggle(kind) } });
      this.buttons.set(kind, button);
    }
    const join = h('button', { type: 'button', class: 'primary large', 'data-testid': 'join', on: { click: options.join } }, this.joinText);
    this.element = h(
      'div',
      { class: 'lobby' },
      h(
        'section',
        { class: 'card lobby-preview', 'aria-labelledby': 'preview-title' },
        h('h2', { id: 'preview-title', class: 'visually-hidden' }, t('lobby.preview')),
        h('div', { class: 'preview' }, this.video, this.placeholder),
        h('div', { class: 'row' }, this.buttons.get('microphone'), this.buttons.get('camera')),
        this.meterBox,
        this.meterText,
      ),
      h(
        'div',
        { class: 'lobby-side' },
        h('h1', { tabindex: -1 }, t('lobby.title')),
        h('p', { class: 'who' }, t('lobby.as'), ' ', h('strong', { 'data-testid': 'who' }, whoIs(seat))),
        options.foreignHost !== undefined && h('p', { class: 'note warn' }, icon('warning'), h('span', {}, t('lobby.foreign', { host: options.foreignHost }))),
        this.alerts,
        join,
        // Below the button, which must not move under a pointer when the devices have started.
        this.hint,
        h(
          'section',
          { class: 'what', 'aria-labelledby': 'what-title' },
          h('h2', { id: 'what-title' }, t('lobby.what')),
          h('ul', {}, ...(['see', 'who', 'stop', 'record'] as const).map((step) => h('li', {}, t(`lobby.step.${step}`)))),
        ),
        h('section', { 'aria-labelledby': 'devices-title' }, h('h2', { id: 'devices-title' }, t('lobby.devices')), this.selects.element, this.testSound()),
      ),
    );
    this.update();
  }

  update(): void {
    const { inputs, tracks } = this.options.preview;
    this.updateToggles();
    this.updateFaults();
    this.hint.hidden = !(inputs.camera.starting || inputs.microphone.starting);
    const camera = tracks.camera?.mediaStreamTrack;
    if (camera !== this.shownCamera) {
      this.shownCamera = camera;
      this.video.srcObject = camera ? new MediaStream([camera]) : null;
      if (camera) void this.selects.refresh(this.inUse());
    }
    const facing = camera?.getSettings().facingMode;
    this.video.classList.toggle('mirrored', facing !== 'environment');
    this.video.hidden = camera === undefined;
    this.placeholder.hidden = camera !== undefined;
    setText(this.placeholder, t(inputs.camera.starting ? 'lobby.camera.starting' : inputs.camera.fault ? 'lobby.camera.none' : 'lobby.camera.off'));
    this.updateMeter(tracks.microphone?.mediaStreamTrack);
    const nothing = !inputs.camera.starting && !inputs.microphone.starting && !tracks.camera && !tracks.microphone;
    setText(this.joinText, t(nothing ? 'lobby.join.listen' : 'lobby.join'));
  }

  destroy(): void {
    this.meter.stop();
    this.selects.destroy();
    this.video.srcObject = null;
  }

  private updateToggles(): void {
    for (const [kind, button] of this.buttons) {
      const input = this.options.preview.inputs[kind];
      const on = input.wanted && input.fault === undefined;
      const word = kind === 'camera' ? 'camera' : 'mic';
      setAttributes(button, { 'aria-busy': input.starting ? 'true' : undefined, 'data-on': String(on), title: t(`${word}.${on ? 'turn_off' : 'turn_on'}`) });
      // Role switch would need a fixed name; here the words themselves say the state, so the name does too.
      button.replaceChildren(icon(on ? word : `${word}_off`), h('span', {}, t(`${word}.${on ? 'on' : 'off'}`)), h('span', { class: 'visually-hidden' }, `. ${t(`${word}.${on ? 'turn_off' : 'turn_on'}`)}`));
    }
  }

  private updateFaults(): void {
    const { inputs } = this.options.preview;
    const lines = (['microphone', 'camera'] as const).flatMap((kind) => {
      const fault = inputs[kind].fault;
      return fault === undefined ? [] : [{ kind: `${kind}_${fault}`, words: t(`device.fault.${kind}.${fault}`) }];
    });
    const known = [...this.alerts.children].map((child) => (child as HTMLElement).dataset['kind']).join();
    if (known === lines.map((line) => line.kind).join()) return;
    this.alerts.replaceChildren(
      ...lines.map((line) => h('p', { class: 'note warn', 'data-testid': 'error', 'data-kind': line.kind }, icon('warning'), h('span', {}, line.words))),
    );
  }

  private updateMeter(track: MediaStreamTrack | undefined): void {
    if (track === this.metered) return;
    this.metered = track;
    this.heard = false;
    this.meterBox.hidden = track === undefined;
    setText(this.meterText, t(track ? 'lobby.level.say' : 'lobby.level.off'));
    if (track === undefined) {
      this.meter.stop();
      return;
    }
    void this.selects.refresh(this.inUse());
    this.meter.start(track, (level) => this.showLevel(level));
  }

  private showLevel(level: number): void {
    // A square root brings quiet speech into the visible part of the bar.
    const shown = Math.min(1, Math.sqrt(level) * 1.8);
    this.bar.style.transform = `scaleX(${shown.toFixed(3)})`;
    setAttributes(this.meterBox, { 'aria-valuenow': Math.round(shown * 10) * 10 });
    if (!this.heard && level > HEARD) {
      this.heard = true;
      setText(this.meterText, t('lobby.level.heard'));
    }
  }

  private inUse(): DeviceChoice {
    const { camera, microphone } = this.options.preview.tracks;
    const used: DeviceChoice = {};
    const cameraId = camera?.mediaStreamTrack.getSettings().deviceId;
    const microphoneId = microphone?.mediaStreamTrack.getSettings().deviceId;
    if (cameraId) used.camera = cameraId;
    if (microphoneId) used.microphone = microphoneId;
    return used;
  }

  private testSound(): HTMLElement {
    const result = h('p', { class: 'hint', 'aria-live': 'polite' });
    const play = (): void => {
      void playTestSound(this.options.devices.speaker)
        .catch(() => undefined)
        .then(() => setText(result, t('lobby.sound.done')));
    };
    return h('div', { class: 'test-sound' }, h('button', { type: 'button', class: 'secondary', on: { click: play } }, icon('sound'), h('span', {}, t('lobby.sound'))), result);
  }
}

/** Name and role, or the role alone when the platform gives no name. */
export function whoIs(seat: { name: string; role: string }): string {
  return seat.name === '' ? roleName(seat.role) : `${seat.name} · ${roleName(seat.role)}`;
}
