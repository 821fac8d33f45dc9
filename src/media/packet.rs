//! Looking at packets without copying them, and writing the headers of the ones we send.
//!
//! A view here is a set of offsets: it borrows nothing, allocates nothing and works on the clear header of a packet that is
//! still encrypted. It never judges who sent a packet.
//!
//! Entry points: [`classify`] for a datagram, [`RtpHeader::parse`] for RTP, [`write_header`] for RTP going out.

use thiserror::Error;

/// What a datagram on a media port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A STUN message.
    Stun,
    /// A DTLS record.
    Dtls,
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// Anything else; TURN channels and ZRTP have no business here.
    Unknown,
}

/// Tells protocols apart by the first byte (RFC 7983 section 7), RTP and RTCP by the second (RFC 5761 section 4).
#[must_use]
pub fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, _, ..] => Class::Rtp,
        _ => Class::Unknown,
    }
}

/// Why a packet is no RTP packet; each is the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// It ends before its header does.
    #[error("the packet ends inside its header")]
    TooShort,
    /// Its version is not 2.
    #[error("the RTP version is not 2")]
    Version,
    /// Its padding is empty or longer than what follows the header.
    #[error("the padding does not fit the packet")]
    Padding,
}

/// Length of the fixed part of an RTP header in bytes (RFC 3550 section 5.1).
pub const FIXED_HEADER_LEN: usize = 12;

/// One-byte extension elements (RFC 8285 section 4.2).
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// Two-byte extension elements (RFC 8285 section 4.3); the low four bits are for the application.
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// The header of an RTP packet, as numbers and offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit; the last packet of a frame for video.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Bytes before the payload: fixed header, contributing sources and extension block.
    pub header_len: usize,
    /// Whether the payload ends in padding.
    pub padding: bool,
    block: Option<Block>,
}

/// Where the extension elements start, and their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
}

impl RtpHeader {
    /// Reads the header (RFC 3550 section 5.1); what follows it may still be encrypted.
    ///
    /// # Errors
    /// When the packet ends inside the header, or is of another version.
    pub fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        let fixed = packet.first_chunk::<FIXED_HEADER_LEN>().ok_or(PacketError::TooShort)?;
        let [bits, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if bits >> 6 != 2 {
            return Err(PacketError::Version);
        }
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(bits & 0x0F);
        let mut block = None;
        if bits & 0x10 != 0 {
            let rest = packet.get(header_len..).ok_or(PacketError::TooShort)?;
            let [p0, p1, w0, w1] = *rest.first_chunk().ok_or(PacketError::TooShort)?;
            let start = header_len + 4;
            let form = match u16::from_be_bytes([p0, p1]) {
                ONE_BYTE_PROFILE => Some(Form::OneByte),
                profile if profile & 0xFFF0 == TWO_BYTE_PROFILE => Some(Form::TwoByte),
                _ => None,
            };
            block = form.map(|form| Block { start, form });
            header_len = start + 4 * usize::from(u16::from_be_bytes([w0, w1]));
        }
        if packet.len() < header_len {
            return Err(PacketError::TooShort);
        }
        Ok(Self {
            marker: kind & 0x80 != 0,
            payload_type: kind & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            header_len,
            padding: bits & 0x20 != 0,
            block,
        })
    }

    /// What a decrypted packet carries, without its padding; empty for a packet that is padding only.
    ///
    /// # Errors
    /// When `packet` is shorter than this header, or its padding count is zero or larger than what follows the header.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], PacketError> {
        let body = packet.get(self.header_len..).ok_or(PacketError::TooShort)?;
        if !self.padding {
            return Ok(body);
        }
        let padding = usize::from(*body.last().ok_or(PacketError::Padding)?);
        if padding == 0 {
            return Err(PacketError::Padding);
        }
        body.len().checked_sub(padding).and_then(|len| body.get(..len)).ok_or(PacketError::Padding)
    }

    /// The header extension elements with their ids, in both forms of RFC 8285; ends at the first that is cut off.
    #[must_use]
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let block = self.block.and_then(|block| Some((packet.get(block.start..self.header_len)?, block.form)));
        let (rest, form) = block.unwrap_or((&[], Form::OneByte));
        Extensions { rest, form }
    }

    /// The first element with an id.
    #[must_use]
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        self.extensions(packet).find(|(found, _)| *found == id).map(|(_, value)| value)
    }
}

/// Iterates over the header extension elements of a packet.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    form: Form,
}

