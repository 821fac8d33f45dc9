//! Whether queues grow: arrival times in groups, the slope of their delay, and how long the queue is now.
//!
//! Follows draft-ietf-rmcat-gcc-02 sections 5.2 to 5.4, with a line fitted through the delays in place of the Kalman filter.

use std::collections::VecDeque;

/// Packets sent within this time are one group (GCC section 5.2), in microseconds.
const GROUP: u64 = 5_000;
/// Packets that arrive this close behind the last, faster than they were sent, waited for the same gap.
const BURST: i64 = 5_000;
/// A burst is at most this long, or a busy line would be one group.
const MAX_BURST: i64 = 100_000;
/// The receiver's clock jumped, or the line was dead: what was before says nothing any more.
const MAX_JUMP: i64 = 3_000_000;

/// Groups the line is fitted through; one to two seconds of a camera, half a second of several.
const FITTED: usize = 20;
/// Share of the old delay in the smoothed one.
const SMOOTHING: f64 = 0.9;
/// Brings the slope to the scale of the threshold.
const GAIN: f64 = 4.0;
/// Groups up to which a slope gains weight.
const MAX_WEIGHT: f64 = 60.0;

/// The threshold the modified slope is compared with, in ms: where it starts and its limits (GCC section 5.4).
const THRESHOLD: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// How fast the threshold follows a larger and a smaller slope, per ms (GCC section 5.4).
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
/// A slope this far beyond the threshold is an event, not the line's ordinary jitter: it does not move the threshold.
const OUTLIER: f64 = 15.0;
/// The slope must stay above the threshold this long, in ms.
const OVERUSE_TIME: f64 = 10.0;

/// The line's own delay is the least of this long, in microseconds: longer than any queue may stand, short enough to
/// follow a new route and clocks that drift apart (3 ms at 100 ppm).
const BASE_HALF: i64 = 15_000_000;

/// What the queues of the line do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Neither.
    #[default]
    Normal,
    /// They grow: more is sent than the line carries.
    Over,
    /// They drain.
    Under,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: u64,
    last_sent: u64,
    first_arrival: i64,
    last_arrival: i64,
}

/// Estimates the growth of queues from send and arrival times of one receiver.
#[derive(Debug, Default)]
pub(crate) struct DelayDetector {
    current: Option<Group>,
    previous: Option<Group>,
    slope: Slope,
    base: BaseDelay,
    usage: Usage,
}

impl DelayDetector {
    /// Takes note of a packet that arrived; in sending order.
    pub(crate) fn on_packet(&mut self, sent: u64, arrival: i64) {
        self.base.on_packet(sent, arrival);
        let Some(group) = &mut self.current else {
            self.current = Some(Group { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival });
            return;
        };
        if sent < group.first_sent {
            return;
        }
        let sent_apart = i64::try_from(sent - group.last_sent.min(sent)).unwrap_or(i64::MAX);
        let apart = arrival.saturating_sub(group.last_arrival);
        if apart.saturating_sub(sent_apart).saturating_abs() > MAX_JUMP {
            *self = Self::default();
            return;
        }
        let burst = apart < sent_apart && apart <= BURST && arrival - group.first_arrival < MAX_BURST;
        if sent - group.first_sent <= GROUP || burst {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            return;
        }
        let done = *group;
        self.current = Some(Group { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival });
        if let Some(before) = self.previous.replace(done) {
            let sent_ms = (done.last_sent - before.last_sent.min(done.last_sent)) as f64 / 1_000.0;
            let arrived_ms = (done.last_arrival - before.last_arrival) as f64 / 1_000.0;
            // Groups that arrive in the wrong order say nothing of queues.
            if arrived_ms >= 0.0 {
                self.usage = self.slope.update(arrived_ms - sent_ms, sent_ms, done.last_arrival as f64 / 1_000.0);
            }
        }
    }

    /// What the queues do.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Closes a feedback: the queue is what its fastest packet waited beyond the least delay known, in microseconds.
    pub(crate) fn close_feedback(&mut self) {
        self.base.close();
    }

    /// The queue found by the last feedback, in microseconds.
    pub(crate) fn queue(&self) -> u64 {
        self.base.queue
    }

    /// What the last packet of the last feedback waited, in microseconds.
    pub(crate) fn tail(&self) -> u64 {
        self.base.tail
    }

    /// Takes the present delay for the line's own: sending less did not shorten it, so it is not our queue.
    pub(crate) fn rebase(&mut self) {
        self.base = BaseDelay::default();
    }
}

/// The modified slope, its adaptive threshold and the state it is in.
#[derive(Debug)]
struct Slope {
    points: VecDeque<(f64, f64)>,
    count: f64,
    first_arrival: Option<f64>,
    delay: f64,
    smoothed: f64,
    threshold: f64,
    above_for: Option<f64>,
    above_count: u32,
    previous: f64,
    last_update: Option<f64>,
    usage: Usage,
}

impl Default for Slope {
    fn default() -> Self {
        Self {
            points: VecDeque::with_capacity(FITTED + 1),
            count: 0.0,
            first_arrival: None,
            delay: 0.0,
            smoothed: 0.0,
            threshold: THRESHOLD,
            above_for: None,
            above_count: 0,
            previous: 0.0,
            last_update: None,
            usage: Usage::Normal,
        }
    }
}

