//! What an SCTP packet must be before the SCTP crate sees it, and what the crate may hold of a peer.
//!
//! The peer is authenticated, but may still be hostile or broken. Left alone, the crate panics on an error cause that
//! is longer than its chunk, loses its place in a packet where a chunk is longer than its fields need, makes a new
//! association of every INIT, walks up to 2^31 steps for one FORWARD TSN, remembers stream resets without bound, and
//! takes a message of any length as long as nothing can be delivered.
//!
//! Entry points: [`Guard::check`] per packet in, [`plain_init`] for an INIT, [`Guard::note_sent`] per packet out, [`Guard::note_delivered`].

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
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const SHUTDOWN_COMPLETE: u8 = 14;
const RECONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;

/// Parameters: heartbeat info, outgoing reset request and its response, supported extensions, forward TSN supported.
const HEARTBEAT_INFO: u16 = 1;
const OUTGOING_RESET: u16 = 13;
const RESET_RESPONSE: u16 = 16;
const SUPPORTED_EXTENSIONS: u16 = 0x8008;
const FORWARD_TSN_SUPPORTED: u16 = 0xc000;

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

/// Whether a packet of ours carries part of a message; what opens and closes channels is none (RFC 8832, section 8.1: PPID 50).
pub(super) fn carries_message(packet: &[u8]) -> bool {
    const DCEP: u32 = 50;
    let chunks = split_packet(packet).unwrap_or_default();
    chunks.iter().any(|chunk| chunk.kind == DATA && word(chunk.value, 2) != Some(DCEP))
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

/// A parameter (RFC 9260, section 3.2.1) and what follows it; the last one may lack its padding.
fn split_parameter(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, _) = bytes.split_first_chunk::<4>()?;
    let [t0, t1, l0, l1] = *head;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let value = bytes.get(4..length)?;
    Some((u16::from_be_bytes([t0, t1]), value, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Whether a SACK is exactly as long as its counts say (RFC 9260, section 3.3.4).
fn sack_fits(value: &[u8]) -> bool {
    let Some(counts) = word(value, 2) else { return false };
    let blocks = (counts >> 16) + (counts & 0xffff);
    usize::try_from(blocks).is_ok_and(|blocks| value.len() == 12 + 4 * blocks)
}

/// Whether a HEARTBEAT is its one parameter (RFC 9260, section 3.3.5).
fn heartbeat_fits(value: &[u8]) -> bool {
    split_parameter(value).is_some_and(|(kind, info, _)| kind == HEARTBEAT_INFO && value.len() == 4 + info.len())
}

/// The INIT as the crate is to see it: without parameters, but for what we use of them (RFC 9260, section 3.3.2).
///
/// `None` where the packet is not a whole INIT with its right checksum.
pub(super) fn plain_init(packet: &[u8]) -> Option<Vec<u8>> {
    let chunks = split_packet(packet)?;
    let [Chunk { kind: INIT, value }] = chunks.as_slice() else { return None };
    let mut copy = packet.to_vec();
    seal(&mut copy);
    if copy != packet {
        return None;
    }
    let (fixed, mut parameters) = value.split_at_checked(16)?;
    let mut forward = false;
    while !parameters.is_empty() {
        let (kind, value, rest) = split_parameter(parameters)?;
        parameters = rest;
        forward |= kind == FORWARD_TSN_SUPPORTED || (kind == SUPPORTED_EXTENSIONS && value.contains(&FORWARD_TSN));
    }
    let mut plain = packet.get(..COMMON_HEADER)?.to_vec();
    plain.extend_from_slice(&[INIT, 0, 0, if forward { 28 } else { 20 }]);
    plain.extend_from_slice(fixed);
    if forward {
        let [t0, t1] = SUPPORTED_EXTENSIONS.to_be_bytes();
        plain.extend_from_slice(&[t0, t1, 0, 6, RECONFIG, FORWARD_TSN, 0, 0]);
        // The length of a chunk does not count the padding of its last parameter.
        if let Some(length) = plain.get_mut(COMMON_HEADER + 3) {
            *length = 26;
        }
    }
    seal(&mut plain);
    Some(plain)
}

/// Writes the CRC32c of a packet (RFC 9260, appendix A), bit by bit: only INITs need it.
pub(super) fn seal(packet: &mut [u8]) {
    let Some(field) = packet.get_mut(8..COMMON_HEADER) else { return };
    field.fill(0);
    let mut crc = u32::MAX;
    for byte in packet.iter() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    if let Some(field) = packet.get_mut(8..COMMON_HEADER) {
        field.copy_from_slice(&(!crc).to_le_bytes());
    }
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
        // Data that overtakes the cookie would be read before it can be answered; the peer sends it again.
        let early = !self.established && chunks.first().is_none_or(|chunk| chunk.kind != COOKIE_ECHO);
        if early && chunks.iter().any(|chunk| chunk.kind == DATA) {
            return Verdict::Drop;
        }
        // The crate acts chunk by chunk, so the whole packet is judged before any of it.
        for chunk in &chunks {
            let verdict = self.check_chunk(*chunk);
            if verdict != Verdict::Feed {
                return verdict;
            }
        }
        Verdict::Feed
    }

    fn check_chunk(&mut self, chunk: Chunk<'_>) -> Verdict {
        let length = chunk.value.len();
        let fits = match chunk.kind {
            DATA => return self.check_data(chunk.value),
            RECONFIG => return self.check_reconfig(chunk.value),
            SACK => sack_fits(chunk.value),
            HEARTBEAT => heartbeat_fits(chunk.value),
            ABORT => causes_fit(chunk.value),
            SHUTDOWN => length == 4,
            SHUTDOWN_ACK | SHUTDOWN_COMPLETE => length == 0,
            COOKIE_ECHO => true,
            FORWARD_TSN => length.is_multiple_of(4) && word(chunk.value, 0).is_some_and(|tsn| self.is_near(tsn)),
            // An INIT comes alone; an ERROR is a remark on which the crate would close; the rest is unknown to it, or
            // an answer to what we never send.
            _ => false,
        };
        if fits { Verdict::Feed } else { Verdict::Drop }
    }

    fn is_near(&self, tsn: u32) -> bool {
        ahead(self.acknowledged, tsn) <= MAX_SKIP
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

    /// Takes one or two parameters of the kinds the crate knows (RFC 6525, section 3.1).
    fn check_reconfig(&mut self, value: &[u8]) -> Verdict {
        let mut rest = value;
        for _ in 0..2 {
            let Some((kind, parameter, after)) = split_parameter(rest) else { return Verdict::Drop };
            rest = after;
            let fits = match kind {
                OUTGOING_RESET => parameter.len() >= 12 && parameter.len().is_multiple_of(2),
                RESET_RESPONSE => parameter.len() == 8,
                _ => false,
            };
            if !fits {
                return Verdict::Drop;
            }
            if kind == OUTGOING_RESET && self.is_one_reset_too_many(parameter) {
                return Verdict::Fail;
            }
            if rest.is_empty() {
                return Verdict::Feed;
            }
        }
        Verdict::Drop
    }

    /// Counts the resets asked for (RFC 6525, section 4.1); a repetition has the number of the one before.
    fn is_one_reset_too_many(&mut self, parameter: &[u8]) -> bool {
        let number = word(parameter, 0);
        if self.last_reset != number {
            self.last_reset = number;
            self.resets = self.resets.saturating_add(1);
        }
        self.resets > MAX_RESETS
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

    /// The last TSN we acknowledged.
    #[cfg(test)]
    pub(super) fn last_acknowledged(&self) -> u32 {
        self.acknowledged
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
        let mut guard = Guard { established: true, ..Guard::default() };
        let tiny = (1..100_000).take_while(|tsn| guard.check(&data(*tsn, 1)) == Verdict::Feed).count();
        assert_eq!(tiny, MAX_HELD_CHUNKS);
        let mut guard = Guard { established: true, ..Guard::default() };
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
