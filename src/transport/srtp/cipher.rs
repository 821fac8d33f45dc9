//! The two families of ciphers behind one face.

use super::cm::Cm;
use super::debt::Debt;
use super::gcm::Gcm;
use super::keys::{Labels, SessionKeys};
use super::proof::Datagram;
use super::{Profile, RTCP_INDEX_LEN, SrtpError};
use crate::media::ahead;

/// What seals or opens the packets of one protocol in one direction.
pub(super) enum Cipher {
    Gcm(Gcm),
    /// Boxed: its key schedules are some hundred bytes that a GCM peer need not hold.
    Cm(Box<Cm>),
}

impl Cipher {
    pub(super) fn derive(keys: &SessionKeys, labels: Labels) -> Result<Self, SrtpError> {
        Ok(match keys.profile() {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(Gcm::derive(keys, labels)?),
            Profile::Aes128CmSha1_80 => Self::Cm(Box::new(Cm::derive(keys, labels)?)),
        })
    }

    pub(super) fn open_rtp(
        &self,
        packet: &mut Datagram<'_>,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtp(packet.as_mut_slice(), header_len, ssrc, index),
            Self::Cm(cm) => cm.open_rtp(packet, header_len, ssrc, index),
        }
    }

    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
        debt: Option<Debt<'_>>,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtp(packet, header_len, ssrc, index),
            Self::Cm(cm) => cm.seal_rtp(packet, header_len, ssrc, index, debt),
        }
    }

    /// Seals a payload that lies elsewhere into what lies between the header and the room for the tag.
    pub(super) fn seal_rtp_from(
        &self,
        packet: &mut [u8],
        header_len: usize,
        payload: &[u8],
        ssrc: u32,
        index: u64,
        debt: Option<Debt<'_>>,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtp_from(packet, header_len, payload, ssrc, index),
            Self::Cm(cm) => {
                let room = packet.get_mut(header_len..).and_then(|body| body.get_mut(..payload.len()));
                room.ok_or(SrtpError::NoRoom)?.copy_from_slice(payload);
                cm.seal_rtp(packet, header_len, ssrc, index, debt)
            }
        }
    }

    /// Asks for what a packet of media needs.
    pub(super) fn warm(&self) {
        match self {
            Self::Gcm(gcm) => gcm.warm(),
            Self::Cm(cm) => ahead::fetch(&**cm),
        }
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32, encrypted: bool) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm(_) if !encrypted => Err(SrtpError::Unencrypted),
            Self::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, index),
            Self::Cm(cm) => cm.open_rtcp(packet, ssrc, index, encrypted),
        }
    }

    pub(super) fn seal_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtcp(packet, ssrc, index),
            Self::Cm(cm) => cm.seal_rtcp(packet, ssrc, index),
        }
    }
}

/// Where the index word of a sealed RTCP packet of `len` bytes starts: GCM puts the tag before it, HMAC behind it.
pub(super) fn rtcp_word_offset(profile: Profile, len: usize) -> Option<usize> {
    len.checked_sub(if profile.is_aead() { RTCP_INDEX_LEN } else { profile.rtcp_overhead() })
}

/// The SSRC and the 48-bit index as they lie side by side in every initialisation vector.
pub(super) fn ssrc_and_index(ssrc: u32, index: u64) -> [u8; 10] {
    let ([a, b, c, d], [_, _, e, f, g, h, i, j]) = (ssrc.to_be_bytes(), index.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j]
}

/// The SSRC of an RTCP packet's first header.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    let [first, _, _, _, a, b, c, d] = *packet.first_chunk().ok_or(SrtpError::TooShort)?;
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    Ok(u32::from_be_bytes([a, b, c, d]))
}
