//! How many bits a second each layer of a track takes, measured as its packets come in.
//!
//! One [`LayerRates`] belongs to each stream of a track. It holds what a receiver of at most some spatial and temporal layer would
//! get, so that whoever shares out a line need not know how the layers depend on each other. It is a table of plain numbers.
//! Entry points: [`LayerRates::on_packet`] and [`LayerRates::rate`].

use super::ahead;
use super::codec::{TARGETS, target_index};
use std::time::{Duration, Instant};

/// Time over which bytes are counted before the rate follows; two such windows make the mean, so that a key frame weighs as much as it
/// takes.
const WINDOW: Duration = Duration::from_millis(500);
/// The same for a stream that begins: until its rate is known nobody can say where it fits.
const FIRST_WINDOW: Duration = Duration::from_millis(200);
/// Without packets for so long the rate is nothing: a few windows, so that a slow screen share keeps its own.
const SILENCE: Duration = Duration::from_secs(3);
/// Every pair of layers gets the packet.
const ALL: u16 = u16::MAX;

/// The measured rates of one stream.
///
/// In this order: a packet that every receiver gets touches the beginning alone.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct LayerRates {
    window: Option<Instant>,
    /// Bytes of this window that every receiver gets.
    common: u32,
    measured: bool,
    /// Bytes of this window beside those, by pair of layers.
    bytes: [u32; TARGETS],
    /// Bits per second over about a second.
    rates: [u32; TARGETS],
}

impl LayerRates {
    /// A packet of `bytes` came in; `members` has one bit for each pair of layers whose receivers get it
    /// ([`Facts::members`](super::codec::Facts::members)).
    pub fn on_packet(&mut self, members: u16, bytes: usize, now: Instant) {
        let start = *self.window.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start);
        if elapsed >= if self.measured { WINDOW } else { FIRST_WINDOW } {
            self.close(elapsed);
            self.window = Some(now);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if members == ALL {
            self.common = self.common.saturating_add(bytes);
            return;
        }
        for (index, sum) in self.bytes.iter_mut().enumerate() {
            if members & (1 << index) != 0 {
                *sum = sum.saturating_add(bytes);
            }
        }
    }

    /// Asks for what most packets touch, and for what lies before it from `first` on.
    pub fn warm<T>(&self, first: &T) {
        ahead::fetch_span(first, &self.measured);
    }

    /// Bits per second that a receiver of at most these layers gets; 0 while nothing is known or nothing comes.
    #[must_use]
    pub fn rate(&self, spatial: u8, temporal: u8, now: Instant) -> u32 {
        let silent = self.window.is_none_or(|start| now.saturating_duration_since(start) > SILENCE);
        if silent { 0 } else { self.rates.get(target_index(spatial, temporal)).copied().unwrap_or(0) }
    }

    fn close(&mut self, elapsed: Duration) {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        // After a silence what was known before says nothing.
        let fresh = !self.measured || elapsed > SILENCE;
        for (rate, sum) in self.rates.iter_mut().zip(&mut self.bytes) {
            let bytes = u64::from(std::mem::take(sum)) + u64::from(self.common);
            let new = u32::try_from(bytes * 8_000 / millis).unwrap_or(u32::MAX);
            *rate = if fresh { new } else { rate.midpoint(new) };
        }
        self.common = 0;
        self.measured = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::Facts;

    const MS: Duration = Duration::from_millis(1);

    fn members(spatial: Option<u8>, temporal: Option<u8>) -> u16 {
        Facts { spatial, temporal, ..Facts::default() }.members()
    }

    #[test]
    fn a_plain_stream_costs_the_same_at_every_layer() {
        let t0 = Instant::now();
        let mut rates = LayerRates::default();
        assert_eq!(rates.rate(0, 0, t0), 0);
        let mut known = None;
        // 1,000 bytes every 10 ms are 800 kbit/s.
        for n in 0..300 {
            rates.on_packet(members(None, None), 1_000, t0 + 10 * MS * n);
            known = known.or_else(|| (rates.rate(0, 0, t0 + 10 * MS * n) > 0).then_some(n));
        }
        assert_eq!(known, Some(20), "known soon");
        let now = t0 + 3_000 * MS;
        assert_eq!((rates.rate(0, 0, now), rates.rate(3, 3, now)), (800_000, 800_000));
        assert_eq!(rates.rate(0, 0, now + 2 * SILENCE), 0, "nothing comes");
    }

    #[test]
    fn temporal_and_spatial_layers_add_up() {
        let t0 = Instant::now();
        let mut rates = LayerRates::default();
        for n in 0..300 {
            let at = t0 + 10 * MS * n;
            rates.on_packet(members(Some(0), Some(0)), 100, at);
            rates.on_packet(members(Some(0), Some(1)), 200, at);
            rates.on_packet(members(Some(1), Some(0)), 400, at);
        }
        let rate = |spatial, temporal| rates.rate(spatial, temporal, t0 + 3_000 * MS);
        assert_eq!((rate(0, 0), rate(0, 1), rate(0, 2)), (80_000, 240_000, 240_000));
        assert_eq!((rate(1, 0), rate(1, 1), rate(9, 9)), (400_000, 560_000, 560_000));
    }

    #[test]
    fn a_change_is_followed_within_about_a_second() {
        let t0 = Instant::now();
        let mut rates = LayerRates::default();
        for n in 0..1_000 {
            let bytes = if n < 500 { 100 } else { 1_000 };
            rates.on_packet(ALL, bytes, t0 + 10 * MS * n);
            let rate = rates.rate(0, 0, t0 + 10 * MS * n);
            assert!(!(20..500).contains(&n) || rate == 80_000, "{n}: {rate}");
            assert!(n < 660 || rate > 600_000, "{n}: {rate}");
        }
    }
}
