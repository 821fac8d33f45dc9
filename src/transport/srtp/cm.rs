//! AES counter mode with HMAC-SHA1, tag of 80 bits (RFC 3711).

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha1::{Digest, Sha1};

use zeroize::Zeroizing;

use super::keys::{Labels, SessionKeys};
use super::{RTCP_CLEAR_LEN, RTCP_INDEX_LEN, SrtpError};

const TAG_LEN: usize = 10;

/// Session keys and salt of one protocol and one direction.
pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    authentication: HmacKey,
}

/// An HMAC-SHA1 key (RFC 2104), as the two states of SHA-1 behind its blocks. A tag then begins with a copy of a hundred bytes, where
/// a general context costs as much as hashing a packet of sound. Boxed: the states are larger than what GCM keeps.
struct HmacKey(Box<[Sha1; 2]>);

impl HmacKey {
    fn new(key: &[u8; 20]) -> Self {
        let state = |pad: u8| {
            let mut block = Zeroizing::new([pad; 64]);
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            Sha1::new().chain_update(block.as_slice())
        };
        Self(Box::new([state(0x36), state(0x5c)]))
    }

    fn tag(&self, signed: &[u8], trailer: &[u8]) -> [u8; 20] {
        let [inner, outer] = &*self.0;
        let digest = inner.clone().chain_update(signed).chain_update(trailer).finalize();
        outer.clone().chain_update(digest).finalize().into()
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        *self.0 = [Sha1::new(), Sha1::new()];
        // So that overwriting what is about to be freed counts as used.
        std::hint::black_box(&self.0);
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

    /// Opens header, ciphertext and tag; returns the length of the plain packet.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<usize, SrtpError> {
        let (signed, tag) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::TooShort)?;
        self.verify(signed, &rollover_counter(index), tag)?;
        let body = signed.get_mut(header_len..).ok_or(SrtpError::TooShort)?;
        self.apply(body, ssrc, index)?;
        Ok(signed.len())
    }

    /// Seals what lies between the header and the room for the tag, which is the end of `packet`.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let (signed, room) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(SrtpError::NoRoom)?;
        self.apply(signed.get_mut(header_len..).ok_or(SrtpError::Malformed)?, ssrc, index)?;
        *room = self.tag(signed, &rollover_counter(index))?;
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
    fn tags_are_those_of_another_library() {
        use aws_lc_rs::hmac;
        for len in [0, 1, 55, 56, 63, 64, 65, 120, 1_150] {
            let (key, text) = ([len as u8; 20], vec![0xa5; len]);
            let expected =
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), &[&text[..], &[1, 2, 3, 4]].concat());
            assert_eq!(HmacKey::new(&key).tag(&text, &[1, 2, 3, 4]), expected.as_ref(), "{len}");
        }
    }

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
