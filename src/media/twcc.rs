//! Arrival times of one peer's packets by transport-wide sequence number, and the feedback that reports them.
//!
//! Follows draft-holmer-rmcat-transport-wide-cc-extensions-01. It never estimates a bitrate: the sender does. Entry points:
//! [`TwccRecorder::on_packet`], [`TwccRecorder::poll_feedback`], [`TwccRecorder::next_deadline`].

use super::ahead;
use crate::model::Instant;
use std::time::Duration;

use super::rtcp::{Compound, FeedbackHeader};
use super::seq::SeqExtender;

/// Packets remembered, reported or not: 1 s at 1,000 packets/s, ten times the longest time between feedbacks.
const WINDOW: u64 = 1_024;

/// Feedback follows the first unreported packet after this long. A voice alone (50 packets/s) then costs 10 feedbacks of
/// some 80 bytes on the wire a second: 6 kbit/s, where a fixed 50 ms would cost 13.
const INTERVAL: Duration = Duration::from_millis(100);

/// The same once [`BUSY`] packets wait. 16 packets of 1,000 bytes in 50 ms are 2.5 Mbit/s; 20 feedbacks of some 100 bytes
/// are then below 1 % of the traffic (the usual limit is 5 %), and the sender sees congestion twice as soon.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// Unreported packets that make the shorter interval.
const BUSY: u32 = 16;

/// One tick of a delta.
const TICK_MICROS: u64 = 250;
/// Ticks of one unit of the reference time: 64 ms.
const TICKS_PER_REFERENCE: u64 = 256;

/// Header, fixed fields, a chunk that is not full and padding of a feedback packet.
const FIXED_LEN: usize = 4 + 16 + 2 + 3;

/// The smallest buffer for [`TwccRecorder::poll_feedback`]: room for one status at worst (two bytes of delta).
pub const MIN_FEEDBACK_LEN: usize = FIXED_LEN + 3;

/// The place of a packet that has not arrived.
const ABSENT: u64 = u64::MAX;

/// The transport-wide sequence numbers received from one peer.
#[derive(Debug)]
pub struct TwccRecorder {
    extender: SeqExtender,
    /// Arrivals of the last [`WINDOW`] numbers in ticks since the epoch, by number modulo the window.
    arrivals: Box<[u64; WINDOW as usize]>,
    /// The first packet's arrival; the far end needs only differences.
    epoch: Option<Instant>,
    /// First number not yet reported.
    next: u64,
    /// Unreported packets, and when the first of them came.
    waiting: u32,
    waiting_since: Option<Instant>,
    /// The number that would confirm a step back.
    after_step_back: Option<u16>,
    feedback_count: u8,
}

impl Default for TwccRecorder {
    fn default() -> Self {
        Self {
            extender: SeqExtender::default(),
            arrivals: Box::new([ABSENT; WINDOW as usize]),
            epoch: None,
            next: 0,
            waiting: 0,
            waiting_since: None,
            after_step_back: None,
            feedback_count: 0,
        }
    }
}

impl TwccRecorder {
    /// Takes note of a packet's arrival.
    pub fn on_packet(&mut self, sequence: u16, now: Instant) {
        let extended = self.extender.peek(sequence);
        match self.extender.highest() {
            None => self.restart(sequence),
            Some(highest) if extended > highest + WINDOW => self.restart(sequence),
            Some(highest) if extended + WINDOW <= highest => {
                // One packet may be very late; two in a row are a sender that counts anew.
                if self.after_step_back != Some(sequence) {
                    self.after_step_back = Some(sequence.wrapping_add(1));
                    return;
                }
                self.restart(sequence);
            }
            Some(highest) => self.advance(highest, extended),
        }
        self.after_step_back = None;
        let extended = self.extender.extend(sequence);
        let epoch = *self.epoch.get_or_insert(now);
        let ticks = now.micros_since(epoch) / TICK_MICROS;
        if self.arrival(extended) != ABSENT {
            return;
        }
        self.set_arrival(extended, ticks);
        // A packet reported as lost came late: report from there again, with the old times.
        self.next = self.next.min(extended);
        self.waiting = self.waiting.saturating_add(1);
        self.waiting_since.get_or_insert(now);
    }

