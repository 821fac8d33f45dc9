//! Whether a receiver's picture moves, judged by what was sent to it, and what to do when it does not.
//!
//! A picture can be decoded when it went out whole and nothing before it back to the last key frame is missing. Only numbers and
//! marker bits are read, so it works under end-to-end encryption. A [`FreezeGuardian`] belongs to one video track on its way to one
//! receiver. Packets of the publisher are its clock: while nothing comes in, nothing freezes. Entry points:
//! [`FreezeGuardian::on_forwarded`] and [`FreezeGuardian::poll`].

mod holes;

use super::codec::Facts;
use super::codec::dependency::Needs;
use crate::model::Instant;
use crate::model::counters::FreezeCause;
use holes::{Frames, Holes, Waiting};
use std::time::Duration;

/// Without a whole picture for so long, the guardian acts.
const ACT_AFTER: Duration = Duration::from_secs(1);
/// The same while a key frame is known to be missing: nothing else will help.
const ACT_AFTER_KEY: Duration = Duration::from_millis(500);
/// Key frames asked for before another layer is tried.
const KEY_FRAME_TRIES: u8 = 2;
/// The publisher has paused when its packets are further apart: what was still before was not the relay's doing.
const PAUSE: Duration = Duration::from_millis(500);
/// A gap that is longer than the average by this much, at least, and this many times the average is a freeze (W3C webrtc-stats,
/// `freezeCount`). The average is over the last pictures with the gap itself, and says nothing before there are a few.
const FREEZE_MARGIN: u32 = 150;
const FREEZE_FACTOR: u32 = 3;
const WINDOW: usize = 30;
const FEW: u8 = 5;

/// Where nothing came for so long the picture was paused, not frozen, and the gap is no measure for others: browsers look every
/// three seconds whether anything came within the last five.
const PAUSED: Duration = Duration::from_secs(6);

/// How long a receiver holds a picture that came in time before it shows it: 39 ms seen in Chromium behind a clean line, sound and
/// picture kept together.
const HELD: Duration = Duration::from_millis(40);
/// Pictures have this clock.
const TICKS_PER_MS: i32 = 90;
/// A picture later than this belongs to a new timeline: its source has paused or begun anew.
const NEW_TIMELINE: Duration = Duration::from_secs(1);
/// What of each picture's lateness goes into the timeline, against clocks that drift.
const DRIFT: u32 = 128;

/// What went out to a receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwarded {
    /// Its outgoing sequence number.
    pub sequence: u16,
    /// Its outgoing timestamp.
    pub timestamp: u32,
    /// It ends its picture.
    pub marker: bool,
    /// It begins a key frame.
    pub key_frame_start: bool,
    /// It begins a picture that needs less than all before it.
    pub begins: Option<Begins>,
}

/// What a picture with temporal layers needs of those before it (RFC 7741, section 4.2: TL0PICIDX, TID and Y).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// The base picture of this number: only the base picture before it.
    Base(u8),
    /// One above the base: only the base picture of this number.
    Sync(u8),
    /// One above the base that needs others above it.
    Other,
    /// A frame that needs these.
    Frame(Needs),
}

/// What helps a receiver whose picture stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// A key frame.
    KeyFrame,
    /// Another layer: the one that is wanted brings no picture.
    OtherLayer,
}

impl Begins {
    /// What the packet says that begins a picture; nothing for another packet, or where layers are not told apart.
    #[must_use]
    pub fn of(facts: &Facts) -> Option<Self> {
        if let Some(needs) = facts.needs {
            return Some(Self::Frame(needs));
        }
        let descriptor = facts.vp8.as_ref().filter(|descriptor| descriptor.frame_start)?;
        let number = descriptor.tl0_picture_index?;
        Some(match descriptor.temporal? {
            0 => Self::Base(number),
            _ if descriptor.layer_sync => Self::Sync(number),
            _ => Self::Other,
        })
    }
}

/// The last gaps between pictures, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    ms: [u16; WINDOW],
    len: u8,
    at: u8,
}

