//! What one received stream takes of a line, measured as its packets come in.

use crate::media::rate::Bitrate;
use std::time::{Duration, Instant};

/// Time over which bytes are counted; two such windows make the mean, so that a key frame weighs as much as it takes.
const WINDOW: Duration = Duration::from_millis(500);
/// A stream that begins is known sooner, or nobody would know where to put it.
const FIRST_WINDOW: Duration = Duration::from_millis(200);
/// After such a pause what was known says nothing.
const PAUSE: Duration = Duration::from_secs(3);

/// Bits and packets a second of one stream, over about a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    since: Option<Instant>,
    bytes: u32,
    packets: u32,
    rate: u32,
    pace: u16,
    measured: bool,
}

impl Meter {
    /// A packet of so many bytes came in.
    pub(super) fn on_packet(&mut self, bytes: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed >= if self.measured { WINDOW } else { FIRST_WINDOW } {
            self.close(elapsed);
            self.since = Some(now);
        }
        self.bytes = self.bytes.saturating_add(bytes as u32);
        self.packets += 1;
    }

    /// What it takes as UDP payload, and its packets a second; nothing while that is not known.
    pub(super) fn rate(&self) -> Option<(Bitrate, u16)> {
        self.measured.then(|| (Bitrate::from_bps(u64::from(self.rate)), self.pace))
    }

    fn close(&mut self, elapsed: Duration) {
        let millis = (elapsed.as_millis() as u64).max(1);
        let a_second = |count: u32| u64::from(count) * 1_000 / millis;
        let rate = u32::try_from(a_second(self.bytes) * 8).unwrap_or(u32::MAX);
        let pace = u16::try_from(a_second(self.packets)).unwrap_or(u16::MAX);
        let fresh = !self.measured || elapsed > PAUSE;
        (self.rate, self.pace) = if fresh { (rate, pace) } else { (self.rate.midpoint(rate), self.pace.midpoint(pace)) };
        (self.bytes, self.packets, self.measured) = (0, 0, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_soon_and_followed_within_about_a_second() {
        let t0 = Instant::now();
        let mut meter = Meter::default();
        let mut known = None;
        for n in 0..600_u32 {
            let now = t0 + Duration::from_millis(10) * n;
            meter.on_packet(if n < 300 { 1_000 } else { 100 }, now);
            known = known.or(meter.rate().map(|_| n));
            if n == 299 {
                assert_eq!(meter.rate(), Some((Bitrate::from_kbps(800), 100)));
            }
        }
        assert_eq!(known, Some(20));
        let (rate, pace) = meter.rate().unwrap();
        assert!(rate < Bitrate::from_kbps(110) && pace == 100, "{rate:?}");
    }
}
