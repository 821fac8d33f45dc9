//! One received stream: what has arrived, what to report of it, what to ask for again, and its sender's clock.
//!
//! It never keeps a packet. Entry points: [`InboundStream::on_packet`] for each packet of the stream itself,
//! [`InboundStream::on_recovered`] for one that came by retransmission, [`InboundStream::report_block`] for receiver
//! reports, [`InboundStream::nacker`] for repairs, [`InboundStream::rtp_to_ntp`] for lip sync.

use crate::model::Instant;
use std::time::Duration;

use super::nacker::{NackAction, Nacker};
use super::rtcp::{ReportBlock, SenderInfo};
use super::seq::SeqExtender;

/// Sequence numbers remembered to tell late packets from duplicates; 1 s at 1,000 packets/s.
const HISTORY: u64 = 1_024;

/// A step forward beyond this is a jump until the next packet confirms it (RFC 3550 appendix A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u64 = 3_000;

/// Only sound has this clock (RFC 7587 section 4.1); pictures have 90 kHz.
const SOUND_CLOCK: u32 = 48_000;

/// What a packet's sequence number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than every other; its extended number.
    Newest(u64),
    /// Older than the newest, and not seen before; its extended number.
    Late(u64),
    /// The stream's numbers jumped and this packet confirmed it; its extended number, above all before it.
    Restarted(u64),
    /// Seen before: drop it.
    Duplicate,
    /// Too far from the others: drop it.
    Stray,
}

impl Arrival {
    /// The extended sequence number of a packet to forward.
    #[must_use]
    pub fn sequence(self) -> Option<u64> {
        match self {
            Self::Newest(sequence) | Self::Late(sequence) | Self::Restarted(sequence) => Some(sequence),
            Self::Duplicate | Self::Stray => None,
        }
    }
}

/// The last sender report and when it came.
#[derive(Clone, Copy, Debug)]
struct SenderClock {
    ntp: u64,
    rtp: u32,
    at: Instant,
}

/// Jitter of RFC 3550 appendix A.8.
#[derive(Clone, Copy, Debug)]
struct Jitter {
    timestamp: u32,
    arrival: Instant,
    /// In 1/16 of a clock unit.
    scaled: u32,
}

/// One received SSRC.
#[derive(Debug)]
pub struct InboundStream {
    ssrc: u32,
    clock_rate: u32,
    extender: SeqExtender,
    /// Added to the extender's numbers; a multiple of 2^16 that grows when the stream restarts.
    cycles: u64,
    first: u64,
    /// Which of the last [`HISTORY`] numbers arrived, one bit each.
    seen: [u64; (HISTORY / 64) as usize],
    received: u64,
    /// The number that would confirm a jump.
    after_jump: Option<u16>,
    reported_expected: u64,
    reported_received: u64,
    jitter: Option<Jitter>,
    clock: Option<SenderClock>,
    nacker: Nacker,
}

