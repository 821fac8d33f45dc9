/**
 * Single-key shortcuts: only while nobody is typing, and the person can switch them off (WCAG 2.1.4).
 * Entry points: `Shortcuts`, `shortcutFor`.
 */

export type Shortcut = 'microphone' | 'camera' | 'chat';
const KEYS: Record<string, Shortcut> = { m: 'microphone', v: 'camera', c: 'chat' };
const STORAGE_KEY = 'colloque.shortcuts';

export interface KeyPress {
  key: string;
  ctrlKey: boolean;
  altKey: boolean;
  metaKey: boolean;
  repeat: boolean;
}

/** The action of a key, or nothing while the person types or holds a modifier. */
export function shortcutFor(press: KeyPress, typing: boolean): Shortcut | undefined {
  if (typing || press.ctrlKey || press.altKey || press.metaKey || press.repeat) return undefined;
  return KEYS[press.key.toLowerCase()];
}

export class Shortcuts {
  private readonly listener = (event: KeyboardEvent): void => {
    if (!this.enabled) return;
    const action = shortcutFor(event, isTyping(event.target) || document.querySelector('dialog[open]') !== null);
    if (action === undefined) return;
    event.preventDefault();
    this.act(action);
  };

  constructor(private readonly act: (action: Shortcut) => void) {
    document.addEventListener('keydown', this.listener);
  }

  get enabled(): boolean {
    return readSetting(STORAGE_KEY) !== 'off';
  }

  set enabled(on: boolean) {
    writeSetting(STORAGE_KEY, on ? 'on' : 'off');
  }

  destroy(): void {
    document.removeEventListener('keydown', this.listener);
  }
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName));
}

export function readSetting(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function writeSetting(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Without storage the setting lasts as long as the page.
  }
}
