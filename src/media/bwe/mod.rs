//! How much one receiver's line bears, from what was sent and what its feedback says.
//!
//! One [`Estimator`] a receiver: transport-wide feedback gives a delay-based estimate (draft-ietf-rmcat-gcc-02 with a fitted
//! line for the slope) with a loss-based limit, and probes look for more. REMB and receiver reports stand in where a
//! receiver has no transport-wide feedback. It never sends, never paces, and never chooses layers: `pacer` and `allocation`
//! do. Times are arguments; nothing is allocated per packet once the rings are warm.
//!
//! A [`Trust`] says whether the estimate is to bound anything.
//!
//! Entry points: [`Estimator::on_sent`], [`Estimator::on_feedback`], [`Estimator::poll_probe`], [`Estimator::budget`],
//! [`Estimator::handle_timeout`].

mod aimd;
mod delay;
mod fallback;
mod loss;
mod probe;
mod sent;
mod throughput;
mod trust;

#[cfg(test)]
mod line;
#[cfg(test)]
mod tests;

use crate::model::Instant;
use std::time::Duration;

use self::aimd::{RateControl, Signals};
use self::delay::{DelayDetector, Usage};
use self::fallback::Fallback;
use self::loss::{LossControl, Verdict};
pub use self::probe::Probe;
use self::probe::{Prober, Situation};
pub use self::sent::{DATAGRAM_OVERHEAD, MAX_SENT, SentLog};
use self::throughput::{Acknowledged, SentRate};
pub use self::trust::{Look, Trust};
use super::ahead;
use super::rate::Bitrate;
use super::rtcp::TransportFeedback;

/// Limits of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where it starts: a thumbnail and a voice, on nearly every line.
    pub start: Bitrate,
    /// It never goes below: a voice at its least.
    pub min: Bitrate,
    /// It never goes above.
    pub max: Bitrate,
}

impl Default for Limits {
    fn default() -> Self {
        Self { start: Bitrate::from_kbps(400), min: Bitrate::from_kbps(30), max: Bitrate::from_kbps(20_000) }
    }
}

/// What more the receiver would be sent, so that no more is probed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The estimate at which the allocation would take its next step up.
    pub next: Bitrate,
    /// The estimate at which it would have everything wanted.
    pub all: Bitrate,
}

/// A wish that grew by so much is asked of the line at once: somebody made a picture large and waits for it.
const RISEN: f64 = 1.3;

/// What is known of a line, for statistics and logs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// What the line bears.
    pub estimate: Bitrate,
    /// What may be sent now; less while a queue drains.
    pub budget: Bitrate,
    /// What arrived of late.
    pub arrived: Option<Bitrate>,
    /// Loss, 0 to 1.
    pub loss: f64,
    /// As much of it as is the line's own, whatever is sent.
    pub inherent: f64,
    /// Round trip with the wait for feedback.
    pub rtt: Option<Duration>,
    /// Queue beyond the line's own delay.
    pub queue: Duration,
    /// The same of the packet that came last.
    pub tail: Duration,
    /// What the line bears at most, where probes have filled it.
    pub filled: Option<Bitrate>,
}

