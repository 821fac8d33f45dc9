//! What loss says: whether it comes from sending too much, or is the line's own.
//!
//! Loss that the line has at any rate (radio) is no reason to send less; loss from a full queue or a policer is. The two
//! are told apart by trying: send less once, by what was lost and a seventh at most, and look whether the loss went away. What
//! stays is the line's own and is forgiven from then on; what goes away is congestion. It never moves a rate itself.
//! Entry points: [`LossControl::on_result`], [`LossControl::update`].

use std::time::Duration;

use crate::media::rate::Bitrate;

/// Loss that is never reacted to (draft-ietf-rmcat-gcc-02 section 6).
const FORGIVEN: f64 = 0.02;
/// The same beyond what the line loses by itself.
const FORGIVEN_LOSSY: f64 = 0.01;
/// Deviations of the measured loss beyond the line's own that are chance; more where the line loses much by itself, since
/// each judgement is one more chance to be wrong.
const DEVIATIONS: f64 = 1.2;
const DEVIATIONS_LOSSY: f64 = 2.0;
/// Packets in a judgement, or else [`LONGEST`]: at 5 % loss 5 of them are lost, give or take 2.2.
const ENOUGH: u32 = 100;
/// Least packets, shortest and longest time of a judgement, in microseconds.
const FEWEST: u32 = 12;
const SHORTEST: u64 = 300_000;
const LONGEST: u64 = 2_000_000;
/// A trial sends no less than this share.
const LARGEST_TRIAL: f64 = 0.85;
/// A full line is left this much room, so that the loss can go away.
const BELOW: f64 = 0.92;
/// The loss went away when no more than this share of it is left. Below a half, because a trial follows a loss that
/// chance made look large.
const GONE: f64 = 0.35;
/// Packets in the judgement of a trial and of a line that loses by itself, or else [`LONGEST`].
const ENOUGH_TRIAL: u32 = 200;
/// Loss beyond this is no radio: down to what passes, at once.
const COLLAPSE: f64 = 0.5;
const LARGEST_CUT: f64 = 0.25;
/// How fast the line's own loss is unlearnt per judgement.
const UNLEARN: f64 = 0.15;
/// The line's own loss is believed up to here.
const MOST_INHERENT: f64 = 0.45;
/// After congestion was found, the rate rests this long.
const REST: Duration = Duration::from_secs(3);
/// The same on a line that loses by itself, where it was chance as often as not.
const REST_LOSSY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// Send this share of what was sent, and rest so long.
    Cut {
        /// Below 1.
        share: f64,
        /// Time without growth.
        rest: Duration,
    },
    /// The last cut was for nothing: the loss is the line's own.
    Inherent {
        /// The rate that was sent before it.
        before: Bitrate,
    },
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    loss: f64,
    sent: Bitrate,
}

/// Loss of one receiver.
#[derive(Debug, Default)]
pub(crate) struct LossControl {
    packets: u32,
    lost: u32,
    /// Results of packets sent before this are of another rate.
    since: u64,
    judged: u64,
    inherent: f64,
    last: f64,
    trial: Option<Trial>,
}

impl LossControl {
    /// Takes note of a packet that arrived or was lost; `was_lost` takes an earlier loss back.
    pub(crate) fn on_result(&mut self, sent_at: u64, lost: bool, was_lost: bool) {
        if sent_at < self.since {
            return;
        }
        if lost {
            (self.packets, self.lost) = (self.packets + 1, self.lost + 1);
        } else if was_lost {
            // It may have been counted in the judgement before.
            self.lost = self.lost.saturating_sub(1);
        } else {
            self.packets += 1;
        }
    }

    /// Takes note of what a receiver report says of so many packets.
    pub(crate) fn on_report(&mut self, packets: u32, lost: u32) {
        self.packets = self.packets.saturating_add(packets);
        self.lost = self.lost.saturating_add(lost.min(packets));
    }

