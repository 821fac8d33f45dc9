//! Reading a decrypted compound or reduced-size packet.

use std::fmt;
use std::slice;

use super::{
    FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, FORMAT_TRANSPORT_CC, GOODBYE, PAYLOAD_SPECIFIC_FEEDBACK,
    RECEIVER_REPORT, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT_LAYER_FEEDBACK, TransportFeedback,
};

/// Packets read from one compound; browsers send fewer than ten, and the smallest is 4 bytes.
pub const MAX_PACKETS: usize = 64;

/// Sequence numbers read from one NACK; our own cache for repairs holds no more (1,000 packets a track).
pub const MAX_NACKED: usize = 1_024;

/// Packet statuses read from all transport feedback of one compound: one full run-length chunk, 8 s at 1,000 packets/s.
///
/// Run lengths cost the sender 2 bytes for 8,191 statuses; without this bound one datagram could ask for millions of steps.
pub const MAX_STATUSES: u16 = 8_192;

/// Why a packet of a compound was refused; always the far end's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// The packet ends before its fixed fields do, or the compound before its packet.
    #[error("RTCP packet is cut short")]
    Truncated,
    /// The version is not 2.
    #[error("RTCP version is not 2")]
    Version,
    /// Padding is announced but empty or longer than the packet.
    #[error("RTCP padding does not fit its packet")]
    Padding,
    /// A count or list length claims more, or other, than what is there.
    #[error("RTCP count does not fit its packet")]
    Count,
    /// A transport feedback chunk has a reserved symbol, a run of zero or a run beyond the status count.
    #[error("RTCP transport feedback has a bad status chunk")]
    Status,
    /// A bitrate does not fit 64 bits.
    #[error("RTCP bitrate is out of range")]
    Bitrate,
    /// More than [`MAX_PACKETS`] packets, or more than [`MAX_STATUSES`] packet statuses.
    #[error("RTCP compound is over its limits")]
    TooMany,
}

/// One packet of a compound; lists are iterators over the received bytes.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    /// Sender report.
    SenderReport {
        /// About the sender's own stream.
        sender: SenderInfo,
        /// About what it receives.
        blocks: ReportBlocks<'a>,
    },
    /// Receiver report.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// About what it receives.
        blocks: ReportBlocks<'a>,
    },
    /// Packets asked for again.
    Nack {
        /// Who asks.
        sender: u32,
        /// The stream they belong to.
        media: u32,
        /// Their sequence numbers, at most [`MAX_NACKED`].
        sequences: NackedNumbers<'a>,
    },
    /// Picture loss indication: a key frame is wanted.
    Pli {
        /// Who asks.
        sender: u32,
        /// The stream it wants.
        media: u32,
    },
    /// Full intra request: a key frame is wanted, once per new command number.
    Fir {
        /// Who asks.
        sender: u32,
        /// Streams and command numbers.
        entries: FirEntries<'a>,
    },
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Bits per second.
        bitrate: u64,
        /// The streams that share it.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide congestion control feedback.
    TransportFeedback(TransportFeedback<'a>),
    /// Streams that have ended.
    Bye {
        /// Which ones.
        ssrcs: Ssrcs<'a>,
    },
    /// Source description; its items name people's devices and are not read.
    Sdes,
    /// A packet of another type, or feedback of another format.
    Other {
        /// The RTCP packet type.
        packet_type: u8,
        /// The five bits after the padding flag.
        format: u8,
    },
}

/// Reads a decrypted compound (RFC 3550) or reduced-size (RFC 5506) packet.
///
/// A packet with a broken body yields an error and reading goes on after it; broken framing yields an error and ends.
#[must_use]
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound, packets_left: MAX_PACKETS, statuses_left: MAX_STATUSES }
}

