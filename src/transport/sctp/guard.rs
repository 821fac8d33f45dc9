//! What an SCTP packet must be before the SCTP crate sees it, and what the crate may hold of a peer.
//!
//! The peer is authenticated, but may still be hostile or broken. Left alone, the crate panics on an error cause that
//! is longer than its chunk, makes a new association of every INIT, walks up to 2^31 steps for one FORWARD TSN,
//! remembers stream resets without bound, and takes a message of any length as long as nothing can be delivered.
//!
//! Entry points: [`Guard::check`] per packet in, [`Guard::note_sent`] per packet out, [`Guard::note_delivered`].

/// Bytes of the common header (RFC 9260, section 3.1).
const COMMON_HEADER: usize = 12;
/// Smallest and largest packet read: the crate's peers keep to a path MTU, and DTLS carries at most 2 KiB here.
const MAX_PACKET: usize = 2048;
/// Receive window offered: two of the largest messages, and enough for 10 Mbit/s over 100 ms.
pub(super) const WINDOW: u32 = 128 * 1024;
/// Bytes held beyond the window before the peer is taken to ignore it: the rest of one largest message.
const MAX_OVERRUN: u32 = 128 * 1024;
/// DATA chunks held undelivered; a chunk costs some 600 bytes whatever its payload, so this bounds tiny fragments.
const MAX_HELD_CHUNKS: usize = 4096;
/// How far a FORWARD TSN may skip: far more than fits into any window.
const MAX_SKIP: u32 = 1 << 16;
/// Stream resets taken in one association; a client resets a handful.
const MAX_RESETS: u16 = 256;

const DATA: u8 = 0;
const INIT: u8 = 1;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const ERROR: u8 = 9;
const RECONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The crate may have it.
    Feed,
    /// It is an INIT, alone.
    Init,
    /// It is malformed or of no use.
    Drop,
    /// The peer does not keep to the bounds; the association ends.
    Fail,
}

#[derive(Clone, Copy)]
struct Chunk<'a> {
    kind: u8,
    value: &'a [u8],
}

fn split_chunk(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let (head, _) = bytes.split_first_chunk::<4>()?;
    let [kind, _flags, l0, l1] = *head;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let value = bytes.get(4..length)?;
    Some((Chunk { kind, value }, bytes.get(length.next_multiple_of(4)..)?))
}

/// The chunks of a packet, if it is made of whole, padded chunks and nothing else.
fn split_packet(packet: &[u8]) -> Option<Vec<Chunk<'_>>> {
    if packet.len() > MAX_PACKET {
        return None;
    }
    let mut rest = packet.get(COMMON_HEADER..)?;
    let mut chunks = Vec::with_capacity(4);
    // Every chunk takes four bytes or more, so MAX_PACKET bounds the loop.
    while !rest.is_empty() {
        let (chunk, after) = split_chunk(rest)?;
        rest = after;
        chunks.push(chunk);
    }
    (!chunks.is_empty()).then_some(chunks)
}

fn word(value: &[u8], index: usize) -> Option<u32> {
    value.as_chunks::<4>().0.get(index).copied().map(u32::from_be_bytes)
}

/// How far `to` is ahead of `from`, where it is (RFC 1982).
fn ahead(from: u32, to: u32) -> u32 {
    let distance = to.wrapping_sub(from);
    if distance < 1 << 31 { distance } else { 0 }
}

/// Whether the error causes of an ABORT fill it exactly (RFC 9260, section 3.3.10).
fn causes_fit(mut value: &[u8]) -> bool {
    while !value.is_empty() {
        let Some((head, _)) = value.split_first_chunk::<4>() else { return false };
        let [_, _, l0, l1] = *head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        // The crate takes the next cause where this one ends, without padding.
        match value.get(length..) {
            Some(rest) if length >= 4 => value = rest,
            _ => return false,
        }
    }
    true
}

/// What is known of one association from its packets.
#[derive(Debug, Default)]
pub(super) struct Guard {
    established: bool,
    /// The last TSN we acknowledged.
    acknowledged: u32,
    held_bytes: u32,
    held_chunks: usize,
    last_reset: Option<u32>,
    resets: u16,
}

impl Guard {
    /// Judges a packet of the peer.
    pub(super) fn check(&mut self, packet: &[u8]) -> Verdict {
        let Some(chunks) = split_packet(packet) else { return Verdict::Drop };
        if let [Chunk { kind: INIT, value }] = chunks.as_slice() {
            return if self.established || value.len() < 16 { Verdict::Drop } else { Verdict::Init };
        }
        for chunk in &chunks {
            let verdict = self.check_chunk(*chunk);
            if verdict != Verdict::Feed {
                return verdict;
            }
        }
        Verdict::Feed
    }

    fn check_chunk(&mut self, chunk: Chunk<'_>) -> Verdict {
        match chunk.kind {
            // An INIT comes alone; an ERROR is a remark (RFC 9260, section 3.3.10), on which the crate would close.
            INIT | ERROR => Verdict::Drop,
            ABORT if !causes_fit(chunk.value) => Verdict::Drop,
            DATA => self.check_data(chunk.value),
            FORWARD_TSN => match word(chunk.value, 0) {
                Some(tsn) if ahead(self.acknowledged, tsn) <= MAX_SKIP => Verdict::Feed,
                _ => Verdict::Drop,
            },
            RECONFIG => self.check_reset(chunk.value),
            _ => Verdict::Feed,
        }
    }

