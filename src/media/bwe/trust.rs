//! What is held against a receiver's line: whether it has shown that it does not bear what is wanted of it.
//!
//! A line is taken to bear everything until its delay or its loss says otherwise: an estimate that is low because little was
//! sent, or because a machine was busy, bounds nothing. Then the estimate rules, until the line bears everything again.
//! Entry points: [`Trust::note`] after each look, [`Trust::is_bounded`] and [`Trust::may_pause`] for what follows.

use super::Figures;
use crate::media::rate::Bitrate;
use crate::model::Instant;
use std::time::Duration;

/// A new line is asked by probes, not by pictures, for so long after the first word of its receiver: one that is narrow is
/// known by then.
const BEGIN: Duration = Duration::from_millis(1_500);
/// At first nothing is paused: the estimate begins low, and probes need a second or two to show what the line bears.
const GRACE: Duration = Duration::from_secs(2);
/// A queue of this length that lasts so long, two words of the receiver, is a line that is full. The queue is that of the fastest
/// packet between two words, so what comes in heaps, as at a machine that is too busy, is none.
const FULL: (Duration, Duration) = (Duration::from_millis(120), Duration::from_millis(90));
/// What the last packet waited, where more is under way than can have come: no need to wait for the next word.
const TAIL: Duration = Duration::from_millis(80);
/// A budget or estimate that falls below this share of what it was is trouble; without any, an estimate is low only because
/// little was sent. A budget swings with late feedback, an estimate does not.
const TROUBLE: (f64, f64) = (0.7, 0.9);
/// A line that is too narrow to show every picture carries less than this share of what is sent, or queues so long for such a
/// time, or loses so much.
const CARRIED: f64 = 0.85;
const QUEUED: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(1_500));
const LOSSY: f64 = 0.15;
/// A queue this short is none.
const SHORT_QUEUE: Duration = Duration::from_millis(30);
/// What is carried is looked at over one to two of these.
const CARRIED_OVER: Duration = Duration::from_secs(1);
/// How long a line is not trusted after trouble, and after the last pause.
const DISTRUST: Duration = Duration::from_secs(30);
/// How long it is remembered that a line was too narrow for more than it is asked for now.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Trust is back sooner when the line bears everything and so much more than when it was full.
const WIDER: f64 = 1.3;
const WIDER_FOR: Duration = Duration::from_secs(3);
/// Loss is the line's own when it was found to be so for this share of it.
const OWN: f64 = 0.6;

/// What one look at a line found.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What the estimator says.
    pub figures: Figures,
    /// Bytes sent and arrived, of all time.
    pub totals: (u64, u64),
    /// The receiver has said something of the line.
    pub heard: bool,
}

/// What is known against one line.
#[derive(Debug)]
pub struct Trust {
    /// When the receiver first said something.
    begun: Option<Instant>,
    since: Instant,
    /// When it was last too narrow, and what arrived then.
    narrow: Option<(Instant, Bitrate)>,
    /// When it last bore less than before, or made something pause.
    troubled: Option<Instant>,
    /// Since when it is full, and since when packets queue.
    full_since: Option<Instant>,
    queued_since: Option<Instant>,
    before: (Bitrate, Bitrate),
    /// Bytes sent and arrived, lately and before that.
    carried: [(Instant, u64, u64); 2],
}

