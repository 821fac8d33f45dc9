//! One direction of an impaired link, without sockets and clock.
//!
//! A datagram passes four places: chance decides at once whether it will be lost; the bottleneck sends one after the
//! other at its rate, with a bounded queue before it; then comes the delay with its jitter; then it waits for
//! [`Link::poll`]. A lost datagram takes its time at the bottleneck like any other, as it does on radio.
//! Each kind of chance draws from its own stream for every datagram offered, so the fate of the n-th datagram depends
//! on the seed alone and not on when it came.

use super::profile::{Direction, RateStep};
use crate::random::Random;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// Bytes of IPv4 and UDP headers, which a bottleneck carries too.
const HEADERS: usize = 28;
/// Most datagrams before the bottleneck: a minute of a video call, the longest queue a profile may ask for.
const MAX_QUEUED: usize = 16_384;
/// Most datagrams on their way: a minute of delay as above, several calls at once.
const MAX_IN_FLIGHT: usize = 65_536;
/// Waits remembered for [`Link::queue_delay`]: about a second of video.
const WAITS: usize = 256;

const NS_PER_S: u128 = 1_000_000_000;
const NEVER: u64 = u64::MAX;

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Datagrams offered.
    pub offered: u64,
    /// Datagrams handed out, repetitions included.
    pub delivered: u64,
    /// Bytes handed out, without IP and UDP headers.
    pub delivered_bytes: u64,
    /// Lost by chance, each by itself.
    pub lost: u64,
    /// Lost in a burst.
    pub lost_in_burst: u64,
    /// Dropped because the queue was full.
    pub dropped_queue: u64,
    /// Dropped in an outage.
    pub dropped_outage: u64,
    /// Dropped because the link's own memory was full; a run with any of these says nothing.
    pub dropped_overflow: u64,
    /// Handed out twice.
    pub duplicated: u64,
    /// Held back so that others overtake.
    pub reordered: u64,
}

/// How long the last datagrams waited before the bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueueDelay {
    /// Half waited no longer, in µs, their own sending included.
    pub p50_us: u32,
    /// 99 % waited no longer, in µs.
    pub p99_us: u32,
}

/// One direction of a link that carries datagrams of type `T`.
///
/// [`push`](Self::push) puts in, [`poll`](Self::poll) takes out, [`next_at`](Self::next_at) says when to ask again.
/// Time must not run backwards; the profile's steps count from the first call that names a time.
#[derive(Debug)]
pub struct Link<T> {
    line: Line,
    chance: Chance,
    origin: Option<Instant>,
    queue: VecDeque<Waiting<T>>,
    /// What the bottleneck has not yet sent of the first in the queue, in bits times 10⁹.
    head_left: u128,
    /// Bytes in the queue, the first counted whole.
    queued_bytes: u64,
    /// Until when the bottleneck's work is accounted for.
    served: u64,
    flight: BinaryHeap<Flying<T>>,
    pushed: u64,
    last_due: u64,
    sway: f64,
    swayed_at: u64,
    silent_until: u64,
    counts: Counts,
    waits: VecDeque<u32>,
}

impl<T: Clone> Link<T> {
    /// A link that does what `profile` says; all its chance comes from `seed`.
    #[must_use]
    pub fn new(profile: &Direction, seed: u64) -> Self {
        Self {
            line: Line::new(profile, 0),
            chance: Chance::new(seed),
            origin: None,
            queue: VecDeque::new(),
            head_left: 0,
            queued_bytes: 0,
            served: 0,
            flight: BinaryHeap::new(),
            pushed: 0,
            last_due: 0,
            sway: 0.0,
            swayed_at: 0,
            silent_until: 0,
            counts: Counts::default(),
            waits: VecDeque::new(),
        }
    }

    /// Offers a datagram of `len` bytes, headers not counted.
    pub fn push(&mut self, now: Instant, datagram: T, len: usize) {
        let now = self.ns(now);
        self.advance(now);
        self.counts.offered += 1;
        let fate = self.chance.draw(&self.line.profile);
        if now < self.silent_until || self.line.is_out(now) {
            self.counts.dropped_outage += 1;
            return;
        }
        let bytes = (len + HEADERS) as u64;
        if self.is_full(now, bytes) {
            self.counts.dropped_queue += 1;
            return;
        }
        let lost = match fate.loss {
            Loss::None => false,
            Loss::Single => {
                self.counts.lost += 1;
                true
            }
            Loss::Burst => {
                self.counts.lost_in_burst += 1;
                true
            }
        };
        if self.queue.is_empty() {
            self.head_left = scaled(bytes);
            self.served = now;
        }
        self.queued_bytes += bytes;
        self.queue.push_back(Waiting { datagram: (!lost).then_some(datagram), bytes, len, since: now, fate });
        self.advance(now);
    }

    /// Takes out the next datagram that has arrived by `now`.
    pub fn poll(&mut self, now: Instant) -> Option<T> {
        let now = self.ns(now);
        self.advance(now);
        if self.flight.peek()?.due > now {
            return None;
        }
        let arrived = self.flight.pop()?;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += arrived.len as u64;
        Some(arrived.datagram)
    }

