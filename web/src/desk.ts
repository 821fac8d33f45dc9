/**
 * What a person does in a consultation, as calls of the relay's `/v1` API with the person's own token. The relay decides; the
 * page only asks.
 * Entry points: `Desk`, `deskProblem`.
 */
import type { Key } from './i18n';
import { callUrl, type Link } from './link';

/** Which text a person of this page agrees to: its words are `consent.*` in `i18n/`, so it changes with them. */
export const CONSENT_TEXT = 'colloque-page:2026-11';
/** A person waits for the answer before a button. */
const CALL_WITHIN_MS = 8_000;

export interface DeskActions {
  admit(seat: string): Promise<void>;
  refuse(seat: string): Promise<void>;
  remove(seat: string): Promise<void>;
  /** Agrees: to what the consultation asks for, or to these scopes. */
  agree(scopes?: readonly string[]): Promise<void>;
  /** Says no: to what the consultation asks for, or to these scopes. */
  decline(scopes?: readonly string[]): Promise<void>;
  withdraw(): Promise<void>;
  /** Speaks apart with these. */
  startAside(others: readonly string[]): Promise<void>;
  endAside(): Promise<void>;
  declare(role: string, count: number): Promise<void>;
  gone(role: string): Promise<void>;
  lock(on: boolean): Promise<void>;
  /** The new end, in milliseconds since 1970. */
  extend(endsAt: number): Promise<void>;
  /** The six digits by which the people who help find this call. */
  support(): Promise<string>;
}

/** A call that was not carried out, with the relay's stable code. */
export class DeskError extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

export class Desk implements DeskActions {
  constructor(
    private readonly link: Link,
    private readonly seat: { identity: string; room: string },
    private readonly token: () => string,
  ) {}

  admit = (seat: string): Promise<void> => this.call('POST', `/seats/${encodeURIComponent(seat)}/admit`);
  refuse = (seat: string): Promise<void> => this.call('POST', `/seats/${encodeURIComponent(seat)}/refuse`);
  remove = (seat: string): Promise<void> => this.call('POST', `/seats/${encodeURIComponent(seat)}/remove`);
  agree = (scopes: readonly string[] = []): Promise<void> => this.call('POST', '/consents', { text: CONSENT_TEXT, scopes });
  decline = (scopes: readonly string[] = []): Promise<void> => this.call('POST', '/refusals', { scopes });
  withdraw = (): Promise<void> => this.call('DELETE', `/consents/${encodeURIComponent(this.seat.identity)}`);
  startAside = (others: readonly string[]): Promise<void> => this.call('POST', '/aside', { members: [this.seat.identity, ...others] });
  endAside = (): Promise<void> => this.call('DELETE', '/aside');
  declare = (role: string, count: number): Promise<void> => this.call('POST', '/presences', { kind: role, count });
  gone = (role: string): Promise<void> => this.call('DELETE', `/presences/${encodeURIComponent(this.seat.identity)}/${encodeURIComponent(role)}`);
  lock = (on: boolean): Promise<void> => this.call(on ? 'POST' : 'DELETE', '/lock');
  extend = (endsAt: number): Promise<void> => this.call('POST', '/extend', { ends_at: Math.round(endsAt / 1000) });

  support = async (): Promise<string> => {
    const told = await this.ask('GET', '/support');
    const code = fieldOf(told, 'code');
    if (code === undefined || !/^\d{6}$/.test(code)) throw new DeskError('internal');
    return code;
  };

  private async call(method: string, path: string, body?: object): Promise<void> {
    await this.ask(method, path, body);
  }

  /** The answer's JSON; nothing where there is none. */
  private async ask(method: string, path: string, body?: object): Promise<unknown> {
    const target = callUrl(this.link, `/v1/consultations/${encodeURIComponent(this.seat.room)}${path}`);
    const answer = await fetch(target, {
      method,
      headers: { Authorization: `Bearer ${this.token()}`, ...(body ? { 'Content-Type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
      cache: 'no-store',
      signal: AbortSignal.timeout(CALL_WITHIN_MS),
    }).catch(() => undefined);
    const told: unknown = await answer?.json().catch(() => undefined);
    if (answer?.ok) return told;
    throw new DeskError(fieldOf(told, 'code') ?? 'unreachable');
  }
}

function fieldOf(told: unknown, name: string): string | undefined {
  const value = typeof told === 'object' && told !== null ? (told as Record<string, unknown>)[name] : undefined;
  return typeof value === 'string' ? value : undefined;
}

/** The words for a call that was not carried out. */
export function deskProblem(error: unknown): Key {
  switch (error instanceof DeskError ? error.code : '') {
    case 'locked':
      return 'desk.failed.locked';
    case 'consent_missing':
      return 'desk.failed.consent';
    case 'professional_first':
      return 'desk.failed.professional';
    case 'aside_running':
      return 'desk.failed.aside';
    case 'forbidden':
      return 'desk.failed.forbidden';
    default:
      return 'desk.failed';
  }
}
