//! How much arrived and how much was sent of late.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::rate::Bitrate;

/// The time a rate is measured over, in microseconds: one frame at 2 frames/s.
const LONGEST: i64 = 500_000;
/// With [`ENOUGH`] packets in it, this much will do.
const SHORTEST: i64 = 200_000;
const ENOUGH: usize = 20;
/// Packets in the window: 500 ms at 1,000 packets/s; with more, the window is shorter.
const MAX_ARRIVALS: usize = 512;

/// Rate of what arrived, by the receiver's clock.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// When the last came, in microseconds.
    last: Option<i64>,
    /// Arrival in microseconds, its low 32 bits, and bytes.
    arrivals: VecDeque<(u32, u16)>,
    bytes: u64,
    rate: Option<Bitrate>,
}

impl Acknowledged {
    /// Takes note of a packet that arrived.
    pub(crate) fn on_packet(&mut self, arrival: i64, bytes: u16) {
        if arrival.saturating_sub(self.last.unwrap_or(arrival)).saturating_abs() > 4 * LONGEST {
            *self = Self::default();
        }
        // A packet overtaken on the way counts at the time of the one before it.
        let last = self.last.map_or(arrival, |last| arrival.max(last));
        self.last = Some(last);
        let arrival = last as u32;
        self.arrivals.push_back((arrival, bytes));
        self.bytes += u64::from(bytes);
        while let Some((oldest, bytes)) = self.arrivals.front().copied() {
            let age = i64::from(arrival.wrapping_sub(oldest));
            let keep = self.arrivals.len() <= ENOUGH && age <= LONGEST || age <= SHORTEST;
            if keep && self.arrivals.len() <= MAX_ARRIVALS {
                break;
            }
            self.arrivals.pop_front();
            self.bytes -= u64::from(bytes);
        }
        let Some((oldest, first_bytes)) = self.arrivals.front() else { return };
        let span = u64::from(arrival.wrapping_sub(*oldest));
        // Too short a time says more of one frame than of the line.
        if span * 2 >= SHORTEST as u64 {
            self.rate = Bitrate::of(self.bytes - u64::from(*first_bytes), Duration::from_micros(span));
        }
    }

    /// The rate; nothing before a tenth of a second was seen.
    pub(crate) fn rate(&self) -> Option<Bitrate> {
        self.rate
    }
}

/// One slot of the sent rate, in microseconds, and how many there are.
const SLOT: u64 = 100_000;
const SLOTS: usize = 5;

/// Rate of what was sent over the last half second.
#[derive(Debug, Default)]
pub(crate) struct SentRate {
    /// Bytes of each slot.
    slots: [u32; SLOTS],
    slot: u64,
    started: Option<u64>,
}

impl SentRate {
    /// Takes note of a packet.
    pub(crate) fn on_sent(&mut self, bytes: usize, at: u64) {
        self.turn(at);
        self.started.get_or_insert(at);
        if let Some(current) = self.slots.get_mut((self.slot % SLOTS as u64) as usize) {
            *current = current.saturating_add(bytes as u32);
        }
    }

    /// The rate at a time in microseconds.
    pub(crate) fn rate(&mut self, at: u64) -> Bitrate {
        self.turn(at);
        let span = SLOT * (SLOTS as u64 - 1) + at % SLOT;
        let since = self.started.map_or(span, |started| at.saturating_sub(started).max(SLOT));
        Bitrate::of(self.slots.iter().map(|slot| u64::from(*slot)).sum(), Duration::from_micros(span.min(since)))
            .unwrap_or_default()
    }

    fn turn(&mut self, at: u64) {
        let slot = at / SLOT;
        for passed in (self.slot + 1..=slot).take(SLOTS) {
            if let Some(old) = self.slots.get_mut((passed % SLOTS as u64) as usize) {
                *old = 0;
            }
        }
        if slot > self.slot + SLOTS as u64 {
            self.slots = [0; SLOTS];
        }
        self.slot = self.slot.max(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_give_a_rate_that_follows_within_half_a_second() {
        let mut acknowledged = Acknowledged::default();
        acknowledged.on_packet(0, 1_000);
        assert_eq!(acknowledged.rate(), None);
        for n in 1..200 {
            acknowledged.on_packet(n * 8_000, 1_000);
        }
        assert_eq!(acknowledged.rate(), Some(Bitrate::from_kbps(1_000)));
        for n in 1..=10 {
            acknowledged.on_packet(199 * 8_000 + n * 80_000, 1_000);
        }
        let slow = acknowledged.rate().unwrap().bps();
        assert!((99_000..200_000).contains(&slow), "{slow}");
    }

    #[test]
    fn what_was_sent_is_averaged_and_forgotten() {
        let mut sent = SentRate::default();
        for n in 0..200 {
            sent.on_sent(1_000, n * 8_000);
        }
        let rate = sent.rate(1_600_000).bps();
        assert!((950_000..=1_050_000).contains(&rate), "{rate}");
        assert_eq!(sent.rate(60_000_000), Bitrate::ZERO);
    }
}
