//! The line to one receiver: what it bears, what waits for it, and what looks for more.
//!
//! A [`Line`] belongs to a link that is sent media, and to no other: who only publishes or is silent has none. It holds references
//! to packets, never packets. Entry points: `Link::admits` before a packet is written, `Line::on_sent` while it is sealed,
//! `Shard::poll_line` when its time has come.

use super::link::{Attention, Link, Outbound};
use super::shard::Shard;
use super::tracks::Track;
use crate::media::ahead;
use crate::media::allocation::Allocator;
use crate::media::bwe::{Estimator, Limits, Look, Trust};
use crate::media::pacer::{Departure, HOLD_AGE_NARROW, Pacer};
use crate::media::rate::Bitrate;
use crate::media::rtcp::TransportFeedback;
use crate::model::Instant;
use crate::model::counters::DropReason;
use std::time::Duration;

/// Time between two looks at what the line bears, while feedback comes. It comes every 50 to 250 ms.
const LOOK: Duration = Duration::from_millis(80);
/// The same when feedback does not come: a line that died is noticed within this and the wait for feedback.
const LOOK_AT_LEAST: Duration = Duration::from_millis(200);
/// With so many tracks to share out, a look is taken so much less often.
const LOOK_PER_TRACK: Duration = Duration::from_millis(4);
/// A receiver that has said nothing for so long never will; it gets what it asks for.
pub(super) const UNHEARD: Duration = Duration::from_secs(3);
/// Everything wanted goes out at so many times its rate where nothing is held against the line: pictures swing.
const AMPLE: f64 = 1.5;
const AMPLE_LEAST: Bitrate = Bitrate::from_kbps(1_000);
/// Loss from which repairs may take half of the line, and are kept longer.
const LOSSY: f64 = 0.03;
/// How long packets are kept for a line that loses much: a picture that comes late is better than none.
const LOSSY_AGE: Duration = Duration::from_secs(1);
/// How long they are kept where pictures may wait, so that they are there when their turn comes.
const HELD_AGE: Duration = HOLD_AGE_NARROW.saturating_add(Duration::from_millis(100));
/// Loss from which each repair goes out twice, and pictures come in fewer packets; below the second no longer.
const VERY_LOSSY: (f64, f64) = (0.20, 0.12);
/// How much of a past loss is forgotten with each look: half of it in a second.
const LOSS_FADES: f64 = 0.07;
/// How long sound goes out twice after it was needed: what comes twice hides the loss.
const ECHOES: Duration = Duration::from_secs(10);
/// A queue this long is one, and how long it is remembered on a line that is narrow: what is lost meanwhile overflowed.
const QUEUED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A feedback this late says that nothing gets through, whatever is held against the line.
const SILENT: Duration = Duration::from_millis(1_500);
/// What a receiver that says nothing is paced at.
const UNPACED: Bitrate = Bitrate::from_kbps(100_000);

/// A packet that goes out later than it was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Slot of its track.
    pub(super) track: u32,
    /// Its outgoing number.
    pub(super) sequence: u16,
}

impl Waiting {
    pub(super) fn new(track: usize, sequence: u16) -> Self {
        Self { track: u32::try_from(track).unwrap_or(u32::MAX), sequence }
    }
}

/// The line to one receiver.
///
/// In this order: what each packet touches lies together, from the end of the pacer to the beginning of the estimator.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Line {
    looked: Instant,
    /// When the receiver last said something of the line.
    heard_at: Instant,
    budget: Bitrate,
    pub(super) pacer: Pacer<Waiting>,
    /// When it is to be looked at; nothing while nothing is sent.
    due: Option<Instant>,
    /// What is to be shared out has changed.
    stale: bool,
    /// Something was sent since the last look.
    sent: bool,
    /// The receiver has said something of the line.
    heard: bool,
    /// The estimate bounds what is sent.
    bounded: bool,
    /// Everything wanted is sent without a limit, since the receiver never says anything.
    pub(super) free: bool,
    /// So much is lost on the way that a picture of many packets hardly gets through.
    very_lossy: bool,
    /// It has shown that it does not bear everything.
    narrow: bool,
    /// What it loses is lost in a queue: redundant sound would only fill that further.
    full: bool,
    /// Until when each packet of sound goes out twice.
    echoes_until: Option<Instant>,
    pub(super) estimator: Estimator,
    pub(super) allocator: Allocator,
    pub(super) trust: Trust,
    estimate: Bitrate,
    /// Share of packets lost on the way, as last known.
    loss: f64,
    /// When a queue last stood there.
    queued: Option<Instant>,
    /// Since when the estimate is below the least of everything that is to be sent.
    short_since: Option<Instant>,
}