impl InboundStream {
    /// Starts a stream nothing has arrived on; `clock_rate` in Hz.
    #[must_use]
    pub fn new(ssrc: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate: clock_rate.max(1),
            extender: SeqExtender::default(),
            cycles: 0,
            first: 0,
            seen: [0; (HISTORY / 64) as usize],
            received: 0,
            after_jump: None,
            reported_expected: 0,
            reported_received: 0,
            jitter: None,
            clock: None,
            nacker: if clock_rate == SOUND_CLOCK { Nacker::for_sound() } else { Nacker::default() },
        }
    }

    /// Starts the stream that takes another's place under a new SSRC: its extended numbers go on far above the old ones, so that
    /// nobody takes its first packets for late ones.
    #[must_use]
    pub fn following(ssrc: u32, clock_rate: u32, previous: &Self) -> Self {
        let mut stream = Self::new(ssrc, clock_rate);
        stream.cycles = previous.highest().map_or(0, |highest| (highest | 0xffff) + 1);
        stream
    }

    /// The stream's id.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The missing packets, to poll what to ask for again.
    pub fn nacker(&mut self) -> &mut Nacker {
        &mut self.nacker
    }

    /// When the missing packets want to be asked for.
    #[must_use]
    pub fn nack_deadline(&self) -> Option<Instant> {
        self.nacker.next_deadline()
    }

    /// Takes note of a packet of the stream itself.
    pub fn on_packet(&mut self, sequence: u16, timestamp: u32, now: Instant) -> (Arrival, NackAction) {
        let Some(highest) = self.highest() else {
            let extended = self.start(sequence, timestamp, now);
            return (Arrival::Newest(extended), self.nacker.on_packet(extended, now));
        };
        let extended = self.cycles + self.extender.peek(sequence);
        if extended > highest + MAX_DROPOUT || extended + HISTORY <= highest {
            return self.on_jump(sequence, timestamp, now);
        }
        self.after_jump = None;
        let arrival = if extended > highest {
            self.forget(highest, extended);
            self.extender.extend(sequence);
            self.on_timestamp(timestamp, now);
            Arrival::Newest(extended)
        } else if self.is_seen(extended) {
            return (Arrival::Duplicate, NackAction::None);
        } else {
            // The very first packets may change places; the real first one often begins a key frame.
            self.first = self.first.min(extended);
            Arrival::Late(extended)
        };
        self.see(extended);
        self.received += 1;
        (arrival, self.nacker.on_packet(extended, now))
    }

    /// Takes note of a packet that came by retransmission (RFC 4588), by its original sequence number.
    ///
    /// It counts as lost in reports, because the way it was first sent lost it. Returns its extended number, or nothing
    /// where it came before or does not belong to the stream's recent past.
    pub fn on_recovered(&mut self, sequence: u16) -> Option<u64> {
        let highest = self.highest()?;
        let extended = self.cycles + self.extender.peek(sequence);
        // A retransmission ahead of the stream would let its sender move the numbers from the side.
        if extended > highest || extended + HISTORY <= highest || extended < self.first || self.is_seen(extended) {
            return None;
        }
        self.see(extended);
        self.nacker.on_recovered(extended);
        Some(extended)
    }

    /// Whether a packet behind the newest has not come by any way.
    #[must_use]
    pub fn misses(&self, sequence: u16) -> bool {
        let Some(highest) = self.highest() else { return false };
        let extended = self.cycles + self.extender.peek(sequence);
        extended < highest && extended + HISTORY > highest && extended >= self.first && !self.is_seen(extended)
    }

    /// Takes note of the sender's clock.
    pub fn on_sender_report(&mut self, report: &SenderInfo, now: Instant) {
        self.clock = Some(SenderClock { ntp: report.ntp, rtp: report.rtp, at: now });
    }

    /// NTP and RTP time of the last sender report.
    #[must_use]
    pub fn sender_clock(&self) -> Option<(u64, u32)> {
        self.clock.map(|clock| (clock.ntp, clock.rtp))
    }

    /// The sender's NTP time of an RTP timestamp, from the last sender report and the clock rate.
    ///
    /// Nothing before the first sender report.
    #[must_use]
    pub fn rtp_to_ntp(&self, rtp: u32) -> Option<u64> {
        let clock = self.clock?;
        let ticks = i128::from(rtp.wrapping_sub(clock.rtp) as i32);
        let elapsed = (ticks << 32) / i128::from(self.clock_rate);
        // At most 2^31 ticks of 2^32 each, so it fits even at 1 Hz.
        Some(clock.ntp.wrapping_add_signed(elapsed as i64))
    }

    /// Packets received, without duplicates and repairs.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that should have come since the stream began, and those that came by themselves.
    #[must_use]
    pub fn arrived(&self) -> (u64, u64) {
        (self.highest().map_or(0, |highest| highest - self.first + 1), self.received)
    }

    /// Packets missing since it began, as receiver reports count them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let (expected, received) = self.arrived();
        expected.saturating_sub(received)
    }

    /// Interarrival jitter.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.jitter_units()) / f64::from(self.clock_rate))
    }

    /// The block for the next receiver report; its fraction covers the time since the last call.
    ///
    /// Nothing before the first packet.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.highest()?;
        let expected = highest - self.first + 1;
        let expected_since = expected - self.reported_expected;
        let received_since = self.received - self.reported_received;
        (self.reported_expected, self.reported_received) = (expected, self.received);
        let lost_since = expected_since.saturating_sub(received_since);
        let fraction = (lost_since * 256).checked_div(expected_since).unwrap_or(0);
        let (last_sr, delay_since_last_sr) = self.clock.map_or((0, 0), |clock| {
            let delay = now.saturating_duration_since(clock.at).as_micros() * 65_536 / 1_000_000;
            ((clock.ntp >> 16) as u32, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(expected.saturating_sub(self.received)).map_or(0x7F_FFFF, |lost| lost.min(0x7F_FFFF)),
            // Our cycles begin at 1, those of the wire at 0.
            highest_sequence: (highest - (1 << 16)) as u32,
            jitter: self.jitter_units(),
            last_sr,
            delay_since_last_sr,
        })
    }

    fn highest(&self) -> Option<u64> {
        Some(self.cycles + self.extender.highest()?)
    }

    fn start(&mut self, sequence: u16, timestamp: u32, now: Instant) -> u64 {
        let extended = self.cycles + self.extender.extend(sequence);
        self.first = extended;
        self.seen = [0; (HISTORY / 64) as usize];
        self.see(extended);
        self.received = 1;
        (self.reported_expected, self.reported_received) = (0, 0);
        self.after_jump = None;
        self.jitter = Some(Jitter { timestamp, arrival: now, scaled: 0 });
        extended
    }

    /// Two packets in a row beyond the jump start the stream anew; one alone is a stray (RFC 3550 appendix A.1).
    fn on_jump(&mut self, sequence: u16, timestamp: u32, now: Instant) -> (Arrival, NackAction) {
        if self.after_jump != Some(sequence) {
            self.after_jump = Some(sequence.wrapping_add(1));
            return (Arrival::Stray, NackAction::None);
        }
        // Whole cycles keep the low bits; one to spare keeps packets late across the restart above all old numbers too.
        self.cycles = (self.highest().unwrap_or(0) & !0xFFFF) + 0x1_0000;
        self.extender = SeqExtender::default();
        self.nacker.reset();
        let extended = self.start(sequence, timestamp, now);
        let _ = self.nacker.on_packet(extended, now);
        (Arrival::Restarted(extended), NackAction::KeyFrame)
    }

    /// Only the first packet of a frame counts: the others share its timestamp but were paced after it.
    fn on_timestamp(&mut self, timestamp: u32, now: Instant) {
        let Some(jitter) = &mut self.jitter else { return };
        if timestamp == jitter.timestamp {
            return;
        }
        let rate = i64::from(self.clock_rate);
        let micros = i64::try_from(now.micros_since(jitter.arrival)).unwrap_or(i64::MAX);
        let between_arrivals = micros.saturating_mul(rate) / 1_000_000;
        let between_timestamps = i64::from(timestamp.wrapping_sub(jitter.timestamp) as i32);
        let difference = between_arrivals.saturating_sub(between_timestamps).unsigned_abs();
        (jitter.timestamp, jitter.arrival) = (timestamp, now);
        // A step of 5 s is a pause or a new time base of the sender, not jitter.
        if let Ok(difference) = u32::try_from(difference)
            && u64::from(difference) < 5 * u64::from(self.clock_rate)
        {
            jitter.scaled = jitter.scaled.saturating_add(difference).saturating_sub((jitter.scaled.saturating_add(8)) >> 4);
        }
    }

    fn jitter_units(&self) -> u32 {
        self.jitter.map_or(0, |jitter| jitter.scaled >> 4)
    }

    fn is_seen(&self, sequence: u64) -> bool {
        let index = sequence % HISTORY;
        self.seen.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn see(&mut self, sequence: u64) {
        let index = sequence % HISTORY;
        if let Some(word) = self.seen.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
    }

    /// Clears the places of the numbers between the old and the new highest.
    fn forget(&mut self, highest: u64, newest: u64) {
        if newest - highest >= HISTORY {
            self.seen = [0; (HISTORY / 64) as usize];
            return;
        }
        for sequence in highest + 1..=newest {
            let index = sequence % HISTORY;
            if let Some(word) = self.seen.get_mut((index / 64) as usize) {
                *word &= !(1 << (index % 64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn arrival(stream: &mut InboundStream, sequence: u16, now: Instant) -> Arrival {
        stream.on_packet(sequence, u32::from(sequence) * 960, now).0
    }

    #[test]
    fn tells_new_late_and_duplicate_packets_across_the_wrap() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 48_000);
        assert_eq!(arrival(&mut stream, 65_534, t0), Arrival::Newest(0x1_FFFE));
        assert_eq!(arrival(&mut stream, 1, t0), Arrival::Newest(0x2_0001));
        assert_eq!(arrival(&mut stream, 65_535, t0), Arrival::Late(0x1_FFFF));
        assert_eq!(arrival(&mut stream, 65_535, t0), Arrival::Duplicate);
        assert_eq!(arrival(&mut stream, 1, t0), Arrival::Duplicate);
        assert_eq!(arrival(&mut stream, 65_533, t0), Arrival::Late(0x1_FFFD), "even before the first");
        assert_eq!(stream.report_block(t0).unwrap().highest_sequence, 0x1_0001);
    }

    #[test]
    fn history_places_are_cleared_when_they_come_round() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 48_000);
        for sequence in 0..1_000 {
            assert!(matches!(arrival(&mut stream, sequence, t0), Arrival::Newest(_)));
        }
        assert!(matches!(arrival(&mut stream, 1_500, t0), Arrival::Newest(_)));
        for sequence in 1_000..1_500 {
            assert!(matches!(arrival(&mut stream, sequence, t0), Arrival::Late(_)), "{sequence}");
        }
    }

    #[test]
    fn a_jump_needs_a_second_packet_and_keeps_numbers_growing() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 48_000);
        arrival(&mut stream, 50_000, t0);
        assert_eq!(arrival(&mut stream, 20_000, t0), Arrival::Stray);
        assert_eq!(arrival(&mut stream, 50_001, t0), Arrival::Newest(0x1_0000 + 50_001), "one stray changes nothing");
        assert_eq!(arrival(&mut stream, 20_001, t0), Arrival::Stray, "nor do two that are not in a row");
        assert_eq!(arrival(&mut stream, 20_000, t0), Arrival::Stray);
        let (restart, action) = stream.on_packet(20_001, 5, t0);
        assert_eq!((restart, action), (Arrival::Restarted(0x3_0000 + 20_001), NackAction::KeyFrame));
        assert_eq!(arrival(&mut stream, 20_002, t0), Arrival::Newest(0x3_0000 + 20_002));
        assert_eq!(stream.report_block(t0).unwrap().cumulative_lost, 0, "counted anew");
        assert_eq!(arrival(&mut stream, 20_000, t0), Arrival::Late(0x3_0000 + 20_000), "the first of the jump, late");
    }

    #[test]
    fn loss_is_reported_since_the_last_report_and_in_total() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 48_000);
        assert_eq!(stream.report_block(t0), None);
        for sequence in (0..100).filter(|n| n % 4 != 3) {
            arrival(&mut stream, sequence, t0);
        }
        arrival(&mut stream, 99, t0);
        let block = stream.report_block(t0).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (61, 24), "24 of 100 = 61/256");
        assert_eq!(stream.on_recovered(3), Some(0x1_0003));
        assert_eq!(stream.on_recovered(3), None);
        assert_eq!(arrival(&mut stream, 3, t0), Arrival::Duplicate, "recovered before");
        for sequence in 100..200 {
            arrival(&mut stream, sequence, t0);
        }
        let block = stream.report_block(t0).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 24), "a repair does not hide the loss");
        let block = stream.report_block(t0).unwrap();
        assert_eq!(block.fraction_lost, 0, "nothing expected");
    }

    #[test]
    fn jitter_follows_the_standard_and_is_silent_on_a_steady_stream() {
        let t0 = Instant::now();
        let mut steady = InboundStream::new(7, 48_000);
        let mut uneven = InboundStream::new(7, 48_000);
        for n in 0..200_u16 {
            let at = t0 + ms(20) * u32::from(n);
            arrival(&mut steady, n, at);
            arrival(&mut uneven, n, at + ms(if n % 2 == 0 { 0 } else { 5 }));
        }
        assert_eq!(steady.report_block(t0).unwrap().jitter, 0);
        let jitter = uneven.jitter();
        assert!((ms(4)..=ms(5)).contains(&jitter), "every difference is 5 ms: {jitter:?}");
    }

    #[test]
    fn packets_of_one_frame_paced_apart_are_no_jitter() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 90_000);
        for n in 0..100_u16 {
            let frame = u32::from(n / 4);
            let _ = stream.on_packet(n, frame * 3_000, t0 + Duration::from_micros(33_333) * frame + ms(3) * u32::from(n % 4));
        }
        assert_eq!(stream.jitter(), Duration::ZERO);
    }

    #[test]
    fn sender_reports_give_delay_and_lip_sync() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 90_000);
        arrival(&mut stream, 1, t0);
        assert_eq!(stream.rtp_to_ntp(0), None);
        let ntp = 0x1234_5678_8000_0000;
        stream.on_sender_report(&SenderInfo { ssrc: 7, ntp, rtp: 10, packets: 0, octets: 0 }, t0);

        assert_eq!(stream.rtp_to_ntp(10), Some(ntp));
        assert_eq!(stream.rtp_to_ntp(10 + 45_000), Some(0x1234_5679_0000_0000), "half a second later");
        assert_eq!(stream.rtp_to_ntp(10_u32.wrapping_sub(90_000)), Some(0x1234_5677_8000_0000), "across the wrap, back");
        let block = stream.report_block(t0 + ms(1_500)).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x5678_8000, 98_304));
    }

    #[test]
    fn lost_packets_are_asked_for_until_recovered() {
        let t0 = Instant::now();
        let mut stream = InboundStream::new(7, 48_000);
        arrival(&mut stream, 10, t0);
        arrival(&mut stream, 12, t0);
        assert!(stream.nacker().next_deadline().is_some());
        assert!(stream.on_recovered(11).is_some());
        assert_eq!(stream.nacker().next_deadline(), None);
    }

    proptest! {
        /// A hostile sender may number as it likes: no number is passed on twice, and reports stay sane.
        #[test]
        fn no_number_is_passed_on_twice(
            first: u16,
            steps in prop::collection::vec(prop_oneof![6 => 0_u16..4, 2 => 65_500_u16..=65_535, 1 => any::<u16>()], 1..600),
            twice in prop::collection::vec(any::<bool>(), 600),
        ) {
            let t0 = Instant::now();
            let mut stream = InboundStream::new(7, 48_000);
            let (mut sequence, mut passed, mut out) = (first, HashSet::new(), [0; 16]);
            for (n, (step, twice)) in steps.into_iter().zip(twice).enumerate() {
                sequence = sequence.wrapping_add(step);
                // The packet after a jump confirms it.
                for number in [sequence, sequence.wrapping_add(u16::from(twice))] {
                    let now = t0 + ms(n as u64);
                    let (arrival, _) = stream.on_packet(number, number.into(), now);
                    if let Some(extended) = arrival.sequence() {
                        prop_assert_eq!(extended as u16, number);
                        prop_assert!(passed.insert(extended), "{:#x}", extended);
                    }
                    let missing = stream.nacker().missing();
                    let count = stream.nacker().poll_nacks(now, ms(50), &mut out);
                    prop_assert!(count <= missing && missing <= crate::media::nacker::MAX_MISSING);
                }
                let block = stream.report_block(t0).unwrap();
                prop_assert!(block.cumulative_lost >= 0);
            }
        }
    }

    #[test]
    fn a_stream_that_follows_another_counts_on_above_it() {
        let t0 = Instant::now();
        let mut first = InboundStream::new(1, 90_000);
        let (arrival, _) = first.on_packet(40_000, 0, t0);
        let mut second = InboundStream::following(2, 90_000, &first);
        let (next, _) = second.on_packet(7, 0, t0);
        assert!(next.sequence() > arrival.sequence(), "{next:?} after {arrival:?}");
        assert_eq!(next.sequence().map(|sequence| sequence as u16), Some(7));
    }
}
