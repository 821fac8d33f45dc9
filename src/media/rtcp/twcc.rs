//! Transport-wide congestion control feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1.

use std::fmt;

use super::read::{RtcpError, Scan};
use super::write::Pen;

/// A packet did not arrive.
const NOT_RECEIVED: u16 = 0;
/// It arrived, and its delta takes one byte.
const SMALL_DELTA: u16 = 1;
/// It arrived, and its delta takes two bytes.
const LARGE_DELTA: u16 = 2;

/// Longest run of one chunk (13 bits).
const MAX_RUN: usize = 0x1FFF;
/// Symbols of a status vector chunk with one bit each.
const ONE_BIT_SYMBOLS: usize = 14;
/// Symbols of a status vector chunk with two bits each.
const TWO_BIT_SYMBOLS: usize = 7;

/// The fixed fields of a feedback packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedbackHeader {
    /// Who reports.
    pub sender: u32,
    /// Any stream of the transport reported on.
    pub media: u32,
    /// Transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// Time the first delta counts from, in 64 ms; signed 24 bits on the wire, wraps.
    pub reference_time: i32,
    /// Counts feedback packets, so that a lost one shows; wraps.
    pub feedback_count: u8,
}

/// A feedback packet whose chunks and deltas have been checked.
#[derive(Clone, Copy)]
pub struct TransportFeedback<'a> {
    /// The fixed fields.
    pub header: FeedbackHeader,
    /// How many packets it reports on.
    pub status_count: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl fmt::Debug for TransportFeedback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportFeedback(…)")
    }
}

impl<'a> TransportFeedback<'a> {
    /// Checks every chunk and the room for every delta; touches each run once, whatever its length.
    pub(super) fn read(body: &'a [u8], most_statuses: u16) -> Result<Self, RtcpError> {
        let mut scan = Scan(body);
        let (sender, media) = (scan.u32()?, scan.u32()?);
        let (base_sequence, status_count) = (scan.u16()?, scan.u16()?);
        let [a, b, c, feedback_count] = scan.u32()?.to_be_bytes();
        let reference_time = i32::from_be_bytes([a, b, c, 0]) >> 8;
        if status_count == 0 {
            return Err(RtcpError::Count);
        }
        if status_count > most_statuses {
            return Err(RtcpError::TooMany);
        }
        let start = scan.0;
        let (mut left, mut delta_bytes) = (status_count, 0_usize);
        while left > 0 {
            let chunk = Chunk(scan.u16()?);
            let covered = chunk.covers(left)?;
            delta_bytes += chunk.delta_bytes(covered)?;
            left -= covered;
        }
        let chunks = start.get(..start.len() - scan.0.len()).ok_or(RtcpError::Truncated)?;
        let deltas = scan.0.get(..delta_bytes).ok_or(RtcpError::Count)?;
        let header = FeedbackHeader { sender, media, base_sequence, reference_time, feedback_count };
        Ok(Self { header, status_count, chunks, deltas })
    }

    /// Each reported sequence number with its arrival: 250 µs units since the previous arrival of this packet (the
    /// first: since the reference time), or nothing where it did not arrive.
    #[must_use]
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk(0),
            index: 0,
            left: self.status_count,
            sequence: self.header.base_sequence,
        }
    }
}

/// Iterator over the packet statuses of one feedback.
#[derive(Clone)]
pub struct Statuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
    index: u16,
    left: u16,
    sequence: u16,
}

impl fmt::Debug for Statuses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Statuses(…)")
    }
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.index >= self.chunk.len() {
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            (self.chunk, self.index, self.chunks) = (Chunk(u16::from_be_bytes(*chunk)), 0, rest);
        }
        let delta = match self.chunk.symbol(self.index) {
            SMALL_DELTA => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i16::from(*delta))
            }
            LARGE_DELTA => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                Some(i16::from_be_bytes(*delta))
            }
            _ => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.index += 1;
        Some((sequence, delta))
    }
}

