//! SRTP and SRTCP (RFC 3711, RFC 7714) in place, keyed by DTLS (RFC 5764).
//!
//! A peer has one [`SrtpReceiver`] and one [`SrtpSender`]. A packet is opened and sealed where it lies: neither allocates
//! but for the first packet of a stream. A packet that fails authentication changes nothing but a counter: no
//! index moves and no stream appears. No index is ever sealed twice under one key.
//!
//! AES-CM needs a hash over each packet, which is most of what it costs. So the tags of packets that go out together are made together
//! (`debt`), and so are those of packets that came together (`proof`): `hmac` makes up to sixteen at once.
//!
//! Entry points: [`SessionKeys::split`], [`SrtpReceiver::open_rtp`], [`SrtpReceiver::open_rtcp`], [`SrtpSender::seal_rtp`],
//! [`SrtpSender::seal_rtcp`].

mod aead;
mod cipher;
mod cm;
pub(super) mod debt;
mod gcm;
mod hmac;
mod keys;
mod proof;
mod receiver;
mod replay;
mod sender;
mod table;
#[cfg(test)]
mod tests;
mod together;

pub use keys::{KeyMaterialError, SessionKeys};
pub use proof::{Coming, Datagram, Proofs};
pub use receiver::{OpenedRtp, SrtpReceiver};
pub use sender::SrtpSender;

use crate::model::counters::DropReason;
use thiserror::Error;

use crate::media::packet::PacketError;

/// An SRTP protection profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764), for clients without GCM.
    Aes128CmSha1_80,
}

impl Profile {
    /// Every profile, the preferred first: AES-CM with HMAC-SHA1 costs five times as much for a packet by itself, and more than half as
    /// much again for one of many.
    pub const ALL: [Self; 3] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmSha1_80];

    /// Its number in the `use_srtp` extension (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Aes128CmSha1_80 => 0x0001,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// Length of a master key in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of a master salt in bytes.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes to take from the DTLS exporter: a key and a salt for each direction (RFC 5764 section 4.2).
    #[must_use]
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Length of the authentication tag in bytes, of SRTP and SRTCP alike.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }

    /// Bytes that sealing adds to an RTP packet.
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        self.tag_len()
    }

    /// Bytes that sealing adds to an RTCP packet: the tag, and the index with its E bit.
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len() + RTCP_INDEX_LEN
    }

    const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }
}

/// The part of an RTCP packet that stays clear: its first header and the sender's SSRC (RFC 3711 section 3.4).
const RTCP_CLEAR_LEN: usize = 8;
/// The E bit and the 31-bit index behind an SRTCP packet.
const RTCP_INDEX_LEN: usize = 4;
/// Highest SRTCP index (RFC 3711 section 3.4).
const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;
/// Longest packet touched: no datagram is longer, and AES-CM's 16-bit block counter holds far more.
const MAX_PACKET_LEN: usize = 65_535;

/// Why a packet was not opened or not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[repr(u8)]
pub enum SrtpError {
    /// Peer: shorter than header, index and tag together.
    #[error("the packet is too short")]
    TooShort,
    /// Peer: no RTP or RTCP header, or longer than a datagram. Caller, when sealing: not the header the length says.
    #[error("the packet has no proper header")]
    Malformed,
    /// Peer or anyone: the tag is wrong.
    #[error("the authentication tag is wrong")]
    Auth,
    /// Peer or anyone: the index was seen before, or is too old to tell.
    #[error("the index was seen before")]
    Replay,
    /// Peer: SRTCP that claims not to be encrypted, where the profile always encrypts.
    #[error("the packet claims not to be encrypted")]
    Unencrypted,
    /// Peer or caller: one stream too many.
    #[error("too many streams")]
    TableFull,
    /// The last index of these keys was used (RFC 3711 section 9.2).
    #[error("the keys are used up")]
    IndexLimit,
    /// Caller: the index was sealed before, or is too old to tell.
    #[error("the index was sealed before")]
    IndexReused,
    /// Caller: no room behind the packet for tag and index.
    #[error("no room for the tag")]
    NoRoom,
    /// Us: the cryptographic library refused what cannot be refused.
    #[error("the cryptographic library failed")]
    Library,
}

impl SrtpError {
    /// Every kind, in the order of its discriminant.
    pub const ALL: [Self; 10] = [
        Self::TooShort,
        Self::Malformed,
        Self::Auth,
        Self::Replay,
        Self::Unencrypted,
        Self::TableFull,
        Self::IndexLimit,
        Self::IndexReused,
        Self::NoRoom,
        Self::Library,
    ];
}

impl From<PacketError> for SrtpError {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::TooShort => Self::TooShort,
            PacketError::Version | PacketError::Padding => Self::Malformed,
        }
    }
}

/// How often each kind of error occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrtpErrorCounts([u64; SrtpError::ALL.len()]);

impl SrtpErrorCounts {
    /// The count of one kind.
    #[must_use]
    pub fn of(&self, kind: SrtpError) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or(0)
    }

    /// Errors of every kind.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Counts a result that is an error, and hands it on.
    fn watch<R>(&mut self, result: Result<R, SrtpError>) -> Result<R, SrtpError> {
        if let Err(kind) = &result
            && let Some(count) = self.0.get_mut(*kind as usize)
        {
            *count += 1;
        }
        result
    }
}

impl From<SrtpError> for DropReason {
    fn from(error: SrtpError) -> Self {
        match error {
            SrtpError::Auth | SrtpError::Unencrypted => Self::SrtpAuth,
            SrtpError::Replay => Self::Replay,
            SrtpError::TableFull => Self::TableFull,
            SrtpError::TooShort
            | SrtpError::Malformed
            | SrtpError::IndexLimit
            | SrtpError::IndexReused
            | SrtpError::NoRoom
            | SrtpError::Library => Self::Malformed,
        }
    }
}
