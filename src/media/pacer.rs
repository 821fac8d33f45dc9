//! When a packet to one receiver leaves.
//!
//! What publishers send was paced by them and passes through at once; it is only counted. What the relay makes itself waits
//! for room: repairs, padding of probes, and video while a flood of key frames is far above what the line bears. Voice
//! never waits. The pacer holds the caller's references `T`, never packets. Times are arguments.
//!
//! Entry points: [`Pacer::on_voice`], [`Pacer::on_video`], [`Pacer::push_repair`], [`Pacer::start_probe`],
//! [`Pacer::poll`], [`Pacer::next_deadline`].

use crate::model::Instant;
use std::collections::VecDeque;
use std::time::Duration;

use super::bwe::{DATAGRAM_OVERHEAD, Probe};
use super::rate::Bitrate;

/// What is sent goes out at this multiple of the estimate: a frame at 30 frames/s is out in half its interval.
const PACE: f64 = 2.0;
/// The same on a line that has shown to be full: what would wait in its queue, with the voice behind it, waits here, where voice
/// goes first.
const PACE_NARROW: f64 = 1.25;
/// What waits leaves in pieces of this long: send batches stay together, and queues of the line stay short.
const BURST: Duration = Duration::from_millis(4);
/// Video beyond this long at the pace is a flood: four key frames of five times a frame's size at once. Ordinary traffic, a
/// frame or two, stays below.
const FLOOD: Duration = Duration::from_millis(150);
/// The same on a line that has shown to be full: a frame.
const FLOOD_NARROW: Duration = Duration::from_millis(40);
/// Debt beyond this is forgotten, so that repairs are not held for ever by an estimate that fell.
const MOST_DEBT: Duration = Duration::from_millis(300);

/// Repairs get one part in so many of the media (draft-ietf-rmcat-gcc-02 has none): a fifth, and as much again on a line that
/// loses a lot, where repairs are lost as well.
const REPAIR_PART: u64 = 5;
const REPAIR_PART_LOSSY: u64 = 1;
/// Unused budget of repairs is kept up to this: one lost burst of 10 packets, and a large picture on a line that loses a lot.
const REPAIR_MOST: u64 = 12_000;
const REPAIR_MOST_LOSSY: u64 = 36_000;
/// Repairs waiting: a burst of 50 ms at 5 Mbit/s. Further ones are refused; the receiver asks again.
pub const MAX_REPAIRS: usize = 64;
/// Room for so many is kept.
const FEW_REPAIRS: usize = 8;
/// A repair that waited this long is too late to be shown.
const REPAIR_AGE: Duration = Duration::from_millis(500);

/// Video packets held: a flood of 600 kB. Further ones go through at once, since dropping one costs a key frame more.
pub const MAX_HELD: usize = 512;
/// Nothing is held longer than this: a later picture is worse than a longer queue.
const HOLD_AGE: Duration = Duration::from_millis(200);
/// The same on a line that has shown to be full, where a picture is as late either way: a key frame of the smallest picture, four
/// kilobytes, at what a voice leaves of 150 kbit/s.
pub const HOLD_AGE_NARROW: Duration = Duration::from_millis(500);
/// On such a line no further picture is begun while something has been held for so long: what is begun then has the rest of
/// [`HOLD_AGE_NARROW`] to leave. How long it will take is not asked, for what may be sent falls to next to nothing for a moment
/// whenever a queue drains.
const BACKED_UP: Duration = Duration::from_millis(400);

/// Bytes of one padding packet: what RFC 3550 padding can be (255) and its header.
const LEAST_PADDING: u64 = 60;
/// A probe is at least so many packets: with fewer, one or two that get lost decide what it shows.
const PROBE_PACKETS: u64 = 8;
/// Packets of a probe before anything is repeated: what arrives is measured behind the first, and a large one there would make the
/// line look narrow. There are two, since one may be lost.
const SMALL_AT_FIRST: u64 = 2;
/// Repeated packets are one part in so many of a probe, and never follow each other: a few large packets tell less of a line than many
/// small ones.
const REPEATED_PART: u64 = 2;

