//! The bytes of a segment: frames of `magic | length | CRC-32C | entry`, numbers in big-endian order.
//!
//! A segment is only ever appended to. What a crash can leave behind is a torn end; anything else that does not read is
//! somebody's doing.

use super::json::LONGEST_ENTRY;
use super::types::Micros;

/// `CLQ1`, which begins every frame.
pub const MAGIC: [u8; 4] = *b"CLQ1";

/// Length of a frame's head in bytes.
pub const HEAD: usize = 12;

/// Largest segment in bytes, after which the next begins.
pub const LARGEST_SEGMENT: u64 = 64 << 20;

/// The table of CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, RFC 3720 B.4), a byte at a time.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256; no other conversion is const")]
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

/// CRC-32C of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = crc.to_le_bytes();
        CRC_TABLE.get(usize::from(low ^ byte)).map_or(crc, |entry| entry ^ crc >> 8)
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Writes a frame around an entry.
pub fn frame(entry: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(entry.len()).expect("an entry is at most 8 KiB");
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc32c(entry).to_be_bytes());
    out.extend_from_slice(entry);
}

/// The name of the segment that begins with this entry.
#[must_use]
pub fn name(first: u64) -> String {
    format!("seg-{first:020}.log")
}

/// The first entry of a segment by its name.
#[must_use]
pub fn first_of(segment: &str) -> Option<u64> {
    let first = segment.strip_prefix("seg-")?.strip_suffix(".log")?.parse().ok()?;
    (name(first) == segment).then_some(first)
}

/// How the bytes of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole frame.
    Whole,
    /// From here on no frame reads: what an interrupted write leaves behind.
    Torn {
        /// Where the last whole frame ends.
        at: usize,
    },
    /// Here a frame does not read, but a later one does.
    Broken {
        /// Where the last whole frame ends.
        at: usize,
    },
}

/// The entries of a segment up to the first frame that does not read, and how it ends.
#[must_use]
pub fn read(bytes: &[u8]) -> (Vec<&[u8]>, Tail) {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(entry) = first_frame(rest) else {
            let behind = (1..rest.len()).filter(|skip| rest.get(*skip..).is_some_and(|rest| rest.starts_with(&MAGIC)));
            let reads = behind.filter_map(|skip| rest.get(skip..)).any(|rest| first_frame(rest).is_some());
            return (entries, if reads { Tail::Broken { at } } else { Tail::Torn { at } });
        };
        entries.push(entry);
        at += HEAD + entry.len();
    }
    (entries, Tail::Whole)
}

fn first_frame(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= LONGEST_ENTRY)?;
    let (entry, _) = rest.split_at_checked(length)?;
    (crc32c(entry) == u32::from_be_bytes(*crc)).then_some(entry)
}

/// What is known of the segment that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSegment {
    /// Its first entry.
    pub first: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The day it was begun.
    pub day: u64,
}

impl OpenSegment {
    /// A segment that begins now.
    #[must_use]
    pub fn begin(first: u64, now: Micros) -> Self {
        Self { first, bytes: 0, day: now.day() }
    }

    /// Whether the next entry belongs into another segment: this one is full, or its day is over.
    #[must_use]
    pub fn is_over(&self, now: Micros) -> bool {
        self.bytes >= LARGEST_SEGMENT || self.bytes > 0 && now.day() > self.day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283, "the check value of CRC-32C");
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA, "RFC 3720, B.4");
    }

    #[test]
    fn cut_at_every_byte_whole_frames_are_read_and_the_rest_is_torn() {
        let entries: Vec<Vec<u8>> = (1..6_u8).map(|length| vec![length; usize::from(length) * 7]).collect();
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for entry in &entries {
            frame(entry, &mut bytes);
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end > 0 && **end <= cut).count();
            let (read, tail) = read(&bytes[..cut]);
            assert_eq!(read, entries[..whole], "{cut}");
            let expected = if ends.contains(&cut) { Tail::Whole } else { Tail::Torn { at: ends[whole] } };
            assert_eq!(tail, expected, "{cut}");
        }
    }

    #[test]
    fn a_flipped_byte_is_broken_unless_nothing_follows() {
        let mut bytes = Vec::new();
        frame(b"one", &mut bytes);
        let second = bytes.len();
        frame(b"two", &mut bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let (_, tail) = read(&changed);
            let expected = if at < second { Tail::Broken { at: 0 } } else { Tail::Torn { at: second } };
            assert_eq!(tail, expected, "{at}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_entries() {
        assert_eq!(name(42), "seg-00000000000000000042.log");
        assert_eq!(first_of(&name(42)), Some(42));
        assert_eq!(first_of("seg-42.log"), None);
        assert!(name(9) < name(10));
    }
}