    fn check_data(&mut self, value: &[u8]) -> Verdict {
        let Some(tsn) = word(value, 0) else { return Verdict::Drop };
        let length = value.len().saturating_sub(12);
        if length == 0 {
            // No user data (RFC 9260, section 3.3.10.9): it would cost memory and no window.
            return Verdict::Drop;
        }
        if ahead(self.acknowledged, tsn) > 0 {
            self.held_bytes = self.held_bytes.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
            self.held_chunks += 1;
        }
        let over = self.held_bytes > WINDOW + MAX_OVERRUN || self.held_chunks > MAX_HELD_CHUNKS;
        if over { Verdict::Fail } else { Verdict::Feed }
    }

    /// Counts the outgoing resets asked for (RFC 6525, section 4.1); a repetition has the number of the one before.
    fn check_reset(&mut self, value: &[u8]) -> Verdict {
        if value.get(..2) != Some(&[0, 13]) {
            return Verdict::Feed;
        }
        let number = word(value, 1);
        if self.last_reset != number {
            self.last_reset = number;
            self.resets += 1;
        }
        if self.resets > MAX_RESETS { Verdict::Fail } else { Verdict::Feed }
    }

    /// The peer's first TSN, from its INIT; a fresh association begins.
    pub(super) fn begin(&mut self, init: &[u8]) {
        let first = init.get(COMMON_HEADER + 4..).and_then(|value| word(value, 3)).unwrap_or(0);
        *self = Self { acknowledged: first.wrapping_sub(1), ..Self::default() };
    }

    /// The association is established: no further INIT is answered.
    pub(super) fn establish(&mut self) {
        self.established = true;
    }

    /// Reads our own acknowledgement in a packet we send: what we hold is the window less what it offers.
    pub(super) fn note_sent(&mut self, packet: &[u8]) {
        let chunks = split_packet(packet).unwrap_or_default();
        let Some(sack) = chunks.iter().find(|chunk| chunk.kind == SACK) else { return };
        let (Some(tsn), Some(window)) = (word(sack.value, 0), word(sack.value, 1)) else { return };
        self.acknowledged = tsn;
        if window > 0 {
            self.held_bytes = WINDOW.saturating_sub(window);
        }
        if self.held_bytes == 0 {
            self.held_chunks = 0;
        }
    }

    /// A message left the crate.
    pub(super) fn note_delivered(&mut self, bytes: usize, chunks: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.held_chunks = self.held_chunks.saturating_sub(chunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; COMMON_HEADER];
        packet.extend([kind, 0]);
        packet.extend((4 + value.len() as u16).to_be_bytes());
        packet.extend(value);
        packet.resize(packet.len().next_multiple_of(4), 0);
        packet
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn an_abort_must_hold_its_causes() {
        let mut guard = Guard::default();
        assert_eq!(guard.check(&packet(ABORT, &[0, 12, 0, 4])), Verdict::Feed);
        assert_eq!(guard.check(&packet(ABORT, &[])), Verdict::Feed);
        for bad in [&[0, 12, 0, 200][..], &[0, 12, 0, 3], &[0, 12, 0, 4, 0], &[0, 12]] {
            assert_eq!(guard.check(&packet(ABORT, bad)), Verdict::Drop, "{bad:?}");
        }
    }

    #[test]
    fn a_forward_tsn_skips_only_near() {
        let mut guard = Guard { acknowledged: u32::MAX - 5, ..Guard::default() };
        assert_eq!(guard.check(&packet(FORWARD_TSN, &words(&[100]))), Verdict::Feed);
        assert_eq!(guard.check(&packet(FORWARD_TSN, &words(&[1 << 20]))), Verdict::Drop);
        assert_eq!(guard.check(&packet(FORWARD_TSN, &[0])), Verdict::Drop);
    }

    #[test]
    fn resets_are_counted_once_each() {
        let mut guard = Guard::default();
        let reset = |number: u32| packet(RECONFIG, &[&[0, 13, 0, 18][..], &words(&[number, 0, 9]), &[0, 100]].concat());
        for _ in 0..1000 {
            assert_eq!(guard.check(&reset(7)), Verdict::Feed);
        }
        let taken = (8..2000).take_while(|number| guard.check(&reset(*number)) == Verdict::Feed).count();
        assert_eq!(taken, usize::from(MAX_RESETS) - 1);
    }

    #[test]
    fn what_is_held_is_bounded_in_bytes_and_in_chunks() {
        let data = |tsn: u32, length: usize| packet(DATA, &[words(&[tsn, 0, 53]), vec![1; length]].concat());
        let mut guard = Guard::default();
        let tiny = (1..100_000).take_while(|tsn| guard.check(&data(*tsn, 1)) == Verdict::Feed).count();
        assert_eq!(tiny, MAX_HELD_CHUNKS);
        let mut guard = Guard::default();
        let large = (1..100_000).take_while(|tsn| guard.check(&data(*tsn, 1024)) == Verdict::Feed).count();
        assert_eq!(large, 256);
        guard.note_sent(&packet(SACK, &words(&[300, WINDOW, 0])));
        assert_eq!(guard.check(&data(301, 1024)), Verdict::Feed, "all delivered");
        assert_eq!(guard.check(&data(301, 0)), Verdict::Drop);
    }

    #[test]
    fn no_length_panics() {
        let mut guard = Guard::default();
        for kind in 0..=255 {
            let whole = packet(kind, &[9; 64]);
            for length in 0..whole.len() {
                assert_eq!(guard.check(&whole[..length]), Verdict::Drop);
                guard.note_sent(&whole[..length]);
                guard.begin(&whole[..length]);
            }
        }
    }
}
