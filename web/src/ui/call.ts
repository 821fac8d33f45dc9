/** The call screen: banners, tiles, chat, controls. It draws a `CallState` and asks through `CallActions`. */
import { displayName, Stage } from './tiles';
import { listDevices, onDeviceChange } from '../devices';
import { t, type Key } from '../i18n';
import type { CallActions } from '../session';
import { announcements, others, selfTile, type CallState } from '../state';
import type { Announcer } from './announcer';
import { ChatPanel } from './chatpanel';
import { Controls, type ControlName } from './controls';
import { h, icon, setText } from './dom';
import type { IconName } from './icons';
import { SettingsDialog } from './settings';
import { Shortcuts } from './shortcuts';

interface Banner {
  icon: IconName;
  tone: 'calm' | 'warn';
  key: Key;
}

export class CallView {
  readonly main: HTMLElement;
  readonly chat: ChatPanel;
  readonly controls: Controls;
  private readonly stage = new Stage();
  private readonly banner = h('p', { class: 'banner', hidden: true, 'data-testid': 'banner' });
  private readonly soundButton = h('button', { type: 'button', class: 'primary', 'data-testid': 'sound', on: { click: () => void this.actions.startSound() } }, icon('sound'), h('span', {}, t('call.sound')));
  private readonly sound = h('div', { class: 'banner warn', hidden: true }, h('span', {}, t('call.sound.why')), this.soundButton);
  private readonly problems = h('div', { class: 'problems', role: 'alert' });
  private readonly shortcuts = new Shortcuts((action) => this.press(action === 'microphone' ? 'mic' : action));
  private readonly settings: SettingsDialog;
  private readonly offline = (): void => this.showBanner();
  private readonly stopDevices = onDeviceChange(() => void this.countCameras());

  constructor(
    private readonly actions: CallActions,
    private state: CallState,
    private readonly announcer: Announcer,
    private readonly changed: () => void,
  ) {
    this.controls = new Controls((control) => this.press(control));
    this.chat = new ChatPanel(actions, () => this.openChat(false));
    this.settings = new SettingsDialog(actions.devices, this.shortcuts, (kind, id) => void actions.choose(kind, id));
    this.main = h(
      'main',
      { class: 'call', id: 'main' },
      h('h1', { class: 'visually-hidden', tabindex: -1 }, t('app.name')),
      this.banner,
      this.sound,
      this.problems,
      h('h2', { class: 'visually-hidden' }, t('call.people')),
      this.stage.list,
      this.settings.element,
    );
    window.addEventListener('offline', this.offline);
    window.addEventListener('online', this.offline);
    this.update(state);
    this.chat.show(actions.chat.open);
    this.controls.chat(actions.chat.open, actions.chat.unread);
    void this.countCameras();
  }

  update(state: CallState): void {
    const before = this.state;
    this.state = state;
    for (const said of announcements(before, state)) {
      const name = 'tile' in said ? displayName(said.tile) : '';
      this.announcer.say(t(said.key, { name }), said.key === 'say.reconnecting');
    }
    this.announceSelf(before);
    this.stage.update(state.tiles);
    this.controls.update(state);
    this.sound.hidden = !state.soundBlocked;
    this.showBanner();
  }

  /** Draws a message that came, went, or failed. */
  chatChanged(incoming: { author: string; role: string } | undefined): void {
    this.chat.update();
    this.controls.chat(this.actions.chat.open, this.actions.chat.unread);
    // An open chat is a live region of its own.
    if (incoming && !this.actions.chat.open) this.announcer.say(t('chat.new', { name: displayName({ name: incoming.author, role: incoming.role }) }));
    this.changed();
  }

  problem(key: Key): void {
    for (const old of [...this.problems.children]) if ((old as HTMLElement).dataset['kind'] === key) old.remove();
    // Three at most: older ones would push the people off a small screen.
    while (this.problems.children.length >= 3) this.problems.firstElementChild?.remove();
    const close = h('button', { type: 'button', class: 'plain', 'aria-label': t('message.dismiss'), title: t('message.dismiss'), on: { click: () => note.remove() } }, icon('close'));
    const note = h('div', { class: 'banner warn', 'data-testid': 'error', 'data-kind': key }, icon('warning'), h('span', {}, t(key)), close);
    this.problems.append(note);
  }

  destroy(): void {
    window.removeEventListener('offline', this.offline);
    window.removeEventListener('online', this.offline);
    this.stopDevices();
    this.shortcuts.destroy();
    this.settings.destroy();
    this.stage.destroy();
  }

  private press(control: ControlName): void {
    const { actions, controls } = this;
    if (controls.button(control).disabled) return;
    switch (control) {
      case 'mic':
        void controls.during('mic', () => actions.toggle('microphone'));
        break;
      case 'camera':
        void controls.during('camera', () => actions.toggle('camera'));
        break;
      case 'flip':
        void controls.during('flip', () => actions.flipCamera());
        break;
      case 'screen':
        void controls.during('screen', () => actions.toggleScreen());
        break;
      case 'chat':
        this.openChat(!actions.chat.open);
        break;
      case 'settings':
        this.settings.open(actions.devices);
        break;
      case 'leave':
        actions.leave();
    }
  }

  private openChat(open: boolean): void {
    this.actions.chat.show(open);
    this.controls.chat(open, this.actions.chat.unread);
    this.chat.show(open);
    this.changed();
    if (!open) this.controls.button('chat').focus();
  }

  private announceSelf(before: CallState): void {
    const then = selfTile(before);
    const now = selfTile(this.state);
    if (!then || !now) return;
    if ((then.microphone === 'off') !== (now.microphone === 'off')) this.announcer.say(t(now.microphone === 'off' ? 'say.mic_off' : 'say.mic_on'));
    if ((then.camera === 'off') !== (now.camera === 'off')) this.announcer.say(t(now.camera === 'off' ? 'say.camera_off' : 'say.camera_on'));
  }

  private showBanner(): void {
    const banner = bannerFor(this.state, navigator.onLine !== false);
    this.banner.hidden = banner === undefined;
    if (banner === undefined) return;
    this.banner.classList.toggle('warn', banner.tone === 'warn');
    const words = this.banner.querySelector('span');
    if (words && this.banner.dataset['key'] === banner.key) setText(words, t(banner.key));
    else this.banner.replaceChildren(icon(banner.icon), h('span', {}, t(banner.key)));
    this.banner.dataset['key'] = banner.key;
  }

  private async countCameras(): Promise<void> {
    const touch = typeof matchMedia === 'function' && matchMedia('(pointer: coarse)').matches;
    this.controls.offerFlip(touch && (await listDevices()).camera.length > 1);
  }
}

/** The one thing most worth knowing now. */
export function bannerFor(state: CallState, online: boolean): Banner | undefined {
  const self = selfTile(state);
  if (state.connection === 'reconnecting') return { icon: 'lost', tone: 'warn', key: online ? 'call.reconnecting' : 'call.offline' };
  if (self?.quality === 'lost') return { icon: 'lost', tone: 'warn', key: 'call.lost_self' };
  if (self?.waiting) return { icon: 'wait', tone: 'calm', key: 'call.waiting' };
  if (self?.quality === 'weak') return { icon: 'weak', tone: 'warn', key: 'call.weak' };
  if (!state.canPublish) return { icon: 'info', tone: 'calm', key: 'call.cannot_publish' };
  if (state.tiles.some((tile) => tile.aside)) return { icon: 'aside', tone: 'calm', key: 'call.aside' };
  if (others(state).length === 0) return { icon: 'info', tone: 'calm', key: 'call.alone' };
  return undefined;
}