    /// Asks for the memory in which the next packet is noted.
    pub fn warm(&self) {
        let next = self.extender.highest().unwrap_or(0) + 1;
        self.arrivals.get((next % WINDOW) as usize).inspect(|place| ahead::fetch(*place));
    }

    /// When feedback is due; never while no packets come.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let interval = if self.waiting >= BUSY { BUSY_INTERVAL } else { INTERVAL };
        Some(self.waiting_since? + interval)
    }

    /// Writes one feedback packet into `out` when it is due and returns its length; call until it returns nothing.
    ///
    /// `out` takes at least [`MIN_FEEDBACK_LEN`] bytes; what is due is dropped where it is shorter.
    pub fn poll_feedback(&mut self, now: Instant, out: &mut [u8], sender_ssrc: u32, media_ssrc: u32) -> Option<usize> {
        if self.next_deadline()? > now {
            return None;
        }
        let written = self.write_feedback(out, sender_ssrc, media_ssrc);
        if written.is_none() || self.extender.highest().is_none_or(|highest| self.next > highest) {
            (self.waiting, self.waiting_since) = (0, None);
        }
        written
    }

    fn write_feedback(&mut self, out: &mut [u8], sender: u32, media: u32) -> Option<usize> {
        let highest = self.extender.highest()?;
        // A status takes two bytes of delta and a seventh of a two-byte chunk at worst.
        let room = (out.len().checked_sub(FIXED_LEN)? * 7 / 16) as u64;
        let first = (self.next..=highest).find(|sequence| self.arrival(*sequence) != ABSENT)?;
        // A loss too long to report together with its end is reported from its middle.
        let base = if first - self.next < room { self.next } else { first.saturating_sub(room / 2) };
        let reference = self.arrival(first) / TICKS_PER_REFERENCE;
        let last = highest.min((base + room).checked_sub(1)?);
        let statuses = Deltas { arrivals: &self.arrivals, sequence: base, last, previous: reference * TICKS_PER_REFERENCE };
        let count = statuses.clone().count() as u64;
        let header = FeedbackHeader {
            sender,
            media,
            base_sequence: base as u16,
            // 24 bits, which wrap after twelve days.
            reference_time: (reference & 0xFF_FFFF) as i32,
            feedback_count: self.feedback_count,
        };
        let mut compound = Compound::new(out);
        if !compound.transport_feedback(&header, statuses) {
            return None;
        }
        let length = compound.len();
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.next = base + count;
        Some(length)
    }

    fn restart(&mut self, sequence: u16) {
        self.arrivals.fill(ABSENT);
        self.extender = SeqExtender::default();
        self.next = self.extender.peek(sequence);
        (self.waiting, self.waiting_since) = (0, None);
    }

    /// Clears the places of the numbers between the old and the new highest; what was not reported by now is dropped.
    fn advance(&mut self, highest: u64, newest: u64) {
        for sequence in highest + 1..=newest {
            self.set_arrival(sequence, ABSENT);
        }
        self.next = self.next.max((newest + 1).saturating_sub(WINDOW));
    }

    fn arrival(&self, sequence: u64) -> u64 {
        arrival(&self.arrivals, sequence)
    }

    fn set_arrival(&mut self, sequence: u64, ticks: u64) {
        if let Some(place) = self.arrivals.get_mut((sequence % WINDOW) as usize) {
            *place = ticks;
        }
    }
}

fn arrival(arrivals: &[u64; WINDOW as usize], sequence: u64) -> u64 {
    arrivals.get((sequence % WINDOW) as usize).copied().unwrap_or(ABSENT)
}