/// Iterator over the packets of a compound; see [`packets`].
#[derive(Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    packets_left: usize,
    statuses_left: u16,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let framed = match self.packets_left.checked_sub(1) {
            Some(left) => {
                self.packets_left = left;
                frame(self.rest)
            }
            None => Err(RtcpError::TooMany),
        };
        match framed {
            Ok(Frame { header, body, rest }) => {
                self.rest = rest;
                Some(self.packet(header, body))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Packets<'_> {}

impl<'a> Packets<'a> {
    fn packet(&mut self, [first, packet_type, ..]: [u8; 4], body: &'a [u8]) -> Result<Rtcp<'a>, RtcpError> {
        let body = if first & 0x20 == 0 { body } else { without_padding(body)? };
        let format = first & 0x1F;
        match (packet_type, format) {
            (SENDER_REPORT, _) => sender_report(body, format),
            (RECEIVER_REPORT, _) => {
                let mut scan = Scan(body);
                let ssrc = scan.u32()?;
                Ok(Rtcp::ReceiverReport { ssrc, blocks: ReportBlocks::read(scan.0, format)? })
            }
            (SOURCE_DESCRIPTION, _) => Ok(Rtcp::Sdes),
            (GOODBYE, _) => Ok(Rtcp::Bye { ssrcs: Ssrcs::read(body, format)? }),
            (TRANSPORT_LAYER_FEEDBACK, FORMAT_NACK) => nack(body),
            (TRANSPORT_LAYER_FEEDBACK, FORMAT_TRANSPORT_CC) => {
                let feedback = TransportFeedback::read(body, self.statuses_left)?;
                self.statuses_left = self.statuses_left.saturating_sub(feedback.status_count);
                Ok(Rtcp::TransportFeedback(feedback))
            }
            (PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_PLI) => {
                let mut scan = Scan(body);
                Ok(Rtcp::Pli { sender: scan.u32()?, media: scan.u32()? })
            }
            (PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_FIR) => fir(body),
            (PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_APPLICATION) => application(body),
            (packet_type, format) => Ok(Rtcp::Other { packet_type, format }),
        }
    }
}

struct Frame<'a> {
    header: [u8; 4],
    body: &'a [u8],
    rest: &'a [u8],
}

/// Splits the header and the body it announces off the rest.
fn frame(data: &[u8]) -> Result<Frame<'_>, RtcpError> {
    let (header, rest) = data.split_first_chunk::<4>().ok_or(RtcpError::Truncated)?;
    let [first, _, high, low] = *header;
    if first >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    let length = usize::from(u16::from_be_bytes([high, low])) * 4;
    let (body, rest) = rest.split_at_checked(length).ok_or(RtcpError::Truncated)?;
    Ok(Frame { header: *header, body, rest })
}

/// Any amount from 1 to the whole body passes: transport feedback pads by 1 to 3 bytes and is not always last.
fn without_padding(body: &[u8]) -> Result<&[u8], RtcpError> {
    let padding = usize::from(*body.last().ok_or(RtcpError::Padding)?);
    if padding == 0 {
        return Err(RtcpError::Padding);
    }
    let length = body.len().checked_sub(padding).ok_or(RtcpError::Padding)?;
    body.get(..length).ok_or(RtcpError::Padding)
}

fn sender_report(body: &[u8], count: u8) -> Result<Rtcp<'_>, RtcpError> {
    let mut scan = Scan(body);
    let sender = SenderInfo { ssrc: scan.u32()?, ntp: scan.u64()?, rtp: scan.u32()?, packets: scan.u32()?, octets: scan.u32()? };
    Ok(Rtcp::SenderReport { sender, blocks: ReportBlocks::read(scan.0, count)? })
}

fn nack(body: &[u8]) -> Result<Rtcp<'_>, RtcpError> {
    let mut scan = Scan(body);
    let (sender, media) = (scan.u32()?, scan.u32()?);
    let pairs = whole_entries(scan.0)?;
    Ok(Rtcp::Nack { sender, media, sequences: NackedNumbers { pairs: pairs.iter(), current: None, left: MAX_NACKED } })
}

fn fir(body: &[u8]) -> Result<Rtcp<'_>, RtcpError> {
    let mut scan = Scan(body);
    // The media SSRC of a FIR is zero: streams are named in the entries (RFC 5104 section 4.3.1.2).
    let (sender, _) = (scan.u32()?, scan.u32()?);
    Ok(Rtcp::Fir { sender, entries: FirEntries(whole_entries(scan.0)?.iter()) })
}