/// A packet status chunk: a run of one symbol, 14 symbols of one bit or 7 of two.
#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    fn is_run(self) -> bool {
        self.0 & 0x8000 == 0
    }

    fn len(self) -> u16 {
        match self.0 >> 14 {
            0 | 1 => self.0 & MAX_RUN as u16,
            2 => ONE_BIT_SYMBOLS as u16,
            _ => TWO_BIT_SYMBOLS as u16,
        }
    }

    /// The symbol at an index below [`len`](Self::len).
    fn symbol(self, index: u16) -> u16 {
        match self.0 >> 14 {
            0 | 1 => self.0 >> 13,
            2 => self.0 >> 13_u16.saturating_sub(index) & 1,
            _ => self.0 >> 12_u16.saturating_sub(2 * index) & 3,
        }
    }

    /// How many of the statuses still to come it describes; a vector may be longer than the rest, a run may not.
    fn covers(self, left: u16) -> Result<u16, RtcpError> {
        let len = self.len();
        if self.is_run() && (len == 0 || len > left) {
            return Err(RtcpError::Status);
        }
        Ok(len.min(left))
    }

    fn delta_bytes(self, covered: u16) -> Result<usize, RtcpError> {
        let cost = |symbol| match symbol {
            NOT_RECEIVED | SMALL_DELTA | LARGE_DELTA => Ok(usize::from(symbol)),
            _ => Err(RtcpError::Status),
        };
        if self.is_run() {
            return Ok(cost(self.symbol(0))? * usize::from(covered));
        }
        (0..covered).map(|index| cost(self.symbol(index))).sum()
    }
}

/// Writes the body of a feedback packet, without padding.
pub(super) fn write(pen: &mut Pen<'_>, header: &FeedbackHeader, statuses: impl Iterator<Item = Option<i16>> + Clone, count: u16) {
    pen.u32(header.sender);
    pen.u32(header.media);
    pen.u16(header.base_sequence);
    pen.u16(count);
    let [_, a, b, c] = header.reference_time.to_be_bytes();
    pen.put(&[a, b, c, header.feedback_count]);
    let mut symbols = statuses.clone().map(symbol);
    // Each round takes at least one symbol away.
    while let Some(first) = symbols.clone().next() {
        let (chunk, covered) = next_chunk(first, &symbols);
        pen.u16(chunk);
        symbols.by_ref().take(covered).for_each(drop);
    }
    for delta in statuses.flatten() {
        match u8::try_from(delta) {
            Ok(small) => pen.put(&[small]),
            Err(_) => pen.put(&delta.to_be_bytes()),
        }
    }
}

/// The chunk that describes most of what comes next, and how many symbols it takes.
fn next_chunk(first: u16, symbols: &(impl Iterator<Item = u16> + Clone)) -> (u16, usize) {
    let run = symbols.clone().take(MAX_RUN).take_while(|symbol| *symbol == first).count();
    let one_bit = symbols.clone().take(ONE_BIT_SYMBOLS).all(|symbol| symbol <= SMALL_DELTA);
    let is_last = symbols.clone().nth(run).is_none();
    let per_vector = if one_bit { ONE_BIT_SYMBOLS } else { TWO_BIT_SYMBOLS };
    if run >= per_vector || is_last {
        return (first << 13 | run as u16, run);
    }
    let bits = ONE_BIT_SYMBOLS / per_vector;
    let shifts = (0..per_vector).map(|index| ONE_BIT_SYMBOLS - bits * (index + 1));
    let vector = symbols.clone().zip(shifts).fold(0, |vector, (symbol, shift)| vector | symbol << shift);
    (if one_bit { 0x8000 } else { 0xC000 } | vector, per_vector)
}

fn symbol(status: Option<i16>) -> u16 {
    match status {
        None => NOT_RECEIVED,
        Some(0..=255) => SMALL_DELTA,
        Some(_) => LARGE_DELTA,
    }
}
