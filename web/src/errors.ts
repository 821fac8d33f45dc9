/**
 * Turns what went wrong into one of a few kinds that have words for a patient.
 * Pure: reads the shape of an error, never a class, so that tests need no media stack.
 * Entry points: `connectFault`, `disconnectFault`, `deviceFault`.
 */

export type FaultKind =
  | 'link_missing'
  | 'link_broken'
  | 'expired'
  | 'early'
  | 'refused'
  | 'absent'
  | 'busy'
  | 'unreachable'
  | 'media_blocked'
  | 'duplicate'
  | 'removed'
  | 'ended'
  | 'shutdown'
  | 'lost'
  | 'unsupported';

export interface Fault {
  kind: FaultKind;
  /** What the relay said, for people; shown as a quotation. */
  detail?: string;
  /** Seconds after which it is worth another try; only where the relay named them. */
  retryAfter?: number;
  /** When an early link begins to work, in seconds since 1970; only where the relay named it. */
  opensAt?: number;
}

export type DeviceFault = 'denied' | 'not_found' | 'in_use' | 'insecure' | 'other';

/** `ConnectionErrorReason` of the client library. */
const NOT_ALLOWED = 0;
const SERVER_UNREACHABLE = 1;
const INTERNAL_ERROR = 2;
const CANCELLED = 3;
const LEAVE_REQUEST = 4;

/** `DisconnectReason` of the protocol. */
const CLIENT_INITIATED = 1;
const DUPLICATE_IDENTITY = 2;
const SERVER_SHUTDOWN = 3;
const PARTICIPANT_REMOVED = 4;
const ROOM_DELETED = 5;
const ROOM_CLOSED = 10;
const USER_REJECTED = 12;
const MEDIA_FAILURE = 15;

const MAX_DETAIL = 300;

/** Why joining failed; `undefined` when the person cancelled it. */
export function connectFault(error: unknown): Fault | undefined {
  const { reason, status, message, context } = shape(error);
  switch (reason) {
    case CANCELLED:
      return undefined;
    case NOT_ALLOWED:
      if (status === 404) return withDetail('absent', message);
      if (status === 401 && /expired/i.test(message)) return { kind: 'expired' };
      return withDetail('refused', message);
    case LEAVE_REQUEST:
      return disconnectFault(typeof context === 'number' ? context : undefined) ?? { kind: 'lost' };
    case INTERNAL_ERROR:
      // Signalling answered, the media connection never came: a firewall, most of the time.
      return /pc connection|peer ?connection/i.test(message) ? { kind: 'media_blocked' } : { kind: 'unreachable' };
    case SERVER_UNREACHABLE:
      return { kind: 'unreachable' };
    default:
      return { kind: 'unreachable' };
  }
}

/** Why a running call stopped; `undefined` when the person left. */
export function disconnectFault(reason: number | undefined): Fault | undefined {
  switch (reason) {
    case CLIENT_INITIATED:
      return undefined;
    case DUPLICATE_IDENTITY:
      return { kind: 'duplicate' };
    case PARTICIPANT_REMOVED:
    case USER_REJECTED:
      return { kind: 'removed' };
    case ROOM_DELETED:
    case ROOM_CLOSED:
      return { kind: 'ended' };
    case SERVER_SHUTDOWN:
      return { kind: 'shutdown' };
    case MEDIA_FAILURE:
      return { kind: 'media_blocked' };
    default:
      return { kind: 'lost' };
  }
}

/** Why a camera or a microphone could not be opened. */
export function deviceFault(error: unknown, mediaDevices: boolean): DeviceFault {
  if (!mediaDevices) return 'insecure';
  switch (shape(error).name) {
    case 'NotAllowedError':
    case 'PermissionDeniedError':
    case 'SecurityError':
      return 'denied';
    case 'NotFoundError':
    case 'DevicesNotFoundError':
    case 'OverconstrainedError':
      return 'not_found';
    case 'NotReadableError':
    case 'TrackStartError':
    case 'AbortError':
      return 'in_use';
    default:
      return 'other';
  }
}

/** Whether pressing the same button again can help. */
export function canRetry(kind: FaultKind): boolean {
  return !['link_missing', 'link_broken', 'unsupported', 'removed', 'ended'].includes(kind);
}

function withDetail(kind: FaultKind, message: string): Fault {
  const detail = message.replace(/^could not establish signal connection: ?/i, '').trim().slice(0, MAX_DETAIL);
  // The library's own words before an answer, or instead of an empty one, say nothing to anybody.
  return detail === '' || detail === 'an error has occurred' ? { kind } : { kind, detail };
}

function shape(error: unknown): { reason?: number; status?: number; context?: unknown; message: string; name: string } {
  if (typeof error !== 'object' || error === null) return { message: '', name: '' };
  const e = error as Record<string, unknown>;
  return {
    ...(typeof e['reason'] === 'number' ? { reason: e['reason'] } : {}),
    ...(typeof e['status'] === 'number' ? { status: e['status'] } : {}),
    context: e['context'],
    message: typeof e['message'] === 'string' ? e['message'] : '',
    name: typeof e['name'] === 'string' ? e['name'] : '',
  };
}
