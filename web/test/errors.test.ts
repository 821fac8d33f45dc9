import { describe, expect, it } from 'vitest';
import { ConnectionError, DisconnectReason } from 'livekit-client';
import { canRetry, connectFault, deviceFault, disconnectFault } from '../src/errors';

describe('why joining failed', () => {
  it('tells an expired link from a refusal', () => {
    expect(connectFault(ConnectionError.notAllowed('token has Expired', 401))).toEqual({ kind: 'expired' });
    expect(connectFault(ConnectionError.notAllowed('token is not valid', 401))).toEqual({ kind: 'refused', detail: 'token is not valid' });
    expect(connectFault(ConnectionError.notAllowed('could not establish signal connection:  The room is full. ', 403))).toEqual({ kind: 'refused', detail: 'The room is full.' });
    expect(connectFault(ConnectionError.notAllowed('', 403))).toEqual({ kind: 'refused' });
    expect(connectFault(ConnectionError.notAllowed('requested room does not exist', 404))?.kind).toBe('absent');
  });

  it('bounds what the relay says', () => {
    expect(connectFault(ConnectionError.notAllowed('x'.repeat(5_000), 403))?.detail).toHaveLength(300);
  });

  it('tells a silent relay from blocked media', () => {
    expect(connectFault(ConnectionError.serverUnreachable('no'))).toEqual({ kind: 'unreachable' });
    expect(connectFault(ConnectionError.timeout('t'))).toEqual({ kind: 'unreachable' });
    expect(connectFault(ConnectionError.websocket('w'))).toEqual({ kind: 'unreachable' });
    expect(connectFault(ConnectionError.internal('could not establish pc connection'))).toEqual({ kind: 'media_blocked' });
    expect(connectFault(new Error('?'))).toEqual({ kind: 'unreachable' });
    expect(connectFault(undefined)).toEqual({ kind: 'unreachable' });
    expect(canRetry('busy')).toBe(true);
  });

  it('understands a leave before the join', () => {
    expect(connectFault(ConnectionError.leaveRequest('x', DisconnectReason.ROOM_CLOSED))).toEqual({ kind: 'ended' });
    expect(connectFault(ConnectionError.leaveRequest('x', DisconnectReason.CLIENT_INITIATED))).toEqual({ kind: 'lost' });
  });

  it('is silent when the person cancelled', () => {
    expect(connectFault(ConnectionError.cancelled('c'))).toBeUndefined();
  });
});

describe('why a call stopped', () => {
  it.each([
    [DisconnectReason.CLIENT_INITIATED, undefined],
    [DisconnectReason.DUPLICATE_IDENTITY, 'duplicate'],
    [DisconnectReason.SERVER_SHUTDOWN, 'shutdown'],
    [DisconnectReason.PARTICIPANT_REMOVED, 'removed'],
    [DisconnectReason.ROOM_DELETED, 'ended'],
    [DisconnectReason.ROOM_CLOSED, 'ended'],
    [DisconnectReason.USER_REJECTED, 'removed'],
    [DisconnectReason.MEDIA_FAILURE, 'media_blocked'],
    [DisconnectReason.CONNECTION_TIMEOUT, 'lost'],
    [undefined, 'lost'],
  ])('%s is %s', (reason, kind) => expect(disconnectFault(reason)?.kind).toBe(kind));
});

describe('why a device failed', () => {
  it.each([
    ['NotAllowedError', 'denied'],
    ['NotFoundError', 'not_found'],
    ['OverconstrainedError', 'not_found'],
    ['NotReadableError', 'in_use'],
    ['WeirdError', 'other'],
  ])('%s is %s', (name, kind) => expect(deviceFault({ name }, true)).toBe(kind));

  it('blames the page when it has no devices at all', () => expect(deviceFault(new TypeError(), false)).toBe('insecure'));
});