impl Slope {
    /// One more group: by how much its delay grew, how long after the last it was sent, and when it arrived; all in ms.
    fn update(&mut self, growth: f64, sent_apart: f64, arrival: f64) -> Usage {
        let first = *self.first_arrival.get_or_insert(arrival);
        self.count = (self.count + 1.0).min(1_000.0);
        self.delay += growth;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        self.points.push_back((arrival - first, self.smoothed));
        if self.points.len() > FITTED {
            self.points.pop_front();
        }
        let slope = if self.points.len() == FITTED { fit(&self.points).unwrap_or(self.previous) } else { self.previous };
        self.detect(slope, sent_apart, arrival);
        self.usage
    }

    fn detect(&mut self, slope: f64, sent_apart: f64, now: f64) {
        if self.count < 2.0 {
            return;
        }
        let modified = self.count.min(MAX_WEIGHT) * slope * GAIN;
        if modified > self.threshold {
            let time = self.above_for.map_or(sent_apart / 2.0, |time| time + sent_apart);
            self.above_for = Some(time);
            self.above_count += 1;
            if time > OVERUSE_TIME && self.above_count > 1 && slope >= self.previous {
                (self.above_for, self.above_count) = (Some(0.0), 0);
                self.usage = Usage::Over;
            }
        } else {
            (self.above_for, self.above_count) = (None, 0);
            self.usage = if modified < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.previous = slope;
        self.adapt(modified, now);
    }

    fn adapt(&mut self, modified: f64, now: f64) {
        let elapsed = (now - self.last_update.replace(now).unwrap_or(now)).clamp(0.0, 100.0);
        if modified.abs() > self.threshold + OUTLIER {
            return;
        }
        let speed = if modified.abs() < self.threshold { FALL } else { RISE };
        self.threshold += speed * (modified.abs() - self.threshold) * elapsed;
        self.threshold = self.threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}

/// Slope of the least-squares line.
fn fit(points: &VecDeque<(f64, f64)>) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
        let dx = x - mean_x;
        (above + dx * (y - mean_y), below + dx * dx)
    });
    (below > 0.0).then(|| above / below)
}

/// The least one-way delay of late (with an unknown offset between the clocks) and what is above it now.
#[derive(Debug, Default)]
struct BaseDelay {
    /// Least delay of this and of the last half window.
    halves: [Option<i64>; 2],
    started: i64,
    /// Least and last delay of the feedback being read.
    least: Option<i64>,
    last: i64,
    queue: u64,
    tail: u64,
}

impl BaseDelay {
    fn on_packet(&mut self, sent: u64, arrival: i64) {
        let sent = i64::try_from(sent).unwrap_or(i64::MAX);
        let delay = arrival.saturating_sub(sent);
        if sent.saturating_sub(self.started) > BASE_HALF {
            self.halves.rotate_right(1);
            self.started = sent;
            if let Some(newest) = self.halves.first_mut() {
                *newest = None;
            }
        }
        if let Some(newest) = self.halves.first_mut() {
            *newest = Some(newest.map_or(delay, |least| least.min(delay)));
        }
        self.least = Some(self.least.map_or(delay, |least| least.min(delay)));
        self.last = delay;
    }

    fn close(&mut self) {
        let base = self.halves.iter().flatten().min();
        if let (Some(least), Some(base)) = (self.least.take(), base) {
            self.queue = u64::try_from(least.saturating_sub(*base)).unwrap_or(0);
            self.tail = u64::try_from(self.last.saturating_sub(*base)).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets every 20 ms whose delay is `delay(n)` microseconds; the usages seen.
    fn run(detector: &mut DelayDetector, from: u64, count: u64, delay: impl Fn(u64) -> i64) -> Vec<Usage> {
        (from..from + count)
            .map(|n| {
                detector.on_packet(n * 20_000, (n * 20_000) as i64 + delay(n));
                detector.close_feedback();
                detector.usage()
            })
            .collect()
    }

    #[test]
    fn a_growing_queue_is_overuse_a_draining_one_underuse_and_jitter_neither() {
        let mut detector = DelayDetector::default();
        let jitter = |n: u64| 50_000 + (n * 7_919 % 5) as i64 * 1_000;
        assert!(run(&mut detector, 0, 200, jitter).iter().all(|usage| *usage == Usage::Normal));
        assert!(run(&mut detector, 200, 30, |n| jitter(n) + (n as i64 - 199) * 4_000).contains(&Usage::Over));
        assert!(detector.queue() > 100_000);
        assert!(run(&mut detector, 230, 30, |n| jitter(n) + (260 - n as i64) * 4_000).contains(&Usage::Under));
        let _ = run(&mut detector, 260, 60, jitter);
        assert!(detector.queue() < 5_000);
        assert_eq!(detector.usage(), Usage::Normal);
    }

    #[test]
    fn a_jump_of_the_clock_starts_anew() {
        let mut detector = DelayDetector::default();
        let _ = run(&mut detector, 0, 50, |_| 0);
        let after = run(&mut detector, 50, 50, |_| 60_000_000);
        assert!(after.iter().all(|usage| *usage == Usage::Normal));
        assert_eq!(detector.queue(), 0);
    }

    #[test]
    fn a_new_route_becomes_the_base_in_time() {
        let mut detector = DelayDetector::default();
        let _ = run(&mut detector, 0, 50, |_| 20_000);
        let _ = run(&mut detector, 50, 100, |_| 150_000);
        assert_eq!(detector.queue(), 130_000);
        let _ = run(&mut detector, 150, 1_600, |_| 150_000);
        assert_eq!(detector.queue(), 0);
        let _ = run(&mut detector, 1_750, 10, |_| 250_000);
        detector.rebase();
        let _ = run(&mut detector, 1_760, 2, |_| 250_000);
        assert_eq!(detector.queue(), 0);
    }
}
