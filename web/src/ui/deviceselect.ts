/** The choice of a camera, a microphone and a speaker; the same in the lobby and in the settings. */
import { canChooseSpeaker, listDevices, onDeviceChange, type DeviceChoice, type DeviceKind } from '../devices';
import { t } from '../i18n';
import { h } from './dom';

export class DeviceSelects {
  readonly element = h('div', { class: 'devices' });
  private readonly selects = new Map<DeviceKind, HTMLSelectElement>();
  private readonly stopListening: () => void;
  private latest = 0;

  constructor(
    private readonly choice: DeviceChoice,
    prefix: string,
    choose: (kind: DeviceKind, id: string) => void,
  ) {
    for (const kind of ['camera', 'microphone', 'speaker'] as const) {
      if (kind === 'speaker' && !canChooseSpeaker()) continue;
      const id = `${prefix}-${kind}`;
      const select = h('select', { id, on: { change: () => choose(kind, select.value) } });
      this.selects.set(kind, select);
      this.element.append(h('div', { class: 'field', hidden: true }, h('label', { for: id }, t(`device.${kind}`)), select));
    }
    this.stopListening = onDeviceChange(() => void this.refresh());
    void this.refresh();
  }

  /** Reads the devices again; labels appear only once access was allowed. */
  async refresh(inUse: DeviceChoice = {}): Promise<void> {
    this.latest += 1;
    const turn = this.latest;
    const lists = await listDevices();
    if (turn !== this.latest) return;
    for (const [kind, select] of this.selects) {
      const devices = lists[kind];
      select.replaceChildren(
        ...devices.map((device, i) => h('option', { value: device.id }, device.label || t('device.numbered', { kind: t(`device.${kind}`), n: i + 1 }))),
      );
      const wanted = inUse[kind] ?? this.choice[kind];
      if (wanted !== undefined && devices.some((device) => device.id === wanted)) select.value = wanted;
      if (select.parentElement) select.parentElement.hidden = devices.length === 0;
    }
  }

  destroy(): void {
    this.stopListening();
  }
}