impl Line {
    pub(super) fn new(now: Instant) -> Self {
        let limits = Limits::default();
        Self {
            looked: now,
            heard_at: now,
            budget: limits.start,
            pacer: Pacer::new(UNPACED, now),
            due: Some(now),
            stale: true,
            sent: false,
            heard: false,
            bounded: true,
            free: false,
            very_lossy: false,
            narrow: false,
            full: false,
            echoes_until: None,
            estimator: Estimator::new(limits, now),
            allocator: Allocator::default(),
            trust: Trust::new(now),
            estimate: limits.start,
            loss: 0.0,
            queued: None,
            short_since: None,
        }
    }

    /// Whether a packet of so many bytes goes out now; otherwise it waits. What cannot be found again later (no `item`) always goes,
    /// and so does voice.
    fn admit(&mut self, item: Option<Waiting>, bytes: usize, now: Instant) -> bool {
        let Some(item) = item.filter(|_| self.heard) else {
            self.pacer.on_voice(bytes, now);
            return true;
        };
        let admitted = self.pacer.on_video(item, bytes, now);
        if !admitted {
            self.hurry(self.pacer.next_deadline());
        }
        admitted
    }

    /// Asks for what a packet sent touches.
    pub(super) fn warm_first(&self) {
        self.estimator.warm(self.pacer.touched_first());
    }

    /// Asks for when it is to be looked at.
    pub(super) fn warm_deadline(&self) {
        ahead::fetch(&self.due);
    }

    /// Asks for where the next packets are noted, a step further away.
    pub(super) fn warm(&self, packets: usize) {
        self.estimator.warm_log(packets);
    }

    /// Whether it is to be looked at now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Takes note of a datagram that is being sealed; its transport-wide number, where it carries one.
    pub(super) fn on_sent(&mut self, bytes: usize, numbered: bool, now: Instant) -> Option<[u8; 2]> {
        self.sent = true;
        if numbered {
            return Some(self.estimator.on_sent(bytes, now).to_be_bytes());
        }
        self.estimator.on_sent_unnumbered(bytes, now);
        None
    }

    /// Takes note of a packet of sound that goes out once more.
    pub(super) fn on_echo(&mut self, bytes: usize, now: Instant) {
        self.estimator.on_sent_unnumbered(bytes, now);
        self.pacer.on_voice(bytes, now);
    }

    /// Queues a packet that is to be sent again.
    pub(super) fn push_repair(&mut self, item: Waiting, bytes: usize, now: Instant) -> bool {
        let pushed = self.pacer.push_repair(item, bytes, now);
        self.hurry(Some(now));
        pushed
    }

    /// Reads transport-wide feedback.
    pub(super) fn on_feedback(&mut self, feedback: &TransportFeedback<'_>, now: Instant) {
        self.estimator.on_feedback(feedback, now);
        self.on_heard(now);
    }

    /// Takes note of the receiver's own estimate.
    pub(super) fn on_remb(&mut self, bits: u64, now: Instant) {
        self.estimator.on_remb(Bitrate::from_bps(bits), now);
        self.on_heard(now);
    }

    /// Takes note of what receiver reports cover and miss.
    pub(super) fn on_reports(&mut self, (packets, lost): (u32, u32), now: Instant) {
        if packets > 0 {
            self.estimator.on_reports(packets, lost, now);
            self.on_heard(now);
        }
    }

    /// The receiver comes from another address: what is under way to the old one is no measure of the new.
    pub(super) fn on_moved(&mut self, now: Instant) {
        self.estimator.on_moved(now);
        self.trust.on_moved(self.estimator.totals(), now);
        self.heard_at = now;
        self.wake(now);
    }

    fn on_heard(&mut self, now: Instant) {
        self.heard = true;
        self.heard_at = now;
        let fell = self.estimator.budget(now) < self.budget;
        self.hurry(Some(if fell { now } else { (self.looked + LOOK).max(now) }));
    }

    /// A track came to life, or something else changed what is to be shared out.
    pub(super) fn wake(&mut self, now: Instant) {
        self.stale = true;
        self.hurry(Some(now));
    }

    /// To be looked at by then.
    fn hurry(&mut self, at: Option<Instant>) {
        self.due = [self.due, at].into_iter().flatten().min();
    }

    /// When it is to be looked at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it rests: the next packet sent begins anew.
    pub(super) fn is_asleep(&self) -> bool {
        self.due.is_none()
    }

    /// What the line bore at the last look.
    pub(super) fn estimate(&self) -> Bitrate {
        self.estimate
    }

    /// Whether a queue stood there at the last look.
    pub(super) fn is_queued(&self) -> bool {
        self.queued == Some(self.looked)
    }