    /// The loss judged last, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        self.last
    }

    /// Whether no more is lost than anywhere, or than the line loses by itself, and nothing is being tried.
    pub(crate) fn is_usual(&self) -> bool {
        self.trial.is_none() && self.last <= self.inherent.max(FORGIVEN)
    }

    /// The loss the line has at any rate, 0 to 1.
    pub(crate) fn inherent(&self) -> f64 {
        self.inherent
    }

    /// Judges when enough was seen; `sent` is the rate of late, `lag` the time until a change shows, in microseconds. What is lost
    /// while a queue stands (`queued`) was lost in it, as far as anybody can tell.
    pub(crate) fn update(&mut self, sent: Bitrate, lag: u64, queued: bool, now: u64) -> Verdict {
        let age = now.saturating_sub(self.judged.max(self.since));
        let lossy = self.inherent > FORGIVEN;
        let enough = if self.trial.is_some() || lossy { ENOUGH_TRIAL } else { ENOUGH };
        let ready = self.packets >= enough && age >= SHORTEST || age >= LONGEST + lag;
        if !ready {
            return Verdict::Fine;
        }
        if self.packets < FEWEST {
            if age > 4 * LONGEST {
                self.start(now);
            }
            return Verdict::Fine;
        }
        let (packets, loss) = (f64::from(self.packets), f64::from(self.lost) / f64::from(self.packets));
        self.last = loss;
        self.judged = now;
        (self.packets, self.lost) = (0, 0);
        if let Some(trial) = self.trial.take() {
            return if queued { Verdict::Fine } else { self.conclude(trial, loss, sent) };
        }
        let expected = self.inherent.max(FORGIVEN);
        let chance = if lossy { DEVIATIONS_LOSSY } else { DEVIATIONS } * (expected * (1.0 - expected) / packets).sqrt();
        if loss <= expected + chance + if lossy { FORGIVEN_LOSSY } else { 0.0 } {
            self.inherent += (loss - self.inherent).min(0.0) * UNLEARN;
            return Verdict::Fine;
        }
        let passing = (1.0 - loss) / (1.0 - self.inherent) * BELOW;
        let share = if loss > COLLAPSE { passing.max(LARGEST_CUT) } else { passing.max(LARGEST_TRIAL) };
        self.trial = Some(Trial { loss, sent });
        self.start(now);
        Verdict::Cut { share, rest: if lossy { REST_LOSSY } else { REST } }
    }

    /// Loss of a full line falls to what no longer fits; the line's own stays.
    fn conclude(&mut self, trial: Trial, loss: f64, sent: Bitrate) -> Verdict {
        let ratio = sent.over(trial.sent);
        if ratio > 0.97 {
            // Not less was sent, so nothing was learnt.
            return Verdict::Fine;
        }
        let if_full = (1.0 - (1.0 - trial.loss) / ratio.max(0.01)).max(self.inherent);
        if loss <= if_full + (trial.loss - if_full) * GONE {
            if if_full <= self.inherent {
                // Below what the line carries; what is still lost is its own.
                self.inherent = f64::midpoint(self.inherent, loss).min(MOST_INHERENT);
            }
            return Verdict::Fine;
        }
        self.inherent = loss.min(trial.loss).clamp(self.inherent, MOST_INHERENT);
        Verdict::Inherent { before: trial.sent }
    }

    /// Begins anew: results of packets sent before are of another rate, or of a way that was interrupted.
    pub(crate) fn start(&mut self, now: u64) {
        (self.packets, self.lost, self.since, self.judged) = (0, 0, now, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Sends `rate` kbit/s through a line; loss in percent comes from `loss`. Answers rate and loss control at the end.
    fn run(mut rate: f64, seconds: u64, loss: impl Fn(f64) -> f64) -> (f64, LossControl) {
        let mut control = LossControl::default();
        let mut owed = 0.0;
        for n in 0..seconds * 100 {
            let now = n * 10 * MS;
            owed += loss(rate);
            let lost = owed >= 1.0;
            if lost {
                owed -= 1.0;
            }
            control.on_result(now, lost, false);
            match control.update(Bitrate::from_bps((rate * 1e3) as u64), 100 * MS, false, now) {
                Verdict::Fine => {}
                Verdict::Cut { share, .. } => rate *= share,
                Verdict::Inherent { before } => rate = before.bps() as f64 / 1e3,
            }
        }
        (rate, control)
    }

    #[test]
    fn loss_at_any_rate_is_forgiven() {
        for loss in [0.0, 0.02, 0.05, 0.1, 0.3] {
            let (rate, control) = run(1_000.0, 30, |_| loss);
            assert!(rate >= 950.0, "{loss}: {rate}");
            assert!((control.loss() - loss).abs() < 0.04);
        }
    }

    #[test]
    fn loss_of_a_full_line_is_obeyed() {
        for capacity in [100.0, 500.0, 850.0] {
            let (rate, control) = run(1_000.0, 60, |rate| (1.0 - capacity / rate).max(0.0));
            assert!(rate <= capacity * 1.05, "{capacity}: {rate}");
            assert!(rate >= capacity * 0.7, "{capacity}: {rate}");
            assert!(control.inherent() < 0.05);
        }
    }

    #[test]
    fn what_is_lost_while_a_queue_stands_is_not_the_lines_own() {
        for queued in [false, true] {
            let mut control = LossControl::default();
            for n in 0..2_000 {
                control.on_result(n * 10 * MS, n % 4 == 0, false);
                let _ = control.update(Bitrate::from_kbps(if n < 150 { 200 } else { 150 }), 100 * MS, queued, n * 10 * MS);
            }
            assert_eq!(control.inherent() > 0.15, !queued, "{queued}: {}", control.inherent());
        }
    }

    #[test]
    fn a_loss_taken_back_does_not_count() {
        let mut control = LossControl::default();
        for n in 0..100 {
            control.on_result(n * MS, n % 5 == 0, false);
            if n % 5 == 0 {
                control.on_result(n * MS, false, true);
            }
        }
        assert_eq!(control.update(Bitrate::from_kbps(500), 0, false, 400 * MS), Verdict::Fine);
        assert!(control.loss() < 0.001);
    }
}
