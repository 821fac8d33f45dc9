//! Session descriptions (RFC 8866) as a browser offers them and as the relay answers them.
//!
//! The relay is ICE-lite and, but for clients with two peer connections, always the answerer (RFC 3264, RFC 9429).
//! [`Offer::parse`] reads an offer within fixed bounds, [`Plan`] says what each of its sections may become,
//! [`ReceiveCodecs`] chooses what a publisher sends, [`Section::pick`] finds the payload type for what a viewer is sent,
//! and [`write_answer`] writes the answer. Where the relay offers, [`write_offer`] writes it and [`read_answer`] reads
//! what the client says to it.
//!
//! An answer keeps every section of the offer in place, with its mid and the client's own payload types. Nothing
//! here remembers an earlier offer, decides who may send, or prints what a description holds.

mod answer;
mod fmtp;
mod lines;
mod local;
mod negotiate;
mod offer;
mod own_offer;
mod read_answer;
mod section;

pub use answer::{AnswerSection, ReceiveSection, SendSection, write_answer};
pub use local::LocalEnd;
pub use negotiate::{Plan, ReceiveCodecs, SectionPlan};
pub use offer::{Offer, Setup};
pub use own_offer::{OfferSection, OwnSection, own_payload_types, write_offer};
pub use read_answer::read_answer;
pub use section::{Direction, FEEDBACK, MediaId, OfferedCodec, OfferedExtension, Role, Section, SectionKind};

use thiserror::Error;

/// Longest description read, in bytes. A browser's video section is about 3 KiB, so this holds some eighty of them.
pub const MAX_TEXT: usize = 256 * 1024;
/// Most lines read; at [`MAX_TEXT`] real offers average 30 bytes a line, which makes about 9,000.
pub const MAX_LINES: usize = 16_384;
/// Longest line read, in bytes. Parameter sets of H.264 make the longest real ones, a few hundred bytes.
pub const MAX_LINE: usize = 4096;
/// Most media sections: a room of a hundred seats with camera and microphone each, and room to spare.
pub const MAX_SECTIONS: usize = 256;
/// Most payload types in one section; Chromium offers 35.
pub const MAX_CODECS: usize = 64;
/// Most header extensions in one section; Chromium offers 13.
pub const MAX_EXTENSIONS: usize = 64;
/// Most SSRCs in one section: eight layers with repair make 16.
pub const MAX_SSRCS: usize = 32;
/// Most simulcast streams in one section; clients send three.
pub const MAX_RIDS: usize = 8;
/// Longest mid or rid, in bytes; a one-byte header extension carries 16 of them (RFC 8285, section 4.2).
pub const MAX_TOKEN: usize = 32;

/// Why an offer is refused; each is the peer's fault, and none carries its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Longer than [`MAX_TEXT`], [`MAX_LINES`] or [`MAX_LINE`].
    #[error("the description is too long")]
    TooLong,
    /// More of something than is read.
    #[error("too many {0} in the description")]
    TooMany(&'static str),
    /// Not a session description.
    #[error("the description cannot be read")]
    Malformed,
    /// An attribute we need has a value that cannot be read.
    #[error("the value of a={0} cannot be read")]
    BadAttribute(&'static str),
    /// A section in use has no mid.
    #[error("a section has no mid")]
    MissingMid,
    /// Two sections have the same mid.
    #[error("two sections have the same mid")]
    DuplicateMid,
    /// No ICE user name fragment and password.
    #[error("the description has no ICE credentials")]
    MissingIce,
    /// No SHA-256 certificate fingerprint.
    #[error("the description has no sha-256 fingerprint")]
    MissingFingerprint,
    /// The peer insists on being the DTLS server, which we always are.
    #[error("the DTLS role offered leaves none for an answerer that is passive")]
    SetupRole,
    /// An answer whose sections are not those of our offer.
    #[error("the answer does not fit the offer")]
    Mismatch,
    /// Not every section in use is in one BUNDLE group with multiplexed RTCP (RFC 9143, RFC 5761).
    #[error("the sections are not bundled on one transport")]
    NotBundled,
}

#[cfg(test)]
mod fixtures;
