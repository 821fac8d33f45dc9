//! The VP8 payload descriptor (RFC 7741 section 4.2) and its rewriting in place.

use super::Facts;

/// Picture ids have 15 bits in their long form and 7 in their short form (RFC 7741 section 4.2).
const LONG_MASK: u16 = 0x7fff;
const SHORT_MASK: u16 = 0x7f;

/// The fields of a VP8 payload descriptor that a relay reads or rewrites, and where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// Bytes of the descriptor; the frame data follows.
    pub len: u8,
    /// The picture id.
    pub picture_id: Option<u16>,
    /// The picture id is written with 15 bits.
    pub long_picture_id: bool,
    /// The running number of temporal base layer frames.
    pub tl0_picture_index: Option<u8>,
    /// The temporal layer (TID).
    pub temporal: Option<u8>,
    /// The frame depends on base layer frames only (Y).
    pub layer_sync: bool,
    /// The running number of key frames, 5 bits (KEYIDX).
    pub key_index: Option<u8>,
    /// Offset of the picture id; meaningful where it is present.
    pub picture_id_at: u8,
    /// Offset of TL0PICIDX; meaningful where it is present.
    pub tl0_picture_index_at: u8,
    /// Offset of the octet with TID, Y and KEYIDX; meaningful where one is present.
    pub temporal_at: u8,
    /// The first packet of a frame: start of partition 0.
    pub frame_start: bool,
}

impl Vp8Descriptor {
    /// Reads the descriptor at the head of a payload; `None` where it is cut short.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut descriptor = Self { len: 1, frame_start: first & 0x10 != 0 && first & 0x07 == 0, ..Self::default() };
        if first & 0x80 == 0 {
            return Some(descriptor);
        }
        let extension = *payload.get(1)?;
        let mut at = 2usize;
        if extension & 0x80 != 0 {
            let high = *payload.get(at)?;
            descriptor.picture_id_at = at as u8;
            descriptor.long_picture_id = high & 0x80 != 0;
            let id = u16::from(high & 0x7f);
            descriptor.picture_id = if descriptor.long_picture_id {
                let low = *payload.get(at + 1)?;
                at += 1;
                Some(id << 8 | u16::from(low))
            } else {
                Some(id)
            };
            at += 1;
        }
        if extension & 0x40 != 0 {
            descriptor.tl0_picture_index = Some(*payload.get(at)?);
            descriptor.tl0_picture_index_at = at as u8;
            at += 1;
        }
        if extension & 0x30 != 0 {
            let octet = *payload.get(at)?;
            descriptor.temporal_at = at as u8;
            if extension & 0x20 != 0 {
                descriptor.temporal = Some(octet >> 6);
                descriptor.layer_sync = octet & 0x20 != 0;
            }
            if extension & 0x10 != 0 {
                descriptor.key_index = Some(octet & 0x1f);
            }
            at += 1;
        }
        descriptor.len = at as u8;
        Some(descriptor)
    }

    /// The bits a picture id has in this descriptor's form.
    #[must_use]
    pub fn picture_id_mask(&self) -> u16 {
        if self.long_picture_id { LONG_MASK } else { SHORT_MASK }
    }
}

/// New values for the running numbers of a VP8 payload descriptor, written in place without a change of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Patch {
    picture_id: u16,
    picture_id_at: u8,
    tl0_picture_index: u8,
    tl0_picture_index_at: u8,
    key_index: u8,
    key_index_at: u8,
    long_picture_id: bool,
}

impl Vp8Patch {
    /// A patch for the fields that the descriptor has; other values are ignored.
    #[must_use]
    pub fn new(descriptor: &Vp8Descriptor, picture_id: u16, tl0_picture_index: u8, key_index: u8) -> Self {
        // Offset 0 is the first octet, where none of these fields can stand: it means "absent".
        Self {
            picture_id,
            picture_id_at: descriptor.picture_id.map_or(0, |_| descriptor.picture_id_at),
            tl0_picture_index,
            tl0_picture_index_at: descriptor.tl0_picture_index.map_or(0, |_| descriptor.tl0_picture_index_at),
            key_index,
            key_index_at: descriptor.key_index.map_or(0, |_| descriptor.temporal_at),
            long_picture_id: descriptor.long_picture_id,
        }
    }

