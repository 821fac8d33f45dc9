/** The call screen: banners, tiles, chat, controls. It draws a `CallState` and asks through `CallActions`. */
import { displayName, Stage } from './tiles';
import { listDevices, onDeviceChange } from '../devices';
import { roleName, t, type Key } from '../i18n';
import type { CallActions } from '../session';
import { announcements, others, selfTile, type CallState } from '../state';
import type { Announcer } from './announcer';
import { consultationNews } from '../consult';
import { deskProblem } from '../desk';
import { ChatPanel } from './chatpanel';
import { ConsultationPanel, names } from './consultation';
import { Controls, type ControlName } from './controls';
import { DeskDialog } from './deskdialog';
import { h, icon, setText } from './dom';
import type { IconName } from './icons';
import { SettingsDialog } from './settings';
import { Shortcuts } from './shortcuts';

/** How often the time is looked at, and how long before its end a consultation says so. */
const LOOK_AT_CLOCK_MS = 20_000;
const WARN_OF_END_MS = 5 * 60_000;

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
  private readonly panel: ConsultationPanel;
  private readonly desk: DeskDialog;
  private warnedOfEnd = 0;
  private readonly clock = window.setInterval(() => this.showBanner(), LOOK_AT_CLOCK_MS);
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
    const ask = (button: HTMLButtonElement, action: () => Promise<void>): void => void this.ask(button, action);
    this.panel = new ConsultationPanel(actions.desk, ask, () => actions.leave());
    this.desk = new DeskDialog(actions.desk, ask, () => actions.leave());
    this.settings = new SettingsDialog(actions.devices, this.shortcuts, (kind, id) => void actions.choose(kind, id));
    this.main = h(
      'main',
      { class: 'call', id: 'main' },
      h('h1', { class: 'visually-hidden', tabindex: -1 }, t('app.name')),
      this.banner,
      this.sound,
      this.problems,
      this.panel.element,
      h('h2', { class: 'visually-hidden' }, t('call.people')),
      this.stage.list,
      this.settings.element,
      this.desk.element,
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
    for (const { key, people, role, urgent } of consultationNews(before.consultation, state.consultation)) {
      this.announcer.say(t(key, { name: names(people), names: names(people), role: role ? roleName(role) : '' }), urgent);
    }
    this.announceSelf(before);
    this.panel.update(state.consultation);
    this.desk.update(state);
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
    this.desk.destroy();
    window.clearInterval(this.clock);
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
      case 'desk':
        this.desk.open();
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

  /** One call of a button at a time; what the relay did not do is said. */
  private async ask(button: HTMLButtonElement, action: () => Promise<void>): Promise<void> {
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    try {
      await action();
    } catch (error) {
      this.problem(deskProblem(error));
    } finally {
      button.removeAttribute('aria-busy');
    }
  }

  private showBanner(): void {
    const banner = bannerFor(this.state, navigator.onLine !== false, Date.now());
    const { endsAt } = this.state.consultation;
    if (banner?.key === 'call.ending' && endsAt !== undefined && this.warnedOfEnd !== endsAt) {
      this.warnedOfEnd = endsAt;
      this.announcer.say(t('call.ending'));
    }
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
export function bannerFor(state: CallState, online: boolean, nowMs = 0): Banner | undefined {
  const self = selfTile(state);
  if (state.connection === 'reconnecting') return { icon: 'lost', tone: 'warn', key: online ? 'call.reconnecting' : 'call.offline' };
  if (self?.quality === 'lost') return { icon: 'lost', tone: 'warn', key: 'call.lost_self' };
  const { gate, endsAt, saidNo } = state.consultation;
  if (gate === 'admission') return { icon: 'wait', tone: 'calm', key: 'call.waiting' };
  if (gate === 'consent') return { icon: 'info', tone: 'calm', key: 'call.no_consent' };
  if (gate === 'third_person') return { icon: 'wait', tone: 'calm', key: saidNo ? 'call.third_declined' : 'call.third_person' };
  if (endsAt !== undefined && endsAt - nowMs <= WARN_OF_END_MS) return { icon: 'wait', tone: 'calm', key: 'call.ending' };
  if (self?.quality === 'weak') return { icon: 'weak', tone: 'warn', key: 'call.weak' };
  if (!state.canPublish) return { icon: 'info', tone: 'calm', key: 'call.cannot_publish' };
  if (others(state).length === 0) return { icon: 'info', tone: 'calm', key: 'call.alone' };
  return undefined;
}
