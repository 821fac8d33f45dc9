/**
 * What the consultation asks of this person now: the waiting room's door for a doctor, consent for a patient, and the aside
 * that runs. Sections appear and go; each keeps its elements while it is shown, so that no focus is lost.
 */
import { declinedKey, type Consultation, type Person, type Waiting } from '../consult';
import type { DeskActions } from '../desk';
import { language, roleName, t } from '../i18n';
import { h, icon, setText } from './dom';
import { displayName } from './tiles';

/** Runs a call once at a time for its button, and says what went wrong. */
export type Ask = (button: HTMLButtonElement, action: () => Promise<void>) => void;

export class ConsultationPanel {
  readonly element = h('div', { class: 'consultation' });
  private readonly consent: HTMLElement;
  private readonly saidNo = h('p', { class: 'hint', hidden: true, 'data-testid': 'said-no' }, t('consent.said_no'));
  private readonly noes = h('ul', { class: 'door-list', hidden: true, 'data-testid': 'declined' });
  private readonly door = h('section', { class: 'card door', hidden: true, 'aria-labelledby': 'door-title', 'data-testid': 'waiting-room' });
  private readonly doorList = h('ul', { class: 'door-list' });
  private readonly asks = h('ul', { class: 'door-list', 'data-testid': 'agreements' });
  private readonly aside = h('section', { class: 'banner', hidden: true, 'data-testid': 'aside', 'aria-label': t('aside.title') });
  private readonly asideWords = h('span', {});
  private readonly asideEnd: HTMLButtonElement;
  private readonly decline: HTMLButtonElement;
  private readonly rows = new Map<string, HTMLElement>();
  private readonly declined = new Set<string>();

  constructor(
    private readonly desk: DeskActions,
    private readonly ask: Ask,
    private readonly leave: () => void,
  ) {
    this.decline = this.button('secondary', t('consent.decline'), () => desk.decline(), 'decline');
    this.consent = this.drawConsent();
    this.door.append(h('h2', { id: 'door-title' }, t('door.title')), this.doorList);
    this.asideEnd = this.button('secondary', t('aside.end'), () => desk.endAside(), 'aside-end');
    this.aside.append(icon('aside'), this.asideWords, this.asideEnd);
    this.element.append(this.consent, this.noes, this.door, this.asks, this.aside);
  }

  update(now: Consultation): void {
    this.element.hidden = now.gate === '';
    this.showConsent(now);
    const waiting = now.role === 'doctor' ? now.waiting.filter((person) => person.gate === 'admission') : [];
    this.door.hidden = waiting.length === 0;
    this.showRows(this.doorList, waiting, (person) => this.drawWaiting(person));
    const asking = now.role === 'patient' ? now.waiting.filter((person) => person.gate === 'third_person' && !this.declined.has(person.identity)) : [];
    this.asks.hidden = asking.length === 0;
    this.showRows(this.asks, asking, (person) => this.drawAgreement(person, now));
    this.showNoes(now);
    this.showAside(now);
  }

  private showNoes(now: Consultation): void {
    const words = now.declined.map((one) => t(declinedKey(one), { name: displayName(one), role: roleName(one.about) }));
    this.noes.hidden = words.length === 0;
    if ([...this.noes.children].map((row) => row.textContent).join('\n') === words.join('\n')) return;
    this.noes.replaceChildren(...words.map((line) => h('li', { class: 'door-row' }, line)));
  }

  private showConsent(now: Consultation): void {
    const asked = now.gate === 'consent' && now.role === 'patient';
    const appears = asked && this.consent.hidden;
    this.consent.hidden = !asked;
    this.saidNo.hidden = !now.saidNo;
    this.decline.hidden = now.saidNo;
    // It is the one thing the person must answer before anything else happens.
    if (appears) this.consent.querySelector<HTMLElement>('h2')?.focus({ preventScroll: true });
  }

  private showAside(now: Consultation): void {
    const { aside } = now;
    this.aside.hidden = aside === undefined;
    if (aside === undefined) return;
    const since = new Date(aside.since).toLocaleTimeString(language(), { hour: '2-digit', minute: '2-digit' });
    setText(this.asideWords, t(aside.mine ? 'aside.mine' : 'aside.left_out', { names: names(aside.members), since }));
    this.asideEnd.hidden = !aside.mine && now.role !== 'doctor';
    this.aside.dataset['mine'] = String(aside.mine);
  }

  private showRows(list: HTMLElement, people: readonly Waiting[], draw: (person: Waiting) => HTMLElement): void {
    const wanted = new Set(people.map((person) => person.identity));
    for (const row of [...list.children] as HTMLElement[]) {
      const identity = row.dataset['identity'] ?? '';
      if (wanted.has(identity)) continue;
      row.remove();
      this.rows.delete(identity);
    }
    for (const person of people) {
      if (this.rows.get(person.identity)?.parentElement === list) continue;
      const row = draw(person);
      row.dataset['identity'] = person.identity;
      row.dataset['role'] = person.role;
      this.rows.set(person.identity, row);
      list.append(row);
    }
  }

  private drawWaiting(person: Waiting): HTMLElement {
    const name = displayName(person);
    return h(
      'li',
      { class: 'door-row', 'data-testid': 'waiting' },
      h('span', { class: 'door-who' }, h('strong', {}, name), person.name === '' ? '' : ` ${roleName(person.role)}`),
      this.button('primary', t('door.admit'), () => this.desk.admit(person.identity), 'admit', t('door.admit.long', { name })),
      this.button('secondary', t('door.refuse'), () => this.desk.refuse(person.identity), 'refuse', t('door.refuse.long', { name })),
    );
  }

  private drawAgreement(person: Waiting, now: Consultation): HTMLElement {
    const role = roleName(person.role);
    const no = async (): Promise<void> => {
      await this.desk.decline([`third_person:${person.role}`]);
      this.declined.add(person.identity);
      this.update(now);
    };
    return h(
      'li',
      { class: 'card door-row', 'data-testid': 'third-person' },
      h('span', { class: 'door-who' }, t('third.ask', { name: displayName(person), role })),
      this.button('primary', t('third.agree'), () => this.desk.agree([`third_person:${person.role}`]), 'agree-third'),
      this.button('secondary', t('third.decline'), no, 'disagree'),
    );
  }

  private drawConsent(): HTMLElement {
    return h(
      'section',
      { class: 'card consent', hidden: true, 'aria-labelledby': 'consent-title', 'data-testid': 'consent' },
      h('h2', { id: 'consent-title', tabindex: -1 }, t('consent.title')),
      h('ul', {}, ...(['what', 'who', 'record', 'stop'] as const).map((part) => h('li', {}, t(`consent.${part}`)))),
      h(
        'div',
        { class: 'row' },
        this.button('primary', t('consent.agree'), () => this.desk.agree(), 'agree'),
        this.decline,
        h('button', { type: 'button', class: 'secondary', 'data-testid': 'consent-leave', on: { click: this.leave } }, t('control.leave.long')),
      ),
      this.saidNo,
      h('p', { class: 'hint' }, t('consent.until')),
    );
  }

  private button(kind: string, words: string, action: () => Promise<void>, testid: string, long?: string): HTMLButtonElement {
    const button = h('button', { type: 'button', class: kind, 'data-testid': testid, 'aria-label': long, on: { click: () => this.ask(button, action) } }, words);
    return button;
  }
}

export function names(people: readonly Person[]): string {
  return new Intl.ListFormat(language(), { type: 'conjunction' }).format(people.map(displayName));
}