/// A round trip before one is known, in microseconds.
const UNKNOWN_RTT: u64 = 200_000;
/// What feedback may wait at the receiver, in microseconds: 100 ms by our own, 250 ms by a browser that receives little.
const FEEDBACK_WAIT: u64 = 150_000;
/// The longest wait for feedback of a line without queues, and the shortest round trip, are unlearnt by one part in this
/// with each feedback: half of it in some 4 s.
const WAIT_FADES: u64 = 64;
/// Such a line: its queue is below this, in microseconds.
const NO_QUEUE: u64 = 50_000;
/// Less than this share of the estimate sent: the sender has no more to send. Above the second, it has again. Growth ends
/// at half again of what is sent, so the first is above two thirds, or nothing would be probed for from there.
const LIMITED_BELOW: f64 = 0.75;
const LIMITED_UNTIL: f64 = 0.85;
/// A queue this long is left to the delay control; from there on less is sent, and next to nothing at the second, in
/// microseconds: a queue of half a second is gone in a little more than that.
const DRAIN_FROM: u64 = 50_000;
const DRAIN_FULL: u64 = 400_000;
/// A queue this long that does not grow is overuse all the same, in microseconds.
const STANDING: u64 = 150_000;
/// A queue this long may be one that overflows, in microseconds: 300 ms are usual, and feedback tells of it late.
const LOSING_QUEUE: u64 = 100_000;
/// A queue that outlasts so many decreases is not ours.
const FUTILE: u32 = 4;
/// Without a word for so long, in microseconds, the way was interrupted: what was lost meanwhile says nothing of its width.
const INTERRUPTED: u64 = 1_000_000;
/// A queue below this, in microseconds, is none: what arrives then is borne.
const BORNE_QUEUE: u64 = 20_000;
/// As much of it as is no chance of what came just then.
const BORNE: f64 = 0.85;
/// A rate that passed counts as proven this long, in microseconds: the allocation uses it in its next rounds.
const PROBED_HOLDS: u64 = 3_000_000;

/// The estimate of one receiver's line.
///
/// In this order: what each packet sent is noted in comes first and lies together.
#[derive(Debug)]
#[repr(C)]
pub struct Estimator {
    log: SentLog,
    sent: SentRate,
    /// Bytes sent with a number and bytes known to have arrived, of all time.
    totals: (u64, u64),
    /// Whether the receiver sends transport-wide feedback; it then does for good.
    has_feedback: bool,
    limited: bool,
    /// A probe is being sent; said here too, since nearly always there is none.
    probing: bool,
    limits: Limits,
    delay: DelayDetector,
    loss: LossControl,
    rate: RateControl,
    probes: Prober,
    arrived: Acknowledged,
    fallback: Fallback,
    need: Need,
    /// Least and last round trip, in microseconds.
    rtt: Option<(u64, u64)>,
    /// How long the oldest packet waits for its feedback while no queue stands, at most, in microseconds.
    wait: u64,
    probed_at: Option<u64>,
    /// When feedback came last.
    told_at: u64,
    /// Decreases since the standing queue was last seen to shorten, and its length then.
    futile: (u32, u64),
}