impl<'a> Extensions<'a> {
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        // A zero byte is padding in both forms.
        let start = self.rest.iter().position(|byte| *byte != 0)?;
        let (first, rest) = self.rest.get(start..)?.split_first()?;
        let (id, len, rest) = match self.form {
            // 15 ends the block, and 0 with a length is no element (RFC 8285 section 4.2).
            Form::OneByte if matches!(first >> 4, 0 | 15) => return None,
            Form::OneByte => (first >> 4, usize::from(first & 0x0F) + 1, rest),
            Form::TwoByte => {
                let (len, rest) = rest.split_first()?;
                (*first, usize::from(*len), rest)
            }
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some((id, value))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.element();
        if element.is_none() {
            self.rest = &[];
        }
        element
    }
}

impl std::iter::FusedIterator for Extensions<'_> {}

/// What the header of an outgoing packet says; it has no contributing sources and no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Writes a header and its extension elements to the front of `out`; returns its length in bytes.
///
/// Elements take the one-byte form when every id is in 1..=14 and every length in 1..=16, otherwise the two-byte form
/// (RFC 8285). `None` when `out` is too small, a payload type is above 127, an id is 0 or an element longer than 255 bytes;
/// `out` is then partly written.
pub fn write_header(out: &mut [u8], header: &OutgoingHeader, extensions: &[(u8, &[u8])]) -> Option<usize> {
    if header.payload_type > 0x7F {
        return None;
    }
    let with_block = !extensions.is_empty();
    let mut cursor = Cursor { out, at: 0 };
    cursor.put(&[0x80 | u8::from(with_block) << 4, u8::from(header.marker) << 7 | header.payload_type])?;
    cursor.put(&header.sequence.to_be_bytes())?;
    cursor.put(&header.timestamp.to_be_bytes())?;
    cursor.put(&header.ssrc.to_be_bytes())?;
    if with_block {
        write_block(&mut cursor, extensions)?;
    }
    Some(cursor.at)
}

/// Writes over the two bytes of a packet's first extension element, which was written with as many.
///
/// A transport-wide number is known only once the packet's length is.
pub fn set_first_element(packet: &mut [u8], value: [u8; 2]) -> Option<()> {
    let profile = packet.get(FIXED_HEADER_LEN..)?.first_chunk::<2>()?;
    let head = if u16::from_be_bytes(*profile) == ONE_BYTE_PROFILE { 1 } else { 2 };
    let start = FIXED_HEADER_LEN + 4 + head;
    packet.get_mut(start..start + 2)?.copy_from_slice(&value);
    Some(())
}

/// Writes the header of a packet that is nothing but `padding` bytes of padding, and the padding; returns its two lengths, the
/// header's and the whole.
///
/// `None` where `out` is too small or no padding is asked for.
pub fn write_padding(out: &mut [u8], header: &OutgoingHeader, extensions: &[(u8, &[u8])], padding: u8) -> Option<(usize, usize)> {
    let header_len = write_header(out, header, extensions)?;
    let body = out.get_mut(header_len..header_len + usize::from(padding))?;
    body.fill(0);
    *body.last_mut()? = padding;
    *out.first_mut()? |= 0x20;
    Some((header_len, header_len + usize::from(padding)))
}

fn write_block(cursor: &mut Cursor<'_>, extensions: &[(u8, &[u8])]) -> Option<()> {
    // Most packets carry a transport-wide number and nothing else.
    if let [(id, [high, low])] = *extensions
        && (1..=14).contains(&id)
    {
        let [first, second] = ONE_BYTE_PROFILE.to_be_bytes();
        return cursor.put(&[first, second, 0, 1, id << 4 | 1, *high, *low, 0]);
    }
    let one_byte = extensions.iter().all(|(id, value)| (1..=14).contains(id) && (1..=16).contains(&value.len()));
    let (profile, head) = if one_byte { (ONE_BYTE_PROFILE, 1) } else { (TWO_BYTE_PROFILE, 2) };
    let len: usize = extensions.iter().map(|(_, value)| head + value.len()).sum();
    cursor.put(&profile.to_be_bytes())?;
    cursor.put(&u16::try_from(len.div_ceil(4)).ok()?.to_be_bytes())?;
    for (id, value) in extensions {
        let len = u8::try_from(value.len()).ok()?;
        if *id == 0 {
            return None;
        }
        if one_byte {
            cursor.put(&[id << 4 | (len - 1)])?;
        } else {
            cursor.put(&[*id, len])?;
        }
        cursor.put(value)?;
    }
    let padding = len.next_multiple_of(4) - len;
    cursor.put([0; 3].get(..padding)?)
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }
}

