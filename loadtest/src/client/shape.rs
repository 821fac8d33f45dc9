//! The shape of payloads: a codec's descriptor in front, a stamp at the end, noise between.
//!
//! A relay that rewrites descriptors, even to another length, leaves the stamp where it is.

use super::{Codec, MediaKind};

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 32;
const MAGIC: [u8; 4] = *b"LoAd";
/// Longest payload made: leaves room for headers within an Ethernet frame.
pub(crate) const MOST: usize = 1_200;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The client that made it.
    pub(crate) source: u32,
    pub(crate) kind: MediaKind,
    /// Simulcast layer.
    pub(crate) layer: u8,
    pub(crate) key: bool,
    /// Of packets in its layer.
    pub(crate) number: u32,
    /// Of frames in its layer.
    pub(crate) frame: u32,
    /// Of the packet in its frame, and how many there are.
    pub(crate) index: u16,
    pub(crate) count: u16,
    /// ns of the wall clock, when it was sealed for the first time.
    pub(crate) at: u64,
}

impl Stamp {
    fn bytes(&self) -> [u8; STAMP] {
        let mut out = [0; STAMP];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.source.to_be_bytes());
        out[8..12].copy_from_slice(&self.number.to_be_bytes());
        out[12..16].copy_from_slice(&self.frame.to_be_bytes());
        out[16..18].copy_from_slice(&self.index.to_be_bytes());
        out[18..20].copy_from_slice(&self.count.to_be_bytes());
        out[20] = self.layer;
        out[21] = u8::from(self.key) | u8::from(self.kind == MediaKind::Video) << 1;
        out[24..].copy_from_slice(&self.at.to_be_bytes());
        out
    }

    /// Reads the stamp at the end of a payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let stamp = payload.last_chunk::<STAMP>()?;
        let word = |at: usize| u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]]);
        if stamp[..4] != MAGIC {
            return None;
        }
        Some(Self {
            source: word(4),
            kind: if stamp[21] & 2 == 0 { MediaKind::Audio } else { MediaKind::Video },
            layer: stamp[20],
            key: stamp[21] & 1 != 0,
            number: word(8),
            frame: word(12),
            index: u16::from_be_bytes([stamp[16], stamp[17]]),
            count: u16::from_be_bytes([stamp[18], stamp[19]]),
            at: u64::from(word(24)) << 32 | u64::from(word(28)),
        })
    }

    fn first(&self) -> bool {
        self.index == 0
    }

    pub(crate) fn last(&self) -> bool {
        self.index + 1 == self.count
    }
}

/// Running numbers of a frame that a descriptor carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) id: u16,
    pub(crate) base: u8,
    pub(crate) key_index: u8,
}

/// Appends a payload of `len` bytes, or of as few more as descriptor and stamp need.
pub(crate) fn payload(out: &mut Vec<u8>, codec: Option<Codec>, stamp: &Stamp, picture: Picture, len: usize) {
    let start = out.len();
    match codec {
        // A table of contents byte of Opus: wide band, 20 ms, one frame (RFC 6716 section 3.1).
        None => out.push(0x78),
        Some(Codec::Vp8) => vp8(out, stamp, picture),
        Some(Codec::Vp9) => vp9(out, stamp, picture),
        Some(Codec::H264) => h264(out, stamp),
        Some(Codec::Av1) => av1(out, stamp),
    }
    let used = out.len() - start;
    let filling = len.saturating_sub(used + STAMP);
    out.resize(out.len() + filling, 0xa5);
    out.extend_from_slice(&stamp.bytes());
}

/// RFC 7741 section 4.2 with every field, as browsers send it with simulcast; then the frame tag.
fn vp8(out: &mut Vec<u8>, stamp: &Stamp, picture: Picture) {
    let start = u8::from(stamp.first()) << 4;
    let [high, low] = (picture.id & 0x7fff | 0x8000).to_be_bytes();
    // X, S; I, L, T, K; TID 0, Y, KEYIDX.
    out.extend_from_slice(&[0x80 | start, 0xf0, high, low, picture.base, 0x20 | picture.key_index & 0x1f]);
    if stamp.first() {
        // A key frame's tag is followed by the start code (RFC 6386 section 9.1).
        out.push(u8::from(!stamp.key) | 0x10);
        if stamp.key {
            out.extend_from_slice(&[0, 0, 0x9d, 0x01, 0x2a]);
        }
    }
}

/// RFC 9628 section 4.2: I, P, B, E and a long picture id; one layer.
fn vp9(out: &mut Vec<u8>, stamp: &Stamp, picture: Picture) {
    let flags = 0x80 | u8::from(!stamp.key) << 6 | u8::from(stamp.first()) << 3 | u8::from(stamp.last()) << 2;
    let [high, low] = (picture.id & 0x7fff | 0x8000).to_be_bytes();
    out.extend_from_slice(&[flags, high, low]);
}

