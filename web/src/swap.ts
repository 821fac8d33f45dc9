/**
 * Swaps the code of an invitation for a token. The code goes in a body, never in an address, so that no log of a proxy holds it.
 * Entry points: `swap`, `refusalOf`.
 */
import { secondsOf } from './busy';
import type { Fault } from './errors';
import { callUrl, type Link } from './link';

/** The person looks at a spinner meanwhile. */
const SWAP_WITHIN_MS = 10_000;

/** The same link with a fresh token, or why there is none. */
export async function swap(link: Link): Promise<Link | Fault> {
  if (link.code === undefined) return link;
  try {
    const answer = await fetch(callUrl(link, '/v1/links'), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ code: link.code }),
      cache: 'no-store',
      signal: AbortSignal.timeout(SWAP_WITHIN_MS),
    });
    const told: unknown = await answer.json().catch(() => undefined);
    if (!answer.ok) return refusalOf(answer.status, told, answer.headers.get('Retry-After'));
    const token = field(told, 'token');
    return typeof token === 'string' ? { ...link, token } : { kind: 'link_broken' };
  } catch {
    return { kind: 'unreachable' };
  }
}

/** What a refusal of the relay means for the person. */
export function refusalOf(status: number, problem: unknown, retryAfter: string | null): Fault {
  const opensAt = field(problem, 'opens_at');
  switch (field(problem, 'code')) {
    case 'early':
      return { kind: 'early', ...(typeof opensAt === 'number' ? { opensAt } : {}) };
    case 'ended':
      return { kind: 'expired' };
    // A revoked link and one that never was look the same.
    case 'not_found':
    case 'invalid':
    case 'bad_body':
      return { kind: 'expired' };
    case 'busy':
      return { kind: 'busy', retryAfter: secondsOf(retryAfter) };
    default:
      return status === 503 ? { kind: 'busy', retryAfter: secondsOf(retryAfter) } : { kind: 'unreachable' };
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
