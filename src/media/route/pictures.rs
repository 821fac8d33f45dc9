//! The running numbers of VP8: picture id, TL0PICIDX and KEYIDX (RFC 7741 section 4.2), continued over layer changes.

use crate::media::codec::{Vp8Descriptor, Vp8Patch};

/// Five bits (RFC 7741 section 4.2).
const KEY_INDEX_MASK: u8 = 0x1f;

/// The newest numbers that went out, and what to take off those of the current layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pictures {
    picture_id: Option<u16>,
    tl0: Option<u8>,
    tl0_shift: u8,
    key_index: Option<u8>,
    key_index_shift: u8,
}

impl Pictures {
    /// A layer begins with this key frame: its numbers follow on what went out. Answers what to take off its picture ids.
    pub(super) fn begin(&mut self, descriptor: &Vp8Descriptor) -> u16 {
        if let Some(tl0) = descriptor.tl0_picture_index {
            self.tl0_shift = tl0.wrapping_sub(self.tl0.map_or(tl0, |last| last.wrapping_add(1)));
        }
        if let Some(key_index) = descriptor.key_index {
            self.key_index_shift = key_index.wrapping_sub(self.key_index.map_or(key_index, |last| last.wrapping_add(1)));
        }
        descriptor.picture_id.map_or(0, |id| id.wrapping_sub(self.picture_id.map_or(id, |last| last.wrapping_add(1))))
    }

    /// What to write into a packet; `None` where it goes out as it came.
    pub(super) fn patch(&mut self, descriptor: &Vp8Descriptor, pictures: u16) -> Option<Vp8Patch> {
        let mask = descriptor.picture_id_mask();
        let picture_id = descriptor.picture_id.unwrap_or(0).wrapping_sub(pictures) & mask;
        let tl0 = descriptor.tl0_picture_index.unwrap_or(0).wrapping_sub(self.tl0_shift);
        let key_index = descriptor.key_index.unwrap_or(0).wrapping_sub(self.key_index_shift) & KEY_INDEX_MASK;
        if descriptor.picture_id.is_some() {
            // Ahead by less than half the range: newer.
            let newer = self.picture_id.is_none_or(|last| picture_id.wrapping_sub(last) & mask <= mask / 2);
            self.picture_id = if newer { Some(picture_id) } else { self.picture_id };
        }
        if descriptor.tl0_picture_index.is_some() {
            let newer = self.tl0.is_none_or(|last| tl0.wrapping_sub(last) < 0x80);
            self.tl0 = if newer { Some(tl0) } else { self.tl0 };
        }
        if descriptor.key_index.is_some() {
            let newer = self.key_index.is_none_or(|last| key_index.wrapping_sub(last) & KEY_INDEX_MASK < 0x10);
            self.key_index = if newer { Some(key_index) } else { self.key_index };
        }
        let untouched = descriptor.picture_id.is_none_or(|id| id == picture_id)
            && descriptor.tl0_picture_index.is_none_or(|index| index == tl0)
            && descriptor.key_index.is_none_or(|index| index == key_index);
        (!untouched).then(|| Vp8Patch::new(descriptor, picture_id, tl0, key_index))
    }
}
