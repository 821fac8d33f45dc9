//! How busy a worker is: the share of time it does not wait, smoothed over about two seconds.
//!
//! Time on the wall counts, not processor time: a worker that waits for its core is as late as one that computes.

use crate::model::Instant;
use std::time::Duration;

/// The time over which an old share fades to a third: long enough that one burst of joins is no overload, short enough that
/// newcomers are refused before people in calls notice.
const WINDOW: Duration = Duration::from_secs(2);

/// How often a share is folded in: an exponential is not worth its price in every tick.
const SAMPLE: Duration = Duration::from_millis(50);

/// Below this share nobody needs to hear again: what is left fades unseen while the worker sleeps.
const SETTLED_PERMILLE: u16 = 50;

/// The smoothed utilisation of one worker.
#[derive(Debug)]
pub(super) struct Load {
    since: Instant,
    busy: Duration,
    smoothed: f64,
}

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, busy: Duration::ZERO, smoothed: 0.0 }
    }

    /// Takes a stretch of work that ended just `now`.
    pub(super) fn worked(&mut self, began: Instant, now: Instant) {
        self.busy += now.saturating_duration_since(began);
        let whole = now.saturating_duration_since(self.since);
        if whole < SAMPLE {
            return;
        }
        let share = (self.busy.as_secs_f64() / whole.as_secs_f64()).min(1.0);
        let kept = (-whole.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        self.smoothed = share + (self.smoothed - share) * kept;
        self.since = now;
        self.busy = Duration::ZERO;
    }

    /// The share of time at work, in thousandths.
    pub(super) fn permille(&self) -> u16 {
        (self.smoothed * 1_000.0).round() as u16
    }

    /// Whether a worker may fall silent without leaving the others with a figure that is no longer true.
    pub(super) fn is_settled(&self) -> bool {
        self.permille() < SETTLED_PERMILLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Rounds of 10 ms with `busy` of them at work.
    fn run(load: &mut Load, from: Instant, rounds: u32, busy: u32) -> Instant {
        for round in 0..rounds {
            let began = from + 10 * MS * round;
            load.worked(began, began + busy * MS);
        }
        from + 10 * MS * rounds
    }

    #[test]
    fn a_steady_share_is_found_within_seconds_and_fades_in_the_same_time() {
        let t0 = Instant::now();
        let mut load = Load::new(t0);
        let t = run(&mut load, t0, 200, 8);
        assert!((480..=530).contains(&load.permille()), "two thirds of the way after one window: {}", load.permille());
        let t = run(&mut load, t, 1_000, 8);
        assert!((780..=810).contains(&load.permille()), "{}", load.permille());
        assert!(!load.is_settled());
        run(&mut load, t, 800, 0);
        assert!(load.is_settled(), "{}", load.permille());
    }

    #[test]
    fn one_long_sleep_wipes_out_what_was() {
        let t0 = Instant::now();
        let mut load = Load::new(t0);
        let t = run(&mut load, t0, 1_000, 10);
        assert!(load.permille() > 950, "positive control: {}", load.permille());
        load.worked(t + 60_000 * MS, t + 60_001 * MS);
        assert!(load.permille() < 5, "{}", load.permille());
    }

    #[test]
    fn a_clock_that_stands_still_is_no_load() {
        let t0 = Instant::now();
        let mut load = Load::new(t0);
        load.worked(t0, t0);
        load.worked(t0 + MS, t0);
        assert_eq!(load.permille(), 0);
    }
}