/// What is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure<T> {
    /// A repair, handed in by [`Pacer::push_repair`].
    Repair(T),
    /// A video packet that [`Pacer::on_video`] kept.
    Held(T),
    /// One that waited too long for a line that has shown to be full: it is not to be sent.
    Late(T),
    /// A repeated packet or padding only; answered by [`Pacer::on_padding`].
    Padding(Padding),
}

/// What fills a probe, in bytes of UDP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// A packet of padding only takes at most so many.
    pub empty: usize,
    /// One that was sent before takes at most so many; 0 where none is to go out.
    pub repeat: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiting<T> {
    item: T,
    bytes: u64,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct ActiveProbe {
    probe: Probe,
    started: Instant,
    sent: u64,
    packets: u64,
    /// Bytes of repeated packets, and whether one went out last.
    repeated: u64,
    is_repeat_last: bool,
}

impl ActiveProbe {
    fn new(probe: Probe, now: Instant) -> Self {
        Self { probe, started: now, sent: 0, packets: 0, repeated: 0, is_repeat_last: false }
    }

    /// Bytes on the wire that the packets still owed leave to the next one.
    fn room(&self) -> u64 {
        let owed = PROBE_PACKETS.saturating_sub(self.packets + 1) * (LEAST_PADDING + DATAGRAM_OVERHEAD as u64);
        self.probe.bytes.saturating_sub(self.sent + owed)
    }

    /// How many of these a repeated packet may take.
    fn room_for_repeat(&self) -> u64 {
        let may = self.packets >= SMALL_AT_FIRST && !self.is_repeat_last;
        if may { self.room().min((self.probe.bytes / REPEATED_PART).saturating_sub(self.repeated)) } else { 0 }
    }
}

/// The pacer of one receiver.
///
/// In this order: what each packet touches comes last.
#[derive(Debug)]
#[repr(C)]
pub struct Pacer<T> {
    repairs: VecDeque<Waiting<T>>,
    probe: Option<ActiveProbe>,
    held: VecDeque<Waiting<T>>,
    pace: Bitrate,
    /// Bytes of [`FLOOD`] and of [`MOST_DEBT`] at the pace.
    flood: u64,
    most_debt: u64,
    /// Bytes sent ahead of the pace, at a time.
    debt: u64,
    updated: Instant,
    /// When debt was last looked at: the packets of a batch share one reading of the clock.
    looked: Option<Instant>,
    repair_budget: u64,
    /// Repairs need more room.
    lossy: bool,
    /// The line has shown to be full.
    narrow: bool,
    /// A piece is being sent; it ends when the debt is a burst.
    in_burst: bool,
    /// There is a probe; said here too, since nearly always there is none.
    probing: bool,
}

impl<T: Copy> Pacer<T> {
    /// Starts with nothing waiting.
    #[must_use]
    pub fn new(budget: Bitrate, now: Instant) -> Self {
        Self {
            pace: budget.scale(PACE),
            flood: budget.scale(PACE).bytes_in(FLOOD),
            most_debt: budget.scale(PACE).bytes_in(MOST_DEBT),
            debt: 0,
            updated: now,
            looked: None,
            repair_budget: REPAIR_MOST,
            lossy: false,
            narrow: false,
            repairs: VecDeque::new(),
            held: VecDeque::new(),
            probe: None,
            in_burst: false,
            probing: false,
        }
    }

    /// The first of what each packet touches; the rest of it lies behind that.
    #[must_use]
    pub fn touched_first(&self) -> &impl Sized {
        &self.held
    }

    /// Sets what may be sent now, and whether the line has shown to bear no more.
    pub fn set_budget(&mut self, budget: Bitrate, narrow: bool, now: Instant) {
        self.pay(now);
        self.narrow = narrow;
        let (pace, flood) = if narrow { (PACE_NARROW, FLOOD_NARROW) } else { (PACE, FLOOD) };
        self.pace = budget.scale(pace);
        (self.flood, self.most_debt) = (self.pace.bytes_in(flood), self.pace.bytes_in(MOST_DEBT));
        self.debt = self.debt.min(self.most_debt);
    }

    /// Sets whether the line loses so much that repairs need more room.
    pub fn set_lossy(&mut self, lossy: bool) {
        self.lossy = lossy;
    }

    /// Takes note of a voice packet that goes out now, in bytes of UDP payload.
    pub fn on_voice(&mut self, bytes: usize, now: Instant) {
        self.pay(now);
        self.count_media((bytes + DATAGRAM_OVERHEAD) as u64);
    }

    /// Whether a video packet goes out now. It counts as sent when so; otherwise `item` is kept until there is room, and with
    /// it all that follow to the same receiver, so that no packet overtakes another.
    #[must_use]
    pub fn on_video(&mut self, item: T, bytes: usize, now: Instant) -> bool {
        self.pay(now);
        let flooded = !self.held.is_empty() || self.debt > self.flood;
        let bytes = (bytes + DATAGRAM_OVERHEAD) as u64;
        if flooded && self.held.len() < MAX_HELD {
            self.held.push_back(Waiting { item, bytes, since: now });
            return false;
        }
        self.count_media(bytes);
        true
    }

    /// Queues a repair; refuses when too many wait.
    pub fn push_repair(&mut self, item: T, bytes: usize, now: Instant) -> bool {
        if self.repairs.len() >= MAX_REPAIRS {
            return false;
        }
        self.repairs.push_back(Waiting { item, bytes: (bytes + DATAGRAM_OVERHEAD) as u64, since: now });
        true
    }

    /// Starts a probe: padding fills up what media leaves of it.
    pub fn start_probe(&mut self, probe: Probe, now: Instant) {
        (self.probe, self.probing) = (Some(ActiveProbe::new(probe, now)), true);
    }

    /// Drops what waits for a route that is torn down; `gone` says which.
    pub fn purge(&mut self, mut gone: impl FnMut(&T) -> bool) {
        self.repairs.retain(|waiting| !gone(&waiting.item));
        self.held.retain(|waiting| !gone(&waiting.item));
    }

    /// Whether pictures are held for so long on a line that has shown to be full that a further one would come too late.
    #[must_use]
    pub fn is_backed_up(&self, now: Instant) -> bool {
        self.narrow && self.held.front().is_some_and(|held| now.saturating_duration_since(held.since) >= BACKED_UP)
    }

    /// What is to be sent now, one after the other until there is nothing; sent or not, it counts.
    pub fn poll(&mut self, now: Instant) -> Option<Departure<T>> {
        self.pay(now);
        if let Some(padding) = self.padding(now) {
            // A repair is worth more than padding, and fills as well: one that fits costs nothing.
            let free = if padding.repeat > 0 { (padding.repeat + DATAGRAM_OVERHEAD) as u64 } else { 0 };
            return self.release_repair(free, now).or(Some(Departure::Padding(padding)));
        }
        if self.held.front().is_some_and(|held| now.saturating_duration_since(held.since) >= self.hold_age()) {
            // What waited too long goes whatever the debt; but a line that is full would only keep it waiting, and voice behind it.
            return if self.narrow { self.held.pop_front().map(|held| Departure::Late(held.item)) } else { self.release_held() };
        }
        if self.debt == 0 {
            self.in_burst = true;
        }
        self.in_burst &= self.debt < self.pace.bytes_in(BURST).max(1);
        if !self.in_burst {
            return None;
        }
        self.release_repair(0, now).or_else(|| self.release_held())
    }

    /// Takes note of what was sent for [`Departure::Padding`], and whether that was a repeated packet; 0 bytes give the probe up.
    pub fn on_padding(&mut self, bytes: usize, is_repeat: bool) {
        if bytes == 0 {
            return self.end_probe();
        }
        let bytes = (bytes + DATAGRAM_OVERHEAD) as u64;
        self.debt = self.debt.saturating_add(bytes);
        self.count_to_probe(bytes);
        if is_repeat {
            self.count_repeat(bytes);
        }
    }

    /// Gives back what a flood has grown, once nothing of it waits any more.
    pub fn release_memory(&mut self) {
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        if self.repairs.is_empty() && self.repairs.capacity() > FEW_REPAIRS {
            self.repairs = VecDeque::new();
        }
    }

    /// When [`Self::poll`] has something again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let paid = self.updated + self.pace.time_for(self.debt);
        let waiting = self.held.front().map(|held| paid.min(held.since + self.hold_age()));
        let repair = self.repairs.front().filter(|repair| repair.bytes <= self.repair_budget).map(|_| paid);
        let probe = self.probe.map(|active| {
            let next = (active.sent + LEAST_PADDING).min(active.probe.bytes).saturating_sub(burst_bytes(&active.probe));
            (active.started + active.probe.bitrate.time_for(next)).min(active.probe.until)
        });
        [waiting, repair, probe].into_iter().flatten().min()
    }

    fn hold_age(&self) -> Duration {
        if self.narrow { HOLD_AGE_NARROW } else { HOLD_AGE }
    }

    fn count_media(&mut self, bytes: u64) {
        self.debt = self.debt.saturating_add(bytes).min(self.most_debt.max(bytes));
        let (part, most) = if self.lossy { (REPAIR_PART_LOSSY, REPAIR_MOST_LOSSY) } else { (REPAIR_PART, REPAIR_MOST) };
        self.repair_budget = (self.repair_budget + bytes / part).min(most);
        self.count_to_probe(bytes);
    }

    fn count_to_probe(&mut self, bytes: u64) {
        if self.probing
            && let Some(active) = &mut self.probe
        {
            active.sent += bytes;
            active.packets += 1;
            active.is_repeat_last = false;
            if active.sent >= active.probe.bytes {
                self.end_probe();
            }
        }
    }

    fn end_probe(&mut self) {
        (self.probe, self.probing) = (None, false);
    }

    fn count_repeat(&mut self, bytes: u64) {
        if let Some(active) = &mut self.probe {
            active.repeated += bytes;
            active.is_repeat_last = true;
        }
    }

    /// Pays debt off by the time that passed.
    fn pay(&mut self, now: Instant) {
        if self.looked.replace(now) == Some(now) {
            return;
        }
        let paid = self.pace.bytes_in_micros(now.micros_since(self.updated));
        // A time too short for a byte is kept for the next.
        if paid > 0 || self.debt == 0 {
            self.debt = self.debt.saturating_sub(paid);
            self.updated = self.updated.max(now);
        }
    }

    /// What the probe is behind its rate by, counting one burst ahead.
    fn padding(&mut self, now: Instant) -> Option<Padding> {
        let active = self.probe?;
        if now >= active.probe.until {
            self.end_probe();
            return None;
        }
        let passed = now.saturating_duration_since(active.started);
        let due = (active.probe.bitrate.bytes_in(passed) + burst_bytes(&active.probe)).min(active.probe.bytes);
        let behind = due.saturating_sub(active.sent);
        // Less than a packet's worth waits for the next burst, unless it is the last.
        if behind == 0 || behind < LEAST_PADDING && due < active.probe.bytes {
            return None;
        }
        let payload = |bytes: u64| bytes.saturating_sub(DATAGRAM_OVERHEAD as u64) as usize;
        let empty = payload(behind.min(active.room())).max(LEAST_PADDING as usize);
        // It may be ahead of the rate, as media may; what follows waits. What is held has its number, but was not sent yet.
        let repeat = if self.held.is_empty() { payload(active.room_for_repeat()) } else { 0 };
        Some(Padding { empty, repeat })
    }

    /// The next repair that there is budget for, or that takes no more than what is `free`.
    fn release_repair(&mut self, free: u64, now: Instant) -> Option<Departure<T>> {
        while let Some(repair) = self.repairs.front().copied() {
            let late = now.saturating_duration_since(repair.since) > REPAIR_AGE;
            if !late && repair.bytes > self.repair_budget.max(free) {
                return None;
            }
            self.repairs.pop_front();
            if !late {
                self.debt = self.debt.saturating_add(repair.bytes);
                self.count_to_probe(repair.bytes);
                if repair.bytes > free {
                    self.repair_budget -= repair.bytes;
                } else {
                    self.count_repeat(repair.bytes);
                }
                return Some(Departure::Repair(repair.item));
            }
        }
        None
    }

    fn release_held(&mut self) -> Option<Departure<T>> {
        let held = self.held.pop_front()?;
        self.count_media(held.bytes);
        Some(Departure::Held(held.item))
    }
}

