/**
 * Says things aloud to those who use a screen reader, one after the other.
 * The regions stay in the page for its whole life: a region that appears with its words is often not read.
 */
import { h } from './dom';

const CLEAR_AFTER_MS = 8_000;

export class Announcer {
  private readonly polite = h('div', { class: 'visually-hidden', 'aria-live': 'polite', role: 'status' });
  private readonly urgent = h('div', { class: 'visually-hidden', 'aria-live': 'assertive', role: 'alert' });

  mount(parent: HTMLElement): void {
    parent.append(this.polite, this.urgent);
  }

  say(words: string, urgent = false): void {
    const line = h('p', {}, words);
    (urgent ? this.urgent : this.polite).append(line);
    window.setTimeout(() => line.remove(), CLEAR_AFTER_MS);
  }
}