impl Gaps {
    /// Whether a gap is a freeze among those before it; it is one of them from now on.
    fn freezes(&mut self, gap: Duration) -> bool {
        let gap = u16::try_from(gap.as_millis()).unwrap_or(u16::MAX);
        if let Some(slot) = self.ms.get_mut(usize::from(self.at)) {
            *slot = gap;
        }
        self.at = (self.at + 1) % WINDOW as u8;
        self.len = (self.len + 1).min(WINDOW as u8);
        let average = self.ms.iter().map(|ms| u32::from(*ms)).sum::<u32>() / u32::from(self.len);
        self.len >= FEW && u32::from(gap) >= (average * FREEZE_FACTOR).max(average + FREEZE_MARGIN)
    }
}

/// When a receiver shows pictures: in time by their own clock a moment after they came, or as soon as they can be decoded.
#[derive(Clone, Copy, Debug, Default)]
struct Playout {
    /// When a picture of this timestamp comes that is not late.
    timeline: Option<(Instant, u32)>,
}

impl Playout {
    fn shows(&mut self, timestamp: u32, now: Instant) -> Instant {
        let Some((at, then)) = self.timeline else {
            self.timeline = Some((now, timestamp));
            return now + HELD;
        };
        let ms = (timestamp.wrapping_sub(then) as i32) / TICKS_PER_MS;
        let step = Duration::from_millis(u64::from(ms.unsigned_abs()));
        let expected = if ms >= 0 { Some(at + step) } else { at.checked_sub(step) };
        let late = expected.and_then(|expected| now.checked_duration_since(expected)).filter(|late| *late < NEW_TIMELINE);
        let (Some(expected), Some(late)) = (expected, late) else {
            self.timeline = Some((now, timestamp));
            return now + HELD;
        };
        self.timeline = Some((expected + late / DRIFT, timestamp));
        now.max(expected + HELD)
    }
}

/// The picture whose packets are going out.
#[derive(Clone, Copy, Debug, Default)]
struct Coming {
    timestamp: u32,
    /// Its first packet, where that went out, and what that said it needs.
    first: Option<u16>,
    needs: Option<Needs>,
}

impl Coming {
    /// Whether the packet is of another picture than the one before.
    fn on_packet(&mut self, packet: &Forwarded) -> bool {
        let another = packet.timestamp != self.timestamp;
        if another {
            *self = Self { timestamp: packet.timestamp, ..Self::default() };
        }
        if packet.begins.is_some() || packet.key_frame_start {
            (self.first, self.needs) = (Some(packet.sequence), packet.needs());
        }
        another
    }

    /// It ended with this packet and waits for what is missing.
    fn waiting(&self, last: u16) -> Waiting {
        Waiting { first: self.first, last, timestamp: self.timestamp, needs: self.needs }
    }
}

impl Forwarded {
    fn needs(&self) -> Option<Needs> {
        match self.begins {
            Some(Begins::Frame(needs)) => Some(needs),
            Some(Begins::Base(_) | Begins::Sync(_) | Begins::Other) | None => None,
        }
    }
}

/// Watches over one track on its way to one receiver.
#[derive(Clone, Debug, Default)]
pub struct FreezeGuardian {
    /// When the last whole picture went out, or the receiver began to wait for one.
    still_since: Option<Instant>,
    /// When the last whole picture is shown.
    last: Option<Instant>,
    /// Its timestamp.
    shown: Option<u32>,
    playout: Playout,
    coming: Coming,
    gaps: Gaps,
    /// The newest outgoing number.
    newest: Option<u16>,
    /// Numbers before it that did not go out and are needed.
    holes: Holes,
    /// The newest base picture that went out whole, and the one that has begun.
    base: Option<u8>,
    begun: Option<u8>,
    /// The frames that can be decoded, where numbers are told.
    frames: Frames,
    /// The picture that has begun needs nothing of what was missing before it; so much had been missed by then.
    alone: Option<u16>,
    /// Something was missing since the last whole picture.
    holed: bool,
    /// The publisher's last packet.
    heard: Option<Instant>,
    /// Since the last whole picture, the receiver did not want any for a time.
    rested: bool,
    /// Since the last whole picture, the publisher was silent for a time.
    slept: bool,
    /// When to act next.
    act_at: Option<Instant>,
    tries: u8,
    /// Whole pictures so far; the number wraps.
    pictures: u32,
}

impl FreezeGuardian {
    /// The receiver does not get the track now, or begins anew: the time until the next picture is no freeze.
    pub fn rest(&mut self) {
        let Self { newest, last, coming, gaps, pictures, .. } = *self;
        let mut holes = std::mem::take(&mut self.holes);
        holes.forget();
        *self = Self { newest, last, coming, gaps, pictures, holes, rested: true, ..Self::default() };
    }