/// RFC 6184: parameter sets in a STAP-A before a key frame, slices as FU-A, or as one unit where one packet holds it.
fn h264(out: &mut Vec<u8>, stamp: &Stamp) {
    const SETS: [u8; 13] = [24, 0, 4, 0x67, 0x42, 0xe0, 0x1f, 0, 4, 0x68, 0xce, 0x3c, 0x80];
    let slice = if stamp.key { 5 } else { 1 };
    if stamp.key && stamp.count == 1 {
        out.extend_from_slice(&SETS);
        // The slice's size is what the filling and the stamp make of it; a relay reads no further than its header.
        out.extend_from_slice(&[0xff, 0xff, 0x65, 0x88]);
    } else if stamp.key && stamp.first() {
        out.extend_from_slice(&SETS);
    } else if stamp.count == 1 {
        out.extend_from_slice(&[0x41, 0x9a]);
    } else {
        // The first packet of a key frame is the parameter sets; its slice starts in the second.
        let starts = stamp.index == u16::from(stamp.key);
        out.extend_from_slice(&[0x60 | 28, u8::from(starts) << 7 | u8::from(stamp.last()) << 6 | slice]);
        if starts {
            out.push(0x88);
        }
    }
}

/// The aggregation header of the AV1 RTP specification, section 4.4: Z, Y, W = 1, N.
fn av1(out: &mut Vec<u8>, stamp: &Stamp) {
    let (first, last) = (stamp.first(), stamp.last());
    out.push(u8::from(!first) << 7 | u8::from(!last) << 6 | 1 << 4 | u8::from(first && stamp.key) << 3);
    // An OBU header: a sequence header opens a key frame, a frame the others.
    out.push(if first && stamp.key { 1 << 3 } else { 6 << 3 });
}

/// The dependency descriptor of a frame in one layer (AV1 RTP specification, appendix A.8): two templates, key and delta.
pub(crate) fn dependency(stamp: &Stamp) -> ([u8; 8], usize) {
    let flags = u8::from(stamp.first()) << 7 | u8::from(stamp.last()) << 6;
    let [high, low] = (stamp.frame as u16).to_be_bytes();
    if !(stamp.key && stamp.first()) {
        let template = u8::from(!stamp.key);
        return ([flags | template, high, low, 0, 0, 0, 0, 0], 3);
    }
    // structure present, no other flag; offset 0; one decode target; two templates in one layer; switch and required;
    // no difference and a difference of 1; no chains; no resolutions.
    let bits: [(u64, u32); 11] =
        [(0x10, 5), (0, 6), (0, 5), (0, 2), (3, 2), (2, 2), (3, 2), (0, 1), (0b10_0000, 6), (0, 1), (0, 1)];
    let (mut word, mut len) = (0_u64, 0);
    for (value, width) in bits {
        word = word << width | value;
        len += width;
    }
    let tail = (word << (40 - len)).to_be_bytes();
    ([flags, high, low, tail[3], tail[4], tail[5], tail[6], tail[7]], 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(key: bool, index: u16, count: u16) -> Stamp {
        Stamp { source: 7, kind: MediaKind::Video, layer: 2, key, number: 9, frame: 3, index, count, at: 1 << 40 | 5 }
    }

    #[test]
    fn a_stamp_is_read_from_the_end() {
        for codec in [None, Some(Codec::Vp8), Some(Codec::Vp9), Some(Codec::H264), Some(Codec::Av1)] {
            let mut out = Vec::new();
            payload(&mut out, codec, &stamp(true, 0, 2), Picture::default(), 100);

            assert_eq!(out.len(), 100);
            assert_eq!(Stamp::read(&out), Some(stamp(true, 0, 2)));
        }
        assert_eq!(Stamp::read(&[0; 31]), None);
        assert_eq!(Stamp::read(&[0; 64]), None);
    }

    #[test]
    fn descriptors_tell_key_frames() {
        let head = |codec, key, index| {
            let mut out = Vec::new();
            payload(&mut out, Some(codec), &stamp(key, index, 2), Picture { id: 0x1234, base: 9, key_index: 3 }, 100);
            out
        };

        assert_eq!(head(Codec::Vp8, true, 0)[..7], [0x90, 0xf0, 0x92, 0x34, 9, 0x23, 0x10]);
        assert_eq!(head(Codec::Vp8, false, 0)[6] & 1, 1);
        assert_eq!(head(Codec::Vp9, true, 0)[0], 0x88);
        assert_eq!(head(Codec::Vp9, false, 1)[0], 0xc4);
        assert_eq!(head(Codec::H264, true, 0)[..4], [24, 0, 4, 0x67]);
        assert_eq!(head(Codec::H264, true, 1)[..3], [0x7c, 0xc5, 0x88]);
        assert_eq!(head(Codec::Av1, true, 0)[0], 0x58);
        assert_eq!(head(Codec::Av1, false, 1)[0], 0x90);
    }

    #[test]
    fn a_structure_is_attached_to_the_first_packet_of_a_key_frame() {
        let (bytes, len) = dependency(&stamp(true, 0, 2));
        assert_eq!((len, bytes[0], bytes[3] & 0x80), (8, 0x80, 0x80));
        assert_eq!(dependency(&stamp(true, 1, 2)), ([0x40, 0, 3, 0, 0, 0, 0, 0], 3));
        assert_eq!(dependency(&stamp(false, 0, 1)).0[0], 0xc1);
    }
}
