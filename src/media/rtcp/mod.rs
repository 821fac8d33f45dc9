//! RTCP packets: a zero-copy reader and writers into the caller's buffer.
//!
//! Follows RFC 3550 section 6, RFC 4585 (feedback), RFC 5104 (FIR), RFC 5506 (reduced size),
//! draft-alvestrand-rmcat-remb-03 and draft-holmer-rmcat-transport-wide-cc-extensions-01. It never decrypts, never
//! allocates, and never decides what a report means.
//!
//! Entry points: [`packets`] for what came in, [`Compound`] for what goes out.

mod read;
mod twcc;
mod write;

pub use read::{
    FirEntries, MAX_NACKED, MAX_PACKETS, MAX_STATUSES, NackedNumbers, Packets, ReportBlocks, Rtcp, RtcpError, Ssrcs, packets,
};
pub use twcc::{FeedbackHeader, Statuses, TransportFeedback};
pub use write::{Compound, MAX_BLOCKS};

/// Sender report, RFC 3550 section 6.4.1.
const SENDER_REPORT: u8 = 200;
/// Receiver report, RFC 3550 section 6.4.2.
const RECEIVER_REPORT: u8 = 201;
/// Source description, RFC 3550 section 6.5.
const SOURCE_DESCRIPTION: u8 = 202;
/// Goodbye, RFC 3550 section 6.6.
const GOODBYE: u8 = 203;
/// Transport-layer feedback, RFC 4585 section 6.2.
const TRANSPORT_LAYER_FEEDBACK: u8 = 205;
/// Payload-specific feedback, RFC 4585 section 6.3.
const PAYLOAD_SPECIFIC_FEEDBACK: u8 = 206;

/// Feedback message types of [`TRANSPORT_LAYER_FEEDBACK`] and [`PAYLOAD_SPECIFIC_FEEDBACK`].
const FORMAT_NACK: u8 = 1;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;
const FORMAT_TRANSPORT_CC: u8 = 15;

/// What a sender says of one of its streams (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// The stream the report is about.
    pub ssrc: u32,
    /// Wall clock of the report: NTP format, seconds in the upper 32 bits.
    pub ntp: u64,
    /// The same moment on the stream's RTP clock.
    pub rtp: u32,
    /// Packets sent since the stream began, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent since the stream began, modulo 2^32.
    pub octets: u32,
}

/// What a receiver says of one stream (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream the block is about.
    pub ssrc: u32,
    /// Loss since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the stream began; 24 bits on the wire, negative when duplicates arrived.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of cycles in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the stream's RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 when there was none.
    pub last_sr: u32,
    /// Time since that sender report, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

#[cfg(test)]
mod tests;