    /// When [`poll`](Self::poll) may have something; none while the link is empty.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        let served = (!self.queue.is_empty()).then(|| self.next_served());
        let due = self.flight.peek().map(|first| first.due);
        let at = [served, due].into_iter().flatten().min()?;
        Some(self.origin? + Duration::from_nanos(at))
    }

    /// Follows another profile from now on; what is under way arrives, what waits goes on at the new rate.
    pub fn change(&mut self, now: Instant, profile: &Direction) {
        let now = self.ns(now);
        self.advance(now);
        self.line = Line::new(profile, now);
        self.advance(now);
    }

    /// Loses everything offered from now on for `time`.
    pub fn silence(&mut self, now: Instant, time: Duration) {
        let now = self.ns(now);
        self.silent_until = now.saturating_add(ns_of(time));
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes before the bottleneck, headers included.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.queued_bytes
    }

    /// How long the last 256 datagrams waited at the bottleneck.
    #[must_use]
    pub fn queue_delay(&self) -> QueueDelay {
        let mut waits: Vec<u32> = self.waits.iter().copied().collect();
        waits.sort_unstable();
        let at = |percent: usize| waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
        QueueDelay { p50_us: at(50), p99_us: at(99) }
    }

    /// How long a datagram offered now would wait before the bottleneck, at the rate of the moment.
    pub fn wait(&mut self, now: Instant) -> Duration {
        let now = self.ns(now);
        self.advance(now);
        let rate = self.line.rate(now).0.unwrap_or(u64::MAX);
        let ns = if self.queue.is_empty() { 0 } else { self.waiting() / u128::from(rate) };
        Duration::from_nanos(u64::try_from(ns).unwrap_or(NEVER))
    }

    /// The bottleneck's rate at this moment, in bits per second; none without one.
    pub fn rate(&mut self, now: Instant) -> Option<u64> {
        let now = self.ns(now);
        self.line.rate(now).0
    }

    fn ns(&mut self, now: Instant) -> u64 {
        let origin = *self.origin.get_or_insert(now);
        ns_of(now.saturating_duration_since(origin))
    }

    /// Drop tail; an idle bottleneck takes any datagram.
    fn is_full(&self, now: u64, bytes: u64) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let left = self.waiting();
        let profile = &self.line.profile;
        let over = match (profile.queue_bytes, self.line.rate(now).0) {
            (Some(most), _) => left + scaled(bytes) > scaled(most),
            (None, Some(rate)) => left / u128::from(rate) > u128::from(ns_of_ms(profile.queue_ms)),
            (None, None) => false,
        };
        over || self.queue.len() >= MAX_QUEUED
    }

    /// What the bottleneck has yet to send, in bits times 10⁹.
    fn waiting(&self) -> u128 {
        let head = self.queue.front().map_or(0, |head| scaled(head.bytes));
        scaled(self.queued_bytes) - head + self.head_left
    }

    /// Lets the bottleneck work until `now`. Each round sends one datagram or passes one step of the rate.
    fn advance(&mut self, now: u64) {
        while !self.queue.is_empty() {
            let finish = self.next_served();
            let (rate, _) = self.line.rate(self.served);
            let until = finish.min(now);
            let sent = u128::from(until.saturating_sub(self.served)) * u128::from(rate.unwrap_or(0));
            self.head_left = if rate.is_none() { 0 } else { self.head_left.saturating_sub(sent) };
            self.served = self.served.max(until);
            if self.head_left == 0 {
                self.leave_queue();
            } else if finish > now {
                break;
            }
        }
        if self.queue.is_empty() {
            self.served = self.served.max(now);
        }
    }

    /// When the bottleneck has sent its first datagram, or passes to another rate before that.
    fn next_served(&self) -> u64 {
        let (rate, until) = self.line.rate(self.served);
        let Some(rate) = rate else { return self.served };
        let need = u64::try_from(self.head_left.div_ceil(u128::from(rate))).unwrap_or(NEVER);
        self.served.saturating_add(need).min(until)
    }

    fn leave_queue(&mut self) {
        let Some(first) = self.queue.pop_front() else { return };
        self.queued_bytes -= first.bytes;
        self.head_left = self.queue.front().map_or(0, |next| scaled(next.bytes));
        if !self.line.profile.rates.is_empty() {
            if self.waits.len() >= WAITS {
                self.waits.pop_front();
            }
            self.waits.push_back(u32::try_from((self.served - first.since) / 1_000).unwrap_or(u32::MAX));
        }
        self.fly(first);
    }

    fn fly(&mut self, sent: Waiting<T>) {
        let Some(datagram) = sent.datagram else { return };
        let mut due = self.due(&sent.fate);
        if sent.fate.held_back {
            self.counts.reordered += 1;
            due = due.saturating_add(ns_of_ms(self.line.profile.reorder_ms));
        } else {
            // The order stays: none arrives before one that left earlier.
            due = due.max(self.last_due);
            self.last_due = due;
        }
        if sent.fate.twice {
            self.counts.duplicated += 1;
            self.take_off(due, datagram.clone(), sent.len);
        }
        self.take_off(due, datagram, sent.len);
    }

    fn take_off(&mut self, due: u64, datagram: T, len: usize) {
        if self.flight.len() >= MAX_IN_FLIGHT {
            self.counts.dropped_overflow += 1;
            return;
        }
        self.pushed += 1;
        self.flight.push(Flying { due, order: self.pushed, len, datagram });
    }

    /// The arrival of what leaves the bottleneck now. The sway forgets with time, not with datagrams, so that sparse
    /// sound and dense video see the same weather.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ms within a minute"
    )]
    fn due(&mut self, fate: &Fate) -> u64 {
        let profile = &self.line.profile;
        let gap_ms = (self.served - self.swayed_at) as f64 / 1e6;
        let memory = profile.jitter_memory_ms;
        let kept = if memory > 0.0 { memory / (memory + gap_ms) } else { 0.0 };
        self.sway = kept * self.sway + (1.0 - kept * kept).sqrt() * fate.noise;
        self.swayed_at = self.served;
        let delay_ms = (profile.delay_ms + profile.jitter_ms * self.sway).max(0.0);
        self.served.saturating_add((delay_ms * 1e6) as u64)
    }
}

