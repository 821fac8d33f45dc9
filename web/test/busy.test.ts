import { afterEach, describe, expect, it, vi } from 'vitest';
import { askBusy, secondsOf } from '../src/busy';

const link = { token: 'a+b', url: 'wss://relay.example/base' };

describe('a relay that did not let us in', () => {
  afterEach(() => vi.unstubAllGlobals());

  it('is asked with the same token, and names the seconds to wait', async () => {
    const ask = vi.fn().mockResolvedValue(new Response('busy', { status: 503, headers: { 'Retry-After': '7' } }));
    vi.stubGlobal('fetch', ask);
    expect(await askBusy(link)).toBe(7);
    expect(ask.mock.calls[0]?.[0]).toBe('https://relay.example/base/rtc/v1/validate?access_token=a%2Bb&join_request=');
  });

  it('is not busy when it says anything else, or nothing', async () => {
    vi.stubGlobal('fetch', vi.fn().mockResolvedValue(new Response('success')));
    expect(await askBusy(link)).toBeUndefined();
    vi.stubGlobal('fetch', vi.fn().mockRejectedValue(new TypeError('network')));
    expect(await askBusy(link)).toBeUndefined();
  });

  it.each([
    ['3', 3],
    ['0', 1],
    ['86400', 60],
    [null, 5],
    ['soon', 5],
    ['-2', 5],
    ['Wed, 21 Oct 2026 07:28:00 GMT', 5],
  ])('reads %s as %s seconds', (header, seconds) => expect(secondsOf(header)).toBe(seconds));
});
