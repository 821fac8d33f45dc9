//! Which missing packets of one received stream to ask for again, and when (RFC 4585 section 6.2.1).
//!
//! It never sends and never looks at payloads. Entry points: [`Nacker::on_packet`] and [`Nacker::on_recovered`] for what
//! arrived, [`Nacker::poll_nacks`] for what to ask, [`Nacker::next_deadline`] for when to come back.

use crate::model::Instant;
use std::time::Duration;

/// Missing packets remembered; a larger hole (0.25 s of 1,000 packets/s) is filled faster by a key frame.
pub const MAX_MISSING: usize = 256;

/// A packet this far behind the newest is not asked for again: its picture is long past its play-out time.
const MAX_BEHIND: u64 = 500;

/// A packet missing for this long is not asked for again; longer than any receiver's jitter buffer waits.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The same for sound: a jitter buffer holds 100 to 200 ms of it.
const MAX_SOUND_AGE: Duration = Duration::from_millis(200);

/// Sound is not asked for on longer lines: it would come when it has been concealed.
const MAX_SOUND_RTT: Duration = Duration::from_millis(100);

/// How often one packet is asked for.
const MAX_TRIES: u8 = 10;

/// A hole is a loss, not a reordering, once this many newer numbers have been seen (as TCP's three duplicates, RFC 5681).
const REORDER_DISTANCE: u64 = 3;

/// A hole is a loss, not a reordering, after this long; Wi-Fi reorders within a few milliseconds.
const REORDER_WAIT: Duration = Duration::from_millis(15);

/// Shortest time between two requests for one packet: what the sender's pacer may add to the way there and back.
const MIN_REPEAT: Duration = Duration::from_millis(40);

/// What the caller has to do beside polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum NackAction {
    /// Nothing.
    None,
    /// The hole is too large to repair: ask for a key frame (for sound: nothing can be done).
    KeyFrame,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    since: Instant,
    /// When to ask next.
    due: Instant,
    tries: u8,
}

/// The missing packets of one stream, by extended sequence number.
#[derive(Debug, Default)]
pub struct Nacker {
    /// Ascending. Grows to at most [`MAX_MISSING`] entries once and keeps its memory.
    missing: Vec<Missing>,
    highest: Option<u64>,
    /// No entry is due before this; may be early after a removal.
    due: Option<Instant>,
    /// A packet was given up since [`take_given_up`](Self::take_given_up) was asked.
    given_up: bool,
    /// The stream is sound.
    sound: bool,
}

impl Nacker {
    /// For a stream of sound, which is not worth waiting for as long as a picture.
    #[must_use]
    pub fn for_sound() -> Self {
        Self { sound: true, ..Self::default() }
    }

    /// A key frame begins with this packet: nothing before it is needed any more.
    pub fn on_key_frame(&mut self, sequence: u64) {
        self.forget_before(sequence);
    }

