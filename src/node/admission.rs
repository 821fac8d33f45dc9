//! Whether a new call is taken: running calls come first, so a newcomer is refused before they suffer.
//!
//! Each measure (time of a worker, delay, drops, waiting commands, memory, file descriptors) is put in thousandths of its own
//! limit, so that one rule serves all: a new room is refused from 1,000 on and taken again below [`REOPEN`]; a newcomer to
//! a running room is let in a little longer. Who already had a seat in a running room is never refused here. Between two
//! measurements the joins just taken count with what they will probably cost. Pure: time and figures are handed in.
//!
//! Entry points: [`Admission::on_report`], [`Admission::on_host`], [`Admission::decide`], [`Admission::retry_after`].

use crate::model::Instant;
use crate::model::ShardId;
use crate::model::counters::{Counters, DELAY_BOUNDS_US, DropReason, Pressure};
use crate::telemetry::host::Host;
use std::time::Duration;

/// New rooms are taken again below this many thousandths of a limit: 71 % busy where 80 % is the limit.
const REOPEN: u64 = 882;

/// How much later than new rooms newcomers to running rooms are refused, in thousandths: at 87 % busy where 80 % is the limit.
const MEMBERS_LATER: u64 = 82;

/// What a participant costs before there is anything to measure, in millionths of a core: half a thousand to a core.
const COST_UNKNOWN: u64 = 2_000;

/// Bounds of the measured cost of a participant, in millionths of a core: a listener, and the sender of a large webinar.
const COST: (u64, u64) = (300, 20_000);

/// Participants, without those of the last seconds, from which a worker's measured cost of one is believed.
const COST_SAMPLE: u64 = 20;

/// How long a join counts with its expected cost: cameras start and tracks are negotiated within this.
const PENDING: Duration = Duration::from_secs(5);

/// Slots of [`PENDING`], each half a second.
const SLOTS: usize = 10;

/// Without a report for this long a worker sleeps: it reports once a second while anything happens.
const SILENT: Duration = Duration::from_secs(3);

/// Reports a delay must be too long in, one after the other: one is a hiccup of the machine, three are the relay.
const WINDOWS: usize = 3;

/// Datagrams sent between two reports below which a percentile of their delay says nothing.
const DELAY_SAMPLE: u64 = 2_000;

/// Packets dropped of a million sent that are too many.
const DROPS_PER_MILLION: u64 = 1_000;

/// Commands that may wait for a worker; its mailbox holds four times as many, kept for those in calls.
const WAITING: u64 = 1_024;

/// Thousandths of memory and of file descriptors that may be in use.
const OF_HOST: u64 = 900;

/// Thousandths of the joins of a second that new rooms leave to newcomers to running ones.
const RATE_FOR_MEMBERS: u64 = 250;

/// Shortest and longest retry hint, in seconds. Longer than a minute nobody waits before a page.
const HINT_S: (u64, u64) = (2, 30);

/// What the operator allows; 0 switches a rule off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) participants: u64,
    pub(super) rooms: u64,
    /// Per worker.
    pub(super) joins_per_s: u64,
    pub(super) busy_permille: u64,
    pub(super) delay: Duration,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newcomer {
    /// Nobody is in that room yet.
    Room,
    /// The room runs on this worker.
    Member(ShardId),
    /// Had a seat in this running room already.
    Returning(ShardId),
}

/// What the node knows at this moment of each worker, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Workers {
    /// Open rooms.
    pub(super) rooms: Vec<usize>,
    /// Commands that wait.
    pub(super) waiting: Vec<usize>,
}

/// Decides over newcomers for a whole node.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    shards: Vec<Load>,
    memory: Gates,
    handles: Gates,
    /// Refusals of the last seconds, halved with each look at the host; spreads the retry hints.
    refused_lately: u64,
    refused: [u64; Pressure::ALL.len()],
    noise: u64,
}

/// Is it shut for new rooms, and for newcomers to running rooms.
#[derive(Clone, Copy, Debug, Default)]
struct Gates {
    rooms: bool,
    members: bool,
}

