/** Everything a person may do in the consultation that is not asked of them right now, in a modal dialog of the browser's own. */
import type { Consultation, Person } from '../consult';
import type { DeskActions } from '../desk';
import { language, roleName, t } from '../i18n';
import type { CallState } from '../state';
import { others } from '../state';
import type { Ask } from './consultation';
import { h, icon } from './dom';
import { displayName } from './tiles';

/** Who is likely to be beside somebody. */
const BESIDE = ['relative', 'companion', 'interpreter', 'trainee', 'colleague'] as const;
const LEADS = ['doctor'];
const SPEAK_APART = ['doctor', 'colleague'];
/** Who rings up for help in the middle of a call. */
const READ_OUT = ['doctor', 'colleague', 'companion'];
const QUARTER_MS = 15 * 60_000;

export class DeskDialog {
  readonly element: HTMLDialogElement;
  private readonly content = h('div', { class: 'desk' });
  private readonly code = h('output', { class: 'support-code', 'data-testid': 'support-code' });
  private readonly support: HTMLElement;
  private reads = false;
  private drawn = '';
  private readonly chosen = new Set<string>();

  constructor(
    private readonly desk: DeskActions,
    private readonly ask: Ask,
    private readonly leave: () => void,
  ) {
    const close = (): void => this.element.close();
    this.support = h(
      'section',
      { hidden: true, 'aria-labelledby': 'support-title' },
      h('h3', { id: 'support-title' }, t('support.title')),
      h('p', { class: 'hint' }, t('support.why')),
      this.code,
    );
    this.element = h(
      'dialog',
      { class: 'settings', 'aria-labelledby': 'desk-title', 'data-testid': 'desk-dialog', on: { click: (event) => event.target === this.element && close() } },
      h(
        'div',
        { class: 'settings-body' },
        h(
          'div',
          { class: 'chat-head' },
          h('h2', { id: 'desk-title' }, t('desk.title')),
          h('button', { type: 'button', class: 'plain', 'aria-label': t('settings.close'), title: t('settings.close'), on: { click: close } }, icon('close')),
        ),
        this.content,
        this.support,
      ),
    );
  }

  open(): void {
    if (!this.element.open) this.element.showModal();
    void this.showCode();
  }

  /** Asks for the code when it is wanted; it is the same for as long as the room is open. */
  private async showCode(): Promise<void> {
    if (!this.reads || this.code.textContent !== '') return;
    const code = await this.desk.support().catch(() => '');
    this.support.hidden = code === '';
    // Two groups, as one reads it out.
    this.code.textContent = code === '' ? '' : `${code.slice(0, 3)} ${code.slice(3)}`;
  }

  update(state: CallState): void {
    const { consultation } = state;
    this.reads = READ_OUT.includes(consultation.role);
    const people = others(state).map((tile) => ({ identity: tile.identity, name: tile.name, role: tile.role }));
    const key = JSON.stringify([consultation, people]);
    if (key === this.drawn) return;
    this.drawn = key;
    for (const identity of this.chosen) if (!people.some((person) => person.identity === identity)) this.chosen.delete(identity);
    // A button that is drawn anew must not lose the focus of the keyboard.
    const focused = this.content.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset['testid'] : undefined;
    this.content.replaceChildren(...this.draw(consultation, people));
    if (focused !== undefined) (this.content.querySelector<HTMLElement>(`[data-testid="${focused}"]`) ?? this.element).focus();
  }

  destroy(): void {
    if (this.element.open) this.element.close();
  }

  private draw(now: Consultation, people: readonly Person[]): HTMLElement[] {
    const parts = [this.drawBeside(now)];
    if (now.role === 'patient' && now.consent !== '') parts.push(this.drawConsent());
    if (SPEAK_APART.includes(now.role) && people.length > 0) parts.push(this.drawAside(now, people));
    if (LEADS.includes(now.role)) {
      parts.push(this.drawRoom(now));
      if (people.length > 0) parts.push(this.drawPeople(people));
    }
    return parts;
  }

