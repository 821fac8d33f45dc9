//! What participants send: payloads in the form of the codec, each with a mark that says whose it is.

/// Says whose packet it is, in clear inside the payload, so that a test knows it however the relay renumbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The sender's number in its world.
    pub(crate) from: u8,
    pub(crate) kind: Kind,
    /// Simulcast layer, lowest first.
    pub(crate) layer: u8,
    pub(crate) key: bool,
    /// Frame or audio packet of its stream.
    pub(crate) frame: u32,
    /// Packet of the frame.
    pub(crate) part: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Audio,
    Video,
}

const MARK: &[u8; 4] = b"mark";

impl Mark {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MARK);
        out.extend_from_slice(&[self.from, u8::from(self.kind == Kind::Video), self.layer, u8::from(self.key), self.part]);
        out.extend_from_slice(&self.frame.to_be_bytes());
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let at = payload.windows(4).position(|four| four == MARK)? + 4;
        let [from, kind, layer, key, part, f0, f1, f2, f3] = *payload.get(at..)?.first_chunk()?;
        let kind = if kind == 1 { Kind::Video } else { Kind::Audio };
        Some(Self { from, kind, layer, key: key == 1, part, frame: u32::from_be_bytes([f0, f1, f2, f3]) })
    }
}

impl Mark {
    /// Every mark of a packet that brings others along.
    pub(crate) fn read_all(payload: &[u8]) -> impl Iterator<Item = Self> + '_ {
        (0..payload.len()).filter(|at| payload[*at..].starts_with(MARK)).filter_map(|at| Self::read(&payload[at..]))
    }
}

/// A redundant packet (RFC 2198) of 20 ms of sound that brings the one before along, where there is one.
pub(crate) fn redundant(payload_type: u8, before: &[u8], own: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    if !before.is_empty() {
        let (offset, len) = (960u32, before.len() as u32);
        let word = 0x8000_0000 | u32::from(payload_type) << 24 | offset << 10 | len;
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.push(payload_type);
    packet.extend_from_slice(before);
    packet.extend_from_slice(own);
    packet
}

/// An Opus packet, as far as the relay looks.
pub(crate) fn audio(mark: &Mark, len: usize) -> Vec<u8> {
    let mut payload = vec![0x78];
    mark.write(&mut payload);
    payload.resize(len.max(payload.len()), 0x55);
    payload
}

/// One packet of a VP8 frame: descriptor with a long picture id, TL0PICIDX, TID and KEYIDX (RFC 7741, section 4.2).
pub(crate) fn video(mark: &Mark, picture: u16, keys: u8, len: usize) -> Vec<u8> {
    let start = if mark.part == 0 { 0x10 } else { 0 };
    let [high, low] = (picture & 0x7fff).to_be_bytes();
    let mut payload = vec![0x80 | start, 0xf0, 0x80 | high, low, picture as u8, 0x20 | (keys & 0x1f)];
    // The frame tag of RFC 6386, section 9.1: the lowest bit is 0 in a key frame.
    payload.push(if mark.part == 0 { u8::from(!mark.key) } else { 0x01 });
    mark.write(&mut payload);
    payload.resize(len.max(payload.len()), 0xaa);
    payload
}

/// One packet of a spatial layer of a VP9 picture: descriptor with a long picture id, layers and TL0PICIDX (RFC 9628, section 4.2).
pub(crate) fn scalable(mark: &Mark, picture: u16, last: bool, len: usize) -> Vec<u8> {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let [high, low] = (picture & 0x7fff).to_be_bytes();
    let first = 0xa0 | bit(!mark.key, 0x40) | bit(mark.part == 0, 0x08) | bit(last, 0x04);
    let mut payload = vec![first, 0x80 | high, low, 0x10 | mark.layer << 1 | u8::from(mark.layer > 0), picture as u8];
    mark.write(&mut payload);
    payload.resize(len.max(payload.len()), 0xaa);
    payload
}