    /// Whole pictures that went out so far; the number wraps.
    #[must_use]
    pub fn pictures(&self) -> u32 {
        self.pictures
    }

    /// How long no whole picture has gone out while the publisher sends; nothing while none is to go out.
    #[must_use]
    pub fn still_for(&self, now: Instant) -> Option<Duration> {
        let sends = self.heard.is_some_and(|heard| now.saturating_duration_since(heard) < PAUSE);
        self.last.filter(|_| sends && !self.rested).map(|shown| now.saturating_duration_since(shown))
    }

    /// A packet of the publisher came in, whether it goes out or not. What to do, where a picture has stood still for too long;
    /// `waits` says that the receiver waits for a key frame.
    pub fn poll(&mut self, waits: impl FnOnce() -> bool, now: Instant) -> Option<Repair> {
        if self.act_at.is_some_and(|at| now < at) && self.heard.is_some_and(|heard| now < heard + PAUSE) {
            self.heard = Some(now);
            return None;
        }
        self.look(waits(), now)
    }

    /// The rare case: after a pause, at the beginning, or when something is to be done.
    fn look(&mut self, waits: bool, now: Instant) -> Option<Repair> {
        let paused = self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= PAUSE);
        self.heard = Some(now);
        let since = *self.still_since.get_or_insert(now);
        if paused {
            // The picture stood still at its source.
            self.still_since = Some(now);
            self.slept = true;
            self.act_at = Some(now + ACT_AFTER_KEY);
            return None;
        }
        let still = now.saturating_duration_since(since);
        let limit = if waits || !self.holes.is_empty() { ACT_AFTER_KEY } else { ACT_AFTER };
        if still < limit {
            self.act_at = Some(since + limit);
            return None;
        }
        // Twice the time for a line on which a key frame takes its time.
        self.act_at = Some(now + ACT_AFTER);
        self.tries = self.tries.saturating_add(1);
        Some(if self.tries > KEY_FRAME_TRIES { Repair::OtherLayer } else { Repair::KeyFrame })
    }

    /// A packet went out. The cause of a freeze that ends with it, as the receiver will count it.
    pub fn on_forwarded(&mut self, packet: Forwarded, now: Instant) -> Option<FreezeCause> {
        let ahead = self.newest.map_or(1, |newest| packet.sequence.wrapping_sub(newest));
        if ahead == 0 || ahead >= 1 << 15 {
            return self.on_late(packet, now);
        }
        self.newest = Some(packet.sequence);
        if ahead > 1 {
            self.holes.miss(packet.sequence, ahead - 1);
        }
        if self.coming.on_packet(&packet) {
            self.alone = None;
        }
        self.begin(&packet);
        self.holed |= !self.holes.is_empty();
        if !packet.marker {
            return None;
        }
        if self.holes.is_empty() {
            self.base = self.begun.or(self.base);
        } else if self.alone != Some(self.holes.total()) {
            self.holes.wait(self.coming.waiting(packet.sequence));
            return None;
        }
        self.frames.on_decoded(self.coming.needs);
        self.on_picture(packet.timestamp, now)
    }

    /// A packet that was missing goes out: the pictures that waited for it go on.
    fn on_late(&mut self, packet: Forwarded, now: Instant) -> Option<FreezeCause> {
        if !self.holes.fill(packet.sequence) {
            return None;
        }
        if let Some(Begins::Base(number)) = packet.begins
            && self.begun.is_none_or(|begun| number.wrapping_sub(begun) < 1 << 7)
        {
            self.begun = Some(number);
        }
        let is_coming = packet.timestamp == self.coming.timestamp;
        if packet.marker {
            let known = if is_coming { self.coming } else { Coming { timestamp: packet.timestamp, ..Coming::default() } };
            self.holes.wait(known.waiting(packet.sequence));
        }
        if packet.begins.is_some() || packet.key_frame_start {
            let needs = packet.needs();
            if let Some(needs) = needs {
                self.frames.on_begun(needs);
            }
            self.holes.on_first(packet.sequence, packet.timestamp, needs);
            if is_coming {
                (self.coming.first, self.coming.needs) = (Some(packet.sequence), needs);
            }
        }
        let mut froze = None;
        while let Some(picture) = self.holes.poll_shown(&self.frames) {
            // It is dropped where a later one that did not need it has been shown.
            if self.shown.is_some_and(|shown| (picture.timestamp.wrapping_sub(shown) as i32) < 0) {
                continue;
            }
            self.frames.on_decoded(picture.needs);
            // Every picture is taken note of, whichever of them ended a freeze.
            let ended = self.on_picture(picture.timestamp, now);
            froze = froze.or(ended);
        }
        if self.holes.is_empty() {
            self.base = self.begun.or(self.base);
        }
        froze
    }

    /// A picture may begin: what it does not need is missed no longer.
    fn begin(&mut self, packet: &Forwarded) {
        if packet.key_frame_start {
            self.holes.forget();
            self.frames = Frames::default();
        }
        let Some(begins) = packet.begins else { return };
        self.alone = None;
        match begins {
            Begins::Base(number) => {
                if self.base == Some(number.wrapping_sub(1)) {
                    self.holes.forget();
                }
                self.begun = Some(number);
            }
            Begins::Sync(number) => self.alone = (self.base == Some(number)).then_some(self.holes.total()),
            Begins::Other => {}
            Begins::Frame(needs) => self.alone = self.frames.on_begun(needs).then_some(self.holes.total()),
        }
    }

    fn on_picture(&mut self, timestamp: u32, now: Instant) -> Option<FreezeCause> {
        self.still_since = Some(now);
        self.act_at = Some(now + ACT_AFTER_KEY);
        self.pictures = self.pictures.wrapping_add(1);
        let repaired = std::mem::take(&mut self.tries) > 0;
        let holed = std::mem::take(&mut self.holed);
        let (rested, slept) = (std::mem::take(&mut self.rested), std::mem::take(&mut self.slept));
        self.shown = Some(timestamp);
        let shown = self.playout.shows(timestamp, now);
        let gap = shown.saturating_duration_since(self.last.replace(shown)?);
        let paused = (rested || slept) && gap >= PAUSED;
        if paused || !self.gaps.freezes(gap) || rested {
            return None;
        }
        Some(if slept {
            FreezeCause::Source
        } else if holed {
            FreezeCause::Loss
        } else if repaired || gap >= ACT_AFTER_KEY {
            FreezeCause::KeyFrame
        } else {
            FreezeCause::Stall
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Line {
        guardian: FreezeGuardian,
        now: Instant,
        sequence: u16,
        repairs: Vec<(u128, Repair)>,
        freezes: Vec<FreezeCause>,
        start: Instant,
    }

    impl Line {
        fn new() -> Self {
            let now = Instant::now();
            let guardian = FreezeGuardian::default();
            Self { guardian, now, sequence: 65_500, repairs: Vec::new(), freezes: Vec::new(), start: now }
        }

        /// Pictures of two packets every 40 ms: `fate` says of each packet whether it goes out, or is lost before the relay.
        fn pictures(&mut self, count: u32, waits: bool, key: bool, fate: impl Fn(u32) -> Fate) {
            for picture in 0..count {
                for part in 0..2 {
                    let fate = fate(part);
                    if fate == Fate::Lost {
                        self.sequence = self.sequence.wrapping_add(1);
                        continue;
                    }
                    let at = (self.now - self.start).as_millis();
                    self.repairs.extend(self.guardian.poll(|| waits, self.now).map(|repair| (at, repair)));
                    if fate == Fate::Sent {
                        self.sequence = self.sequence.wrapping_add(1);
                        let key_frame_start = key && picture == 0 && part == 0;
                        let timestamp = (self.now - self.start).as_millis() as u32 * 90;
                        let packet =
                            Forwarded { sequence: self.sequence, timestamp, marker: part == 1, key_frame_start, begins: None };
                        self.freezes.extend(self.guardian.on_forwarded(packet, self.now));
                    }
                }
                self.now += 40 * MS;
            }
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fate {
        Sent,
        Held,
        Lost,
    }

    #[test]
    fn a_moving_picture_needs_nothing() {
        let mut line = Line::new();
        line.pictures(500, false, true, |_| Fate::Sent);
        assert_eq!((line.repairs, line.freezes), (vec![], vec![]));
    }

    #[test]
    fn while_a_key_frame_is_missing_it_acts_after_half_a_second_and_then_tries_another_layer() {
        let mut line = Line::new();
        line.pictures(100, false, true, |_| Fate::Sent);
        line.pictures(100, true, false, |_| Fate::Held);
        let at: Vec<_> = line.repairs.iter().map(|(at, repair)| (at - 3_960, *repair)).collect();
        assert_eq!(at[..3], [(520, Repair::KeyFrame), (1_520, Repair::KeyFrame), (2_520, Repair::OtherLayer)]);
        line.pictures(1, false, true, |_| Fate::Sent);
        assert_eq!(line.freezes, [FreezeCause::KeyFrame]);
    }

    #[test]
    fn with_nothing_known_to_be_missing_it_waits_for_a_second() {
        let mut line = Line::new();
        line.pictures(50, false, true, |_| Fate::Sent);
        line.pictures(30, false, false, |_| Fate::Held);
        assert_eq!(line.repairs, [(1_960 + 1_000, Repair::KeyFrame)]);
    }

    #[test]
    fn pictures_behind_a_lost_packet_do_not_count_until_a_key_frame() {
        let mut line = Line::new();
        line.pictures(50, false, true, |_| Fate::Sent);
        line.pictures(1, false, false, |part| if part == 0 { Fate::Lost } else { Fate::Sent });
        line.pictures(20, false, false, |_| Fate::Sent);
        assert_eq!(line.repairs.len(), 1, "it went on sending what nobody can decode");
        line.pictures(5, false, true, |_| Fate::Sent);
        assert_eq!(line.freezes, [FreezeCause::Loss]);
    }

    #[test]
    fn a_packet_that_comes_late_ends_the_wait() {
        let mut line = Line::new();
        line.pictures(50, false, true, |_| Fate::Sent);
        line.pictures(1, false, false, |part| if part == 0 { Fate::Lost } else { Fate::Sent });
        let missing = line.sequence.wrapping_sub(1);
        line.pictures(2, false, false, |_| Fate::Sent);
        let timestamp = (line.now - line.start).as_millis() as u32 * 90 - 120 * 90;
        let late = Forwarded { sequence: missing, timestamp, ..Forwarded::default() };
        assert_eq!(line.guardian.on_forwarded(late, line.now), None, "120 ms are no freeze at 25 pictures a second");
        line.pictures(100, false, false, |_| Fate::Sent);
        assert_eq!((line.repairs, line.freezes), (vec![], vec![]));
    }

    #[test]
    fn a_publisher_that_pauses_is_a_freeze_of_its_own_and_a_receiver_that_rests_is_none() {
        let mut line = Line::new();
        line.pictures(50, false, true, |_| Fate::Sent);
        line.now += 5_000 * MS;
        line.pictures(50, false, false, |_| Fate::Sent);
        line.guardian.rest();
        line.now += 300 * MS;
        line.pictures(50, false, true, |_| Fate::Sent);
        assert_eq!((line.repairs, line.freezes), (vec![], vec![FreezeCause::Source]));
    }

    #[test]
    fn what_is_paused_for_long_is_no_freeze_and_no_measure_of_one() {
        for pause in [3_000, 7_000] {
            let mut line = Line::new();
            line.pictures(50, false, true, |_| Fate::Sent);
            line.now += pause * MS;
            line.pictures(20, false, false, |_| Fate::Sent);
            let source = if pause < 6_000 { 1 } else { 0 };
            assert_eq!(line.freezes.len(), source, "{pause} ms");
            line.pictures(6, false, false, |_| Fate::Held);
            line.pictures(1, false, false, |_| Fate::Sent);
            // 280 ms are a freeze among gaps of 40, but not where a long one is among the thirty.
            assert_eq!(line.freezes.len(), 1, "after {pause} ms");
        }
    }

    #[test]
    fn pictures_that_come_in_heaps_are_shown_by_their_own_clock() {
        let (mut playout, t0) = (Playout::default(), Instant::now());
        assert_eq!(playout.shows(0, t0), t0 + HELD);
        // 100 ms late, then what waited behind it.
        assert_eq!(playout.shows(40 * 90, t0 + 140 * MS), t0 + 140 * MS);
        let next = playout.shows(80 * 90, t0 + 140 * MS) - t0;
        assert!(next >= 140 * MS && next <= 141 * MS, "{next:?}");
        let early = playout.shows(160 * 90, t0 + 140 * MS) - t0;
        assert_eq!(early, 140 * MS + HELD, "before its time, which is the time from now on");
        let resumed = playout.shows(200 * 90, t0 + 9_000 * MS) - t0;
        assert_eq!(resumed, 9_000 * MS + HELD, "after a pause everything begins anew");
    }

    #[test]
    fn a_freeze_is_measured_against_the_last_thirty_gaps_with_itself() {
        let mut gaps = Gaps::default();
        assert!(!gaps.freezes(900 * MS), "the first gaps say nothing");
        let mut gaps = Gaps::default();
        assert!((0..29).all(|_| !gaps.freezes(66 * MS)));
        // Average with itself (29 * 66 + 221) / 30 = 71.
        assert!(!Gaps::freezes(&mut gaps.clone(), 220 * MS) && Gaps::freezes(&mut gaps.clone(), 221 * MS));
        assert!(gaps.freezes(5_000 * MS));
        assert!(!gaps.freezes(300 * MS), "after a long one the average is high, as in browsers");
        let mut slow = Gaps::default();
        assert!((0..29).all(|_| !slow.freezes(500 * MS)));
        assert!(!slow.freezes(1_500 * MS) && slow.freezes(1_900 * MS), "three times the average");
    }

    /// Pictures of one packet with three temporal layers, 66 ms apart; `lost` are numbers of packets that never come.
    fn layered(count: u16, lost: &[u16]) -> (Vec<FreezeCause>, u32) {
        let (mut guardian, mut now, mut freezes) = (FreezeGuardian::default(), Instant::now(), Vec::new());
        for number in 0..count {
            let base = (number / 4) as u8;
            let begins = [Begins::Base(base), Begins::Sync(base), Begins::Sync(base), Begins::Other][usize::from(number % 4)];
            if !lost.contains(&number) {
                guardian.poll(|| false, now);
                let timestamp = u32::from(number) * 66 * 90;
                let key_frame_start = number == 0;
                let packet = Forwarded { sequence: number, timestamp, marker: true, key_frame_start, begins: Some(begins) };
                freezes.extend(guardian.on_forwarded(packet, now));
            }
            now += 66 * MS;
        }
        (freezes, guardian.pictures())
    }

    /// The same with frames that say what they need: of four the first needs the first of those before, the others need it too, and
    /// the last needs the third. `late` comes behind the next one.
    fn described(count: u16, lost: &[u16], late: &[u16]) -> u32 {
        let (mut guardian, mut now, mut behind) = (FreezeGuardian::default(), Instant::now(), None);
        for number in 0..count {
            let references = [0b1000, 0b1, 0b10, 0b101][usize::from(number % 4)];
            let references = if number == 0 { 0 } else { references };
            let begins = Some(Begins::Frame(Needs { frame: number.wrapping_add(65_500), references }));
            let timestamp = u32::from(number) * 66 * 90 + 1;
            let packet = Forwarded { sequence: number, timestamp, marker: true, key_frame_start: number == 0, begins };
            if late.contains(&number) {
                behind = Some(packet);
            } else if !lost.contains(&number) {
                guardian.poll(|| false, now);
                guardian.on_forwarded(packet, now);
                if let Some(packet) = behind.take() {
                    guardian.on_forwarded(packet, now);
                }
            }
            now += 66 * MS;
        }
        guardian.pictures()
    }

    #[test]
    fn a_frame_that_says_what_it_needs_waits_for_nothing_else() {
        assert_eq!(described(80, &[], &[]), 80);
        assert_eq!(described(80, &[41], &[]), 79, "nothing needs it but the rule for the fourth, which does not");
        assert_eq!(described(80, &[42], &[]), 78, "the fourth needs the third");
        assert_eq!(described(80, &[43], &[]), 79);
        assert_eq!(described(80, &[40], &[]), 40, "a lost first stops all");
        assert_eq!(described(80, &[41], &[60]), 79, "and goes on when it comes, whatever else is missing");
        assert_eq!(described(80, &[], &[41, 45, 50]), 78, "two come behind a later one that did not need them");
    }

    #[test]
    fn what_is_lost_above_the_base_stops_only_what_needs_it() {
        assert_eq!(layered(80, &[]), (vec![], 80));
        assert_eq!(layered(80, &[41]), (vec![], 78), "the one lost, and the one after the next");
        assert_eq!(layered(80, &[42]), (vec![], 78));
        assert_eq!(layered(80, &[43]), (vec![], 79));
        let (freezes, pictures) = layered(80, &[40]);
        assert_eq!((freezes.len(), pictures), (0, 40), "a lost base picture stops all until it comes");
    }
}
