//! The rate control: up by a share while the line's capacity is unknown, up by a packet a round trip near it, down below
//! what arrives when queues grow. Follows draft-ietf-rmcat-gcc-02 section 5.5.

use std::time::Duration;

use super::delay::Usage;
use crate::media::rate::Bitrate;

/// Growth of a second while the capacity is unknown (GCC section 5.5).
const GROWTH: f64 = 1.08;
/// Share of what arrives that is sent after overuse (GCC section 5.5).
const BACK_OFF: f64 = 0.85;
/// The estimate goes no further beyond what has been shown to arrive (GCC section 5.5).
const BEYOND_ARRIVED: f64 = 1.5;
const BEYOND_ARRIVED_FIXED: Bitrate = Bitrate::from_kbps(10);

/// A packet of video in bits: what is added per response time near the capacity.
const PACKET_BITS: f64 = 9_600.0;
/// Least growth of a second near the capacity.
const LEAST_GROWTH: f64 = 4_000.0;
/// Time between a change and the feedback that shows it, beyond the round trip.
const RESPONSE: f64 = 0.1;

/// Share of the old value in the mean capacity (GCC section 5.5 has 0.95).
const CAPACITY_MEMORY: f64 = 0.95;
/// Its deviation, as variance in kbit/s over the mean, and the limits of that.
const DEVIATION: f64 = 0.4;
const DEVIATION_MIN: f64 = 0.4;
const DEVIATION_MAX: f64 = 2.5;

/// Soonest after a decrease that the next follows, besides the round trip, in microseconds.
const AGAIN: u64 = 200_000;

/// One estimate and what moves it.
#[derive(Debug)]
pub(crate) struct RateControl {
    estimate: Bitrate,
    min: Bitrate,
    max: Bitrate,
    increasing: bool,
    capacity: Capacity,
    last_change: Option<u64>,
    last_decrease: Option<u64>,
    hold_until: u64,
}

/// What one update goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signals {
    /// What the queues do.
    pub(crate) usage: Usage,
    /// What arrived of late, made up for loss that is not ours.
    pub(crate) arrived: Option<Bitrate>,
    /// Round trip.
    pub(crate) rtt: Duration,
    /// Less is sent than allowed.
    pub(crate) limited: bool,
    /// Queue beyond the line's own delay, in microseconds.
    pub(crate) queue: u64,
}

impl RateControl {
    /// Starts at an estimate, and stays within limits.
    pub(crate) fn new(start: Bitrate, min: Bitrate, max: Bitrate) -> Self {
        Self {
            estimate: start.clamp(min, max.max(min)),
            min,
            max: max.max(min),
            increasing: true,
            capacity: Capacity::default(),
            last_change: None,
            last_decrease: None,
            hold_until: 0,
        }
    }

    /// The estimate.
    pub(crate) fn estimate(&self) -> Bitrate {
        self.estimate
    }

    /// Takes a rate that was shown to pass, when it is higher.
    pub(crate) fn raise_to(&mut self, rate: Bitrate, now: u64) {
        let rate = rate.min(self.max);
        if rate > self.estimate {
            self.estimate = rate;
            self.capacity = Capacity::default();
            self.last_change = Some(now);
        }
    }

    /// Takes a rate that arrives, when it is higher and no rest is due.
    pub(crate) fn bear(&mut self, rate: Bitrate, now: u64) {
        if now >= self.hold_until {
            self.estimate = self.estimate.max(rate.min(self.max));
        }
    }

    /// Goes down because of loss, takes what arrived for the capacity, and does not grow for a while.
    pub(crate) fn cut_to(&mut self, rate: Bitrate, hold: Duration, now: u64) {
        self.estimate = rate.clamp(self.min, self.estimate.max(self.min));
        self.capacity.learn(rate);
        self.last_change = Some(now);
        self.last_decrease = Some(now);
        self.hold_until = now.saturating_add(hold.as_micros() as u64);
    }

    /// What was taken for the capacity was something else.
    pub(crate) fn forget_capacity(&mut self) {
        self.capacity = Capacity::default();
        self.hold_until = 0;
    }

    /// Moves the estimate by what feedback has shown; answers whether it went down.
    pub(crate) fn update(&mut self, signals: &Signals, now: u64) -> bool {
        match signals.usage {
            Usage::Under => self.increasing = false,
            Usage::Normal => {
                if self.increasing {
                    self.increase(signals, now);
                } else {
                    self.increasing = true;
                    self.last_change = Some(now);
                }
            }
            Usage::Over => return self.decrease(signals, now),
        }
        false
    }

    fn increase(&mut self, signals: &Signals, now: u64) {
        let elapsed = now.saturating_sub(self.last_change.replace(now).unwrap_or(now)) as f64 / 1e6;
        let Some(arrived) = signals.arrived.filter(|_| now >= self.hold_until) else { return };
        if arrived.bps() as f64 > self.capacity.upper() {
            self.capacity = Capacity::default();
        }
        let elapsed = elapsed.min(1.0);
        let grown = if self.capacity.mean.is_some() {
            let response = signals.rtt.as_secs_f64() + RESPONSE;
            self.estimate + Bitrate::from_bps(((PACKET_BITS / response).max(LEAST_GROWTH) * elapsed) as u64)
        } else {
            self.estimate.scale(GROWTH.powf(elapsed)).max(self.estimate + Bitrate::from_bps((1_000.0 * elapsed) as u64))
        };
        let most = arrived.scale(BEYOND_ARRIVED) + BEYOND_ARRIVED_FIXED;
        self.estimate = grown.min(most).max(self.estimate).min(self.max);
    }