  private drawBeside(now: Consultation): HTMLElement {
    const role = h('select', { id: 'beside-role' }, ...BESIDE.map((word) => h('option', { value: word }, roleName(word))));
    const add = this.button(t('beside.declare'), () => this.desk.declare(role.value, (now.beside.find((one) => one.role === role.value)?.count ?? 0) + 1), 'beside-add');
    return h(
      'section',
      { 'aria-labelledby': 'beside-title' },
      h('h3', { id: 'beside-title' }, t('beside.title')),
      h('p', { class: 'hint' }, t('beside.why')),
      h(
        'ul',
        { class: 'door-list' },
        ...now.beside.map(({ role: word, count }) =>
          h('li', { class: 'door-row', 'data-testid': 'beside' }, h('span', { class: 'door-who' }, `${roleName(word)} × ${count}`), this.button(t('beside.gone'), () => this.desk.gone(word), `beside-gone-${word}`, t('beside.gone.long', { role: roleName(word) }))),
        ),
      ),
      h('label', { for: 'beside-role' }, t('beside.who')),
      h('div', { class: 'row' }, role, add),
    );
  }

  private drawConsent(): HTMLElement {
    return h(
      'section',
      { 'aria-labelledby': 'withdraw-title' },
      h('h3', { id: 'withdraw-title' }, t('withdraw.title')),
      h('p', { class: 'hint' }, t('withdraw.why')),
      this.button(t('withdraw.do'), () => this.desk.withdraw(), 'withdraw-here'),
      ' ',
      h('button', { type: 'button', class: 'secondary', on: { click: this.leave } }, t('control.leave.long')),
    );
  }

  private drawAside(now: Consultation, people: readonly Person[]): HTMLElement {
    if (now.aside) {
      return h('section', {}, h('h3', {}, t('aside.title')), this.button(t('aside.end'), () => this.desk.endAside(), 'aside-stop'));
    }
    const start = this.button(t('aside.start'), () => this.desk.startAside([...this.chosen]), 'aside-start');
    const choose = (person: Person): HTMLElement => {
      const id = `aside-${person.identity}`;
      const box = h('input', { type: 'checkbox', id, 'data-testid': 'aside-with', 'data-role': person.role });
      box.checked = this.chosen.has(person.identity);
      box.addEventListener('change', () => {
        if (box.checked) this.chosen.add(person.identity);
        else this.chosen.delete(person.identity);
        start.disabled = this.chosen.size === 0;
      });
      return h('label', { class: 'check', for: id }, box, h('span', {}, displayName(person)));
    };
    start.disabled = this.chosen.size === 0;
    return h(
      'section',
      { 'aria-labelledby': 'aside-title' },
      h('h3', { id: 'aside-title' }, t('aside.title')),
      h('p', { class: 'hint' }, t('aside.why')),
      ...people.map(choose),
      start,
    );
  }

  private drawRoom(now: Consultation): HTMLElement {
    const lock = this.button(t(now.locked ? 'room.unlock' : 'room.lock'), () => this.desk.lock(!now.locked), 'lock');
    const parts = [h('h3', { id: 'room-title' }, t('room.title')), h('p', { class: 'hint' }, t(now.locked ? 'room.locked' : 'room.open')), lock];
    const { endsAt } = now;
    if (endsAt !== undefined) {
      const time = new Date(endsAt).toLocaleTimeString(language(), { hour: '2-digit', minute: '2-digit' });
      parts.push(h('p', { class: 'hint', 'data-testid': 'ends-at' }, t('room.ends', { time })), this.button(t('room.extend'), () => this.desk.extend(Math.max(endsAt, Date.now()) + QUARTER_MS), 'extend'));
    }
    return h('section', { 'aria-labelledby': 'room-title' }, ...parts);
  }

  private drawPeople(people: readonly Person[]): HTMLElement {
    const row = (person: Person): HTMLElement =>
      h(
        'li',
        { class: 'door-row', 'data-role': person.role },
        h('span', { class: 'door-who' }, displayName(person)),
        this.button(t('people.remove'), () => this.desk.remove(person.identity), `remove-${person.identity}`, t('people.remove.long', { name: displayName(person) })),
      );
    return h('section', { 'aria-labelledby': 'people-title' }, h('h3', { id: 'people-title' }, t('call.people')), h('ul', { class: 'door-list' }, ...people.map(row)));
  }

  private button(words: string, action: () => Promise<void>, testid: string, long?: string): HTMLButtonElement {
    const button = h('button', { type: 'button', class: 'secondary', 'data-testid': testid, 'aria-label': long, on: { click: () => this.ask(button, action) } }, words);
    return button;
  }
}
