/** The chat beside the call. What people wrote becomes text nodes and nothing else. */
import { MAX_MESSAGE, type ChatEntry, type ChatLog } from '../chat';
import { language, t } from '../i18n';
import { h, icon, setAttributes } from './dom';
import { displayName } from './tiles';

export interface ChatActions {
  readonly chat: ChatLog;
  send(text: string): Promise<void>;
  resend(entry: ChatEntry): Promise<void>;
}

export class ChatPanel {
  readonly element: HTMLElement;
  private readonly list = h('ol', { class: 'messages' });
  private readonly scroll = h('div', { class: 'message-scroll', role: 'log', 'aria-live': 'polite', 'aria-relevant': 'additions', 'aria-label': t('chat.title'), tabindex: 0 }, this.list);
  private readonly empty = h('p', { class: 'hint' }, t('chat.empty'));
  private readonly input = h('textarea', { id: 'chat-input', 'data-testid': 'chat-input', rows: 2, maxlength: MAX_MESSAGE, autocomplete: 'off' });
  private readonly shown = new Map<number, { state: string; element: HTMLElement }>();

  constructor(
    private readonly actions: ChatActions,
    close: () => void,
  ) {
    this.input.value = actions.chat.draft;
    this.input.addEventListener('input', () => (actions.chat.draft = this.input.value));
    this.input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    const form = h(
      'form',
      { class: 'chat-form', on: { submit: (event) => (event.preventDefault(), this.submit()) } },
      h('label', { for: 'chat-input' }, t('chat.input')),
      h('div', { class: 'chat-entry' }, this.input, h('button', { type: 'submit', class: 'primary', 'data-testid': 'chat-send' }, t('chat.send'))),
    );
    this.element = h(
      'aside',
      { class: 'chat', id: 'chat', 'aria-labelledby': 'chat-title', hidden: true, on: { keydown: (event) => (event as KeyboardEvent).key === 'Escape' && close() } },
      h(
        'div',
        { class: 'chat-head' },
        h('h2', { id: 'chat-title' }, t('chat.title')),
        h('button', { type: 'button', class: 'plain', 'aria-label': t('chat.close'), title: t('chat.close'), on: { click: close } }, icon('close')),
      ),
      h('p', { class: 'hint' }, t('chat.note')),
      this.empty,
      this.scroll,
      form,
    );
    this.update();
  }

  show(open: boolean): void {
    this.element.hidden = !open;
    // On a narrow screen the chat takes the place of the tiles.
    document.body.dataset['chat'] = open ? 'open' : 'closed';
    if (!open) return;
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.input.focus();
  }

  update(): void {
    const { entries } = this.actions.chat;
    this.empty.hidden = entries.length > 0;
    this.list.hidden = entries.length === 0;
    const atEnd = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 80;
    const live = new Set(entries.map((entry) => entry.id));
    for (const [id, old] of this.shown) {
      if (live.has(id)) continue;
      old.element.remove();
      this.shown.delete(id);
    }
    for (const entry of entries) {
      const old = this.shown.get(entry.id);
      if (old?.state === entry.state) continue;
      const element = this.draw(entry);
      if (old) old.element.replaceWith(element);
      else this.list.append(element);
      this.shown.set(entry.id, { state: entry.state, element });
    }
    if (atEnd) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  private submit(): void {
    const text = this.input.value;
    if (text.trim() === '') return;
    this.input.value = '';
    this.actions.chat.draft = '';
    void this.actions.send(text);
    this.input.focus();
  }

  private draw(entry: ChatEntry): HTMLElement {
    const time = new Date(entry.at).toLocaleTimeString(language(), { hour: '2-digit', minute: '2-digit' });
    const item = h(
      'li',
      { class: 'message', 'data-testid': 'chat-message', 'data-state': entry.state },
      h('p', { class: 'message-head' }, h('strong', {}, entry.self ? t('chat.you') : displayName({ name: entry.author, role: entry.role })), ' ', h('span', {}, time)),
      h('p', { class: 'message-text' }, entry.text, entry.cut && ` ${t('chat.cut')}`),
    );
    setAttributes(item, { 'data-self': String(entry.self) });
    if (entry.state === 'sending') item.append(h('p', { class: 'hint' }, t('chat.sending')));
    if (entry.state === 'failed') {
      const retry = (): void => void this.actions.resend(entry);
      item.append(h('p', { class: 'failed' }, icon('warning'), ` ${t('chat.failed')} `, h('button', { type: 'button', class: 'secondary', on: { click: retry } }, t('chat.retry'))));
    }
    return item;
  }
}
