/** Devices and shortcuts during the call, in a modal dialog of the browser's own (focus stays inside). */
import type { DeviceChoice, DeviceKind } from '../devices';
import { t } from '../i18n';
import { DeviceSelects } from './deviceselect';
import { h, icon } from './dom';
import type { Shortcuts } from './shortcuts';

export class SettingsDialog {
  readonly element: HTMLDialogElement;
  private readonly selects: DeviceSelects;

  constructor(devices: DeviceChoice, shortcuts: Shortcuts, choose: (kind: DeviceKind, id: string) => void) {
    this.selects = new DeviceSelects(devices, 'settings', choose);
    const use = h('input', { type: 'checkbox', id: 'use-shortcuts', on: { change: () => (shortcuts.enabled = use.checked) } });
    use.checked = shortcuts.enabled;
    const close = (): void => this.element.close();
    this.element = h(
      'dialog',
      { class: 'settings', 'aria-labelledby': 'settings-title', on: { click: (event) => event.target === this.element && close() } },
      h(
        'div',
        { class: 'settings-body' },
        h(
          'div',
          { class: 'chat-head' },
          h('h2', { id: 'settings-title' }, t('settings.title')),
          h('button', { type: 'button', class: 'plain', 'aria-label': t('settings.close'), title: t('settings.close'), on: { click: close } }, icon('close')),
        ),
        this.selects.element,
        h('h3', {}, t('settings.shortcuts')),
        h('label', { class: 'check', for: 'use-shortcuts' }, use, h('span', {}, t('settings.shortcuts.use'))),
        h('ul', { class: 'keys' }, ...(['m', 'v', 'c'] as const).map((key) => h('li', {}, h('kbd', {}, key.toUpperCase()), ' ', t(`settings.shortcuts.${key}`)))),
        h('p', { class: 'hint' }, t('settings.shortcuts.note')),
      ),
    );
  }

  open(inUse: DeviceChoice): void {
    void this.selects.refresh(inUse);
    if (!this.element.open) this.element.showModal();
  }

  destroy(): void {
    this.selects.destroy();
    if (this.element.open) this.element.close();
  }
}