    /// Writes the values into the payload this patch was made for; a shorter payload is left as it is.
    pub fn apply(&self, payload: &mut [u8]) {
        if self.picture_id_at != 0 {
            let at = usize::from(self.picture_id_at);
            if self.long_picture_id {
                if let Some([high, low]) = payload.get_mut(at..at + 2) {
                    *high = 0x80 | (self.picture_id >> 8) as u8;
                    *low = self.picture_id as u8;
                }
            } else if let Some(octet) = payload.get_mut(at) {
                *octet = (self.picture_id & SHORT_MASK) as u8;
            }
        }
        if self.tl0_picture_index_at != 0
            && let Some(octet) = payload.get_mut(usize::from(self.tl0_picture_index_at))
        {
            *octet = self.tl0_picture_index;
        }
        if self.key_index_at != 0
            && let Some(octet) = payload.get_mut(usize::from(self.key_index_at))
        {
            *octet = (*octet & 0xe0) | (self.key_index & 0x1f);
        }
    }
}

pub(super) fn inspect(payload: &[u8]) -> Facts {
    let Some(descriptor) = Vp8Descriptor::parse(payload) else { return Facts::default() };
    // The frame tag's lowest bit is 0 in a key frame (RFC 6386 section 9.1); end-to-end encryption leaves it in clear.
    let tag = payload.get(usize::from(descriptor.len));
    let key_frame_start = descriptor.frame_start && tag.is_some_and(|tag| tag & 0x01 == 0);
    Facts {
        frame_start: descriptor.frame_start,
        frame_end: false,
        key_frame_start,
        temporal: descriptor.temporal,
        spatial: None,
        switching_point: descriptor.layer_sync || key_frame_start,
        vp8: Some(descriptor),
        ..Facts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X, S; I, L, T, K; picture id 0x1234 (long); TL0PICIDX 9; TID 2, Y, KEYIDX 3; then a delta frame tag.
    const FULL: [u8; 8] = [0x90, 0xf0, 0x92, 0x34, 9, 0xa3, 0x01, 0xff];

    #[test]
    fn reads_every_field_of_a_full_descriptor() {
        let facts = inspect(&FULL);
        let descriptor = facts.vp8.unwrap();
        assert_eq!((descriptor.len, descriptor.picture_id, descriptor.long_picture_id), (6, Some(0x1234), true));
        assert_eq!((descriptor.tl0_picture_index, descriptor.key_index), (Some(9), Some(3)));
        assert_eq!((facts.temporal, facts.switching_point), (Some(2), true));
        assert!(facts.frame_start && !facts.key_frame_start);
    }

    #[test]
    fn a_key_frame_is_told_by_the_frame_tag() {
        assert!(inspect(&[0x10, 0x00]).key_frame_start);
        assert!(!inspect(&[0x10, 0x01]).key_frame_start, "P bit set: a delta frame");
        assert!(!inspect(&[0x00, 0x00]).key_frame_start, "a continuation");
        assert!(!inspect(&[0x11, 0x00]).frame_start, "start of partition 1 is no start of a frame");
        assert!(!inspect(&[0x10]).key_frame_start, "no frame data");
    }

    #[test]
    fn a_short_picture_id_keeps_its_form() {
        let mut payload = [0x90, 0xc0, 0x45, 7, 0x00];
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!((descriptor.picture_id, descriptor.picture_id_mask()), (Some(0x45), 0x7f));
        Vp8Patch::new(&descriptor, 0x81, 8, 31).apply(&mut payload);
        assert_eq!(payload, [0x90, 0xc0, 0x01, 8, 0x00], "seven bits, and no KEYIDX where there was none");
    }

    #[test]
    fn a_patch_touches_its_fields_only() {
        let mut payload = FULL;
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        Vp8Patch::new(&descriptor, 0x7fff, 200, 31).apply(&mut payload);
        assert_eq!(payload, [0x90, 0xf0, 0xff, 0xff, 200, 0xbf, 0x01, 0xff]);
    }

    #[test]
    fn every_truncation_of_a_descriptor_is_nothing_known() {
        for cut in 0..6 {
            assert_eq!(inspect(&FULL[..cut]), Facts::default(), "{cut}");
            let mut short = FULL[..cut].to_vec();
            Vp8Patch::new(&Vp8Descriptor::parse(&FULL).unwrap(), 1, 1, 1).apply(&mut short);
        }
    }
}
