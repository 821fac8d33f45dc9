//! HMAC-SHA1 (RFC 2104) with a key's two states kept, over one message or over many at once.
//!
//! A tag begins with a copy of forty bytes, where a general context costs as much as hashing a packet of sound. One message is
//! hashed by a library; many, each under its own key, go through `lanes` sixteen or eight at a time where the processor can.
//!
//! Entry points: [`HmacKey::tag`], [`Message`] and [`tags`].

mod lanes;
#[cfg(test)]
mod tests;

use lanes::Width;
use sha1::compress;
use zeroize::Zeroizing;

/// Bytes that SHA-1 takes at a time.
const BLOCK: usize = 64;

/// Messages that [`tags`] takes at most: as many as the widest processor hashes at once.
pub(super) const GROUP: usize = 16;

/// Bytes of a trailer at most: the rollover counter.
const TRAILER: usize = 4;

/// The state of SHA-1 between two blocks.
type State = [u32; 5];

type Block = [u8; BLOCK];

/// What the library calls a block.
type LibraryBlock = sha1::digest::core_api::Block<sha1::Sha1Core>;

/// A whole tag; SRTP sends the first 80 bits.
pub(super) type Tag = [u8; 20];

/// The state before the first block (FIPS 180-4, section 5.3.1).
const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// A key, as the two states of SHA-1 behind its blocks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HmacKey {
    inner: State,
    outer: State,
}

impl HmacKey {
    pub(super) fn new(key: &[u8; 20]) -> Self {
        let state = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = START;
            absorb(&mut state, std::slice::from_ref(&*block));
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The tag of a text and up to four bytes behind it.
    pub(super) fn tag(&self, signed: &[u8], trailer: &[u8]) -> Tag {
        Message::new(*self, signed, trailer).tag()
    }
}

/// Overwrites keys that have served, and what lies with them.
pub(super) fn wipe<T: Copy + Default>(values: &mut [T]) {
    values.fill(T::default());
    // So that overwriting what is about to be freed counts as used.
    std::hint::black_box(values);
}

/// A message under its key, in blocks: the whole ones where they lie, and behind them its end in a place of its own, with what SHA-1
/// appends (FIPS 180-4, section 5.1.1).
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    key: HmacKey,
    whole: &'a [Block],
    end: [Block; 2],
    end_blocks: usize,
}

impl<'a> Message<'a> {
    /// Holds a place.
    pub(super) const NONE: Self =
        Self { key: HmacKey { inner: START, outer: START }, whole: &[], end: [EMPTY; 2], end_blocks: 0 };

    /// A text and up to four bytes behind it; what is longer is left out.
    pub(super) fn new(key: HmacKey, signed: &'a [u8], trailer: &[u8]) -> Self {
        let (whole, rest) = signed.as_chunks::<BLOCK>();
        let trailer = trailer.get(..trailer.len().min(TRAILER)).unwrap_or_default();
        let (end, end_blocks) = finish([rest, trailer], BLOCK + signed.len() + trailer.len());
        Self { key, whole, end, end_blocks }
    }

    /// How many blocks it is, the key's own not counted.
    pub(super) fn blocks(&self) -> usize {
        self.whole.len() + self.end_blocks
    }

    fn block(&self, number: usize) -> &Block {
        let behind = || self.end.get(number - self.whole.len());
        self.whole.get(number).or_else(behind).unwrap_or(&EMPTY)
    }

    /// Its tag, by the library: one block after the other.
    pub(super) fn tag(&self) -> Tag {
        let mut state = self.key.inner;
        absorb(&mut state, self.whole);
        absorb(&mut state, self.end.get(..self.end_blocks).unwrap_or_default());
        let mut outer = self.key.outer;
        absorb(&mut outer, &[outer_block(&state)]);
        bytes(&outer)
    }
}

const EMPTY: Block = [0; BLOCK];

/// Blocks that a message of so many signed bytes is, with the four bytes behind it: those order messages by length.
pub(super) fn blocks_of(signed: usize) -> usize {
    (signed + TRAILER + 1 + 8).div_ceil(BLOCK)
}

/// The end of a message that is shorter than a block and a trailer: what is left of it, a mark, zeros and the length of all in bits.
fn finish([rest, trailer]: [&[u8]; 2], all: usize) -> ([Block; 2], usize) {
    let mut end = [EMPTY; 2];
    let bytes = end.as_flattened_mut();
    if let Some((place, behind)) = bytes.split_at_mut_checked(rest.len()) {
        place.copy_from_slice(rest);
        if let Some((place, [mark, ..])) = behind.split_at_mut_checked(trailer.len()) {
            place.copy_from_slice(trailer);
            *mark = 0x80;
        }
    }
    let blocks = (rest.len() + trailer.len() + 1 + 8).div_ceil(BLOCK).min(2);
    if let Some((_, place)) = bytes.get_mut(..blocks * BLOCK).and_then(<[u8]>::split_last_chunk_mut) {
        *place = (all as u64 * 8).to_be_bytes();
    }
    (end, blocks)
}