    /// Takes note of a packet that arrived: fills its hole, or opens one between it and the newest before it.
    pub fn on_packet(&mut self, sequence: u64, now: Instant) -> NackAction {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return NackAction::None;
        };
        if sequence <= highest {
            self.on_recovered(sequence);
            return NackAction::None;
        }
        self.highest = Some(sequence);
        self.forget_before(sequence.saturating_sub(MAX_BEHIND));
        let hole = usize::try_from(sequence - highest - 1).unwrap_or(usize::MAX);
        if self.missing.len().saturating_add(hole) > MAX_MISSING {
            self.clear();
            return NackAction::KeyFrame;
        }
        let due = now + REORDER_WAIT;
        self.missing.extend((highest + 1..sequence).map(|sequence| Missing { sequence, since: now, due, tries: 0 }));
        if hole > 0 {
            self.due_by(due);
        }
        self.hurry(sequence.saturating_sub(REORDER_DISTANCE), now);
        NackAction::None
    }

    /// Takes note of a packet that came by another way, a retransmission stream or redundancy.
    pub fn on_recovered(&mut self, sequence: u64) {
        if let Ok(index) = self.missing.binary_search_by_key(&sequence, |missing| missing.sequence) {
            self.missing.remove(index);
        }
        if self.missing.is_empty() {
            self.due = None;
        }
    }

    /// Writes the numbers to ask for now into `out`, oldest first, and returns how many.
    ///
    /// A packet is asked for again after 1¼ round trips, at least 40 ms, up to 10 times, and not where the answer would come
    /// later than 1 s after it was missed: 200 ms for sound, and never on a line of more than 100 ms. What does not fit in `out`
    /// stays due.
    pub fn poll_nacks(&mut self, now: Instant, rtt: Duration, out: &mut [u16]) -> usize {
        if self.due.is_none_or(|due| now < due) {
            return 0;
        }
        if self.sound && rtt > MAX_SOUND_RTT {
            self.clear();
            return 0;
        }
        let max_age = if self.sound { MAX_SOUND_AGE } else { MAX_AGE };
        let repeat = MIN_REPEAT.max(rtt.saturating_add(rtt / 4)).min(MAX_AGE);
        let mut places = out.iter_mut();
        let mut written = 0;
        let mut next: Option<Instant> = None;
        let mut given_up = false;
        self.missing.retain_mut(|missing| {
            if now.saturating_duration_since(missing.since) + rtt.min(max_age / 2) >= max_age {
                given_up = true;
                return false;
            }
            if missing.due <= now
                && let Some(place) = places.next()
            {
                *place = missing.sequence as u16;
                written += 1;
                missing.tries += 1;
                missing.due = now + repeat;
            }
            let keep = missing.tries < MAX_TRIES;
            given_up |= !keep;
            if keep {
                next = Some(next.map_or(missing.due, |next| next.min(missing.due)));
            }
            keep
        });
        self.due = next;
        self.given_up |= given_up;
        written
    }

    /// Whether a packet was given up since the last call: pictures need a key frame to go on.
    pub fn take_given_up(&mut self) -> bool {
        std::mem::take(&mut self.given_up)
    }

    /// When [`poll_nacks`](Self::poll_nacks) has something to do; never when nothing is missing.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// How many packets are missing and still asked for.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Forgets everything, for example when the stream starts anew.
    pub fn reset(&mut self) {
        self.clear();
        self.highest = None;
    }

    fn clear(&mut self) {
        self.missing.clear();
        self.due = None;
    }

    fn forget_before(&mut self, oldest: u64) {
        let gone = self.missing.partition_point(|missing| missing.sequence < oldest);
        if gone > 0 {
            self.missing.drain(..gone);
        }
        if self.missing.is_empty() {
            self.due = None;
        }
    }

    /// Makes due what was never asked for and is no reordering any more; such entries are the newest ones.
    fn hurry(&mut self, newest: u64, now: Instant) {
        let mut any = false;
        for missing in self.missing.iter_mut().rev().take_while(|missing| missing.tries == 0 && missing.due > now) {
            if missing.sequence <= newest {
                missing.due = now;
                any = true;
            }
        }
        if any {
            self.due_by(now);
        }
    }

    fn due_by(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |current| current.min(due)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn asked(nacker: &mut Nacker, now: Instant) -> Vec<u16> {
        let mut out = [0; MAX_MISSING];
        let count = nacker.poll_nacks(now, RTT, &mut out);
        out[..count].to_vec()
    }

    #[test]
    fn a_hole_is_asked_for_after_the_reorder_wait() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        assert_eq!(nacker.on_packet(65_535, t0), NackAction::None);
        assert_eq!(nacker.next_deadline(), None);
        assert_eq!(nacker.on_packet(65_538, t0), NackAction::None);

        assert_eq!(nacker.next_deadline(), Some(t0 + REORDER_WAIT));
        assert!(asked(&mut nacker, t0 + ms(14)).is_empty());
        assert_eq!(asked(&mut nacker, t0 + ms(15)), [0, 1], "wire numbers, across the wrap");
        assert!(asked(&mut nacker, t0 + ms(16)).is_empty(), "not twice at once");
    }

    #[test]
    fn three_newer_packets_make_it_due_at_once() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        for sequence in [100, 102, 103] {
            let _ = nacker.on_packet(sequence, t0);
        }
        assert!(asked(&mut nacker, t0).is_empty());
        let _ = nacker.on_packet(104, t0 + ms(1));
        assert_eq!(nacker.next_deadline(), Some(t0 + ms(1)));
        assert_eq!(asked(&mut nacker, t0 + ms(1)), [101]);
    }

    #[test]
    fn a_late_or_recovered_packet_is_not_asked_for() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        let _ = nacker.on_packet(10, t0);
        let _ = nacker.on_packet(13, t0);
        let _ = nacker.on_packet(11, t0);
        nacker.on_recovered(12);
        assert_eq!((nacker.missing(), nacker.next_deadline()), (0, None));
        assert!(asked(&mut nacker, t0 + ms(20)).is_empty());
    }

    #[test]
    fn repeats_by_round_trip_and_gives_up() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        let _ = nacker.on_packet(10, t0);
        let _ = nacker.on_packet(12, t0);
        let times: Vec<u64> = (0..2_000).filter(|at| !asked(&mut nacker, t0 + ms(*at)).is_empty()).collect();
        assert_eq!(times, [15, 115, 215, 315, 415, 515, 615, 715, 815, 915], "every 100 ms at 80 ms RTT, then age ends it");
        assert_eq!((nacker.missing(), nacker.next_deadline()), (0, None));
    }

    #[test]
    fn a_short_round_trip_repeats_no_faster_than_40_ms_and_ten_times() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        let _ = nacker.on_packet(10, t0);
        let _ = nacker.on_packet(12, t0);
        let mut out = [0; 4];
        let times: Vec<u64> = (0..2_000).filter(|at| nacker.poll_nacks(t0 + ms(*at), ms(1), &mut out) > 0).collect();
        assert_eq!(times, [15, 55, 95, 135, 175, 215, 255, 295, 335, 375]);
        assert_eq!((nacker.missing(), nacker.next_deadline()), (0, None));
    }

    #[test]
    fn sound_is_asked_for_while_the_answer_can_be_in_time() {
        let t0 = Instant::now();
        let times = |rtt: Duration| {
            let mut nacker = Nacker::for_sound();
            let _ = nacker.on_packet(10, t0);
            let _ = nacker.on_packet(12, t0);
            let mut out = [0; 4];
            let times: Vec<u64> = (0..500).filter(|at| nacker.poll_nacks(t0 + ms(*at), rtt, &mut out) > 0).collect();
            assert_eq!((nacker.missing(), nacker.next_deadline()), (0, None), "forgotten in the end");
            times
        };
        assert_eq!(times(ms(20)), [15, 55, 95, 135, 175]);
        assert_eq!(times(ms(80)), [15, 115]);
        assert_eq!(times(ms(101)), [0; 0]);
    }

    #[test]
    fn a_key_frame_makes_what_was_missing_before_it_needless() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        let _ = nacker.on_packet(10, t0);
        let _ = nacker.on_packet(13, t0);
        let _ = nacker.on_packet(15, t0);
        nacker.on_key_frame(13);
        assert_eq!(asked(&mut nacker, t0 + ms(20)), [14]);
    }

    #[test]
    fn a_huge_hole_asks_for_a_key_frame_instead() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        let _ = nacker.on_packet(0x1_0000, t0);
        assert_eq!(nacker.on_packet(0x1_0000 + 257, t0), NackAction::None, "256 missing still fit");
        assert_eq!(nacker.missing(), MAX_MISSING);
        assert_eq!(nacker.on_packet(0x1_0000 + 259, t0), NackAction::KeyFrame);
        assert_eq!((nacker.missing(), nacker.next_deadline()), (0, None));
        assert_eq!(nacker.on_packet(0x1_0000 + 261, t0), NackAction::None, "goes on from there");
        assert_eq!(nacker.missing(), 1);
    }

    #[test]
    fn far_behind_is_forgotten_and_a_full_buffer_keeps_the_rest_due() {
        let t0 = Instant::now();
        let mut nacker = Nacker::default();
        let _ = nacker.on_packet(1_000, t0);
        let _ = nacker.on_packet(1_004, t0);
        let mut out = [0; 2];
        assert_eq!(nacker.poll_nacks(t0 + ms(15), RTT, &mut out), 2);
        assert_eq!(out, [1_001, 1_002]);
        assert!(nacker.next_deadline().is_some_and(|due| due <= t0 + ms(15)));
        assert_eq!(nacker.poll_nacks(t0 + ms(15), RTT, &mut out), 1);
        for sequence in 1_005..=1_503 {
            let _ = nacker.on_packet(sequence, t0 + ms(16));
        }
        assert_eq!(nacker.missing(), 1, "1003 is 500 behind 1503");
        let _ = nacker.on_packet(1_504, t0 + ms(16));
        assert_eq!(nacker.missing(), 0);
    }
}