impl Gates {
    /// Takes a measure in thousandths of its limit.
    fn on_measure(&mut self, measure: u64) {
        self.rooms = measure >= if self.rooms { REOPEN } else { 1_000 };
        self.members = measure.saturating_sub(MEMBERS_LATER) >= if self.members { REOPEN } else { 1_000 };
    }
}

/// What happened between two reports.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    sent: u64,
    dropped: u64,
    p99_us: u64,
}

/// One worker.
#[derive(Debug)]
struct Load {
    counters: Counters,
    reported_at: Instant,
    windows: [Window; WINDOWS],
    waiting: u64,
    /// Newcomers since the last report: the report knows those before.
    unseen: u64,
    pending: [u64; SLOTS],
    slot_began: Instant,
    /// Joins of this second that are left, in thousandths; below 0 when returning members took more.
    tokens: i64,
    filled_at: Instant,
    busy: Gates,
    delay: Gates,
    drops: Gates,
    mailbox: Gates,
}

impl Admission {
    /// Begins with every gate open. `seed` makes the retry hints differ between nodes.
    pub(super) fn new(limits: Limits, shards: usize, seed: u64, now: Instant) -> Self {
        let load = |_| Load::new(limits, now);
        Self {
            limits,
            shards: (0..shards).map(load).collect(),
            memory: Gates::default(),
            handles: Gates::default(),
            refused_lately: 0,
            refused: [0; Pressure::ALL.len()],
            noise: seed,
        }
    }

    /// Takes a worker's counters.
    pub(super) fn on_report(&mut self, shard: ShardId, counters: &Counters, now: Instant) {
        let limits = self.limits;
        if let Some(load) = self.shards.get_mut(usize::from(shard.0)) {
            load.on_report(counters, now);
            load.measure(&limits, now);
        }
    }

    /// Takes the machine's figures, about once a second.
    pub(super) fn on_host(&mut self, host: Host) {
        self.memory.on_measure(share(host.memory, host.memory_total * OF_HOST / 1_000));
        self.handles.on_measure(share(host.handles, host.handles_total * OF_HOST / 1_000));
        self.refused_lately -= self.refused_lately.div_ceil(4);
    }

    /// Takes a newcomer and answers its worker, or why it is refused.
    ///
    /// # Errors
    /// The [`Pressure`] that was found first.
    pub(super) fn decide(&mut self, newcomer: Newcomer, workers: &Workers, now: Instant) -> Result<ShardId, Pressure> {
        self.refresh(workers, now);
        let shard = match newcomer {
            Newcomer::Room => self.place(&workers.rooms),
            Newcomer::Member(shard) | Newcomer::Returning(shard) => shard,
        };
        let refusal = match newcomer {
            Newcomer::Returning(_) => None,
            Newcomer::Room => self.against(shard, true, &workers.rooms),
            Newcomer::Member(_) => self.against(shard, false, &workers.rooms),
        };
        if let Some(pressure) = refusal {
            return Err(self.refuse(pressure));
        }
        if let Some(load) = self.shards.get_mut(usize::from(shard.0)) {
            load.take(newcomer, &self.limits);
        }
        Ok(shard)
    }

    /// Whether the platform may open a room; nobody joins by it, so only the limit of rooms and the gates count.
    ///
    /// # Errors
    /// The [`Pressure`] that was found first.
    pub(super) fn decide_room(&mut self, workers: &Workers, now: Instant) -> Result<ShardId, Pressure> {
        match self.closed(workers, now) {
            Some(pressure) => Err(self.refuse(pressure)),
            None => Ok(self.place(&workers.rooms)),
        }
    }

    /// Counts a refusal, one decided elsewhere as well.
    pub(super) fn refuse(&mut self, pressure: Pressure) -> Pressure {
        self.refused_lately = self.refused_lately.saturating_add(1);
        if let Some(count) = self.refused.get_mut(pressure as usize) {
            *count += 1;
        }
        pressure
    }