fn burst_bytes(probe: &Probe) -> u64 {
    probe.bitrate.bytes_in(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn drain(pacer: &mut Pacer<u32>, now: Instant) -> Vec<Departure<u32>> {
        std::iter::from_fn(|| pacer.poll(now)).collect()
    }

    #[test]
    fn ordinary_video_and_voice_pass_at_once() {
        let t0 = Instant::now();
        let mut pacer = Pacer::<u32>::new(Bitrate::from_kbps(1_000), t0);
        for frame in 0..300_u32 {
            // 10 frames of 4,000 bytes in 333 ms are 960 kbit/s; every hundredth is a key frame of 20,000.
            let packets = if frame % 100 == 0 { 20 } else { 4 };
            for _ in 0..packets {
                assert!(pacer.on_video(0, 950, t0 + frame * 33 * MS), "frame {frame}");
            }
            pacer.on_voice(100, t0 + frame * 33 * MS);
        }
        assert_eq!((pacer.poll(t0 + 9_900 * MS), pacer.next_deadline()), (None, None));
    }

    #[test]
    fn a_flood_is_spread_in_order_and_voice_is_not_held() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(1_000), t0);
        let mut passed = 0;
        for n in 0..100 {
            passed += usize::from(pacer.on_video(n, 1_172, t0));
        }
        assert_eq!(passed, 32, "150 ms at twice the rate");
        pacer.on_voice(100, t0);
        let (mut now, mut released, mut bursts) = (t0, Vec::new(), 0);
        while let Some(deadline) = pacer.next_deadline() {
            now = deadline.max(now + MS);
            let batch = drain(&mut pacer, now);
            bursts += usize::from(!batch.is_empty());
            released.extend(batch);
        }
        assert_eq!(released, (32..100).map(Departure::Held).collect::<Vec<_>>());
        assert!(now <= t0 + 201 * MS, "nothing waits longer than {HOLD_AGE:?}");
        assert!(bursts > 3);
        assert!(pacer.on_video(0, 1_172, now + 200 * MS));
    }

    #[test]
    fn on_a_full_line_a_key_frame_waits_here_and_voice_goes_past_it() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(150), t0);
        pacer.set_budget(Bitrate::from_kbps(150), true, t0);
        let passed = (0..4).filter(|n| pacer.on_video(*n, 972, t0)).count();
        assert_eq!(passed, 1, "40 ms at a quarter above the rate");
        let mut held = Vec::new();
        for tick in 0..600_u32 {
            let now = t0 + tick * MS;
            if tick % 20 == 0 {
                pacer.on_voice(150, now);
            }
            held.extend(drain(&mut pacer, now).into_iter().map(|departure| (departure, tick)));
        }
        assert_eq!(
            held.iter().map(|(departure, _)| *departure).collect::<Vec<_>>(),
            (1..4).map(Departure::Held).collect::<Vec<_>>()
        );
        let times: Vec<_> = held.iter().map(|(_, tick)| *tick).collect();
        assert!(times[0] >= 50 && times[2] > times[1] && times[1] > times[0], "one after the other: {times:?}");
        assert!(times[2] <= 501, "nothing waits longer than {HOLD_AGE_NARROW:?}: {times:?}");
    }

    #[test]
    fn what_waited_too_long_leaves_a_full_line_alone_and_costs_nothing() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(150), t0);
        pacer.set_budget(Bitrate::from_kbps(150), true, t0);
        let passed = (0..40).filter(|n| pacer.on_video(*n, 972, t0)).count();
        let departures: Vec<_> = (0..=500_u32).flat_map(|ms| drain(&mut pacer, t0 + ms * MS)).collect();
        let held = departures.iter().filter(|departure| matches!(departure, Departure::Held(_))).count();
        let late = departures.iter().filter(|departure| matches!(departure, Departure::Late(_))).count();
        assert_eq!(passed + held + late, 40, "nothing is left behind");
        assert!((8..=12).contains(&held), "a quarter above the rate, for half a second: {held}");
        assert!(pacer.on_video(41, 972, t0 + 550 * MS), "the next need not make up for them");
    }

    #[test]
    fn only_a_full_line_backs_up_and_only_while_something_waits_for_long() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(400), t0);
        while pacer.on_video(0, 972, t0) {}
        assert!(!pacer.is_backed_up(t0 + 500 * MS), "nothing is held against the line");
        pacer.set_budget(Bitrate::from_kbps(400), true, t0);
        assert!((0..30).all(|n| !pacer.on_video(n, 972, t0)));
        assert!(!pacer.is_backed_up(t0 + 399 * MS), "much is held, but not for long");
        assert!(pacer.is_backed_up(t0 + 400 * MS));
        let late = t0 + 390 * MS;
        assert!(!pacer.on_video(31, 972, late));
        while pacer.held.len() > 1 {
            assert!(pacer.is_backed_up(t0 + 400 * MS));
            pacer.release_held();
        }
        assert!(!pacer.is_backed_up(t0 + 400 * MS) && pacer.is_backed_up(late + 400 * MS));
        pacer.purge(|_| true);
        assert!(!pacer.is_backed_up(late + 400 * MS));
    }

    #[test]
    fn repairs_wait_for_room_and_stay_within_a_fifth_of_the_media() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(1_000), t0);
        let (mut media, mut repairs) = (0, 0);
        for tick in 0..10_000_u32 {
            let now = t0 + tick * MS;
            if tick % 10 == 0 {
                assert!(pacer.on_video(0, 1_172, now));
                media += 1;
            }
            pacer.push_repair(tick, 1_172, now);
            let sent = drain(&mut pacer, now).len();
            assert!(sent <= 1, "a burst of 4 ms is one packet at this rate");
            repairs += sent;
        }
        assert!((190..=210).contains(&repairs), "{repairs} of {media}");
        assert!(!(0..100).all(|n| pacer.push_repair(n, 1_172, t0)), "bounded");
        pacer.purge(|_| true);
        assert_eq!(pacer.next_deadline(), None);
    }

    #[test]
    fn late_repairs_are_dropped() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(1_000), t0);
        assert!(pacer.push_repair(1, 1_000, t0) && pacer.push_repair(2, 1_000, t0 + 400 * MS));
        assert_eq!(drain(&mut pacer, t0 + 600 * MS), [Departure::Repair(2)]);
    }

    #[test]
    fn a_probe_is_filled_up_with_padding_at_its_rate() {
        let t0 = Instant::now();
        let mut pacer = Pacer::<u32>::new(Bitrate::from_kbps(300), t0);
        let probe = Probe { cluster: 1, bitrate: Bitrate::from_kbps(1_600), bytes: 5_000, until: t0 + 75 * MS };
        pacer.start_probe(probe, t0);
        assert!(pacer.on_video(0, 972, t0), "media counts");
        let (mut now, mut sent) = (t0, 1_000);
        while let Some(deadline) = pacer.next_deadline() {
            now = deadline.max(now);
            while let Some(Departure::Padding(padding)) = pacer.poll(now) {
                let bytes = padding.empty.min(227);
                pacer.on_padding(bytes, false);
                sent += bytes + DATAGRAM_OVERHEAD;
            }
        }
        assert!((5_000..5_300).contains(&sent), "{sent}");
        let took = now - t0;
        assert!((15 * MS..=25 * MS).contains(&took), "{took:?}");
        pacer.start_probe(probe, now);
        assert!(pacer.push_repair(7, 1_000, now));
        assert_eq!(pacer.poll(now), Some(Departure::Repair(7)), "worth more than padding");
        now += 10 * MS;
        assert!(matches!(pacer.poll(now), Some(Departure::Padding(_))));
        pacer.on_padding(0, false);
        assert_eq!((pacer.poll(now), pacer.next_deadline()), (None, None), "given up");
    }

    #[test]
    fn up_to_half_of_a_probe_may_have_been_sent_before() {
        let t0 = Instant::now();
        for kbps in [300, 525, 1_000, 2_000, 5_000] {
            let mut pacer = Pacer::<u32>::new(Bitrate::from_kbps(300), t0);
            let bitrate = Bitrate::from_kbps(kbps);
            let bytes = bitrate.bytes_in(25 * MS).max(1_200);
            pacer.start_probe(Probe { cluster: 1, bitrate, bytes, until: t0 + 75 * MS }, t0);
            let (mut now, mut sizes) = (t0, Vec::new());
            while let Some(deadline) = pacer.next_deadline() {
                now = deadline.max(now + MS);
                while let Some(Departure::Padding(padding)) = pacer.poll(now) {
                    let large = padding.repeat >= 1_100;
                    pacer.on_padding(if large { 1_100 } else { padding.empty.min(291) }, large);
                    sizes.push(large);
                }
            }
            let large = sizes.iter().filter(|large| **large).count();
            assert!(sizes.len() >= PROBE_PACKETS as usize && !sizes[0] && !sizes[1], "{kbps} kbit/s: {sizes:?}");
            assert!(sizes.windows(2).all(|pair| pair != [true, true]), "{kbps} kbit/s: {sizes:?}");
            assert_eq!(large as u64, (bytes / 2) / 1_128, "{kbps} kbit/s: {sizes:?}");
        }
    }

    #[test]
    fn repairs_that_fill_a_probe_leave_their_budget_alone() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(300), t0);
        while pacer.push_repair(1, 1_000, t0) && pacer.poll(t0).is_some() {
            pacer.set_budget(Bitrate::from_kbps(100_000), false, t0);
        }
        let left = pacer.repair_budget;
        assert!(left < 1_000 && pacer.poll(t0).is_none(), "the budget is used up");
        pacer.start_probe(Probe { cluster: 1, bitrate: Bitrate::from_kbps(2_000), bytes: 6_250, until: t0 + 75 * MS }, t0);
        for _ in 0..SMALL_AT_FIRST {
            assert!(matches!(pacer.poll(t0), Some(Departure::Padding(_))));
            pacer.on_padding(60, false);
        }
        assert_eq!(pacer.poll(t0), Some(Departure::Repair(1)));
        assert_eq!(pacer.repair_budget, left);
    }

    #[test]
    fn while_pictures_wait_nothing_old_fills_a_probe() {
        let t0 = Instant::now();
        let mut pacer = Pacer::new(Bitrate::from_kbps(300), t0);
        while pacer.on_video(1, 1_172, t0) {}
        pacer.start_probe(Probe { cluster: 1, bitrate: Bitrate::from_kbps(2_000), bytes: 6_250, until: t0 + 75 * MS }, t0);
        for _ in 0..4 {
            assert!(matches!(pacer.poll(t0), Some(Departure::Padding(Padding { repeat: 0, .. }))));
            pacer.on_padding(100, false);
        }
    }
}