/// The only block of the outer hash: the inner one's digest.
fn outer_block(inner: &State) -> Block {
    let (end, _) = finish([&bytes(inner), &[]], BLOCK + size_of::<Tag>());
    let [first, _] = end;
    first
}

fn bytes(state: &State) -> Tag {
    let mut bytes = [0; 20];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    bytes
}

/// Lets the library hash some blocks.
fn absorb(state: &mut State, blocks: &[Block]) {
    /// Copied at a time: the library takes blocks of its own type only, and several at once a seventh quicker than each alone.
    const COPIED: usize = 8;
    for blocks in blocks.chunks(COPIED) {
        let mut copied = [LibraryBlock::default(); COPIED];
        for (place, block) in copied.iter_mut().zip(blocks) {
            *place = (*block).into();
        }
        compress(state, copied.get(..blocks.len()).unwrap_or_default());
    }
}

/// The tags of up to [`GROUP`] messages in their order, the longest first.
pub(super) fn tags(messages: &[Message<'_>]) -> [Tag; GROUP] {
    tags_by(Width::detected(), messages)
}

fn tags_by(width: Width, messages: &[Message<'_>]) -> [Tag; GROUP] {
    let mut tags = [[0; 20]; GROUP];
    match width {
        Width::One => alone(messages, &mut tags),
        Width::Eight(lanes) => {
            for (messages, tags) in messages.chunks(8).zip(tags.chunks_mut(8)) {
                together(messages, tags, 4, |state, blocks| lanes.compress(state, blocks));
            }
        }
        Width::Sixteen(lanes) => together(messages, &mut tags, 3, |state, blocks| lanes.compress(state, blocks)),
    }
    tags
}

fn alone(messages: &[Message<'_>], tags: &mut [Tag]) {
    for (tag, message) in tags.iter_mut().zip(messages) {
        *tag = message.tag();
    }
}

/// Hashes messages side by side, but for a few that are so much longer than the rest that they are better hashed alone: a block of
/// all lanes costs as much as `cost` of them.
fn together<const L: usize>(
    messages: &[Message<'_>],
    tags: &mut [Tag],
    cost: usize,
    compress: impl Fn(&mut [[u32; L]; 5], &[&Block; L]),
) {
    let blocks_at = |position: usize| messages.get(position).map_or(0, Message::blocks);
    let mut longer = 0;
    let (mut best, mut least) = (0, cost * blocks_at(0));
    for first in 1..=messages.len().min(cost) {
        longer += blocks_at(first - 1);
        let all = longer + cost * blocks_at(first);
        if all <= least {
            (best, least) = (first, all);
        }
    }
    let (long, messages) = messages.split_at_checked(best).unwrap_or((&[], messages));
    let Some((long_tags, tags)) = tags.split_at_mut_checked(best) else { return };
    alone(long, long_tags);
    if !messages.is_empty() {
        side_by_side(messages, tags, compress);
    }
}

fn side_by_side<const L: usize>(messages: &[Message<'_>], tags: &mut [Tag], compress: impl Fn(&mut [[u32; L]; 5], &[&Block; L])) {
    let columns = |word: usize, of: fn(&HmacKey) -> &State| {
        std::array::from_fn(|lane| messages.get(lane).and_then(|message| of(&message.key).get(word)).copied().unwrap_or(0))
    };
    let mut state: [[u32; L]; 5] = std::array::from_fn(|word| columns(word, |key| &key.inner));
    let mut ends = [EMPTY; L];
    let mut going = messages;
    let mut number = 0;
    while let Some(longest) = going.first() {
        debug_assert!(number < longest.blocks(), "the longest is first");
        compress(&mut state, &std::array::from_fn(|lane| going.get(lane).map_or(&EMPTY, |message| message.block(number))));
        number += 1;
        // The shortest are last; what their lanes do from here on does not matter.
        while let Some((last, before)) = going.split_last().filter(|(last, _)| last.blocks() <= number) {
            debug_assert_eq!(last.blocks(), number, "in order of their lengths");
            if let Some(end) = ends.get_mut(before.len()) {
                *end = outer_block(&column(&state, before.len()));
            }
            going = before;
        }
    }
    let mut state: [[u32; L]; 5] = std::array::from_fn(|word| columns(word, |key| &key.outer));
    compress(&mut state, &ends.each_ref());
    for (lane, tag) in tags.iter_mut().enumerate().take(messages.len()) {
        *tag = bytes(&column(&state, lane));
    }
}

/// The state in one lane.
fn column<const L: usize>(state: &[[u32; L]; 5], lane: usize) -> State {
    state.each_ref().map(|words| words.get(lane).copied().unwrap_or(0))
}