/// The statuses of a range; ends early where a delta does not fit 16 bits (8 s), which the next feedback then starts with.
#[derive(Clone)]
struct Deltas<'a> {
    arrivals: &'a [u64; WINDOW as usize],
    sequence: u64,
    last: u64,
    /// Ticks of the arrival before.
    previous: u64,
}

impl Iterator for Deltas<'_> {
    type Item = Option<i16>;

    fn next(&mut self) -> Option<Option<i16>> {
        if self.sequence > self.last {
            return None;
        }
        let ticks = arrival(self.arrivals, self.sequence);
        if ticks == ABSENT {
            self.sequence += 1;
            return Some(None);
        }
        let Ok(delta) = i16::try_from(ticks as i64 - self.previous as i64) else {
            self.sequence = self.last + 1;
            return None;
        };
        self.previous = ticks;
        self.sequence += 1;
        Some(Some(delta))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
    use rtc_shared::marshal::Unmarshal;

    use super::*;
    use crate::media::rtcp::{Rtcp, packets};

    const OUT: usize = 1_200;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Sequence numbers and arrivals in microseconds since the reference epoch, as our reader has them.
    fn read_own(packet: &[u8]) -> Vec<(u16, Option<i64>)> {
        let mut all = packets(packet);
        let Some(Ok(Rtcp::TransportFeedback(feedback))) = all.next() else { panic!("one feedback") };
        assert!(all.next().is_none());
        assert_eq!((feedback.header.sender, feedback.header.media), (1, 2));
        let mut at = i64::from(feedback.header.reference_time) * 64_000;
        let arrival = |delta: i16| {
            at += i64::from(delta) * 250;
            at
        };
        let mut arrival = arrival;
        feedback.statuses().map(|(sequence, delta)| (sequence, delta.map(&mut arrival))).collect()
    }

    /// The same as rtc-rtcp has them.
    fn read_other(packet: &[u8]) -> Vec<(u16, Option<i64>)> {
        let feedback = TransportLayerCc::unmarshal(&mut &packet[..]).unwrap();
        let symbols = feedback.packet_chunks.iter().flat_map(|chunk| match chunk {
            PacketStatusChunk::RunLengthChunk(run) => vec![run.packet_status_symbol; usize::from(run.run_length)],
            PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
        });
        let mut at = i64::from(feedback.reference_time) * 64_000;
        let mut deltas = feedback.recv_deltas.iter();
        let mut sequence = feedback.base_sequence_number;
        symbols
            .take(usize::from(feedback.packet_status_count))
            .map(|symbol| {
                let arrival = (symbol != SymbolTypeTcc::PacketNotReceived).then(|| {
                    at += deltas.next().unwrap().delta;
                    at
                });
                sequence = sequence.wrapping_add(1);
                (sequence.wrapping_sub(1), arrival)
            })
            .collect()
    }

    fn poll(recorder: &mut TwccRecorder, now: Instant) -> Option<Vec<(u16, Option<i64>)>> {
        let mut out = [0; OUT];
        let length = recorder.poll_feedback(now, &mut out, 1, 2)?;
        let own = read_own(&out[..length]);
        assert_eq!(own, read_other(&out[..length]));
        Some(own)
    }

    #[test]
    fn reports_arrivals_losses_and_the_wrap() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        assert_eq!(recorder.next_deadline(), None);
        for (sequence, at) in [(65_534, 0), (65_535, 10), (2, 30), (1, 31), (3, 95)] {
            recorder.on_packet(sequence, t0 + ms(at));
        }
        assert_eq!(recorder.next_deadline(), Some(t0 + ms(100)));
        assert_eq!(poll(&mut recorder, t0 + ms(99)), None);
        let feedback = poll(&mut recorder, t0 + ms(100)).unwrap();
        assert_eq!(
            feedback,
            [(65_534, Some(0)), (65_535, Some(10_000)), (0, None), (1, Some(31_000)), (2, Some(30_000)), (3, Some(95_000))],
            "a negative and a large delta among them"
        );
        assert_eq!(recorder.next_deadline(), None);
        assert_eq!(poll(&mut recorder, t0 + ms(500)), None);
    }

    #[test]
    fn busy_streams_report_twice_as_often() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        for sequence in 0..16 {
            recorder.on_packet(sequence, t0);
        }
        assert_eq!(recorder.next_deadline(), Some(t0 + ms(50)));
        assert_eq!(poll(&mut recorder, t0 + ms(50)).unwrap().len(), 16);
    }

    #[test]
    fn a_late_packet_is_reported_again_with_its_neighbours_and_a_duplicate_is_not() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        for sequence in [10, 11, 13, 14] {
            recorder.on_packet(sequence, t0);
        }
        poll(&mut recorder, t0 + ms(100)).unwrap();
        recorder.on_packet(12, t0 + ms(120));
        recorder.on_packet(14, t0 + ms(121));
        let feedback = poll(&mut recorder, t0 + ms(220)).unwrap();
        assert_eq!(feedback, [(12, Some(120_000)), (13, Some(0)), (14, Some(0))]);
        recorder.on_packet(12, t0 + ms(300));
        assert_eq!(recorder.next_deadline(), None, "duplicates bring nothing");
    }

    #[test]
    fn counts_feedback_packets_and_splits_what_does_not_fit() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        for sequence in 0..40 {
            recorder.on_packet(sequence, t0 + ms(100) * u32::from(sequence));
        }
        let (mut seen, mut count) = (Vec::new(), 0);
        let mut out = [0; 48];
        while let Some(length) = recorder.poll_feedback(t0 + ms(5_000), &mut out, 1, 2) {
            let Some(Ok(Rtcp::TransportFeedback(feedback))) = packets(&out[..length]).next() else { panic!("feedback") };
            assert_eq!(feedback.header.feedback_count, count);
            count += 1;
            seen.extend(read_own(&out[..length]));
        }
        let expected: Vec<_> = (0..40).map(|n: u16| (n, Some(i64::from(n) * 100_000))).collect();
        assert_eq!(seen, expected);
        assert!(count > 3);
        assert_eq!(recorder.next_deadline(), None);
    }

    #[test]
    fn a_pause_longer_than_a_delta_starts_a_new_feedback() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        recorder.on_packet(1, t0);
        recorder.on_packet(2, t0 + ms(20_000));
        assert_eq!(poll(&mut recorder, t0 + ms(20_001)).unwrap(), [(1, Some(0))]);
        assert_eq!(poll(&mut recorder, t0 + ms(20_001)).unwrap(), [(2, Some(20_000_000))]);
        assert_eq!(poll(&mut recorder, t0 + ms(20_001)), None);
    }

    #[test]
    fn a_jump_forward_or_back_starts_anew() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        recorder.on_packet(1, t0);
        recorder.on_packet(30_000, t0 + ms(10));
        assert_eq!(poll(&mut recorder, t0 + ms(110)).unwrap(), [(30_000, Some(10_000))]);
        recorder.on_packet(20_000, t0 + ms(120));
        assert_eq!(recorder.next_deadline(), None, "one is a stray");
        recorder.on_packet(20_001, t0 + ms(120));
        assert_eq!(poll(&mut recorder, t0 + ms(220)).unwrap(), [(20_001, Some(120_000))]);
    }

    #[test]
    fn a_flood_between_polls_keeps_the_newest_window() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        for sequence in 0..5_000 {
            recorder.on_packet(sequence, t0);
        }
        let mut seen = Vec::new();
        while let Some(feedback) = poll(&mut recorder, t0 + ms(50)) {
            seen.extend(feedback.into_iter().map(|(sequence, _)| sequence));
        }
        assert_eq!(seen, (5_000 - 1_024..5_000).collect::<Vec<u16>>());
    }

    #[test]
    fn a_long_loss_still_reports_what_came_after() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        recorder.on_packet(0, t0);
        poll(&mut recorder, t0 + ms(100)).unwrap();
        recorder.on_packet(1_000, t0 + ms(200));
        let feedback = poll(&mut recorder, t0 + ms(300)).unwrap();
        assert_eq!(feedback.last(), Some(&(1_000, Some(200_000))));
        assert!(feedback.len() > 200);
        assert_eq!(poll(&mut recorder, t0 + ms(300)), None);
    }

    #[test]
    fn too_small_a_buffer_does_not_keep_the_caller_awake() {
        let t0 = Instant::now();
        let mut recorder = TwccRecorder::default();
        recorder.on_packet(0, t0);
        assert_eq!(recorder.poll_feedback(t0 + ms(100), &mut [0; 12], 1, 2), None);
        assert_eq!(recorder.next_deadline(), None);
        recorder.on_packet(1, t0 + ms(200));
        let mut out = [0; MIN_FEEDBACK_LEN];
        assert!(recorder.poll_feedback(t0 + ms(300), &mut out, 1, 2).is_some());
    }

    proptest! {
        /// Whatever arrives in whatever order, the last word on each packet is its arrival or its loss.
        #[test]
        fn every_arrival_is_reported_to_a_quarter_millisecond(
            first: u16,
            steps in prop::collection::vec((0_u16..6, 0_u64..40_000, prop::bool::weighted(0.1)), 1..400),
        ) {
            let t0 = Instant::now();
            let mut recorder = TwccRecorder::default();
            let (mut sequence, mut at) = (first, 0);
            let mut sent: BTreeMap<u16, i64> = BTreeMap::new();
            let mut reported: BTreeMap<u16, Option<i64>> = BTreeMap::new();
            for (step, micros, late) in steps {
                at += micros;
                sequence = sequence.wrapping_add(step);
                let number = if late && sent.len() > 20 { sequence.wrapping_sub(9) } else { sequence };
                let now = t0 + Duration::from_micros(at);
                recorder.on_packet(number, now);
                sent.entry(number).or_insert(at as i64 / 250 * 250);
                while let Some(feedback) = poll(&mut recorder, now) {
                    reported.extend(feedback);
                }
            }
            while let Some(feedback) = poll(&mut recorder, t0 + Duration::from_micros(at) + INTERVAL) {
                reported.extend(feedback);
            }
            // Arrivals count from the first packet, which came after the first step.
            let epoch = sent.values().copied().min().unwrap_or(0);
            for (number, at) in &sent {
                let arrival = reported.get(number).copied().flatten();
                prop_assert!(arrival.is_some_and(|arrival| (arrival - (at - epoch)).abs() <= 250), "{} {:?} {}", number, arrival, at);
            }
            for (number, arrival) in reported {
                prop_assert_eq!(arrival.is_some(), sent.contains_key(&number));
            }
        }

        /// A hostile sender may number as it likes: polling ends, and every feedback is well-formed.
        #[test]
        fn any_numbering_is_survived(
            steps in prop::collection::vec((prop_oneof![3 => 0_u16..4, 1 => 65_000_u16..=65_535, 1 => any::<u16>()], 0_u64..3_000), 1..400),
            length in 0_usize..200,
        ) {
            let t0 = Instant::now();
            let mut recorder = TwccRecorder::default();
            let (mut sequence, mut now, mut out) = (0_u16, t0, vec![0; length]);
            for (step, millis) in steps {
                sequence = sequence.wrapping_add(step);
                now += ms(millis);
                recorder.on_packet(sequence, now);
                let mut polls = 0;
                while let Some(length) = recorder.poll_feedback(now, &mut out, 1, 2) {
                    prop_assert!(read_own(&out[..length]).iter().any(|(_, arrival)| arrival.is_some()));
                    polls += 1;
                    prop_assert!(polls <= WINDOW);
                }
                prop_assert!(recorder.next_deadline().is_none_or(|due| due > now));
            }
        }
    }
}