impl Estimator {
    /// Starts with nothing sent.
    #[must_use]
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            log: SentLog::new(now),
            sent: SentRate::default(),
            totals: (0, 0),
            has_feedback: false,
            limited: false,
            probing: false,
            limits,
            delay: DelayDetector::default(),
            loss: LossControl::default(),
            rate: RateControl::new(limits.start, limits.min, limits.max),
            probes: Prober::default(),
            arrived: Acknowledged::default(),
            fallback: Fallback::new(limits.start),
            need: Need::default(),
            rtt: None,
            wait: UNKNOWN_RTT + FEEDBACK_WAIT,
            probed_at: None,
            told_at: 0,
            futile: (0, 0),
        }
    }

    /// Takes note of a datagram about to be sent, `bytes` of UDP payload, and answers the transport-wide sequence number for
    /// its header extension. Every RTP packet to the receiver gets one: voice, video, repairs, padding.
    pub fn on_sent(&mut self, bytes: usize, now: Instant) -> u16 {
        let at = self.log.tick(now);
        let bytes = bytes + DATAGRAM_OVERHEAD;
        self.sent.on_sent(bytes, at);
        self.totals.0 += bytes as u64;
        let mut cluster = 0;
        if self.probing {
            cluster = self.probes.on_sent(bytes, at);
            self.probing = self.probes.is_sending();
        }
        self.log.on_sent(bytes, cluster, at)
    }

    /// Takes note of a datagram that carries no sequence number, so that it counts as sent.
    pub fn on_sent_unnumbered(&mut self, bytes: usize, now: Instant) {
        let at = self.log.tick(now);
        self.sent.on_sent(bytes + DATAGRAM_OVERHEAD, at);
    }

    /// Reads a transport-wide feedback packet.
    pub fn on_feedback(&mut self, feedback: &TransportFeedback<'_>, now: Instant) {
        let at = self.log.micros(now);
        if at.saturating_sub(self.told_at) > INTERRUPTED {
            self.loss.start(at);
        }
        self.told_at = at;
        let waited = self.log.oldest_in_flight().map_or(0, |sent| at.saturating_sub(sent));
        let Self { log, delay, loss, probes, arrived, totals, .. } = self;
        let mut newest = None;
        let any = log.on_feedback(feedback, |result| {
            loss.on_result(result.sent_at, result.arrival.is_none(), result.was_lost);
            if result.cluster != 0 {
                probes.on_result(&result);
            }
            if let Some(arrival) = result.arrival {
                newest = Some(result.sent_at);
                totals.1 += u64::from(result.bytes);
                arrived.on_packet(arrival, result.bytes);
                delay.on_packet(result.sent_at, arrival);
            }
        });
        if !any {
            return;
        }
        self.delay.close_feedback();
        if self.delay.queue() < NO_QUEUE {
            self.wait = waited.max(self.wait - self.wait.saturating_sub(waited) / WAIT_FADES);
        }
        self.has_feedback = true;
        if let Some(newest) = newest {
            let rtt = at.saturating_sub(newest);
            // The least creeps up, so that a longer way becomes the usual one.
            let least = self.rtt.map_or(rtt, |(least, _)| rtt.min(least + rtt.saturating_sub(least) / WAIT_FADES));
            self.rtt = Some((least, rtt));
        }
        self.step(at);
    }

    /// One step of all controls after feedback.
    fn step(&mut self, at: u64) {
        let sent = self.sent.rate(at);
        self.watch_limit(sent);
        let made_up = 1.0 - self.loss.inherent();
        let arrived = self.arrived.rate().map(|rate| rate.scale(1.0 / made_up));
        let queue = self.delay.queue();
        let usage = self.usage(queue);
        let rtt = Duration::from_micros(self.rtt.map_or(UNKNOWN_RTT, |(least, _)| least));
        let signals = Signals { usage, arrived, rtt, limited: self.limited, queue };
        if self.rate.update(&signals, at) {
            self.on_decrease(at);
            self.on_futile(queue);
        }
        match self.loss.update(sent, self.lag(), queue >= LOSING_QUEUE, at) {
            Verdict::Fine => {}
            Verdict::Cut { share, rest } => {
                self.rate.cut_to(self.rate.estimate().min(sent).scale(share), rest, at);
                self.on_decrease(at);
            }
            Verdict::Inherent { before } => {
                self.rate.forget_capacity();
                if usage == Usage::Normal {
                    self.rate.raise_to(before, at);
                }
            }
        }
        let passed = self.probes.conclude(self.rate.estimate(), self.loss.inherent(), at);
        if let Some(passed) = passed.filter(|rate| usage != Usage::Over && *rate > self.rate.estimate()) {
            self.rate.raise_to(passed, at);
            self.probed_at = Some(at);
        }
        if usage == Usage::Normal && queue < BORNE_QUEUE && self.loss.is_usual() {
            // What arrives without a queue is borne, whatever made the estimate small.
            self.rate.bear(self.arrived.rate().map_or(Bitrate::ZERO, |arrived| arrived.min(sent).scale(BORNE)), at);
        }
        self.probes.on_estimate(self.rate.estimate(), at);
    }

    /// The receiver has another address: what is under way to the old one is neither lost nor late, and the new way has a delay
    /// of its own. The estimate stays until the new way says otherwise.
    pub fn on_moved(&mut self, now: Instant) {
        let at = self.log.micros(now);
        self.log.forget();
        self.delay = DelayDetector::default();
        self.loss.start(at);
        self.probes.give_up(at);
        (self.rtt, self.wait, self.futile) = (None, UNKNOWN_RTT + FEEDBACK_WAIT, (0, 0));
        self.told_at = at;
    }

    fn on_decrease(&mut self, at: u64) {
        self.probes.on_decrease(at);
        self.probed_at = None;
    }

    fn usage(&self, queue: u64) -> Usage {
        let usage = self.delay.usage();
        if usage == Usage::Normal && queue > STANDING { Usage::Over } else { usage }
    }

    /// A queue that stays as long whatever is done about it belongs to somebody else, or the way has become longer.
    fn on_futile(&mut self, queue: u64) {
        let (count, length) = self.futile;
        if queue < STANDING || queue < length * 9 / 10 || self.delay.usage() == Usage::Over {
            self.futile = (0, queue);
        } else if count >= FUTILE {
            self.futile = (0, 0);
            self.delay.rebase();
        } else {
            self.futile = (count + 1, length.max(queue));
        }
    }

    fn watch_limit(&mut self, sent: Bitrate) {
        let share = sent.over(self.rate.estimate());
        self.limited = share < if self.limited { LIMITED_UNTIL } else { LIMITED_BELOW };
    }

    /// Time until feedback shows the effect of a packet sent now, in microseconds.
    fn lag(&self) -> u64 {
        self.rtt.map_or(UNKNOWN_RTT, |(_, last)| last).clamp(20_000, 3_000_000) + FEEDBACK_WAIT
    }

    /// Takes note of what the receiver says it can receive (REMB); heeded while transport-wide feedback is missing.
    pub fn on_remb(&mut self, bitrate: Bitrate, now: Instant) {
        let at = self.log.micros(now);
        self.fallback.on_remb(bitrate.clamp(self.limits.min, self.limits.max), at);
    }

    /// Takes note of receiver reports: packets they cover and how many of these were lost; heeded while transport-wide
    /// feedback is missing. Blocks of all streams of one compound are summed.
    pub fn on_reports(&mut self, packets: u32, lost: u32, now: Instant) {
        let at = self.log.micros(now);
        if !self.has_feedback {
            let sent = self.sent.rate(at);
            self.fallback.on_report(packets, lost, sent, self.need.next, at);
        }
    }

    /// Bytes sent with a number and bytes known to have arrived, since the beginning.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.totals
    }

    /// Sets what more the receiver would be sent, as the allocation says.
    pub fn set_need(&mut self, need: Need) {
        if need.all > self.need.all.scale(RISEN) {
            self.probes.hurry();
        }
        self.need = need;
    }

    /// What the line bears.
    #[must_use]
    pub fn estimate(&self, now: Instant) -> Bitrate {
        let at = self.log.micros(now);
        if self.has_feedback {
            return self.rate.estimate();
        }
        self.fallback.estimate(at).clamp(self.limits.min, self.limits.max)
    }

    /// What may be sent now: the estimate, and less while a queue drains or feedback is overdue.
    #[must_use]
    pub fn budget(&self, now: Instant) -> Bitrate {
        let at = self.log.micros(now);
        let estimate = self.estimate(now);
        if !self.has_feedback {
            return estimate;
        }
        let backlog = self.backlog(at);
        let share = 1.0 - (backlog.saturating_sub(DRAIN_FROM) as f64 / (DRAIN_FULL - DRAIN_FROM) as f64);
        estimate.scale(share.clamp(0.0, 1.0)).max(self.limits.min)
    }

    /// Whether feedback is missing that should have come.
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        let at = self.log.micros(now);
        self.log.oldest_in_flight().is_some_and(|sent| at.saturating_sub(sent) > self.wait)
    }

    /// Whether the receiver itself says what it can receive (REMB), and nothing else is known.
    #[must_use]
    pub fn is_told(&self, now: Instant) -> bool {
        !self.has_feedback && self.fallback.is_told(self.log.micros(now))
    }

    /// How long what is under way will queue, in microseconds: bytes in flight beyond what the line holds, or by how much
    /// feedback is overdue.
    fn backlog(&self, at: u64) -> u64 {
        let overdue = self.log.oldest_in_flight().map_or(0, |sent| at.saturating_sub(sent)).saturating_sub(self.wait);
        // While answers come in time and without a queue, much in flight is a rate that has just grown.
        if overdue == 0 && self.delay.queue() < NO_QUEUE {
            return 0;
        }
        // After a silence nothing is known of what arrives; the estimate is the best guess.
        let arrived = self.arrived.rate().unwrap_or_else(|| self.rate.estimate()).max(self.limits.min);
        let in_flight = u64::try_from(arrived.time_for(self.log.in_flight()).as_micros()).unwrap_or(0);
        // A little that waits long is no queue: it was lost, and nothing came after it.
        in_flight.checked_sub(self.wait).map_or(0, |excess| excess.max(overdue))
    }

    /// Whether the present estimate was shown to pass by a probe of late, so that the allocation need not wait to use it.
    #[must_use]
    pub fn is_probed(&self, now: Instant) -> bool {
        let at = self.log.micros(now);
        self.probed_at.is_some_and(|probed| at.saturating_sub(probed) <= PROBED_HOLDS)
    }

    /// A probe to be sent, when one is due; hand it to the pacer.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let at = self.log.micros(now);
        let situation = Situation {
            estimate: self.rate.estimate(),
            max: self.limits.max,
            next: self.need.next,
            all: self.need.all,
            congested: self.delay.usage() == Usage::Over,
            queue: self.delay.queue().max(self.backlog(at)),
            limited: self.limited,
            lag: self.lag(),
            heard: self.has_feedback,
        };
        let (cluster, bitrate, bytes, until) = self.probes.poll(&situation, at)?;
        self.probing = true;
        Some(Probe { cluster, bitrate, bytes, until: now + Duration::from_micros(until.saturating_sub(at)) })
    }

    /// Asks for what a packet sent touches, and for what lies before it from `first` on.
    pub fn warm<T>(&self, first: &T) {
        ahead::fetch_span(first, &self.probing);
    }

    /// Asks for where the next so many packets sent are noted.
    pub fn warm_log(&self, packets: usize) {
        self.log.warm(packets);
    }

    /// Gives back memory that a stall has grown.
    pub fn release_memory(&mut self) {
        self.log.release_memory();
    }

    /// Gives up what never came back. Due at [`Self::next_deadline`], harmless at any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let at = self.log.micros(now);
        // Nothing can have passed without feedback; the probe ends as failed.
        let _ = self.probes.conclude(self.rate.estimate(), self.loss.inherent(), at);
    }

    /// When the next probe may be due, or the present one is given up; nothing while nothing more is wanted, or while a due
    /// probe waits for the line: feedback tells, so ask for one after each.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let wait = self.probes.next_at().checked_sub(self.log.micros(now)).filter(|wait| *wait > 0)?;
        (self.need.all > self.rate.estimate()).then(|| now + Duration::from_micros(wait))
    }

    /// What is known of the line.
    #[must_use]
    pub fn figures(&self, now: Instant) -> Figures {
        let has_feedback = self.has_feedback;
        Figures {
            estimate: self.estimate(now),
            budget: self.budget(now),
            arrived: self.arrived.rate(),
            inherent: self.loss.inherent(),
            loss: if has_feedback { self.loss.loss() } else { self.fallback.loss() },
            rtt: self.rtt.map(|(_, last)| Duration::from_micros(last)),
            queue: Duration::from_micros(self.delay.queue()),
            tail: Duration::from_micros(self.delay.tail()),
            filled: self.probes.filled(),
        }
    }
}