    /// Refusals so far, in the order of [`Pressure::ALL`].
    pub(super) fn refused(&self) -> [u64; Pressure::ALL.len()] {
        self.refused
    }

    /// Why a new room would not be taken now; a rate that is used up for this second does not close the node.
    pub(super) fn closed(&mut self, workers: &Workers, now: Instant) -> Option<Pressure> {
        self.refresh(workers, now);
        self.against(self.place(&workers.rooms), true, &workers.rooms).filter(|pressure| *pressure != Pressure::JoinRate)
    }

    /// Whether at least one worker takes newcomers to rooms that run on it.
    pub(super) fn admits_members(&mut self, workers: &Workers, now: Instant) -> bool {
        self.refresh(workers, now);
        (0..self.shards.len()).any(|shard| {
            let refusal = self.against(shard_id(shard), false, &workers.rooms);
            refusal.is_none_or(|pressure| pressure == Pressure::JoinRate)
        })
    }

    /// When somebody refused should come back: later and more spread out the more were refused.
    pub(super) fn retry_after(&mut self) -> Duration {
        // SplitMix64: spread, not secrecy.
        self.noise = self.noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.noise;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let per_s = self.limits.joins_per_s.max(10) * self.shards.len().max(1) as u64;
        let spread = (6 + self.refused_lately / per_s).min(HINT_S.1 - HINT_S.0);
        Duration::from_secs(HINT_S.0 + word % (spread + 1))
    }

    /// The workers' time in use, expected load included, in thousandths.
    pub(super) fn expected_permille(&mut self, workers: &Workers, now: Instant) -> Vec<u64> {
        self.refresh(workers, now);
        self.shards.iter().map(Load::expected_permille).collect()
    }

    fn refresh(&mut self, workers: &Workers, now: Instant) {
        let limits = self.limits;
        for (at, load) in self.shards.iter_mut().enumerate() {
            load.waiting = workers.waiting.get(at).map_or(0, |waiting| *waiting as u64);
            load.measure(&limits, now);
        }
    }

    /// The worker with the most time to spare; where that is about the same, the one with the fewest rooms.
    fn place(&self, rooms: &[usize]) -> ShardId {
        let least = self.shards.iter().enumerate().min_by_key(|(at, load)| {
            // Steps of 5 %: below, the number of rooms says more than the moment.
            (load.gates(true), load.expected_permille() / 50, rooms.get(*at).copied().unwrap_or(0))
        });
        shard_id(least.map_or(0, |(at, _)| at))
    }

    fn against(&self, shard: ShardId, room: bool, rooms: &[usize]) -> Option<Pressure> {
        let limits = &self.limits;
        let shut = |gates: Gates| if room { gates.rooms } else { gates.members };
        let people: u64 = self.shards.iter().map(|load| load.counters.participants + load.unseen).sum();
        let full = |limit: u64, used: u64| limit > 0 && used >= limit;
        let seats = limits.participants - if room { limits.participants * MEMBERS_LATER / 1_000 } else { 0 };
        let load = self.shards.get(usize::from(shard.0))?;
        let left = if room { (limits.joins_per_s * RATE_FOR_MEMBERS) as i64 } else { 0 };
        let rules = [
            (full(seats, people), Pressure::Participants),
            (room && full(limits.rooms, rooms.iter().sum::<usize>() as u64), Pressure::Rooms),
            (shut(self.memory), Pressure::Memory),
            (shut(self.handles), Pressure::Handles),
            (shut(load.busy), Pressure::Worker),
            (shut(load.delay), Pressure::Delay),
            (shut(load.drops), Pressure::Drops),
            (shut(load.mailbox), Pressure::Mailbox),
            (limits.joins_per_s > 0 && load.tokens < left.min(full_second(limits) - 1_000) + 1_000, Pressure::JoinRate),
        ];
        rules.into_iter().find(|(refuses, _)| *refuses).map(|(_, pressure)| pressure)
    }
}

