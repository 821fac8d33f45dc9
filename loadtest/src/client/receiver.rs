//! What comes in: streams of others, their gaps, repetitions, freezes; and what is said back of them.
//!
//! Loss, duplicates and delay are told by the stamps in payloads, so that a relay's own numbering cannot hide them;
//! requests for repetition go by the RTP sequence numbers, as a browser's do.

use super::rtcp::{self, Block};
use super::sdp;
use super::shape::Stamp;
use super::stream::Incoming;
use super::{Codec, MediaKind};
use crate::measure::Second;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// SSRCs of a connection; a room of hundreds stays under it.
const MOST_SSRCS: usize = 4_096;
/// Streams of a connection.
const MOST_STREAMS: usize = 2_048;
/// Packets between two transport-wide feedbacks.
const MOST_FEEDBACK: usize = 2_000;
/// How often feedback leaves; browsers take 50 to 250 ms.
const FEEDBACK: Duration = Duration::from_millis(100);
/// Open requests for repetition of one stream.
const MOST_MISSING: usize = 256;
/// A repetition is asked for again after this, and no longer than a second.
const NACK_AGAIN: Duration = Duration::from_millis(100);
const NACK_FOR: Duration = Duration::from_secs(1);
/// Sequence numbers are first asked for after this, in case they are only out of order.
const NACK_FIRST: Duration = Duration::from_millis(5);

/// What the stack knows of an SSRC.
struct Source {
    ssrc: u32,
    /// Highest index: sequence number with its rollover counter.
    highest: u64,
    first: u64,
    packets: u64,
    repeats: bool,
    missing: VecDeque<Missing>,
    last_report: u32,
    last_report_at: Option<Instant>,
    expected_before: u64,
    packets_before: u64,
}

struct Missing {
    index: u64,
    since: Instant,
    asked: Option<Instant>,
}

/// The receiving half of a client.
pub(crate) struct Receiver {
    own_ssrc: u32,
    sources: Vec<Source>,
    pub(crate) streams: Vec<Incoming>,
    feedback: Vec<(u16, u64)>,
    feedback_number: u8,
    next_feedback: Option<Instant>,
    next_report: Option<Instant>,
    next_nack: Option<Instant>,
    epoch: Instant,
    last_ssrc: u32,
}

/// The head of an RTP packet as far as it is needed.
pub(crate) struct Head {
    pub(crate) ssrc: u32,
    sequence: u16,
    pt: u8,
    pub(crate) len: usize,
    transport: Option<u16>,
}

impl Head {
    /// Reads the clear header; `None` for what is no RTP.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<12>()?;
        let mut len = 12 + 4 * usize::from(fixed[0] & 0x0f);
        let mut transport = None;
        if fixed[0] & 0x10 != 0 {
            let words = packet.get(len..)?.first_chunk::<4>()?;
            let end = len + 4 + 4 * usize::from(u16::from_be_bytes([words[2], words[3]]));
            if words[..2] == [0xbe, 0xde] {
                transport = element(packet.get(len + 4..end)?, sdp::TRANSPORT_CC);
            }
            len = end;
        }
        let word = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
        (len <= packet.len()).then_some(Self { ssrc: word, sequence, pt: fixed[1] & 0x7f, len, transport })
    }

    fn repeats(&self) -> bool {
        [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1].iter().any(|codec| codec.rtx_type() == self.pt)
    }
}

/// A two-byte element of a one-byte-header extension (RFC 8285 section 4.2).
fn element(mut bytes: &[u8], wanted: u8) -> Option<u16> {
    while let Some((&head, rest)) = bytes.split_first() {
        if head == 0 {
            bytes = rest;
            continue;
        }
        let (value, next) = rest.split_at_checked(usize::from(head & 0x0f) + 1)?;
        if head >> 4 == wanted {
            return value.first_chunk::<2>().map(|value| u16::from_be_bytes(*value));
        }
        bytes = next;
    }
    None
}

impl Receiver {
    pub(crate) fn new(own_ssrc: u32, now: Instant) -> Self {
        Self {
            own_ssrc,
            sources: Vec::new(),
            streams: Vec::new(),
            feedback: Vec::new(),
            feedback_number: 0,
            next_feedback: None,
            next_report: None,
            next_nack: None,
            epoch: now,
            last_ssrc: 0,
        }
    }

