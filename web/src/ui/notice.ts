/** The quiet screens: connecting, left, and everything that went wrong. */
import type { Fault } from '../errors';
import { canRetry } from '../errors';
import { language, t } from '../i18n';
import { h, icon } from './dom';

export function joiningView(cancel: () => void): HTMLElement {
  return h(
    'div',
    { class: 'card notice' },
    h('div', { class: 'spinner', 'aria-hidden': 'true' }),
    h('h1', { tabindex: -1 }, t('joining.title')),
    h('p', {}, t('joining.body')),
    h('button', { type: 'button', class: 'secondary', 'data-testid': 'cancel', on: { click: cancel } }, t('joining.cancel')),
  );
}

export function leftView(rejoin: () => void): HTMLElement {
  return h(
    'div',
    { class: 'card notice' },
    h('div', { class: 'badge good' }, icon('done')),
    h('h1', { tabindex: -1 }, t('left.title')),
    h('p', {}, t('left.body')),
    h('button', { type: 'button', class: 'primary', 'data-testid': 'rejoin', on: { click: rejoin } }, t('left.rejoin')),
  );
}

/** `opens` is when an early link begins to work, in seconds since 1970. */
export function faultView(fault: Fault, opens: number | undefined, retry: () => void): HTMLElement {
  const time = opens === undefined ? '' : new Date(opens * 1000).toLocaleString(language(), { dateStyle: 'full', timeStyle: 'short' });
  const calm = fault.kind === 'busy' || fault.kind === 'ended' || fault.kind === 'duplicate' || fault.kind === 'early';
  return h(
    'div',
    { class: 'card notice', 'data-testid': 'error', 'data-kind': fault.kind },
    h('div', { class: calm ? 'badge' : 'badge warn' }, icon(calm ? 'info' : 'warning')),
    h('h1', { tabindex: -1 }, t(`fault.${fault.kind}.title`)),
    h('p', {}, fault.retryAfter === undefined ? t(`fault.${fault.kind}.body`, { time }) : t('fault.busy.again', { n: fault.retryAfter })),
    fault.detail !== undefined && h('p', { class: 'quote' }, t('fault.quote'), ' ', h('q', {}, fault.detail)),
    canRetry(fault.kind) &&
      h('button', { type: 'button', class: 'primary', 'data-testid': 'retry', on: { click: retry } }, t(fault.kind === 'duplicate' ? 'fault.here' : 'fault.retry')),
  );
}