impl Load {
    fn new(limits: Limits, now: Instant) -> Self {
        Self {
            counters: Counters::default(),
            reported_at: now,
            windows: [Window::default(); WINDOWS],
            waiting: 0,
            unseen: 0,
            pending: [0; SLOTS],
            slot_began: now,
            tokens: full_second(&limits),
            filled_at: now,
            busy: Gates::default(),
            delay: Gates::default(),
            drops: Gates::default(),
            mailbox: Gates::default(),
        }
    }

    fn on_report(&mut self, counters: &Counters, now: Instant) {
        let lost = |counters: &Counters| counters.drops(DropReason::SendFull) + counters.drops(DropReason::HandOverFull);
        let window = Window {
            sent: counters.packets_out.saturating_sub(self.counters.packets_out),
            dropped: lost(counters).saturating_sub(lost(&self.counters)),
            p99_us: p99_us(self.counters.delays().0, counters.delays().0),
        };
        self.windows.rotate_right(1);
        self.windows[0] = window;
        self.counters = counters.clone();
        self.reported_at = now;
        self.unseen = 0;
    }

    /// Lets time pass: expected load fades, the second's joins fill up again, a silent worker sleeps.
    fn pass(&mut self, limits: &Limits, now: Instant) {
        let slot = PENDING / SLOTS as u32;
        for _ in 0..SLOTS {
            if now.saturating_duration_since(self.slot_began) < slot {
                break;
            }
            self.pending.rotate_right(1);
            self.pending[0] = 0;
            self.slot_began += slot;
        }
        if now.saturating_duration_since(self.slot_began) >= slot {
            self.slot_began = now;
        }
        let gained = now.saturating_duration_since(self.filled_at).as_millis() as i64 * limits.joins_per_s as i64;
        self.tokens = self.tokens.saturating_add(gained).min(full_second(limits));
        self.filled_at = now.max(self.filled_at);
        if now.saturating_duration_since(self.reported_at) >= SILENT {
            self.counters.busy_permille = 0;
            self.windows = [Window::default(); WINDOWS];
        }
    }

    fn measure(&mut self, limits: &Limits, now: Instant) {
        self.pass(limits, now);
        self.busy.on_measure(share(self.expected_permille(), limits.busy_permille));
        let slow = self.windows.iter().map(|window| if window.sent < DELAY_SAMPLE { 0 } else { window.p99_us }).min();
        self.delay.on_measure(share(slow.unwrap_or(0), limits.delay.as_micros() as u64));
        let (sent, dropped) = self.windows.iter().fold((0, 0), |sum, window| (sum.0 + window.sent, sum.1 + window.dropped));
        self.drops.on_measure(share(dropped * 1_000_000, DROPS_PER_MILLION * sent.max(DELAY_SAMPLE)));
        self.mailbox.on_measure(share(self.waiting, WAITING));
    }

    fn take(&mut self, newcomer: Newcomer, limits: &Limits) {
        self.pending[0] += 1;
        self.tokens = self.tokens.saturating_sub(1_000).max(-full_second(limits));
        // Who returns takes the seat that is counted already.
        if !matches!(newcomer, Newcomer::Returning(_)) {
            self.unseen += 1;
        }
    }

    /// What the worker does now and what the newcomers of the last seconds will add, in thousandths of its time.
    fn expected_permille(&self) -> u64 {
        u64::from(self.counters.busy_permille) + self.to_come() * self.cost() / (SLOTS as u64 * 1_000)
    }

    /// Newcomers whose load is not to be seen yet, each counted as so many of [`SLOTS`] as its time is not over.
    fn to_come(&self) -> u64 {
        self.pending.iter().zip((1..=SLOTS as u64).rev()).map(|(joins, weight)| joins * weight).sum()
    }