    /// For how long the line has borne less than `least`.
    pub(super) fn short_for(&mut self, least: Bitrate, now: Instant) -> Duration {
        if self.estimate >= least {
            self.short_since = None;
            return Duration::ZERO;
        }
        now.saturating_duration_since(*self.short_since.get_or_insert(now))
    }

    /// Whether the receiver has said anything of the line.
    pub(super) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Whether so much is lost that repairs need room and time.
    pub(super) fn is_lossy(&self) -> bool {
        self.loss >= LOSSY
    }

    /// For how long its packets are kept at the least, whatever its round trip.
    pub(super) fn keeps_for(&self) -> Duration {
        let lossy = if self.is_lossy() { LOSSY_AGE } else { Duration::ZERO };
        let narrow = if self.narrow { HELD_AGE } else { Duration::ZERO };
        lossy.max(narrow)
    }

    /// Whether a picture of many packets hardly gets through.
    pub(super) fn is_very_lossy(&self) -> bool {
        self.very_lossy
    }

    /// How often each repair goes out. Where one may well be lost, the next would come a round trip after the receiver has noticed,
    /// and its picture stand still meanwhile; but a full line is not helped by more.
    pub(super) fn copies(&self) -> usize {
        if self.very_lossy || self.is_lossy() && !self.bounded { 2 } else { 1 }
    }

    /// Whether sound may bring earlier packets along: what they take of a full line is missing elsewhere, and heals nothing.
    pub(super) fn bears_redundancy(&self) -> bool {
        !self.full
    }

    /// Whether each packet of sound is to go out twice; `redundant` where later packets hold it anyway.
    pub(super) fn echoes(&self, redundant: bool, now: Instant) -> bool {
        !self.narrow && self.echoes_until.is_some_and(|until| now < until) && (!redundant || self.very_lossy)
    }

    /// What may be shared out now; what is paced at from now on follows it. On a line that nothing is held against that is
    /// everything anybody may ask for.
    pub(super) fn take_budget(&mut self, adapt: bool, now: Instant) -> Bitrate {
        (self.looked, self.stale) = (now, false);
        let figures = self.estimator.figures(now);
        (self.budget, self.estimate) = (figures.budget, figures.estimate);
        let lost = figures.loss.max(figures.inherent);
        // Down slowly: repairs are needed where loss comes and goes.
        self.loss = lost.max(self.loss - (self.loss - lost) * LOSS_FADES);
        self.very_lossy = self.loss >= if self.very_lossy { VERY_LOSSY.1 } else { VERY_LOSSY.0 };
        self.trust.note(&Look { figures, totals: self.estimator.totals(), heard: self.heard }, now);
        let wanted = self.allocator.need().all;
        let silent = now.saturating_duration_since(self.heard_at) >= SILENT && self.estimator.is_overdue(now);
        let bounded = self.estimator.is_told(now) || silent || self.trust.is_bounded(self.estimate, wanted, now);
        let pace = match (self.heard && adapt, bounded) {
            (true, true) => self.budget,
            (true, false) => self.budget.max(wanted.scale(AMPLE)).max(AMPLE_LEAST),
            (false, _) => UNPACED,
        };
        self.bounded = bounded;
        self.narrow = bounded && self.trust.is_narrow();
        if figures.queue >= QUEUED.0 {
            self.queued = Some(now);
        }
        let queued = self.queued.is_some_and(|at| now.saturating_duration_since(at) < QUEUED.1);
        self.full = self.narrow && (figures.inherent < LOSSY || queued);
        // A full line is not helped by more.
        if self.is_lossy() && !bounded {
            self.echoes_until = Some(now + ECHOES);
        }
        self.pacer.set_budget(pace, self.narrow, now);
        self.pacer.set_lossy(self.is_lossy());
        self.estimator.release_memory();
        self.pacer.release_memory();
        if bounded { self.budget } else { UNPACED }
    }

    /// Whether the estimate bounds what is sent.
    pub(super) fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Whether it is time to share out anew.
    fn wants_look(&self, now: Instant) -> bool {
        self.stale || now.saturating_duration_since(self.looked) >= LOOK / 2 || self.estimator.budget(now) < self.budget
    }

    /// Sets when to look again; `tracks` are shared out, `live` when some of them are pictures that come in.
    fn plan(&mut self, tracks: usize, live: bool, now: Instant) {
        let goes_on = std::mem::take(&mut self.sent) || live;
        let spacing = LOOK_AT_LEAST.max(LOOK_PER_TRACK * tracks as u32);
        let look = goes_on.then_some(self.looked + spacing);
        let probe = self.estimator.next_deadline(now).filter(|_| goes_on);
        self.due = [look, probe, self.pacer.next_deadline()].into_iter().flatten().min();
    }
}