impl Trust {
    /// Starts with nothing heard.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            begun: None,
            since: now,
            narrow: None,
            troubled: None,
            full_since: None,
            queued_since: None,
            before: (Bitrate::ZERO, Bitrate::ZERO),
            carried: [(now, 0, 0); 2],
        }
    }

    /// The first picture is about to be sent: nothing is known yet.
    pub fn begin(&mut self, now: Instant) {
        (self.since, self.begun) = (now, None);
    }

    /// How long media has been sent.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// The receiver has another address: what was lost or late on the way to the old one says nothing.
    pub fn on_moved(&mut self, (sent, arrived): (u64, u64), now: Instant) {
        (self.full_since, self.queued_since) = (None, None);
        self.carried = [(now, sent, arrived); 2];
    }

    /// Something pauses.
    pub fn on_pause(&mut self, now: Instant) {
        self.troubled = Some(now);
    }

    /// Takes note of a look.
    pub fn note(&mut self, look: &Look, now: Instant) {
        let Figures { budget, estimate, queue, loss, inherent, arrived, .. } = look.figures;
        if look.heard {
            self.begun.get_or_insert(now);
        }
        let fell = budget < self.before.0.scale(TROUBLE.0) || estimate < self.before.1.scale(TROUBLE.1);
        self.before = (budget, estimate);
        // What is at its least cannot fall any further, and the queue stands all the same.
        if self.is_too_narrow(look, now) && (fell || self.queues_long(now)) {
            self.troubled = Some(now);
        }
        if self.is_full(&look.figures, now) || loss > LOSSY + inherent {
            self.narrow = Some((now, arrived.unwrap_or(estimate)));
        } else if let Some(rate) = look.figures.filled {
            self.narrow = Some((now, rate));
        } else if queue < SHORT_QUEUE && loss > 0.0 && inherent >= loss * OWN && inherent > LOSSY / 2.0 {
            // It was the air, as sending less has shown.
            self.narrow = None;
        }
    }

    /// Whether pictures are bounded by the estimate; `wanted` is what everything asked for takes.
    #[must_use]
    pub fn is_bounded(&self, estimate: Bitrate, wanted: Bitrate, now: Instant) -> bool {
        if self.begun.is_none_or(|at| now.saturating_duration_since(at) < BEGIN) {
            return true;
        }
        let Some((at, arrived)) = self.narrow else { return false };
        let passed = now.saturating_duration_since(at);
        let wide = estimate >= wanted && (passed >= REMEMBERED || passed >= WIDER_FOR && estimate >= arrived.scale(WIDER));
        !wide
    }

    /// Whether it has shown, and not only might, that it does not bear everything.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        self.narrow.is_some()
    }

    /// Whether it has shown that it does not bear everything, so that pictures may have to pause.
    #[must_use]
    pub fn may_pause(&self, now: Instant) -> bool {
        let troubled = self.troubled.is_some_and(|at| now.saturating_duration_since(at) < DISTRUST);
        troubled && self.begun.is_some() && self.age(now) >= GRACE
    }

    fn is_full(&mut self, figures: &Figures, now: Instant) -> bool {
        let Figures { queue, tail, budget, estimate, .. } = *figures;
        if tail >= TAIL && budget < estimate.scale(TROUBLE.0) {
            return true;
        }
        if queue < FULL.0 {
            self.full_since = None;
            return false;
        }
        now.saturating_duration_since(*self.full_since.get_or_insert(now)) >= FULL.1
    }

    /// Whether it shows that less gets through than is sent. Loss that sending less does not heal is the air's; repairs make up for it.
    fn is_too_narrow(&mut self, look: &Look, now: Instant) -> bool {
        let Figures { budget, estimate, queue, loss, inherent, .. } = look.figures;
        let queued = if queue > QUEUED.0 { Some(*self.queued_since.get_or_insert(now)) } else { None };
        self.queued_since = queued;
        let (sent, arrived) = look.totals;
        let [before, late] = &mut self.carried;
        if now.saturating_duration_since(late.0) >= CARRIED_OVER {
            (*before, *late) = (*late, (now, sent, arrived));
        }
        let carried = match sent - before.1.min(sent) {
            // Where nothing is numbered, the receiver's own word is all there is.
            0 => f64::from(u8::from(sent > 0)),
            sent => arrived.saturating_sub(before.2) as f64 / sent as f64,
        };
        // Feedback that is lost makes the share look small; then nothing queues, and nothing is lost beyond the line's own.
        if queue < SHORT_QUEUE && loss <= LOSSY && budget >= estimate.scale(TROUBLE.0) {
            return false;
        }
        carried < CARRIED * (1.0 - inherent) || loss > LOSSY + inherent || self.queues_long(now)
    }

    fn queues_long(&self, now: Instant) -> bool {
        self.queued_since.is_some_and(|since| now.saturating_duration_since(since) >= QUEUED.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn look(estimate: u64, queue: u64, loss: f64, inherent: f64) -> Look {
        let estimate = Bitrate::from_kbps(estimate);
        let figures = Figures {
            estimate,
            budget: estimate,
            arrived: Some(estimate),
            loss,
            inherent,
            rtt: None,
            queue: Duration::from_millis(queue),
            tail: Duration::from_millis(queue),
            filled: None,
        };
        Look { figures, totals: (0, 0), heard: true }
    }

    /// Looks every 100 ms for a time; the end of it.
    fn run(trust: &mut Trust, from: Instant, ms: u64, look: Look) -> Instant {
        for n in 0..ms / 100 {
            trust.note(&look, from + n as u32 * 100 * MS);
        }
        from + Duration::from_millis(ms)
    }

    #[test]
    fn a_line_is_open_after_its_beginning_however_low_the_estimate() {
        let t0 = Instant::now();
        let mut trust = Trust::new(t0);
        let wanted = Bitrate::from_kbps(2_000);
        assert!(trust.is_bounded(Bitrate::from_kbps(400), wanted, t0 + 5_000 * MS), "nothing was heard");
        let at = run(&mut trust, t0, 1_400, look(400, 10, 0.05, 0.0));
        assert!(trust.is_bounded(Bitrate::from_kbps(400), wanted, at));
        let at = run(&mut trust, at, 500, look(400, 10, 0.05, 0.0));
        assert!(!trust.is_bounded(Bitrate::from_kbps(400), wanted, at));
        assert!(!trust.may_pause(at + 5_000 * MS));
    }

    #[test]
    fn a_queue_that_lasts_bounds_it_until_it_bears_everything_again() {
        let t0 = Instant::now();
        let mut trust = Trust::new(t0);
        let (low, wanted) = (Bitrate::from_kbps(150), Bitrate::from_kbps(2_000));
        let at = run(&mut trust, t0, 2_000, look(2_000, 5, 0.0, 0.0));
        let at = run(&mut trust, at, 100, look(2_000, 200, 0.0, 0.0));
        let at = run(&mut trust, at, 200, look(2_000, 5, 0.0, 0.0));
        assert!(!trust.is_bounded(low, wanted, at), "what lasts no longer is a heap");
        let at = run(&mut trust, at, 400, look(150, 300, 0.0, 0.0));
        assert!(trust.is_bounded(low, wanted, at));
        assert!(trust.is_bounded(low, wanted, at + 60_000 * MS), "as long as it bears no more");
        let at = run(&mut trust, at, 3_000, look(2_000, 5, 0.0, 0.0));
        assert!(!trust.is_bounded(wanted, wanted, at + 500 * MS));
    }

    #[test]
    fn a_line_that_two_probes_have_filled_is_not_opened() {
        let t0 = Instant::now();
        let mut trust = Trust::new(t0);
        let mut filled = look(400, 10, 0.0, 0.0);
        filled.figures.filled = Some(Bitrate::from_kbps(290));
        let at = run(&mut trust, t0, 5_000, filled);
        assert!(trust.is_bounded(Bitrate::from_kbps(400), Bitrate::from_kbps(1_000), at));
        let at = run(&mut trust, at, 5_000, look(1_000, 10, 0.0, 0.0));
        assert!(!trust.is_bounded(Bitrate::from_kbps(1_000), Bitrate::from_kbps(1_000), at));
    }

    #[test]
    fn loss_bounds_it_until_it_is_known_to_be_the_lines_own() {
        let t0 = Instant::now();
        let mut trust = Trust::new(t0);
        let (low, wanted) = (Bitrate::from_kbps(500), Bitrate::from_kbps(2_000));
        let at = run(&mut trust, t0, 2_000, look(500, 5, 0.10, 0.0));
        assert!(!trust.is_bounded(low, wanted, at), "a tenth is no reason");
        let mut lossy = look(500, 5, 0.3, 0.0);
        lossy.totals = (1_000, 700);
        let at = run(&mut trust, at, 200, lossy);
        assert!(trust.is_bounded(low, wanted, at));
        let at = run(&mut trust, at, 200, look(500, 5, 0.3, 0.3));
        assert!(!trust.is_bounded(low, wanted, at));
    }
}
