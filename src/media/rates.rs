//! How many bits a second each layer of a track takes, measured as its packets come in.
//!
//! One [`LayerRates`] belongs to each stream of a track. It holds what a receiver of at most some spatial and temporal layer would
//! get, so that whoever shares out a line need not know how the layers depend on each other. It is a table of plain numbers.
//! Entry points: [`LayerRates::on_packet`] and [`LayerRates::rate`].

use super::ahead;
use super::codec::{Facts, TARGETS, target_index};
use crate::model::Instant;
use std::time::Duration;

/// Time over which bytes are counted before the rate follows; two such windows make the mean.
const WINDOW: Duration = Duration::from_millis(500);
/// The same for a stream that begins: until its rate is known nobody can say where it fits.
const FIRST_WINDOW: Duration = Duration::from_millis(200);
/// Without packets for so long the rate is nothing: a few windows, so that a slow screen share keeps its own.
const SILENCE: Duration = Duration::from_secs(3);
/// A key frame among other frames counts for one part in so many: it comes once, where a receiver changes to the layer, and what the
/// layer takes from then on is without it. Counted whole it made small layers look twice as large, just when it was to be decided
/// whether they fit. Where every frame is one, as in sound, each counts whole.
const KEY_FRAME_PART: usize = 4;
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
    /// Timestamp of the last frame, whether it is a key frame, and whether it is one that followed another kind.
    frame: Option<u32>,
    is_key: bool,
    is_spared: bool,
    measured: bool,
    /// Bytes of this window beside those, by pair of layers.
    bytes: [u32; TARGETS],
    /// Bits per second over about a second.
    rates: [u32; TARGETS],
}

impl LayerRates {
    /// A packet of `bytes` came in, of the frame of a timestamp.
    pub fn on_packet(&mut self, facts: &Facts, timestamp: u32, bytes: usize, now: Instant) {
        let start = *self.window.get_or_insert(now);
        if now >= start + if self.measured { WINDOW } else { FIRST_WINDOW } {
            self.close(now.saturating_duration_since(start));
            self.window = Some(now);
        }
        if self.frame.replace(timestamp) != Some(timestamp) {
            let after_key = std::mem::replace(&mut self.is_key, facts.key_frame_start);
            self.is_spared = self.is_key && !after_key;
        }
        let bytes = if self.is_spared { bytes / KEY_FRAME_PART } else { bytes };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let members = facts.members();
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

    const MS: Duration = Duration::from_millis(1);

    fn facts(spatial: Option<u8>, temporal: Option<u8>) -> Facts {
        Facts { spatial, temporal, ..Facts::default() }
    }

    #[test]
    fn a_plain_stream_costs_the_same_at_every_layer() {
        let t0 = Instant::now();
        let mut rates = LayerRates::default();
        assert_eq!(rates.rate(0, 0, t0), 0);
        let mut known = None;
        // 1,000 bytes every 10 ms are 800 kbit/s.
        for n in 0..300 {
            rates.on_packet(&facts(None, None), n, 1_000, t0 + 10 * MS * n);
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
            rates.on_packet(&facts(Some(0), Some(0)), n, 100, at);
            rates.on_packet(&facts(Some(0), Some(1)), n, 200, at);
            rates.on_packet(&facts(Some(1), Some(0)), n, 400, at);
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
            rates.on_packet(&Facts::default(), n, bytes, t0 + 10 * MS * n);
            let rate = rates.rate(0, 0, t0 + 10 * MS * n);
            assert!(!(20..500).contains(&n) || rate == 80_000, "{n}: {rate}");
            assert!(n < 660 || rate > 600_000, "{n}: {rate}");
        }
    }

    #[test]
    fn a_key_frame_does_not_make_a_layer_look_twice_as_large() {
        let t0 = Instant::now();
        let mut rates = LayerRates::default();
        // Fifteen frames a second of 600 bytes are 72 kbit/s; one of them is a key frame of four packets of 1,000 bytes.
        let mut seen = Vec::new();
        for n in 0..90_u32 {
            let at = t0 + 1_000 * MS * n / 15;
            if n == 60 {
                for part in 0..4 {
                    rates.on_packet(&Facts { key_frame_start: part == 0, ..Facts::default() }, n, 1_000, at);
                }
            } else {
                rates.on_packet(&Facts::default(), n, 600, at);
            }
            seen.push(rates.rate(0, 0, at));
        }
        assert!(seen[15..].iter().all(|rate| (60_000..82_000).contains(rate)), "{seen:?}");
        let mut sound = LayerRates::default();
        for n in 0..100 {
            let at = t0 + 20 * MS * n;
            sound.on_packet(&Facts { key_frame_start: true, ..Facts::default() }, n, 100, at);
            assert!(n < 60 || sound.rate(0, 0, at) > 39_000, "every packet of sound is one: {}", sound.rate(0, 0, at));
        }
    }
}
