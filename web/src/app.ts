/**
 * The course of a visit: lobby, joining, call, and how it ends. Holds the one session and the one view.
 * Entry point: `App.start`.
 */
import type { DeviceChoice } from './devices';
import type { Fault } from './errors';
import { LANGUAGES, language, setLanguage, t, type Key, type Language } from './i18n';
import { foreignHost, keepToken, readToken, takeLink, validity, type Link, type Seat } from './link';
import { Preview } from './preview';
import { Session } from './session';
import { others } from './state';
import { swap } from './swap';
import { Announcer } from './ui/announcer';
import { CallView } from './ui/call';
import { h, setText } from './ui/dom';
import { LobbyView } from './ui/lobby';
import { faultView, joiningView, leftView } from './ui/notice';
import { writeSetting } from './ui/shortcuts';

type Phase = 'lobby' | 'joining' | 'call' | 'reconnecting' | 'left' | 'error';
/** How often a busy relay is asked again by itself: some minutes, then the person decides. */
const MOST_RETRIES = 30;
/** A token with less left than this is swapped anew, on top of the leeway that clocks get: joining takes some seconds. */
const SWAP_BEFORE_MS = 90_000;
export const LANGUAGE_KEY = 'colloque.language';

export class App {
  private phase: Phase = 'lobby';
  private link: Link | undefined;
  private seat: Seat | undefined;
  private fault: Fault | undefined;
  private preview: Preview | undefined;
  private session: Session | undefined;
  private lobby: LobbyView | undefined;
  private call: CallView | undefined;
  private retryTimer: number | undefined;
  private retries = 0;
  private readonly devices: DeviceChoice = {};
  private readonly wanted = { camera: true, microphone: true };
  private readonly announcer = new Announcer();
  private readonly state = h('span', { class: 'state', 'data-testid': 'state' });
  private readonly body = h('div', { class: 'page' });

  constructor(private readonly root: HTMLElement) {}

  start(): void {
    this.announcer.mount(document.body);
    window.addEventListener('hashchange', () => this.openLink());
    window.addEventListener('pagehide', () => this.rememberToken());
    this.openLink();
  }

  /** Reads the link afresh; a new link in the same tab ends what ran before. */
  private openLink(): void {
    this.session?.leave();
    this.session = undefined;
    this.link = takeLink(window);
    this.seat = this.link && readToken(this.link.token);
    void this.refresh().then((fault) => {
      const broken = fault ?? this.linkFault();
      if (broken === 'gone') return;
      if (broken) this.fail(broken);
      else this.enterLobby();
    });
  }

  /** Swaps the code of an invitation where its token is missing or nearly over; `gone` when another link came meanwhile. */
  private async refresh(): Promise<Fault | 'gone' | undefined> {
    const asked = this.link;
    if (asked?.code === undefined) return undefined;
    const soon = Date.now() + SWAP_BEFORE_MS;
    if (this.seat !== undefined && validity(this.seat, soon) === 'valid') return undefined;
    this.preview?.stop();
    this.preview = undefined;
    this.go('joining');
    const answer = await swap(asked);
    if (this.link !== asked) return 'gone';
    if ('kind' in answer) return answer;
    this.link = keepToken(window, asked, answer.token);
    this.seat = readToken(this.link.token);
    return undefined;
  }

  private linkFault(): Fault | undefined {
    if (typeof RTCPeerConnection !== 'function' || typeof WebSocket !== 'function') return { kind: 'unsupported' };
    if (this.link === undefined) return { kind: 'link_missing' };
    if (this.seat === undefined) return { kind: 'link_broken' };
    const state = validity(this.seat, Date.now());
    return state === 'valid' ? undefined : { kind: state };
  }

  private enterLobby(): void {
    this.fault = undefined;
    this.preview?.stop();
    this.preview = new Preview(this.devices, () => this.lobby?.update(), this.wanted);
    this.go('lobby');
    void this.preview.start();
  }

  /** Joins once more without the lobby; camera and microphone rest until the relay lets us in. */
  private joinAgain(): void {
    this.retries += 1;
    this.preview = new Preview(this.devices, () => undefined, this.wanted);
    this.join(true);
  }

  /** Joins with a token that is good for it: one from a link may have run out while the person looked at the camera. */
  private join(again = false): void {
    const { seat, preview } = this;
    if (seat === undefined || preview === undefined) return;
    if (this.link?.code !== undefined && validity(seat, Date.now() + SWAP_BEFORE_MS) !== 'valid') {
      this.wanted.camera = preview.inputs.camera.wanted;
      this.wanted.microphone = preview.inputs.microphone.wanted;
      void this.refresh().then((fault) => {
        if (fault === 'gone') return;
        if (fault) return this.fail(fault);
        this.joinAgain();
      });
      return;
    }
    this.joinNow(again);
  }

