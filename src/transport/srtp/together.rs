//! The tags of many packets that lie in one buffer, those of one length together.

use super::cm::TAG_LEN;
use super::hmac::{GROUP, HmacKey, Message, blocks_of, tags};

/// What the tag of one packet is made of: all that it takes, so that it does not matter what becomes of the peer meanwhile.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signed {
    /// Where the packet starts in the buffer.
    pub(super) start: usize,
    /// How many of its bytes are signed; the tag comes behind them.
    pub(super) len: usize,
    pub(super) rollover_counter: [u8; 4],
    pub(super) key: HmacKey,
}

impl Signed {
    pub(super) fn message<'a>(&self, bytes: &'a [u8]) -> Message<'a> {
        let signed = bytes.get(self.start..).and_then(|packet| packet.get(..self.len));
        debug_assert!(signed.is_some(), "the packet is in the buffer");
        Message::new(self.key, signed.unwrap_or_default(), &self.rollover_counter)
    }

    /// Writes the packet's tag behind it.
    pub(super) fn write(&self, bytes: &mut [u8], tag: &[u8]) {
        let place = bytes.get_mut(self.start + self.len..).and_then(<[u8]>::first_chunk_mut::<TAG_LEN>);
        if let (Some(place), Some(tag)) = (place, tag.first_chunk()) {
            *place = *tag;
        }
    }
}

/// Makes the tags of some packets, at most 65,536, and hands each on with the packet's place in the list; `order` is kept for its memory.
pub(super) fn make_tags(
    packets: &[Signed],
    order: &mut Vec<u32>,
    bytes: &mut [u8],
    mut done: impl FnMut(&mut [u8], usize, &[u8]),
) {
    // Lengths in front, places behind: one sort of small numbers.
    order.clear();
    order.extend((0..=u16::MAX).zip(packets).map(|(place, packet)| (blocks_of(packet.len) as u32) << 16 | u32::from(place)));
    order.sort_unstable_by(|a, b| b.cmp(a));
    let place = |number: &u32| usize::from(*number as u16);
    for group in order.chunks(GROUP) {
        let mut messages = [Message::NONE; GROUP];
        for (message, number) in messages.iter_mut().zip(group) {
            *message = packets.get(place(number)).map_or(Message::NONE, |packet| packet.message(bytes));
        }
        let tags = tags(messages.get(..group.len()).unwrap_or_default());
        for (number, tag) in group.iter().zip(&tags) {
            done(bytes, place(number), tag);
        }
    }
}

#[cfg(test)]
mod tests;