    /// What one participant takes of the worker's time, in millionths.
    fn cost(&self) -> u64 {
        // Those of the last seconds are counted already and send nothing yet: with them each would seem to cost little.
        let everybody = self.counters.participants + self.unseen;
        let settled = everybody.saturating_sub(self.pending.iter().sum());
        let each = |people: u64| (u64::from(self.counters.busy_permille) * 1_000 / people.max(1)).clamp(COST.0, COST.1);
        if settled >= everybody / 2 && settled >= COST_SAMPLE {
            return each(settled);
        }
        // Most are new: without any of them a steady stream would make the first few seem to cost everything.
        let seen = everybody.saturating_sub(self.to_come() / SLOTS as u64);
        if seen < COST_SAMPLE { COST_UNKNOWN } else { each(seen).max(COST_UNKNOWN) }
    }

    fn gates(&self, room: bool) -> bool {
        [self.busy, self.delay, self.drops, self.mailbox].iter().any(|gates| if room { gates.rooms } else { gates.members })
    }
}

fn shard_id(at: usize) -> ShardId {
    ShardId(u8::try_from(at).unwrap_or(u8::MAX))
}

fn full_second(limits: &Limits) -> i64 {
    (limits.joins_per_s * 1_000) as i64
}

/// A measure in thousandths of its limit; without a limit there is no measure.
fn share(used: u64, limit: u64) -> u64 {
    used.saturating_mul(1_000).checked_div(limit).unwrap_or(0)
}