/// How loud a packet of sound is (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// Whether the sender believes it is speech.
    pub voice: bool,
    /// Level in -dBov: 0 is loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    /// Reads the extension's value (RFC 6464 section 3); `None` when it is empty.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let byte = *value.first()?;
        Some(Self { voice: byte & 0x80 != 0, level: byte & 0x7F })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const HEADER: OutgoingHeader =
        OutgoingHeader { marker: true, payload_type: 96, sequence: 0x1234, timestamp: 0xDECA_FBAD, ssrc: 0xCAFE_BABE };

    fn packet(extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut out = [0xEE; 2048];
        let len = write_header(&mut out, &HEADER, extensions).unwrap();
        [&out[..len], payload].concat()
    }

    #[test]
    fn first_two_bytes_tell_protocols_apart() {
        let cases = [
            (&[0, 1][..], Class::Stun),
            (&[3], Class::Stun),
            (&[4], Class::Unknown),
            (&[16], Class::Unknown),
            (&[20], Class::Dtls),
            (&[63], Class::Dtls),
            (&[64], Class::Unknown),
            (&[0x80, 191], Class::Rtp),
            (&[0x80, 192], Class::Rtcp),
            (&[0xBF, 223], Class::Rtcp),
            (&[0x80, 224], Class::Rtp),
            (&[0x80, 96], Class::Rtp),
            (&[0xC0, 96], Class::Unknown),
            (&[0x80], Class::Unknown),
            (&[], Class::Unknown),
        ];
        for (datagram, class) in cases {
            assert_eq!(classify(datagram), class, "{datagram:?}");
        }
    }

    #[test]
    fn a_written_header_is_read_back() {
        let bytes = packet(&[], b"abc");
        let header = RtpHeader::parse(&bytes).unwrap();
        assert!(header.marker && !header.padding);
        assert_eq!((header.payload_type, header.sequence), (96, 0x1234));
        assert_eq!((header.timestamp, header.ssrc), (0xDECA_FBAD, 0xCAFE_BABE));
        assert_eq!(header.header_len, 12);
        assert_eq!(header.payload(&bytes), Ok(&b"abc"[..]));
        assert_eq!(header.extensions(&bytes).count(), 0);
    }

    #[test]
    fn contributing_sources_belong_to_the_header() {
        let mut bytes = packet(&[], &[0; 8]);
        bytes[0] |= 2;
        assert_eq!(RtpHeader::parse(&bytes).unwrap().header_len, 20);
        assert_eq!(RtpHeader::parse(&bytes[..19]), Err(PacketError::TooShort));
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = packet(&[], b"abc");
        bytes[0] = 0x40;
        assert_eq!(RtpHeader::parse(&bytes), Err(PacketError::Version));
    }

    #[test]
    fn one_byte_elements_lie_as_in_rfc_8285() {
        let bytes = packet(&[(1, &[7]), (3, &[1, 2, 3])], &[]);
        assert_eq!(bytes[12..], [0xBE, 0xDE, 0, 2, 0x10, 7, 0x32, 1, 2, 3, 0, 0]);
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!(header.extension(&bytes, 3), Some(&[1, 2, 3][..]));
        assert_eq!(header.extension(&bytes, 2), None);
    }

    #[test]
    fn a_long_or_empty_element_or_a_high_id_takes_the_two_byte_form() {
        for element in [(1, &[5; 17][..]), (1, &[]), (15, &[9])] {
            let bytes = packet(&[element], &[]);
            assert_eq!(bytes[12..14], [0x10, 0x00]);
            let header = RtpHeader::parse(&bytes).unwrap();
            assert_eq!(header.extensions(&bytes).collect::<Vec<_>>(), [element]);
        }
    }

    #[test]
    fn application_bits_of_the_two_byte_form_are_ignored() {
        let mut bytes = packet(&[(20, &[9])], &[]);
        bytes[13] = 0x0F;
        assert_eq!(RtpHeader::parse(&bytes).unwrap().extension(&bytes, 20), Some(&[9][..]));
    }

    #[test]
    fn reserved_ids_and_cut_elements_end_the_block() {
        let cases = [
            (&[0xBE, 0xDE, 0, 1, 0xF0, 0, 0x10, 1][..], "id 15"),
            (&[0xBE, 0xDE, 0, 1, 0x01, 0, 0x10, 1], "id 0 with a length"),
            (&[0xBE, 0xDE, 0, 1, 0x1F, 1, 2, 3], "one-byte form, cut"),
            (&[0x10, 0x00, 0, 1, 1, 200, 2, 3], "two-byte form, cut"),
            (&[0x10, 0x00, 0, 1, 0, 0, 0, 7], "two-byte form, no length"),
            (&[0xAB, 0xCD, 0, 1, 0x10, 1, 2, 3], "a profile of no known form"),
        ];
        for (block, name) in cases {
            let mut bytes = packet(&[], block);
            bytes[0] |= 0x10;
            let header = RtpHeader::parse(&bytes).unwrap();
            assert_eq!(header.header_len, 20, "{name}");
            let mut extensions = header.extensions(&bytes);
            assert_eq!(extensions.next(), None, "{name}");
            assert_eq!(extensions.next(), None, "{name}: stays at its end");
        }
    }

    #[test]
    fn an_extension_block_longer_than_the_packet_is_refused() {
        let mut bytes = packet(&[(1, &[7])], &[]);
        bytes[14] = 0xFF;
        assert_eq!(RtpHeader::parse(&bytes), Err(PacketError::TooShort));
    }

    #[test]
    fn padding_is_checked_and_stripped() {
        let cases = [
            (&[1, 2, 3, 0, 2][..], Ok(&[1, 2, 3][..])),
            (&[0, 0, 3], Ok(&[])),
            (&[0, 0, 4], Err(PacketError::Padding)),
            (&[1, 0], Err(PacketError::Padding)),
            (&[], Err(PacketError::Padding)),
        ];
        for (body, expected) in cases {
            let mut bytes = packet(&[], body);
            bytes[0] |= 0x20;
            assert_eq!(RtpHeader::parse(&bytes).unwrap().payload(&bytes), expected, "{body:?}");
        }
    }

    #[test]
    fn a_header_never_reads_beyond_another_packet() {
        let bytes = packet(&[(1, &[7; 16])], b"abc");
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!(header.payload(&bytes[..20]), Err(PacketError::TooShort));
        assert_eq!(header.extensions(&bytes[..20]).count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_not_written() {
        let mut out = [0; 64];
        assert_eq!(write_header(&mut out, &HEADER, &[(0, &[1])]), None, "id 0");
        assert_eq!(write_header(&mut out, &HEADER, &[(1, &[0; 256])]), None, "too long");
        assert_eq!(write_header(&mut out, &OutgoingHeader { payload_type: 128, ..HEADER }, &[]), None);
        assert_eq!(write_header(&mut out[..11], &HEADER, &[]), None);
        assert_eq!(write_header(&mut out[..19], &HEADER, &[(1, &[1])]), None, "no room for the padding");
        assert_eq!(write_header(&mut out[..20], &HEADER, &[(1, &[1])]), Some(20));
    }

    #[test]
    fn audio_levels_are_read() {
        assert_eq!(AudioLevel::parse(&[0x80 | 30]), Some(AudioLevel { voice: true, level: 30 }));
        assert_eq!(AudioLevel::parse(&[127]), Some(AudioLevel { voice: false, level: 127 }));
        assert_eq!(AudioLevel::parse(&[]), None);
    }

    proptest! {
        #[test]
        fn any_elements_survive_writing_and_reading(
            elements in vec((1..=255_u8, vec(any::<u8>(), 0..40)), 0..12), payload in vec(any::<u8>(), 0..40),
        ) {
            let elements: Vec<(u8, &[u8])> = elements.iter().map(|(id, value)| (*id, value.as_slice())).collect();
            let bytes = packet(&elements, &payload);
            let header = RtpHeader::parse(&bytes).unwrap();
            prop_assert_eq!(header.header_len % 4, 0);
            prop_assert_eq!(header.extensions(&bytes).collect::<Vec<_>>(), elements);
            prop_assert_eq!(header.payload(&bytes).unwrap(), payload.as_slice());
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in vec(any::<u8>(), 0..200), bits in any::<u8>()) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | bits & 0x3F;
            }
            let _ = classify(&bytes);
            if let Ok(header) = RtpHeader::parse(&bytes) {
                prop_assert!(header.header_len <= bytes.len());
                prop_assert!(header.extensions(&bytes).count() <= bytes.len());
                let payload = header.payload(&bytes).map_or(0, <[u8]>::len);
                prop_assert!(payload <= bytes.len() - header.header_len);
            }
        }
    }
}