fn application(body: &[u8]) -> Result<Rtcp<'_>, RtcpError> {
    let mut scan = Scan(body);
    let (_, _) = (scan.u32()?, scan.u32()?);
    let Some((b"REMB", rest)) = scan.0.split_first_chunk::<4>() else {
        return Ok(Rtcp::Other { packet_type: PAYLOAD_SPECIFIC_FEEDBACK, format: FORMAT_APPLICATION });
    };
    let mut scan = Scan(rest);
    let [count, high, middle, low] = scan.u32()?.to_be_bytes();
    let mantissa = u64::from(u32::from_be_bytes([0, high & 3, middle, low]));
    // The exponent has six bits, so the shift is at most 63.
    let bitrate = mantissa.checked_mul(1 << (high >> 2)).ok_or(RtcpError::Bitrate)?;
    Ok(Rtcp::Remb { bitrate, ssrcs: Ssrcs::read(scan.0, count)? })
}

/// Exactly as many entries as the count says; what follows them is a profile's business.
fn counted_entries<const N: usize>(data: &[u8], count: u8) -> Result<&[[u8; N]], RtcpError> {
    let (entries, _) = data.as_chunks::<N>();
    entries.get(..usize::from(count)).ok_or(RtcpError::Count)
}

/// One entry or more, with nothing left over.
fn whole_entries<const N: usize>(data: &[u8]) -> Result<&[[u8; N]], RtcpError> {
    match data.as_chunks::<N>() {
        (entries, []) if !entries.is_empty() => Ok(entries),
        _ => Err(RtcpError::Count),
    }
}

/// Iterator over report blocks, at most 31.
#[derive(Clone)]
pub struct ReportBlocks<'a>(slice::Iter<'a, [u8; 24]>);

impl<'a> ReportBlocks<'a> {
    fn read(data: &'a [u8], count: u8) -> Result<Self, RtcpError> {
        Ok(Self(counted_entries(data, count)?.iter()))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let mut scan = Scan(self.0.next()?);
        let ssrc = scan.u32().ok()?;
        let [fraction_lost, high, middle, low] = scan.u32().ok()?.to_be_bytes();
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            // In the upper 24 bits first, so that the shift back extends the sign.
            cumulative_lost: i32::from_be_bytes([high, middle, low, 0]) >> 8,
            highest_sequence: scan.u32().ok()?,
            jitter: scan.u32().ok()?,
            last_sr: scan.u32().ok()?,
            delay_since_last_sr: scan.u32().ok()?,
        })
    }
}

/// Iterator over stream ids.
#[derive(Clone)]
pub struct Ssrcs<'a>(slice::Iter<'a, [u8; 4]>);

impl<'a> Ssrcs<'a> {
    fn read(data: &'a [u8], count: u8) -> Result<Self, RtcpError> {
        Ok(Self(counted_entries(data, count)?.iter()))
    }
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.next().map(|ssrc| u32::from_be_bytes(*ssrc))
    }
}

/// Iterator over the entries of a full intra request: stream and command number.
#[derive(Clone)]
pub struct FirEntries<'a>(slice::Iter<'a, [u8; 8]>);

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let [a, b, c, d, command, ..] = *self.0.next()?;
        Some((u32::from_be_bytes([a, b, c, d]), command))
    }
}

/// Iterator over the sequence numbers of a NACK, at most [`MAX_NACKED`].
#[derive(Clone)]
pub struct NackedNumbers<'a> {
    pairs: slice::Iter<'a, [u8; 4]>,
    /// First number of the pair and the bits still to give out.
    current: Option<(u16, u16)>,
    left: usize,
}

impl Iterator for NackedNumbers<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        if let Some((first, bits)) = self.current.filter(|(_, bits)| *bits != 0) {
            self.current = Some((first, bits & (bits - 1)));
            return Some(first.wrapping_add(bits.trailing_zeros() as u16 + 1));
        }
        let [a, b, c, d] = *self.pairs.next()?;
        let first = u16::from_be_bytes([a, b]);
        self.current = Some((first, u16::from_be_bytes([c, d])));
        Some(first)
    }
}

macro_rules! closed_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

closed_debug!(Packets, ReportBlocks, Ssrcs, FirEntries, NackedNumbers);

/// Takes big-endian fields off the front of a slice.
pub(super) struct Scan<'a>(pub(super) &'a [u8]);

impl Scan<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RtcpError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(RtcpError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RtcpError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RtcpError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RtcpError> {
        self.take().map(u64::from_be_bytes)
    }
}