    /// The index under which a packet is sealed; nothing is remembered of it yet.
    pub(crate) fn index(&self, head: &Head) -> u64 {
        self.source(head.ssrc).map_or_else(|| head.sequence.into(), |source| guess(source.highest, head.sequence))
    }

    fn source(&self, ssrc: u32) -> Option<&Source> {
        self.sources.iter().find(|source| source.ssrc == ssrc)
    }

    /// Takes an opened packet; `arrived` is ns of the wall clock by the kernel. Tells whether it was media of somebody.
    pub(crate) fn handle_rtp(&mut self, head: &Head, payload: &[u8], now: Instant, arrived: u64, second: &mut Second) -> bool {
        if let Some(number) = head.transport
            && self.feedback.len() < MOST_FEEDBACK
        {
            self.feedback.push((number, now.saturating_duration_since(self.epoch).as_micros() as u64));
            self.next_feedback.get_or_insert(now + FEEDBACK);
        }
        let at = match self.sources.iter().position(|source| source.ssrc == head.ssrc) {
            Some(at) => at,
            None if self.sources.len() < MOST_SSRCS => {
                self.sources.push(Source::new(head));
                self.next_report.get_or_insert(now + Duration::from_secs(1));
                self.sources.len() - 1
            }
            None => return false,
        };
        self.last_ssrc = head.ssrc;
        let Some(stamp) = Stamp::read(payload) else {
            // Padding and probing carry no stamp; their numbers count all the same.
            self.number(at, head, now);
            return false;
        };
        let Some(stream) = self.stream_of(&stamp) else { return false };
        let jumped = self.number(at, head, now);
        if head.repeats() {
            let original = payload.first_chunk::<2>().map(|original| u16::from_be_bytes(*original));
            let media = self.streams.get(stream).map(|stream| stream.ssrc);
            if let Some((original, source)) = original.zip(self.sources.iter_mut().find(|source| Some(source.ssrc) == media)) {
                let index = guess(source.highest, original);
                source.missing.retain(|missing| missing.index != index);
            }
        }
        let Some(stream) = self.streams.get_mut(stream) else { return false };
        if !head.repeats() {
            stream.ssrc = head.ssrc;
        }
        stream.handle(&stamp, payload.len(), head.repeats(), jumped, now, arrived, second);
        true
    }

    fn stream_of(&mut self, stamp: &Stamp) -> Option<usize> {
        let known = self.streams.iter().position(|stream| stream.source == stamp.source && stream.kind == stamp.kind);
        if known.is_none() && self.streams.len() < MOST_STREAMS {
            self.streams.push(Incoming::new(stamp));
            return Some(self.streams.len() - 1);
        }
        known
    }

    /// Notes a sequence number; `true` when it is not the one after the highest.
    fn number(&mut self, at: usize, head: &Head, now: Instant) -> bool {
        let Some(source) = self.sources.get_mut(at) else { return false };
        let index = guess(source.highest, head.sequence);
        let jumped = index > source.highest + 1;
        source.packets += 1;
        if index > source.highest {
            let wants = !source.repeats && head.pt != sdp::OPUS;
            if wants && jumped && index - source.highest < MOST_MISSING as u64 {
                for index in source.highest + 1..index {
                    if source.missing.len() < MOST_MISSING {
                        source.missing.push_back(Missing { index, since: now, asked: None });
                    }
                }
                self.next_nack.get_or_insert(now + NACK_FIRST);
            }
            source.highest = index;
        } else {
            source.missing.retain(|missing| missing.index != index);
        }
        jumped
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        let times = [self.next_feedback, self.next_report, self.next_nack];
        times.into_iter().flatten().min()
    }

    /// Writes RTCP that is due, as one compound without its seal.
    pub(crate) fn on_time(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.next_feedback.is_some_and(|at| at <= now) {
            self.next_feedback = None;
            let base = self.feedback.first().map_or(0, |first| first.0);
            self.feedback.sort_by_key(|(number, _)| number.wrapping_sub(base) as i16);
            self.feedback.dedup_by_key(|(number, _)| *number);
            rtcp::transport_feedback(out, self.own_ssrc, self.last_ssrc, self.feedback_number, &self.feedback);
            self.feedback_number = self.feedback_number.wrapping_add(1);
            self.feedback.clear();
        }
        if self.next_nack.is_some_and(|at| at <= now) {
            self.nack(now, out);
        }
        if self.next_report.is_some_and(|at| at <= now) {
            self.next_report = Some(now + Duration::from_secs(1));
            let blocks: Vec<Block> =
                self.sources.iter_mut().filter(|source| !source.repeats).map(|source| source.block(now)).collect();
            rtcp::receiver_report(out, self.own_ssrc, &blocks);
        }
    }