/// The 99th percentile of what was added between two histograms of [`DELAY_BOUNDS_US`], in microseconds; 0 when nothing was.
fn p99_us(before: &[u64], after: &[u64]) -> u64 {
    let added = || after.iter().zip(before).map(|(after, before)| after.saturating_sub(*before));
    let total: u64 = added().sum();
    let mut above = total - total / 100;
    let mut low = 0;
    for (count, bound) in added().zip(DELAY_BOUNDS_US) {
        if count >= above && count > 0 {
            // Spread evenly within its bucket.
            return low + (bound - low) * above / count;
        }
        above -= count;
        low = bound;
    }
    if total == 0 { 0 } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { participants: 0, rooms: 0, joins_per_s: 100, busy_permille: 850, delay: Duration::from_millis(3) };
    const ONE: ShardId = ShardId(0);

    fn admission(limits: Limits, shards: usize) -> (Admission, Instant) {
        let t0 = Instant::now();
        (Admission::new(limits, shards, 7, t0), t0)
    }

    fn idle() -> Workers {
        Workers::default()
    }

    fn counted(set: impl FnOnce(&mut Counters)) -> Counters {
        let mut counters = Counters::default();
        set(&mut counters);
        counters
    }

    fn busy(permille: u16) -> Counters {
        counted(|counters| (counters.busy_permille, counters.participants) = (permille, 100))
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Whether a new room, a newcomer to a running one and somebody who was there before are taken; takes none of them.
    fn taken(admission: &mut Admission, now: Instant) -> [bool; 3] {
        admission.refresh(&idle(), now);
        let asks = [Newcomer::Room, Newcomer::Member(ONE), Newcomer::Returning(ONE)];
        asks.map(|newcomer| match newcomer {
            Newcomer::Room => admission.against(ONE, true, &[]).is_none(),
            Newcomer::Member(_) => admission.against(ONE, false, &[]).is_none(),
            Newcomer::Returning(_) => admission.decide(newcomer, &idle(), now).is_ok(),
        })
    }

    #[test]
    fn a_busy_worker_refuses_rooms_first_then_newcomers_and_never_those_who_return() {
        let (mut admission, t0) = admission(LIMITS, 1);
        let mut at = |permille, seconds: u64| {
            let now = t0 + s(seconds * 10);
            admission.on_report(ONE, &busy(permille), now);
            taken(&mut admission, now)
        };
        assert_eq!(at(840, 1), [true, true, true]);
        assert_eq!(at(860, 2), [false, true, true]);
        assert_eq!(at(760, 3), [false, true, true], "shut until it is below 75 %");
        assert_eq!(at(740, 4), [true, true, true]);
        assert_eq!(at(930, 5), [false, false, true]);
        assert_eq!(at(840, 6), [false, false, true], "newcomers wait as well");
        assert_eq!(at(810, 7), [false, true, true]);
        assert_eq!(at(100, 8), [true, true, true]);
    }

    #[test]
    fn a_worker_that_fell_silent_is_idle() {
        let (mut admission, t0) = admission(LIMITS, 1);
        admission.on_report(ONE, &busy(900), t0);
        assert_eq!(admission.closed(&idle(), t0 + s(2)), Some(Pressure::Worker));
        assert_eq!(admission.closed(&idle(), t0 + s(3)), None);
    }

    #[test]
    fn joins_count_before_their_load_is_seen_and_fade_as_it_comes() {
        let (mut admission, t0) = admission(Limits { joins_per_s: 10_000, ..LIMITS }, 1);
        admission.on_report(ONE, &busy(500), t0);
        let mut taken = 0;
        while admission.decide(Newcomer::Room, &idle(), t0).is_ok() {
            taken += 1;
            assert!(taken < 1_000, "a storm gets in whole");
        }
        // 100 participants cost 500: each newcomer will cost 5.
        assert_eq!(taken, 70);
        assert!(admission.decide(Newcomer::Member(ONE), &idle(), t0).is_ok(), "a little longer");
        assert_eq!(admission.closed(&idle(), t0), Some(Pressure::Worker));
        assert_eq!(admission.closed(&idle(), t0 + s(1)), Some(Pressure::Worker), "the worker has not said anything yet");
        // Half a second is one slot of ten, and what is expected falls below 750 after three.
        let seen = counted(|counters| (counters.busy_permille, counters.participants) = (500, 171));
        admission.on_report(ONE, &seen, t0 + s(2));
        assert_eq!(admission.closed(&idle(), t0 + s(2)), None);
        assert_eq!(admission.expected_permille(&idle(), t0 + s(4)), [571]);
    }

    #[test]
    fn a_storm_on_an_idle_node_is_spread_over_seconds() {
        let (mut admission, t0) = admission(Limits { joins_per_s: 0, ..LIMITS }, 2);
        let taken = (0..2_000).filter(|_| admission.decide(Newcomer::Room, &idle(), t0).is_ok()).count();
        assert_eq!(taken, 850, "two workers, each with what 425 unknown participants may cost");
    }

    #[test]
    fn a_storm_that_sends_nothing_yet_does_not_look_cheap() {
        let (mut admission, t0) = admission(Limits { joins_per_s: 0, ..LIMITS }, 1);
        let mut taken = 0;
        for half_second in 0..6 {
            let now = t0 + Duration::from_millis(500) * half_second;
            let all = counted(|counters| (counters.busy_permille, counters.participants) = (10, taken));
            admission.on_report(ONE, &all, now);
            taken += (0..200).filter(|_| admission.decide(Newcomer::Member(ONE), &idle(), now).is_ok()).count() as u64;
        }
        assert!((400..=800).contains(&taken), "{taken} of 1,200");
    }

    #[test]
    fn a_steady_stream_is_let_in_while_there_is_room() {
        let (mut admission, t0) = admission(Limits { joins_per_s: 0, ..LIMITS }, 1);
        let mut people = 0_u64;
        for tenth in 0..100_u32 {
            let now = t0 + Duration::from_millis(100) * tenth;
            if tenth % 10 == 0 {
                // A worker with anything to do wakes up often: the first few seem dear.
                let permille = if people == 0 { 0 } else { 90 + u16::try_from(people).unwrap() };
                admission.on_report(
                    ONE,
                    &counted(|counters| (counters.busy_permille, counters.participants) = (permille, people)),
                    now,
                );
            }
            for _ in 0..3 {
                assert!(admission.decide(Newcomer::Member(ONE), &idle(), now).is_ok(), "{people} are in");
                people += 1;
            }
        }
    }

    #[test]
    fn a_second_has_so_many_joins_and_newcomers_to_running_rooms_get_the_last() {
        let (mut admission, t0) = admission(LIMITS, 1);
        let mut count = |newcomer, now| (0..300).take_while(|_| admission.decide(newcomer, &idle(), now).is_ok()).count();
        assert_eq!(count(Newcomer::Room, t0), 75);
        assert_eq!(count(Newcomer::Member(ONE), t0), 25);
        assert_eq!(count(Newcomer::Returning(ONE), t0), 300);
        assert_eq!(count(Newcomer::Member(ONE), t0 + s(1)), 0, "those who returned have taken this second");
        assert_eq!(count(Newcomer::Member(ONE), t0 + s(2)), 100);
        assert_eq!(admission.closed(&idle(), t0 + s(2)), None, "a used-up second does not close the node");
    }

    #[test]
    fn a_delay_counts_when_it_stays() {
        let (mut admission, t0) = admission(LIMITS, 1);
        let mut counters = busy(300);
        let mut after = |seconds: u64, delay_us: u64, packets: u64| {
            counters.packets_out += packets;
            counters.delay(Duration::from_micros(40), packets * 98 / 100);
            counters.delay(Duration::from_micros(delay_us), packets * 2 / 100);
            admission.on_report(ONE, &counters, t0 + s(seconds));
            admission.closed(&idle(), t0 + s(seconds))
        };
        assert_eq!(after(1, 4_500, 10_000), None);
        assert_eq!(after(2, 4_500, 10_000), None);
        assert_eq!(after(3, 4_500, 10_000), Some(Pressure::Delay));
        assert_eq!(after(4, 400, 10_000), None, "one good second opens again");
        for seconds in 5..9 {
            assert_eq!(after(seconds, 90_000, 500), None, "a few packets prove nothing");
        }
    }

    #[test]
    fn drops_and_waiting_commands_refuse() {
        let (mut admission, t0) = admission(LIMITS, 1);
        let mut counters = busy(300);
        counters.packets_out = 100_000;
        admission.on_report(ONE, &counters, t0);
        assert_eq!(admission.closed(&idle(), t0), None);
        (0..300).for_each(|_| counters.drop(DropReason::SendFull));
        counters.packets_out += 100_000;
        admission.on_report(ONE, &counters, t0 + s(1));
        assert_eq!(admission.closed(&idle(), t0 + s(1)), Some(Pressure::Drops));
        for seconds in 2..4 {
            counters.packets_out += 100_000;
            admission.on_report(ONE, &counters, t0 + s(seconds));
        }
        assert_eq!(admission.closed(&idle(), t0 + s(3)), Some(Pressure::Drops), "within the last three reports");
        admission.on_report(ONE, &counters, t0 + s(4));
        assert_eq!(admission.closed(&idle(), t0 + s(4)), None);
        let waiting = Workers { rooms: vec![0], waiting: vec![1_024] };
        assert_eq!(admission.closed(&waiting, t0 + s(4)), Some(Pressure::Mailbox));
    }

    #[test]
    fn memory_and_handles_refuse_on_every_worker() {
        let (mut admission, t0) = admission(LIMITS, 2);
        let gib = 1 << 30;
        let host = Host { memory: gib / 2, memory_total: gib, handles: 100, handles_total: 1_000 };
        admission.on_host(host);
        assert_eq!(admission.closed(&idle(), t0), None);
        admission.on_host(Host { memory: gib / 100 * 91, ..host });
        assert_eq!(admission.closed(&idle(), t0), Some(Pressure::Memory));
        assert!(admission.admits_members(&idle(), t0), "a little longer");
        admission.on_host(Host { memory: gib / 100 * 98, ..host });
        assert!(!admission.admits_members(&idle(), t0));
        admission.on_host(Host { handles: 950, ..host });
        assert_eq!(admission.closed(&idle(), t0), Some(Pressure::Handles));
        admission.on_host(Host::default());
        assert_eq!(admission.closed(&idle(), t0), None, "what is unknown has no limit");
    }

    #[test]
    fn fixed_limits_hold_between_two_reports() {
        let (mut admission, t0) = admission(Limits { participants: 24, rooms: 3, ..LIMITS }, 2);
        let two_rooms = Workers { rooms: vec![1, 1], waiting: vec![0, 0] };
        let taken = (0..40).take_while(|_| admission.decide(Newcomer::Room, &two_rooms, t0).is_ok()).count();
        assert_eq!(taken, 23, "one seat is kept for rooms that run");
        assert_eq!(admission.decide(Newcomer::Room, &two_rooms, t0), Err(Pressure::Participants));
        assert!(admission.decide(Newcomer::Member(ONE), &two_rooms, t0).is_ok());
        assert_eq!(admission.decide(Newcomer::Member(ONE), &two_rooms, t0), Err(Pressure::Participants));
        assert!(admission.decide(Newcomer::Returning(ONE), &two_rooms, t0).is_ok());
        admission.on_report(ONE, &counted(|counters| counters.participants = 4), t0 + s(1));
        admission.on_report(ShardId(1), &counted(|counters| counters.participants = 4), t0 + s(1));
        let three_rooms = Workers { rooms: vec![2, 1], waiting: vec![0, 0] };
        assert_eq!(admission.decide_room(&three_rooms, t0 + s(1)), Err(Pressure::Rooms));
        assert!(admission.decide(Newcomer::Member(ONE), &three_rooms, t0 + s(1)).is_ok());
        assert!(admission.decide_room(&two_rooms, t0 + s(1)).is_ok());
    }

    #[test]
    fn rooms_go_to_the_worker_with_time_to_spare() {
        let (mut admission, t0) = admission(LIMITS, 3);
        admission.on_report(ONE, &busy(400), t0);
        admission.on_report(ShardId(1), &busy(210), t0);
        admission.on_report(ShardId(2), &busy(230), t0);
        let workers = Workers { rooms: vec![1, 9, 8], waiting: Vec::new() };
        assert_eq!(admission.decide(Newcomer::Room, &workers, t0), Ok(ShardId(2)), "about the same load, fewer rooms");
        admission.on_report(ShardId(1), &busy(900), t0);
        admission.on_report(ShardId(2), &busy(900), t0);
        assert_eq!(admission.decide(Newcomer::Room, &workers, t0), Ok(ONE));
        assert_eq!(admission.decide(Newcomer::Member(ShardId(1)), &workers, t0), Ok(ShardId(1)), "a room stays where it is");
    }

    #[test]
    fn hints_differ_and_grow_with_the_crowd() {
        let (mut admission, t0) = admission(Limits { rooms: 1, ..LIMITS }, 1);
        let hints: Vec<u64> = (0..200).map(|_| admission.retry_after().as_secs()).collect();
        assert_eq!((hints.iter().min(), hints.iter().max()), (Some(&2), Some(&8)));
        let full = Workers { rooms: vec![1], waiting: vec![0] };
        assert!((0..5_000).all(|_| admission.decide(Newcomer::Room, &full, t0).is_err()));
        let hints: Vec<u64> = (0..200).map(|_| admission.retry_after().as_secs()).collect();
        assert!(hints.iter().max() >= Some(&28) && hints.iter().all(|hint| *hint <= 30), "{hints:?}");
        (0..60).for_each(|_| admission.on_host(Host::default()));
        assert!((0..200).all(|_| admission.retry_after() <= s(8)), "forgotten after a while");
    }

    #[test]
    fn the_percentile_is_read_from_what_was_added() {
        let mut before = Counters::default();
        before.delay(Duration::from_millis(400), 1_000);
        let mut after = before.clone();
        assert_eq!(p99_us(before.delays().0, after.delays().0), 0);
        after.delay(Duration::from_micros(40), 1_000);
        assert_eq!(p99_us(before.delays().0, after.delays().0), 49);
        after.delay(Duration::from_micros(4_000), 100);
        let tail = p99_us(before.delays().0, after.delays().0);
        assert!((2_000..=5_000).contains(&tail), "{tail}");
        after.delay(Duration::from_secs(9), 1_000);
        assert_eq!(p99_us(before.delays().0, after.delays().0), 500_000, "the open bucket");
    }
}
