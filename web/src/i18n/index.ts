/**
 * Words in the person's language.
 * Entry points: `t`, `roleName`, `chooseLanguage`, `setLanguage`, `language`.
 */
import { en, type Key } from './en';
import { fr } from './fr';

export type { Key };
export type Language = 'en' | 'fr';
export const LANGUAGES: readonly { code: Language; name: string }[] = [
  { code: 'fr', name: 'Français' },
  { code: 'en', name: 'English' },
];

const WORDS: Record<Language, Record<Key, string>> = { en, fr };
let current: Language = 'en';

/** The first language of the list that we speak; English otherwise. */
export function chooseLanguage(wanted: readonly string[], kept?: string | null): Language {
  for (const tag of kept ? [kept, ...wanted] : wanted) {
    const code = tag.toLowerCase().split('-')[0];
    if (code === 'fr' || code === 'en') return code;
  }
  return 'en';
}

export function setLanguage(code: Language): void {
  current = code;
}

export function language(): Language {
  return current;
}

/** The words for `key`, with `{name}` replaced by `vars.name`. */
export function t(key: Key, vars: Record<string, string | number> = {}): string {
  return WORDS[current][key].replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.prototype.hasOwnProperty.call(vars, name) ? String(vars[name]) : whole,
  );
}

/** The name of a role of the token; unknown ones are just participants. */
export function roleName(role: string): string {
  const key = `role.${role}`;
  return Object.prototype.hasOwnProperty.call(en, key) ? t(key as Key) : t('role.none');
}
