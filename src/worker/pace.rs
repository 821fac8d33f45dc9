//! When a worker looks at its sockets again: at once while there is little to do, a moment later while datagrams come thick.
//!
//! Falling asleep and waking costs as much as forwarding many packets. So a worker that has found its sockets empty, and expects
//! several datagrams within the moment it may let pass, lets it pass and takes them all in one go. What comes after silence, and
//! what comes in a small call, finds the worker waiting for it and is never delayed.

use crate::model::Instant;
use std::time::Duration;

/// The time over which the rate is smoothed: more than half the distance of two frames, so that one frame's burst is not taken for
/// thick traffic, and short enough to be forgotten soon after the last call ends.
const WINDOW: Duration = Duration::from_millis(20);

/// Datagrams a pause must promise: with fewer it saves no wake-up worth its delay.
const WORTHWHILE: f64 = 2.0;

/// Datagrams a pause need not exceed: more would save little and delay all. With 30 rooms of three, 19,000 datagrams a second, pausing
/// for 8 took 5.1 us of processor time per delivered packet and added 0.28 ms (99 of 100: 0.7 ms); for 12 4.8 us and 0.45 ms (1.0 ms),
/// for 18 4.4 us and 0.65 ms (1.3 ms). On a machine with slower calls to the kernel those 1.0 ms for 12 are 1.1.
const PLENTY: f64 = 10.0;

/// Datagrams per second from which pauses get shorter, and from which there are none: what comes so thick is taken many at a time
/// without waiting, and what pauses still save is not worth their delay. With and without them a delivered packet took 8.3 and 9.7 us of
/// processor time with 30 rooms, 7.3 and 7.2 with 45 (28,000 datagrams a second), 6.3 and 7.2 with 60, 6.2 and 6.7 with 80; half of the
/// packets were late by 0.46 and 0.08, 0.34 and 0.07, 0.26 and 0.11, 0.28 and 0.15 ms (two or three runs of each in turn).
const THICK: (f64, f64) = (22_000.0, 30_000.0);

/// Shorter pauses are not taken: with 60 rooms those of 80 us took 8.5 us per delivered packet and those of 200 us 7.5, as far apart as
/// none and 200 us had been.
const SHORTEST: Duration = Duration::from_micros(100);

/// The rate of datagrams, and what follows from it.
#[derive(Debug)]
pub(super) struct Pace {
    most: Duration,
    /// Datagrams per second when last counted.
    rate: f64,
    at: Instant,
}

impl Pace {
    /// Lets at most `most` pass between two looks; zero never pauses.
    pub(super) fn new(most: Duration, now: Instant) -> Self {
        Self { most, rate: 0.0, at: now }
    }

    /// Counts what a look has found, at its time.
    pub(super) fn found(&mut self, datagrams: usize, now: Instant) {
        if self.most.is_zero() {
            return;
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let window = WINDOW.as_secs_f64();
        self.rate = self.rate * (-passed / window).exp() + datagrams as f64 / window;
        self.at = now;
    }

    /// How long to let pass after a look that found something and emptied the sockets; `None` for no time.
    pub(super) fn pause(&self) -> Option<Duration> {
        if self.rate * self.most.as_secs_f64() < WORTHWHILE {
            return None;
        }
        let part = ((THICK.1 - self.rate) / (THICK.1 - THICK.0)).clamp(0.0, 1.0);
        let enough = Duration::from_secs_f64(PLENTY / self.rate * part);
        Some(self.most.min(enough)).filter(|pause| *pause >= SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    /// Looks every `every` with `each` datagrams for 200 ms; answers the pauses after each.
    fn run(pace: &mut Pace, from: Instant, every: Duration, each: usize) -> Vec<Option<Duration>> {
        let looks = 200_000 / every.as_micros() as u32;
        let at = |look| from + every * look;
        (0..looks).map(|look| (pace.found(each, at(look)), pace.pause()).1).collect()
    }

    #[test]
    fn a_single_call_is_never_delayed() {
        let t0 = Instant::now();
        let mut pace = Pace::new(1_000 * US, t0);
        // Three people: 30 frames of five packets a second each, all in the same instant, and 50 voice packets.
        for ms in 0..3_000_u32 {
            let frames = if ms % 33 == 0 { 15 } else { 0 };
            let voices = if ms % 20 == 0 { 3 } else { 0 };
            pace.found(frames + voices, t0 + 1_000 * US * ms);
            assert_eq!(pace.pause(), None, "at {ms} ms");
        }
    }

    #[test]
    fn thick_traffic_pauses_thicker_traffic_less_and_the_thickest_not_at_all() {
        let t0 = Instant::now();
        let mut pace = Pace::new(500 * US, t0);
        let thick = run(&mut pace, t0, 500 * US, 7);
        assert_eq!(*thick.last().expect("some"), Some(500 * US));
        assert_eq!(*thick.first().expect("some"), None, "not before it is known to be thick");
        let mut pace = Pace::new(500 * US, t0);
        let last = run(&mut pace, t0, 200 * US, 5).last().copied().flatten().expect("a pause");
        assert!((200 * US..=300 * US).contains(&last), "25,000 a second: {last:?}");
        let mut pace = Pace::new(500 * US, t0);
        assert_eq!(*run(&mut pace, t0, 100 * US, 8).last().expect("some"), None);
    }

    #[test]
    fn silence_is_noticed() {
        let t0 = Instant::now();
        let mut pace = Pace::new(500 * US, t0);
        run(&mut pace, t0, 500 * US, 10);
        pace.found(1, t0 + 300_000 * US);
        assert_eq!(pace.pause(), None);
    }

    #[test]
    fn nothing_allowed_is_nothing_done() {
        let t0 = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, t0);
        assert!(run(&mut pace, t0, 100 * US, 64).iter().all(Option::is_none));
    }
}
