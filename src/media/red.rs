//! Redundant sound (RFC 2198): reading its blocks, and writing earlier packets in front of one.
//!
//! No sound is read. Odd input is no blocks. Entry points: [`primary`] and [`earlier`] for what came in, [`write_red`] for what goes
//! out, [`Redundancy`] for when a receiver's line needs it.

use crate::model::Instant;
use std::time::Duration;

/// Blocks in one packet at most: browsers send one or two earlier ones and the packet itself.
const MAX_BLOCKS: usize = 8;

/// Bytes of the header of an earlier block; the last block's has one (RFC 2198 section 3).
const BLOCK_HEADER: usize = 4;

/// An earlier packet's length has 10 bits.
const MAX_BLOCK: usize = 0x3ff;

/// How far back an earlier packet may lie in units of the clock: 14 bits.
const MAX_OFFSET: u32 = 0x3fff;

/// Longest payload written: what a path of 1,280 bytes carries with every header in front of it.
const MAX_PAYLOAD: usize = 1_150;

/// An earlier packet inside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// How much earlier its timestamp is.
    pub offset: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Reads the blocks: the earlier ones into `found`, oldest first, and how many; then the packet's own payload.
fn blocks<'a>(payload: &'a [u8], found: &mut [Block<'a>; MAX_BLOCKS]) -> Option<(usize, &'a [u8])> {
    let mut headers = [(0u32, 0usize); MAX_BLOCKS];
    let mut count = 0;
    let mut rest = payload;
    loop {
        let (&first, tail) = rest.split_first()?;
        if first & 0x80 == 0 {
            rest = tail;
            break;
        }
        let ([_, high, middle, low], tail) = rest.split_first_chunk::<BLOCK_HEADER>()?;
        let offset = u32::from(*high) << 6 | u32::from(*middle) >> 2;
        let len = usize::from(*middle & 0x03) << 8 | usize::from(*low);
        *headers.get_mut(count)? = (offset, len);
        count += 1;
        rest = tail;
    }
    for ((offset, len), slot) in headers.into_iter().take(count).zip(found.iter_mut()) {
        let (payload, tail) = rest.split_at_checked(len)?;
        *slot = Block { offset, payload };
        rest = tail;
    }
    Some((count, rest))
}

/// The packet's own payload; `None` where the blocks do not fit.
#[must_use]
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let mut found = [Block { offset: 0, payload: &[] }; MAX_BLOCKS];
    blocks(payload, &mut found).map(|(_, own)| own)
}

/// The earlier packet that stands `back` packets before this one, where it is in it. Earlier packets follow one another without
/// a gap, because a packet that was never sent takes no number.
#[must_use]
pub fn earlier(payload: &[u8], back: usize) -> Option<Block<'_>> {
    let mut found = [Block { offset: 0, payload: &[] }; MAX_BLOCKS];
    let (count, _) = blocks(payload, &mut found)?;
    let block = *found.get(count.checked_sub(back)?)?;
    // An empty block stands for a packet there was none of.
    (back > 0 && !block.payload.is_empty() && block.offset > 0).then_some(block)
}

/// Writes the payload type of every block anew: it is the receiver's own number for Opus.
pub fn set_block_type(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    for _ in 0..=MAX_BLOCKS {
        let Some(first) = payload.get_mut(at) else { return };
        *first = (*first & 0x80) | (payload_type & 0x7f);
        if *first & 0x80 == 0 {
            return;
        }
        at += BLOCK_HEADER;
    }
}

/// Writes a packet with earlier ones, oldest first, in front of it; the length, or `None` where one of them cannot be said or
/// there is no room.
pub fn write_red(out: &mut [u8], payload_type: u8, earlier: &[Block<'_>], own: &[u8]) -> Option<usize> {
    let len = earlier.iter().map(|block| BLOCK_HEADER + block.payload.len()).sum::<usize>() + 1 + own.len();
    if len > MAX_PAYLOAD || earlier.len() > MAX_BLOCKS {
        return None;
    }
    let (mut rest, _) = out.split_at_mut_checked(len)?;
    for Block { offset, payload } in earlier {
        if *offset > MAX_OFFSET || payload.len() > MAX_BLOCK {
            return None;
        }
        let (header, tail) = rest.split_first_chunk_mut::<BLOCK_HEADER>()?;
        *header = [
            0x80 | payload_type,
            (offset >> 6) as u8,
            ((offset & 0x3f) as u8) << 2 | (payload.len() >> 8) as u8,
            payload.len() as u8,
        ];
        rest = tail;
    }
    let (last, mut rest) = rest.split_first_mut()?;
    *last = payload_type & 0x7f;
    for payload in earlier.iter().map(|block| block.payload).chain(std::iter::once(own)) {
        let (place, tail) = rest.split_at_mut_checked(payload.len())?;
        place.copy_from_slice(payload);
        rest = tail;
    }
    Some(len)
}

/// Loss from which one earlier packet goes out with each: speech with this much concealed is heard to be so.
const LOSSY: f32 = 0.02;
/// Loss from which it is two: bursts are longer then.
const VERY_LOSSY: f32 = 0.10;
/// Loss below which a line counts as good again.
const GOOD: f32 = 0.01;
/// How long it must be good: longer than the pause between two bursts on a radio link.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// How many earlier packets a receiver's line needs, from what its reports say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redundancy {
    loss: f32,
    good_since: Option<Instant>,
    generations: u8,
}

