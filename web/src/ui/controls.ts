/** The bar of buttons of the call. */
import { canShareScreen } from '../devices';
import { t, type Key } from '../i18n';
import { selfTile, type CallState } from '../state';
import { h, icon, setAttributes } from './dom';
import type { IconName } from './icons';

export type ControlName = 'mic' | 'camera' | 'flip' | 'screen' | 'chat' | 'desk' | 'settings' | 'leave';

export class Controls {
  readonly element: HTMLElement;
  private readonly buttons = new Map<ControlName, HTMLButtonElement>();
  private drawn = new Map<ControlName, string>();
  private busy = new Set<ControlName>();

  constructor(press: (control: ControlName) => void) {
    const ids: Record<ControlName, string> = { mic: 'mic', camera: 'camera', flip: 'flip', screen: 'screen', chat: 'chat-toggle', desk: 'desk', settings: 'settings', leave: 'leave' };
    for (const name of Object.keys(ids) as ControlName[]) {
      const button = h('button', { type: 'button', class: `control control-${name}`, 'data-testid': ids[name], on: { click: () => press(name) } });
      this.buttons.set(name, button);
    }
    setAttributes(this.button('chat'), { 'aria-controls': 'chat' });
    for (const name of ['desk', 'settings'] as const) setAttributes(this.button(name), { 'aria-haspopup': 'dialog' });
    this.button('desk').hidden = true;
    this.button('flip').hidden = true;
    this.button('screen').hidden = !canShareScreen();
    this.element = h('footer', { class: 'controls', 'aria-label': t('controls.label') }, h('div', { class: 'controls-row', role: 'group', 'aria-label': t('controls.label') }, ...this.buttons.values()));
    this.draw('flip', 'flip', 'control.flip', 'camera.flip', true);
    this.draw('desk', 'people', 'control.desk', 'desk.title', true);
    this.draw('settings', 'settings', 'control.settings', 'settings.title', true);
    this.draw('leave', 'leave', 'control.leave', 'control.leave.long', true);
    this.chat(false, 0);
  }

  button(name: ControlName): HTMLButtonElement {
    const button = this.buttons.get(name);
    if (button === undefined) throw new Error('every control has its button');
    return button;
  }

  update(state: CallState): void {
    const self = selfTile(state);
    const mic = self?.microphone ?? 'off';
    const camera = self?.camera ?? 'off';
    this.draw('mic', mic === 'off' ? 'mic_off' : 'mic', 'control.mic', mic === 'off' ? 'mic.turn_on' : 'mic.turn_off', mic !== 'off');
    this.draw('camera', camera === 'off' ? 'camera_off' : 'camera', 'control.camera', camera === 'off' ? 'camera.turn_on' : 'camera.turn_off', camera !== 'off');
    this.draw('screen', 'screen', state.sharing ? 'control.screen_stop' : 'control.screen', state.sharing ? 'screen.stop' : 'screen.start', true);
    setAttributes(this.button('screen'), { 'data-active': String(state.sharing) });
    this.button('desk').hidden = state.consultation.gate === '';
    for (const name of ['mic', 'camera', 'flip', 'screen'] as const) this.button(name).disabled = !state.canPublish;
  }

  /** The second camera of a phone gets a button of its own: showing a lesion must be one touch. */
  offerFlip(on: boolean): void {
    this.button('flip').hidden = !on;
  }

  chat(open: boolean, unread: number): void {
    const button = this.button('chat');
    const state = `${open}/${unread}`;
    if (this.drawn.get('chat') === state) return;
    this.drawn.set('chat', state);
    setAttributes(button, { 'aria-expanded': String(open), title: t(open ? 'chat.close' : 'chat.open') });
    button.replaceChildren(icon('chat'), h('span', { class: 'control-label' }, t('control.chat')));
    if (unread === 0) return;
    button.append(
      h('span', { class: 'unread', 'data-testid': 'chat-unread', 'aria-hidden': 'true' }, unread > 99 ? '99+' : String(unread)),
      h('span', { class: 'visually-hidden' }, `, ${t('chat.unread', { n: unread })}`),
    );
  }

  /** Runs an action once: a second press before it ends is ignored. */
  async during(name: ControlName, action: () => Promise<void>): Promise<void> {
    if (this.busy.has(name)) return;
    this.busy.add(name);
    this.button(name).setAttribute('aria-busy', 'true');
    try {
      await action();
    } finally {
      this.busy.delete(name);
      this.button(name).removeAttribute('aria-busy');
    }
  }

  private draw(name: ControlName, picture: IconName, label: Key, long: Key, on: boolean): void {
    const button = this.button(name);
    const state = `${picture}/${long}/${on}`;
    if (this.drawn.get(name) === state) return;
    this.drawn.set(name, state);
    setAttributes(button, { title: t(long), 'data-on': String(on) });
    button.replaceChildren(icon(picture), h('span', { class: 'control-label', 'aria-hidden': 'true' }, t(label)), h('span', { class: 'visually-hidden' }, t(long)));
  }
}
