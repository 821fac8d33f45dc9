//! Writing packets one after the other into the caller's buffer.

use std::fmt;

use super::{
    FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, FORMAT_TRANSPORT_CC, FeedbackHeader, GOODBYE, PAYLOAD_SPECIFIC_FEEDBACK,
    RECEIVER_REPORT, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT_LAYER_FEEDBACK, twcc,
};

/// Report blocks, source descriptions or goodbyes of one packet (a 5-bit count, RFC 3550 section 6.4.1).
pub const MAX_BLOCKS: usize = 31;

/// Builds a compound packet in the caller's buffer.
///
/// Each writer appends one packet and returns whether it fit; a packet that does not fit leaves nothing behind. The
/// order is the caller's: a report first, then its CNAME (RFC 3550 section 6.1), unless reduced size was negotiated.
pub struct Compound<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl fmt::Debug for Compound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compound(…)")
    }
}

impl<'a> Compound<'a> {
    /// Starts an empty compound.
    #[must_use]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a sender report with up to [`MAX_BLOCKS`] blocks.
    #[must_use]
    pub fn sender_report(&mut self, sender: &SenderInfo, blocks: &[ReportBlock]) -> bool {
        self.counted(blocks.len(), SENDER_REPORT, |pen| {
            pen.u32(sender.ssrc);
            pen.put(&sender.ntp.to_be_bytes());
            pen.u32(sender.rtp);
            pen.u32(sender.packets);
            pen.u32(sender.octets);
            pen.blocks(blocks);
        })
    }

    /// Appends a receiver report with up to [`MAX_BLOCKS`] blocks.
    #[must_use]
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> bool {
        self.counted(blocks.len(), RECEIVER_REPORT, |pen| {
            pen.u32(ssrc);
            pen.blocks(blocks);
        })
    }

    /// Appends a source description with the CNAME of one stream, at most 255 bytes of text.
    #[must_use]
    pub fn cname(&mut self, ssrc: u32, cname: &str) -> bool {
        const CNAME: u8 = 1;
        let Ok(length) = u8::try_from(cname.len()) else { return false };
        self.counted(1, SOURCE_DESCRIPTION, |pen| {
            pen.u32(ssrc);
            pen.put(&[CNAME, length]);
            pen.put(cname.as_bytes());
            // The list ends with a zero; further zeros fill the last word (RFC 3550 section 6.5).
            let end = [0; 4];
            let zeros = 4 - pen.length % 4;
            pen.put(end.get(..zeros).unwrap_or(&end));
        })
    }

    /// Appends a NACK; numbers in sending order pack best. Nothing is written for an empty list.
    #[must_use]
    pub fn nack(&mut self, sender: u32, media: u32, sequences: &[u16]) -> bool {
        let Some((first, rest)) = sequences.split_first() else { return false };
        self.packet(FORMAT_NACK, TRANSPORT_LAYER_FEEDBACK, |pen| {
            pen.u32(sender);
            pen.u32(media);
            let (mut first, mut following) = (*first, 0_u16);
            for sequence in rest {
                match sequence.wrapping_sub(first) {
                    0 => {}
                    distance @ 1..=16 => following |= 1 << (distance - 1),
                    _ => {
                        pen.u16(first);
                        pen.u16(following);
                        (first, following) = (*sequence, 0);
                    }
                }
            }
            pen.u16(first);
            pen.u16(following);
        })
    }