/// A profile and when it began.
#[derive(Debug)]
struct Line {
    profile: Direction,
    began: u64,
}

impl Line {
    fn new(profile: &Direction, began: u64) -> Self {
        Self { profile: profile.clone(), began }
    }

    fn is_out(&self, now: u64) -> bool {
        let at = now - self.began;
        self.profile.outages.iter().any(|outage| (ns_of_s(outage.from_s)..ns_of_s(outage.to_s)).contains(&at))
    }

    /// The rate at a time, and until when it holds.
    fn rate(&self, now: u64) -> (Option<u64>, u64) {
        let steps = &self.profile.rates;
        let at = now - self.began;
        let repeat = ns_of_s(self.profile.rates_repeat_s);
        let (round, at, end) = match at.checked_rem(repeat) {
            Some(rest) => (at - rest, rest, repeat),
            None => (0, at, NEVER),
        };
        let from = |step: &RateStep| ns_of_s(step.from_s);
        let rate = steps.iter().rev().find(|step| from(step) <= at).and_then(|step| step.bits_per_s);
        let until = steps.iter().map(from).find(|from| *from > at).unwrap_or(end);
        (rate, until.saturating_add(self.began).saturating_add(round))
    }
}

/// What chance has in store for one datagram.
#[derive(Debug)]
struct Fate {
    loss: Loss,
    noise: f64,
    held_back: bool,
    twice: bool,
}

#[derive(Debug)]
enum Loss {
    None,
    Single,
    Burst,
}

#[derive(Debug)]
struct Chance {
    single: Random,
    burst: Random,
    noise: Random,
    hold: Random,
    twice: Random,
    in_burst: bool,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let stream = |purpose| Random::of(seed, purpose);
        let (single, burst, noise, hold, twice) = (stream(0), stream(1), stream(2), stream(3), stream(4));
        Self { single, burst, noise, hold, twice, in_burst: false }
    }

    fn draw(&mut self, profile: &Direction) -> Fate {
        let single = self.single.unit() < profile.loss;
        // Gilbert-Elliott. The share of datagrams in a burst is `burst_loss` over `burst_depth`; with a mean length that
        // gives the chances to enter and to leave.
        let (turn, hit) = (self.burst.unit(), self.burst.unit());
        let leave = 1.0 / profile.burst_packets;
        let share = if profile.burst_loss > 0.0 { profile.burst_loss / profile.burst_depth } else { 0.0 };
        self.in_burst = if self.in_burst { turn >= leave } else { turn < leave * share / (1.0 - share) };
        let burst = self.in_burst && profile.burst_loss > 0.0 && hit < profile.burst_depth;
        let loss = match (burst, single) {
            (true, _) => Loss::Burst,
            (false, true) => Loss::Single,
            (false, false) => Loss::None,
        };
        Fate {
            loss,
            noise: self.noise.bell(),
            held_back: self.hold.unit() < profile.reorder,
            twice: self.twice.unit() < profile.duplicate,
        }
    }
}

#[derive(Debug)]
struct Waiting<T> {
    /// None when it is lost: only its time at the bottleneck is left of it.
    datagram: Option<T>,
    bytes: u64,
    len: usize,
    since: u64,
    fate: Fate,
}

#[derive(Debug)]
struct Flying<T> {
    due: u64,
    order: u64,
    len: usize,
    datagram: T,
}

impl<T> Ord for Flying<T> {
    /// The earliest is the greatest, as the heap hands out the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl<T> PartialOrd for Flying<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Flying<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Flying<T> {}

fn scaled(bytes: u64) -> u128 {
    u128::from(bytes) * 8 * NS_PER_S
}

fn ns_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "profiles keep times between 0 and a day")]
fn ns_of_ms(ms: f64) -> u64 {
    (ms * 1e6) as u64
}

fn ns_of_s(s: f64) -> u64 {
    ns_of_ms(s * 1e3)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