impl Redundancy {
    /// A receiver report came with this share of packets lost, 0 to 1.
    pub fn on_loss(&mut self, fraction: f32, now: Instant) {
        // A worse report counts at once for half: reports are seconds apart.
        self.loss = (self.loss + fraction.clamp(0.0, 1.0)) / 2.0;
        if self.loss >= GOOD {
            self.good_since = None;
        }
        if self.loss >= VERY_LOSSY {
            self.generations = 2;
        } else if self.loss >= LOSSY {
            self.generations = self.generations.max(1);
        } else if self.loss < GOOD && now.saturating_duration_since(*self.good_since.get_or_insert(now)) >= GOOD_FOR {
            self.generations = 0;
        }
    }

    /// How many earlier packets to send with each: none, one or two.
    #[must_use]
    pub fn generations(&self) -> u8 {
        self.generations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Payload type 111; blocks of 2 and 3 bytes, 1,920 and 960 earlier; the packet's own 4.
    const RED: [u8; 18] = [0xef, 30, 0, 2, 0xef, 15, 0, 3, 0x6f, 1, 1, 2, 2, 2, 3, 3, 3, 3];

    #[test]
    fn blocks_are_found_by_their_distance() {
        assert_eq!(primary(&RED), Some(&[3, 3, 3, 3][..]));
        assert_eq!(earlier(&RED, 1), Some(Block { offset: 960, payload: &[2, 2, 2] }));
        assert_eq!(earlier(&RED, 2), Some(Block { offset: 1_920, payload: &[1, 1] }));
        assert_eq!((earlier(&RED, 3), earlier(&RED, 0)), (None, None));
        assert_eq!((primary(&[0x6f, 9]), earlier(&[0x6f, 9], 1)), (Some(&[9][..]), None));
    }

    #[test]
    fn what_is_written_is_what_a_browser_writes() {
        let mut out = [0; 40];
        let blocks = [Block { offset: 1_920, payload: &[1, 1] }, Block { offset: 960, payload: &[2, 2, 2] }];
        let len = write_red(&mut out, 111, &blocks, &[3; 4]).unwrap();
        assert_eq!(out[..len], RED);
        assert_eq!(write_red(&mut out[..17], 111, &blocks, &[3; 4]), None, "no room");
        assert_eq!(write_red(&mut out, 111, &[Block { offset: 1 << 14, payload: &[1] }], &[3]), None, "too long ago");
        assert_eq!(write_red(&mut [0; 4_000], 111, &[Block { offset: 1, payload: &[0; 1_024] }], &[3]), None, "too long");
        assert_eq!(write_red(&mut [0; 4_000], 111, &[Block { offset: 1, payload: &[0; 900] }], &[3; 300]), None, "for a path");
    }

    #[test]
    fn block_types_are_replaced_in_place() {
        let mut packet = RED;
        set_block_type(&mut packet, 96);
        assert_eq!((packet[0], packet[4], packet[8], packet[9]), (0xe0, 0xe0, 0x60, 1));
    }

    #[test]
    fn broken_blocks_are_none() {
        for cut in 0..14 {
            assert_eq!(primary(&RED[..cut]), None, "{cut}");
        }
        assert_eq!(primary(&[0x80; 200]), None, "more blocks than anybody sends");
    }

    #[test]
    fn a_lossy_line_gets_more_and_keeps_it_for_a_while() {
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut line = Redundancy::default();
        line.on_loss(0.03, at(0));
        assert_eq!(line.generations(), 0, "one report is no habit");
        line.on_loss(0.03, at(3));
        assert_eq!(line.generations(), 1);
        line.on_loss(0.4, at(6));
        assert_eq!(line.generations(), 2);
        let mut generations = Vec::new();
        for n in 3..15 {
            line.on_loss(0.0, at(3 * n));
            generations.push(line.generations());
        }
        let good = generations.iter().position(|generations| *generations == 0).unwrap();
        assert!(good >= 7, "{generations:?}");
        assert!(generations[..good].iter().all(|generations| *generations == 2), "no change to and fro: {generations:?}");
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_is_written_is_read_back(
            noise in proptest::collection::vec(any::<u8>(), 0..40), old in proptest::collection::vec(any::<u8>(), 1..300), offset in 1u32..0x4000
        ) {
            let mut copy = noise.clone();
            set_block_type(&mut copy, 100);
            let _ = (primary(&noise), earlier(&noise, 1), earlier(&noise, 9));
            let mut out = [0; 400];
            let block = Block { offset, payload: &old };
            let len = write_red(&mut out, 111, &[block], &noise).unwrap();
            prop_assert_eq!((primary(&out[..len]), earlier(&out[..len], 1)), (Some(&noise[..]), Some(block)));
        }
    }
}