    /// Appends a picture loss indication.
    #[must_use]
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        self.packet(FORMAT_PLI, PAYLOAD_SPECIFIC_FEEDBACK, |pen| {
            pen.u32(sender);
            pen.u32(media);
        })
    }

    /// Appends a full intra request: streams and their command numbers. Nothing is written for an empty list.
    #[must_use]
    pub fn fir(&mut self, sender: u32, entries: &[(u32, u8)]) -> bool {
        !entries.is_empty()
            && self.packet(FORMAT_FIR, PAYLOAD_SPECIFIC_FEEDBACK, |pen| {
                pen.u32(sender);
                pen.u32(0);
                for (media, command) in entries {
                    pen.u32(*media);
                    pen.put(&[*command, 0, 0, 0]);
                }
            })
    }

    /// Appends transport-wide feedback: one status for each sequence number from the header's base on.
    ///
    /// A status is the arrival in 250 µs units since the arrival before it (the first: since the reference time), or
    /// nothing for a packet that did not arrive. Nothing is written for an empty or longer than 16-bit list.
    #[must_use]
    pub fn transport_feedback(&mut self, header: &FeedbackHeader, statuses: impl Iterator<Item = Option<i16>> + Clone) -> bool {
        let most = usize::from(u16::MAX);
        let Some(count) = u16::try_from(statuses.clone().take(most + 1).count()).ok().filter(|count| *count != 0) else {
            return false;
        };
        self.packet(FORMAT_TRANSPORT_CC, TRANSPORT_LAYER_FEEDBACK, |pen| twcc::write(pen, header, statuses, count))
    }

    /// Appends a goodbye for 1 to [`MAX_BLOCKS`] streams.
    #[must_use]
    pub fn bye(&mut self, ssrcs: &[u32]) -> bool {
        !ssrcs.is_empty()
            && self.counted(ssrcs.len(), GOODBYE, |pen| {
                for ssrc in ssrcs {
                    pen.u32(*ssrc);
                }
            })
    }

    fn counted(&mut self, count: usize, packet_type: u8, body: impl FnOnce(&mut Pen<'_>)) -> bool {
        match u8::try_from(count) {
            Ok(count) if usize::from(count) <= MAX_BLOCKS => self.packet(count, packet_type, body),
            _ => false,
        }
    }

    /// Writes the body after room for the header, pads it to whole words, then fills the header in.
    fn packet(&mut self, format: u8, packet_type: u8, body: impl FnOnce(&mut Pen<'_>)) -> bool {
        let Some((header, free)) = self.buffer.get_mut(self.length..).and_then(|free| free.split_first_chunk_mut::<4>()) else {
            return false;
        };
        let mut pen = Pen { free, length: 0, fits: true };
        body(&mut pen);
        let padding = pen.pad();
        let Ok(words) = u16::try_from(pen.length / 4) else { return false };
        if !pen.fits {
            return false;
        }
        let [high, low] = words.to_be_bytes();
        let flag = if padding { 0x20 } else { 0 };
        *header = [0x80 | flag | format, packet_type, high, low];
        self.length += 4 + pen.length;
        true
    }
}

/// Appends fields, and remembers when one did not fit.
pub(super) struct Pen<'a> {
    free: &'a mut [u8],
    length: usize,
    fits: bool,
}

impl Pen<'_> {
    pub(super) fn put(&mut self, field: &[u8]) {
        let end = self.length + field.len();
        match self.free.get_mut(self.length..end) {
            Some(place) if self.fits => {
                place.copy_from_slice(field);
                self.length = end;
            }
            _ => self.fits = false,
        }
    }

    pub(super) fn u16(&mut self, field: u16) {
        self.put(&field.to_be_bytes());
    }

    pub(super) fn u32(&mut self, field: u32) {
        self.put(&field.to_be_bytes());
    }

    fn blocks(&mut self, blocks: &[ReportBlock]) {
        for block in blocks {
            self.u32(block.ssrc);
            // 24 bits, signed, and clamped as RFC 3550 appendix A.3 has it.
            let [_, a, b, c] = block.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF).to_be_bytes();
            self.put(&[block.fraction_lost, a, b, c]);
            self.u32(block.highest_sequence);
            self.u32(block.jitter);
            self.u32(block.last_sr);
            self.u32(block.delay_since_last_sr);
        }
    }

    /// Fills the last word; the last byte says how many were added (RFC 3550 section 6.4.1). Whether any were.
    fn pad(&mut self) -> bool {
        match self.length % 4 {
            1 => self.put(&[0, 0, 3]),
            2 => self.put(&[0, 2]),
            3 => self.put(&[1]),
            _ => return false,
        }
        true
    }
}
