//! AES-GCM (RFC 7714).

use super::aead::{AeadKey, NONCE_LEN, TAG_LEN};
use super::keys::{Labels, SessionKeys};
use super::{Profile, RTCP_CLEAR_LEN, RTCP_INDEX_LEN, SrtpError};

/// Session key and salt of one protocol and one direction.
pub(super) struct Gcm {
    key: AeadKey,
    salt: [u8; 12],
}

impl Gcm {
    pub(super) fn derive(keys: &SessionKeys, labels: Labels) -> Result<Self, SrtpError> {
        let salt = keys.derive(labels.salt)?;
        match keys.profile() {
            Profile::AeadAes256Gcm => Self::new(keys.derive::<32>(labels.encryption)?.as_slice(), *salt),
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 => {
                Self::new(keys.derive::<16>(labels.encryption)?.as_slice(), *salt)
            }
        }
    }

    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        Ok(Self { key: AeadKey::new(key).ok_or(SrtpError::Library)?, salt })
    }

    /// Zeros, SSRC and index, masked by the salt (RFC 7714 sections 8.1 and 9.1).
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.salt;
        for (byte, mask) in nonce.iter_mut().skip(2).zip(super::cipher::ssrc_and_index(ssrc, index)) {
            *byte ^= mask;
        }
        nonce
    }

    /// Opens header, ciphertext and tag; returns the length of the plain packet.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<usize, SrtpError> {
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        let nonce = self.nonce(ssrc, index);
        let len = self.key.open(&nonce, header, body).ok_or(SrtpError::Auth)?;
        Ok(header_len + len)
    }

    /// Seals what lies between the header and the room for the tag, which is the end of `packet`.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::Malformed)?;
        self.seal(&self.nonce(ssrc, index), header, body)
    }

    /// Seals a payload that lies elsewhere into what lies between the header and the room for the tag.
    pub(super) fn seal_rtp_from(
        &self,
        packet: &mut [u8],
        header_len: usize,
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::Malformed)?;
        let (sealed, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::NoRoom)?;
        let done = self.key.seal_from(&self.nonce(ssrc, index), header, payload, sealed, tag);
        done.then_some(()).ok_or(SrtpError::Library)
    }

    /// Opens header, ciphertext, tag and index word; returns the length of the plain packet.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        let (clear, rest) = packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(SrtpError::TooShort)?;
        let (body, word) = rest.split_last_chunk_mut::<RTCP_INDEX_LEN>().ok_or(SrtpError::TooShort)?;
        let nonce = self.nonce(ssrc, index.into());
        let len = self.key.open(&nonce, &rtcp_aad(clear, word), body).ok_or(SrtpError::Auth)?;
        Ok(RTCP_CLEAR_LEN + len)
    }

    /// Seals an RTCP packet followed by room for the tag and by its index word.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let (clear, rest) = packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(SrtpError::Malformed)?;
        let (body, word) = rest.split_last_chunk_mut::<RTCP_INDEX_LEN>().ok_or(SrtpError::Malformed)?;
        self.seal(&self.nonce(ssrc, index.into()), &rtcp_aad(clear, word), body)
    }

    /// Seals all of `body` but its last 16 bytes, which become the tag.
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], body: &mut [u8]) -> Result<(), SrtpError> {
        let (text, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::NoRoom)?;
        self.key.seal(nonce, aad, text, tag).then_some(()).ok_or(SrtpError::Library)
    }

    /// Asks for the key.
    pub(super) fn warm(&self) {
        self.key.warm();
    }
}

/// The clear header and the index word, E bit included (RFC 7714 section 9.2).
fn rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], word: &[u8; RTCP_INDEX_LEN]) -> [u8; 12] {
    let ([a, b, c, d, e, f, g, h], [i, j, k, l]) = (*clear, *word);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}