    fn decrease(&mut self, signals: &Signals, now: u64) -> bool {
        /// A queue this short may be a key frame on its way.
        const SHORT_QUEUE: u64 = 50_000;
        /// Less than this share arrives, and without a queue: it was not the line that made it so little.
        const LITTLE: f64 = 0.65;
        let Some(arrived) = signals.arrived else { return false };
        let again = u64::try_from(signals.rtt.as_micros()).unwrap_or(AGAIN).clamp(10_000, AGAIN);
        let since = self.last_decrease.map(|last| now.saturating_sub(last));
        let fell_far = arrived < self.estimate.scale(0.5) && !signals.limited;
        if since.is_some_and(|since| since < again && !(fell_far && since > again / 4)) {
            return false;
        }
        let mut rate = arrived.scale(BACK_OFF);
        let little = signals.limited || arrived < self.estimate.scale(LITTLE);
        if signals.limited && signals.queue < SHORT_QUEUE {
            // Less is sent than the line was shown to bear, and nothing queues: no line is made narrower by that.
            return false;
        }
        if little && signals.queue < SHORT_QUEUE {
            // What arrives is what was sent, not what the line bears.
            rate = rate.max(self.estimate.scale(BACK_OFF));
        } else {
            if rate > self.estimate {
                rate = self.capacity.mean.map_or(rate, |mean| Bitrate::from_bps((mean * 1_000.0 * BACK_OFF) as u64));
            }
            if (arrived.bps() as f64) < self.capacity.lower() {
                self.capacity = Capacity::default();
            }
            self.capacity.learn(arrived);
        }
        let before = self.estimate;
        self.estimate = rate.min(self.estimate).clamp(self.min, self.max);
        self.increasing = false;
        self.last_change = Some(now);
        self.last_decrease = Some(now);
        self.estimate < before
    }
}

/// The rate at which queues began to grow, as a mean in kbit/s with a deviation.
#[derive(Debug)]
struct Capacity {
    mean: Option<f64>,
    deviation: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { mean: None, deviation: DEVIATION }
    }
}

impl Capacity {
    fn learn(&mut self, rate: Bitrate) {
        let sample = rate.bps() as f64 / 1_000.0;
        let before = self.mean.unwrap_or(sample);
        let mean = CAPACITY_MEMORY * before + (1.0 - CAPACITY_MEMORY) * sample;
        self.mean = Some(mean);
        let error = mean - sample;
        let deviation = CAPACITY_MEMORY * self.deviation + (1.0 - CAPACITY_MEMORY) * error * error / mean.max(1.0);
        self.deviation = deviation.clamp(DEVIATION_MIN, DEVIATION_MAX);
    }

    fn spread(&self, mean: f64) -> f64 {
        3.0 * (self.deviation * mean).sqrt()
    }

    /// A rate above this, in bit/s, shows a larger capacity.
    fn upper(&self) -> f64 {
        self.mean.map_or(f64::INFINITY, |mean| (mean + self.spread(mean)) * 1_000.0)
    }

    fn lower(&self) -> f64 {
        self.mean.map_or(0.0, |mean| (mean - self.spread(mean)) * 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KBPS: fn(u64) -> Bitrate = Bitrate::from_kbps;

    fn signals(usage: Usage, arrived: u64) -> Signals {
        Signals { usage, arrived: Some(KBPS(arrived)), rtt: Duration::from_millis(100), limited: false, queue: 100_000 }
    }

    fn control() -> RateControl {
        RateControl::new(KBPS(500), KBPS(30), KBPS(5_000))
    }

    #[test]
    fn it_grows_by_a_share_until_the_capacity_is_known_and_by_packets_then() {
        let mut control = control();
        for n in 0..=10 {
            control.update(&signals(Usage::Normal, 500), n * 100_000);
        }
        assert_eq!(control.estimate().bps() / 1_000, 539, "8 % in a second");
        assert!(control.update(&signals(Usage::Over, 500), 1_100_000));
        assert_eq!(control.estimate(), KBPS(425));
        for n in 12..=22 {
            control.update(&signals(Usage::Normal, 425), n * 100_000);
        }
        assert_eq!(control.estimate().bps() / 1_000, 473, "one packet each 200 ms");
    }

    #[test]
    fn it_stays_within_half_again_of_what_arrives_and_within_its_limits() {
        let mut control = control();
        for n in 0..=1_000 {
            control.update(&signals(Usage::Normal, 400), n * 100_000);
        }
        assert_eq!(control.estimate(), KBPS(610));
        control.raise_to(KBPS(9_000), 0);
        assert_eq!(control.estimate(), KBPS(5_000));
        control.update(&signals(Usage::Over, 1), 200_000_000);
        assert_eq!(control.estimate(), KBPS(30));
    }

    #[test]
    fn a_jitter_while_little_is_sent_costs_nothing_and_a_queue_does() {
        let mut control = control();
        let limited = Signals { limited: true, queue: 20_000, ..signals(Usage::Over, 50) };
        assert!(!control.update(&limited, 0));
        assert_eq!(control.estimate(), KBPS(500));
        let long = Signals { queue: 90_000, ..limited };
        assert!(control.update(&long, 400_000));
        assert_eq!(control.estimate(), KBPS(42) + Bitrate::from_bps(500));
    }
}