impl Link {
    /// Whether sound may bring earlier packets along.
    pub(super) fn bears_redundancy(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.bears_redundancy())
    }

    /// Whether pictures wait for so long that a further one would come too late.
    pub(super) fn is_backed_up(&self, now: Instant) -> bool {
        self.line.as_ref().is_some_and(|line| line.pacer.is_backed_up(now))
    }

    /// Whether a packet of so many bytes to this link goes out now, which counts as sent then; otherwise `item` waits for the line.
    pub(super) fn admits(
        &mut self,
        link: usize,
        item: Option<Waiting>,
        bytes: usize,
        now: Instant,
        dirty: &mut Vec<usize>,
    ) -> bool {
        let Some(line) = &mut self.line else { return true };
        let admitted = line.admit(item, bytes, now);
        let asleep = line.is_asleep();
        if asleep {
            line.wake(now);
        }
        if asleep || !admitted {
            self.timing.want(Attention::Feedback, link, dirty);
        }
        admitted
    }
}

impl Shard {
    /// The line to a receiver, made with the first stream it gets.
    pub(super) fn open_line(&mut self, link: usize, now: Instant) {
        if let Some(state) = self.links.get_mut(link) {
            let line = state.line.get_or_insert_with(|| Box::new(Line::new(now)));
            let is_picture = |sent: &&Outbound| self.tracks.get(sent.track).is_some_and(Track::is_video);
            if state.outbound.iter().filter(is_picture).count() <= 1 {
                // No picture was sent before, so little is known.
                line.trust.begin(now);
            }
            line.wake(now);
            state.timing.want(Attention::Feedback, link, &mut self.dirty);
        }
    }

    /// Something of a receiver's line became known.
    pub(super) fn on_line(&mut self, link: usize, act: impl FnOnce(&mut Line)) {
        if let Some(state) = self.links.get_mut(link)
            && let Some(line) = &mut state.line
        {
            act(line);
            state.timing.want(Attention::Feedback, link, &mut self.dirty);
        }
    }

    /// Shares a line out anew when it is time, and sends what waited for it.
    pub(super) fn poll_line(&mut self, link: usize, now: Instant) {
        let Some(state) = self.links.get_mut(link) else { return };
        let Some(mut line) = state.line.take_if(|line| line.is_due(now)) else { return };
        line.estimator.handle_timeout(now);
        if line.wants_look(now) {
            self.share_out(link, &mut line, now);
        }
        // A probe without anything to fill it with would only count as failed.
        if self.can_pad(link, now)
            && let Some(probe) = line.estimator.poll_probe(now)
        {
            self.counters.probes += 1;
            line.pacer.start_probe(probe, now);
        }
        if let Some(state) = self.links.get_mut(link) {
            state.line = Some(line);
        }
        self.release(link, now);
        let live = self.shows_pictures(link);
        if let Some(state) = self.links.get_mut(link) {
            let tracks = state.outbound.len();
            if let Some(line) = &mut state.line {
                line.plan(tracks, live, now);
            }
        }
    }

    /// Sends what the pacer lets go.
    fn release(&mut self, link: usize, now: Instant) {
        while let Some(departure) = self.links.get_mut(link).and_then(|state| state.line.as_mut()?.pacer.poll(now)) {
            match departure {
                Departure::Repair(item) => self.send_waiting(link, item, true, now),
                Departure::Held(item) => self.send_waiting(link, item, false, now),
                Departure::Late(_) => self.counters.drop(DropReason::LineFull),
                Departure::Padding(padding) => {
                    let (sent, is_repeat) = self.send_padding(link, padding, now);
                    self.counters.padding_bytes += sent as u64;
                    if let Some(line) = self.links.get_mut(link).and_then(|state| state.line.as_mut()) {
                        line.pacer.on_padding(sent, is_repeat);
                    }
                }
            }
        }
    }

    /// Whether there is a stream for padding.
    fn can_pad(&self, link: usize, now: Instant) -> bool {
        let Some(state) = self.links.get(link) else { return false };
        let mut tracks = state.outbound.iter().filter_map(|sent| self.tracks.get(sent.track)).filter(|track| track.is_video());
        tracks.any(|track| track.routes.iter().any(|route| route.receiver == link && route.can_pad(now)))
    }

    /// Whether a picture comes in that a link would be sent.
    fn shows_pictures(&self, link: usize) -> bool {
        let Some(state) = self.links.get(link) else { return false };
        state.outbound.iter().filter_map(|sent| self.tracks.get(sent.track)).any(|track| track.live != 0 && track.is_video())
    }
}
