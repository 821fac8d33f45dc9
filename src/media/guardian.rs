//! Whether a receiver's picture moves, judged by what was sent to it, and what to do when it does not.
//!
//! A picture can be decoded when it went out whole and nothing before it back to the last key frame is missing. Only numbers and
//! marker bits are read, so it works under end-to-end encryption. A [`FreezeGuardian`] belongs to one video track on its way to one
//! receiver. Packets of the publisher are its clock: while nothing comes in, nothing freezes. Entry points:
//! [`FreezeGuardian::on_forwarded`] and [`FreezeGuardian::poll`].

use crate::model::counters::FreezeCause;
use std::time::{Duration, Instant};

/// Without a whole picture for so long, the guardian acts.
const ACT_AFTER: Duration = Duration::from_secs(1);
/// The same while a key frame is known to be missing: nothing else will help.
const ACT_AFTER_KEY: Duration = Duration::from_millis(500);
/// Key frames asked for before another layer is tried.
const KEY_FRAME_TRIES: u8 = 2;
/// The publisher has paused when its packets are further apart: what was still before was not the relay's doing.
const PAUSE: Duration = Duration::from_millis(500);
/// A freeze is a gap longer than the average by this much at least (W3C webrtc-stats, `freezeCount`).
const FREEZE_MARGIN: Duration = Duration::from_millis(150);
/// And this many times the average.
const FREEZE_FACTOR: u32 = 3;

/// What went out to a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded {
    /// Its outgoing sequence number.
    pub sequence: u16,
    /// It ends its picture.
    pub marker: bool,
    /// It begins a key frame.
    pub key_frame_start: bool,
}

/// What helps a receiver whose picture stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// A key frame.
    KeyFrame,
    /// Another layer: the one that is wanted brings no picture.
    OtherLayer,
}

/// Watches over one track on its way to one receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreezeGuardian {
    /// When the last whole picture went out, or the receiver began to wait for its first.
    still_since: Option<Instant>,
    /// Average time between whole pictures; zero before the second.
    average: Duration,
    /// The newest outgoing number.
    newest: Option<u16>,
    /// Numbers before it that did not go out.
    missing: u16,
    /// Something was missing since the last whole picture.
    holed: bool,
    /// The publisher's last packet.
    heard: Option<Instant>,
    /// When to act next.
    act_at: Option<Instant>,
    tries: u8,
    /// Whether a picture has gone out since the receiver began.
    shown: bool,
}

impl FreezeGuardian {
    /// The receiver does not get the track now, or begins anew: nothing that was counts.
    pub fn rest(&mut self) {
        *self = Self { newest: self.newest, ..Self::default() };
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
            self.average = Duration::ZERO;
            self.act_at = Some(now + ACT_AFTER_KEY);
            return None;
        }
        let still = now.saturating_duration_since(since);
        let limit = if waits || self.missing > 0 { ACT_AFTER_KEY } else { ACT_AFTER };
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
        let late = ahead == 0 || ahead >= 1 << 15;
        let missed = self.missing > 0;
        if late {
            self.missing = self.missing.saturating_sub(1);
        } else {
            self.newest = Some(packet.sequence);
            self.missing = self.missing.saturating_add(ahead - 1);
        }
        self.holed |= self.missing > 0;
        if packet.key_frame_start && !late {
            // What is missing before it is needed no more.
            self.missing = 0;
        }
        // The last hole closed: the pictures that waited for it go on.
        let whole = self.missing == 0 && (packet.marker || (late && missed));
        if whole { self.on_picture(now) } else { None }
    }

    fn on_picture(&mut self, now: Instant) -> Option<FreezeCause> {
        let since = self.still_since.replace(now).unwrap_or(now);
        let gap = now.saturating_duration_since(since);
        self.act_at = Some(now + ACT_AFTER_KEY);
        let repaired = std::mem::take(&mut self.tries) > 0;
        let holed = std::mem::take(&mut self.holed);
        if !std::mem::replace(&mut self.shown, true) {
            return None;
        }
        if self.average.is_zero() {
            self.average = gap;
            return None;
        }
        let froze = gap > (self.average * FREEZE_FACTOR).max(self.average + FREEZE_MARGIN);
        if !froze {
            self.average = (self.average * 15 + gap) / 16;
            return None;
        }
        Some(if holed {
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
                        let packet = Forwarded { sequence: self.sequence, marker: part == 1, key_frame_start };
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
        let late = Forwarded { sequence: missing, marker: false, key_frame_start: false };
        assert_eq!(line.guardian.on_forwarded(late, line.now), None, "120 ms are no freeze at 25 pictures a second");
        line.pictures(100, false, false, |_| Fate::Sent);
        assert_eq!((line.repairs, line.freezes), (vec![], vec![]));
    }

    #[test]
    fn a_publisher_that_pauses_freezes_nobody() {
        let mut line = Line::new();
        line.pictures(50, false, true, |_| Fate::Sent);
        line.now += 5_000 * MS;
        line.pictures(50, false, false, |_| Fate::Sent);
        line.guardian.rest();
        line.now += 300 * MS;
        line.pictures(50, false, true, |_| Fate::Sent);
        assert_eq!((line.repairs, line.freezes), (vec![], vec![]));
    }
}