  private joinNow(again: boolean): void {
    const { link, seat, preview } = this;
    if (link === undefined || seat === undefined || preview === undefined) return;
    this.wanted.camera = preview.inputs.camera.wanted;
    this.wanted.microphone = preview.inputs.microphone.wanted;
    // Who joins before the devices have opened still wants them: they are opened again inside the call.
    const late = (['microphone', 'camera'] as const).filter((kind) => preview.inputs[kind].wanted && (again || preview.inputs[kind].starting));
    const tracks = preview.handOver();
    this.preview = undefined;
    const session: Session = new Session(link, seat, this.devices, {
      changed: (state) => {
        if (this.session !== session) return;
        const phase = state.connection === 'reconnecting' ? 'reconnecting' : 'call';
        if (this.call) {
          this.phase = phase;
          this.call.update(state);
          this.showState();
        } else this.go(phase);
      },
      chat: (entry) => this.session === session && this.call?.chatChanged(entry.self ? undefined : entry),
      problem: (key: Key) => this.session === session && this.call?.problem(key),
      over: (fault) => {
        if (this.session !== session) return;
        this.rememberToken();
        this.session = undefined;
        if (fault) this.fail(fault);
        else if (this.phase === 'joining') this.enterLobby();
        else this.go('left');
      },
    });
    this.session = session;
    this.go('joining');
    void session.join(tracks).then((joined) => {
      if (!joined) return;
      this.retries = 0;
      for (const kind of late) void session.toggle(kind);
    });
  }

  /** After a fault the link gets another chance, even against this device's clock: the relay decides. */
  private retry(): void {
    this.retries = 0;
    if (this.link === undefined || this.seat === undefined || this.link.code !== undefined) this.openLink();
    else this.enterLobby();
  }

  private fail(fault: Fault): void {
    const { retryAfter, ...rest } = fault;
    const again = retryAfter !== undefined && this.retries < MOST_RETRIES;
    this.fault = again ? fault : rest;
    this.preview?.stop();
    this.preview = undefined;
    this.go('error');
    if (again) this.retryTimer = window.setTimeout(() => this.joinAgain(), retryAfter * 1_000);
  }

  private rememberToken(): void {
    const token = this.session?.token;
    if (this.link && token) this.link = keepToken(window, this.link, token);
  }

  private go(phase: Phase): void {
    const entered = phase !== this.phase || this.body.parentElement === null;
    this.phase = phase;
    window.clearTimeout(this.retryTimer);
    this.draw();
    if (entered) this.root.querySelector<HTMLElement>('h1')?.focus({ preventScroll: true });
  }

  private draw(): void {
    this.lobby?.destroy();
    this.lobby = undefined;
    this.call?.destroy();
    this.call = undefined;
    document.documentElement.lang = language();
    this.body.replaceChildren(this.header(), ...this.content());
    if (this.body.parentElement === null) this.root.append(this.body);
    window.scrollTo(0, 0);
    this.showState();
  }

  private content(): Node[] {
    const main = (child: Node): Node[] => [h('main', { id: 'main' }, child)];
    switch (this.phase) {
      case 'lobby':
        if (!this.preview || !this.seat || !this.link) return [];
        this.lobby = new LobbyView({
          seat: this.seat,
          preview: this.preview,
          devices: this.devices,
          foreignHost: foreignHost(this.link, window.location.href),
          join: () => this.join(),
        });
        return main(this.lobby.element);
      case 'joining':
        return main(joiningView(() => (this.session ? this.session.leave() : this.openLink())));
      case 'call':
      case 'reconnecting':
        if (!this.session) return [];
        this.call = new CallView(this.session, this.session.state, this.announcer, () => this.showState());
        return [h('div', { class: 'call-body' }, this.call.main, this.call.chat.element), this.call.controls.element];
      case 'left':
        return main(leftView(() => this.enterLobby()));
      case 'error':
        return main(faultView(this.fault ?? { kind: 'lost' }, this.fault?.opensAt ?? this.seat?.notBefore, () => this.retry()));
    }
  }

  private header(): HTMLElement {
    const switchTo = (code: Language): void => {
      if (code === language()) return;
      setLanguage(code);
      writeSetting(LANGUAGE_KEY, code);
      this.draw();
      this.root.querySelector<HTMLElement>(`[data-language="${code}"]`)?.focus();
    };
    return h(
      'header',
      { class: 'header' },
      h('img', { src: './logo.svg', alt: '', width: 36, height: 36 }),
      h('span', { class: 'app-name' }, t('app.name')),
      this.state,
      h(
        'div',
        { class: 'languages', role: 'group', 'aria-label': t('lang.label') },
        ...LANGUAGES.map(({ code, name }) =>
          h(
            'button',
            { type: 'button', class: 'plain', lang: code, 'data-language': code, 'aria-pressed': String(code === language()), title: name, on: { click: () => switchTo(code) } },
            code.toUpperCase(),
          ),
        ),
      ),
    );
  }

  private showState(): void {
    document.body.dataset['state'] = this.phase;
    const unread = this.session?.chat.unread ?? 0;
    let words = t(`state.${this.phase}`);
    if (this.phase === 'call' && this.session) {
      const n = others(this.session.state).length + 1;
      words = n === 1 ? t('call.count.one') : t('call.count.many', { n });
    }
    if (this.phase === 'error' && this.fault) words = t(`fault.${this.fault.kind}.title`);
    setText(this.state, this.phase === 'error' ? t('state.error') : words);
    const inCall = this.phase === 'call' ? t('state.call') : words;
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${inCall} – ${t('app.name')}`;
  }
}
