//! AES counter mode with HMAC-SHA1, tag of 80 bits (RFC 3711).

use super::debt::Debt;
use super::hmac::{HmacKey, wipe};
use super::keys::{Labels, SessionKeys};
use super::proof::Datagram;
use super::{RTCP_CLEAR_LEN, RTCP_INDEX_LEN, SrtpError};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;

/// Bytes of a tag that are sent.
pub(super) const TAG_LEN: usize = 10;

/// Session keys and salt of one protocol and one direction.
pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    authentication: HmacKey,
}

impl Drop for Cm {
    fn drop(&mut self) {
        wipe(std::slice::from_mut(&mut self.authentication));
    }
}

impl Cm {
    pub(super) fn derive(keys: &SessionKeys, labels: Labels) -> Result<Self, SrtpError> {
        let key = keys.derive(labels.encryption)?;
        let authentication = keys.derive(labels.authentication)?;
        Self::new(&key, *keys.derive(labels.salt)?, &authentication)
    }

    pub(super) fn new(key: &[u8; 16], salt: [u8; 14], authentication: &[u8; 20]) -> Result<Self, SrtpError> {
        let key = UnboundCipherKey::new(&AES_128, key).and_then(EncryptingKey::ctr).map_err(|_| SrtpError::Library)?;
        Ok(Self { key, salt, authentication: HmacKey::new(authentication) })
    }

    /// What the tag of an RTP packet of so many bytes is made of: the key, the rollover counter and how many of them are signed.
    pub(super) fn signed(&self, len: usize, index: u64) -> Option<(HmacKey, [u8; 4], usize)> {
        Some((self.authentication, rollover_counter(index), len.checked_sub(TAG_LEN)?))
    }

    /// Opens header, ciphertext and tag; returns the length of the plain packet.
    pub(super) fn open_rtp(
        &self,
        packet: &mut Datagram<'_>,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let proven = packet.is_proven(&self.authentication, rollover_counter(index));
        let (signed, tag) = packet.as_mut_slice().split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::TooShort)?;
        if !proven {
            self.verify(signed, &rollover_counter(index), tag)?;
        }
        let body = signed.get_mut(header_len..).ok_or(SrtpError::TooShort)?;
        self.apply(body, ssrc, index)?;
        Ok(signed.len())
    }

    /// Seals what lies between the header and the room for the tag, which is the end of `packet`; the tag may be owed.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
        debt: Option<Debt<'_>>,
    ) -> Result<(), SrtpError> {
        let (signed, room) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::NoRoom)?;
        self.apply(signed.get_mut(header_len..).ok_or(SrtpError::Malformed)?, ssrc, index)?;
        match debt {
            Some(debt) => debt.owe(self.authentication, rollover_counter(index), signed.len()),
            None => *room = self.tag(signed, &rollover_counter(index))?,
        }
        Ok(())
    }

    /// Opens header, text, index word and tag; returns the length of the plain packet.
    ///
    /// A packet that is not encrypted is verified all the same (RFC 3711 section 3.4: the tag is mandatory).
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32, encrypted: bool) -> Result<usize, SrtpError> {
        let (signed, tag) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::TooShort)?;
        self.verify(signed, &[], tag)?;
        let (plain, _) = signed.split_last_chunk_mut::<RTCP_INDEX_LEN>().ok_or(SrtpError::TooShort)?;
        if encrypted {
            self.apply(plain.get_mut(RTCP_CLEAR_LEN..).ok_or(SrtpError::TooShort)?, ssrc, index.into())?;
        }
        Ok(plain.len())
    }

    /// Seals an RTCP packet followed by its index word and by room for the tag.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let (signed, room) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::NoRoom)?;
        let (plain, _) = signed.split_last_chunk_mut::<RTCP_INDEX_LEN>().ok_or(SrtpError::Malformed)?;
        self.apply(plain.get_mut(RTCP_CLEAR_LEN..).ok_or(SrtpError::Malformed)?, ssrc, index.into())?;
        *room = self.tag(signed, &[])?;
        Ok(())
    }

    /// Encrypts or decrypts: salt, SSRC and index make the first counter block (RFC 3711 section 4.1.1).
    pub(super) fn apply(&self, body: &mut [u8], ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let mut iv = [0; 16];
        for (byte, salt) in iv.iter_mut().zip(self.salt) {
            *byte = salt;
        }
        for (byte, mask) in iv.iter_mut().skip(4).zip(super::cipher::ssrc_and_index(ssrc, index)) {
            *byte ^= mask;
        }
        let context = EncryptionContext::Iv128(iv.into());
        self.key.less_safe_encrypt(body, context).map(drop).map_err(|_| SrtpError::Library)
    }

    fn tag(&self, signed: &[u8], trailer: &[u8]) -> Result<[u8; TAG_LEN], SrtpError> {
        self.authentication.tag(signed, trailer).first_chunk().copied().ok_or(SrtpError::Library)
    }

    fn verify(&self, signed: &[u8], trailer: &[u8], tag: &[u8; TAG_LEN]) -> Result<(), SrtpError> {
        verify_slices_are_equal(&self.tag(signed, trailer)?, tag).map_err(|_| SrtpError::Auth)
    }
}

/// The rollover counter is authenticated though it is not sent (RFC 3711 section 4.2).
fn rollover_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    #[test]
    fn keystream_is_that_of_rfc_3711_b_2() {
        let key = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
        let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let cm = Cm::new(&key, salt, &[0; 20]).unwrap();
        let mut stream = vec![0; 0xFF03 * 16];
        cm.apply(&mut stream, 0, 0).unwrap();
        let blocks = [
            (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
            (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
            (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
            (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
            (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
            (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
        ];
        for (block, expected) in blocks {
            assert_eq!(stream[block * 16..][..16], hex(expected), "block {block:#x}");
        }
    }
}
