/**
 * Asks a relay that did not let us in whether it is only busy: browsers hide the status of a refused WebSocket, and the client
 * library hides that of the answer it asks for. Entry points: `askBusy`, `secondsOf`.
 */
import { callUrl, type Link } from './link';

/** How long to wait for the answer: the person looks at a spinner meanwhile. */
const ASK_WITHIN_MS = 4_000;
/** Seconds to wait where the relay names none, and the most we believe. */
const USUAL_S = 5;
const LONGEST_S = 60;

/** After how many seconds to try again; `undefined` when the relay is not busy, or not there. */
export async function askBusy(link: Link): Promise<number | undefined> {
  // Without a header of our own the browser asks a foreign relay directly.
  const target = callUrl(link, `/rtc/v1/validate?access_token=${encodeURIComponent(link.token)}&join_request=`);
  try {
    const answer = await fetch(target, { cache: 'no-store', signal: AbortSignal.timeout(ASK_WITHIN_MS) });
    return answer.status === 503 ? secondsOf(answer.headers.get('Retry-After')) : undefined;
  } catch {
    return undefined;
  }
}

/** `Retry-After` in seconds (RFC 9110 section 10.2.3); its other form, a date, is not used by the relay. */
export function secondsOf(header: string | null): number {
  const seconds = /^\d{1,9}$/.test(header ?? '') ? Number(header) : USUAL_S;
  return Math.min(Math.max(seconds, 1), LONGEST_S);
}