    fn nack(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.next_nack = None;
        for source in &mut self.sources {
            source.missing.retain(|missing| now < missing.since + NACK_FOR);
            let mut wanted = Vec::new();
            for missing in &mut source.missing {
                if missing.asked.is_none_or(|asked| asked + NACK_AGAIN <= now) {
                    missing.asked = Some(now);
                    wanted.push(missing.index as u16);
                }
            }
            if !wanted.is_empty() {
                rtcp::nack(out, self.own_ssrc, source.ssrc, &wanted);
            }
            if !source.missing.is_empty() {
                self.next_nack = Some(now + Duration::from_millis(20));
            }
        }
    }

    /// Notes the middle of a sender report's time, for the round trip in reports.
    pub(crate) fn on_sender_report(&mut self, compound: &[u8], now: Instant) {
        if let Some(report) = compound.first_chunk::<16>().filter(|report| report[1] == 200) {
            let ssrc = u32::from_be_bytes([report[4], report[5], report[6], report[7]]);
            if let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
                source.last_report = u32::from_be_bytes([report[10], report[11], report[12], report[13]]);
                source.last_report_at = Some(now);
            }
        }
    }

    /// Requests for key frames that streams want now.
    pub(crate) fn key_frames(&mut self, now: Instant, wall: u64, forced: bool, out: &mut Vec<u8>) {
        for stream in self.streams.iter_mut().filter(|stream| stream.kind == MediaKind::Video) {
            if stream.wants_key_frame(now, wall, forced) {
                rtcp::pli(out, self.own_ssrc, stream.ssrc);
            }
        }
    }

    /// Gives up what is missing too long and looks at the time since the last pictures.
    pub(crate) fn every_second(&mut self, now: Instant, second: &mut Second) {
        self.streams.retain_mut(|stream| stream.every_second(now, second));
    }
}

impl Source {
    fn new(head: &Head) -> Self {
        let index = u64::from(head.sequence);
        Self {
            ssrc: head.ssrc,
            // So that the first packet is the one after the highest; 2^16 below zero is out of reach.
            highest: index.wrapping_sub(1).min(index),
            first: index,
            packets: 0,
            repeats: head.repeats(),
            missing: VecDeque::new(),
            last_report: 0,
            last_report_at: None,
            expected_before: 0,
            packets_before: 0,
        }
    }

    fn block(&mut self, now: Instant) -> Block {
        let expected = self.highest.saturating_sub(self.first) + 1;
        let (in_time, came) = (expected - self.expected_before.min(expected), self.packets - self.packets_before);
        self.expected_before = expected;
        self.packets_before = self.packets;
        let fraction = if in_time > came { ((in_time - came) * 256 / in_time).min(255) as u8 } else { 0 };
        let since = self.last_report_at.map_or(0, |at| (now.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32);
        let lost = expected.saturating_sub(self.packets).min(0x7f_ffff) as u32;
        Block { ssrc: self.ssrc, fraction, lost, highest: self.highest as u32, last_report: self.last_report, since }
    }
}

/// The index nearest to the highest that ends in these 16 bits (RFC 3711 section 3.3.1).
fn guess(highest: u64, sequence: u16) -> u64 {
    let step = i64::from(sequence.wrapping_sub(highest as u16) as i16);
    highest.checked_add_signed(step).unwrap_or_else(|| u64::from(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_crosses_the_wrap_both_ways() {
        assert_eq!(guess(65_535, 0), 65_536);
        assert_eq!(guess(65_536, 65_535), 65_535);
        assert_eq!(guess(10, 65_535), 65_535, "before the first there is nothing");
        assert_eq!(guess(200_000, 3_392), 200_000);
    }

    #[test]
    fn a_header_with_extensions_is_read_to_its_end() {
        let mut packet = vec![0x90, 0x80 | 96, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0xbe, 0xde, 0, 1, 0x31, 0x12, 0x34, 0];
        packet.extend_from_slice(&[1, 2, 3]);

        let head = Head::read(&packet).unwrap();

        assert_eq!((head.ssrc, head.sequence, head.pt, head.len, head.transport), (5, 9, 96, 20, Some(0x1234)));
        assert!((0..20).all(|cut| Head::read(&packet[..cut]).is_none()));
    }
}
