//! An AES-GCM key of the cryptographic library, in memory that can be asked for ahead.
//!
//! The library's own Rust face keeps a key where nobody can reach it. A relay with a thousand rooms finds nearly every key in slow
//! memory: ten cache lines for each packet that is opened and each that is sealed, one waited for after the other. So the context
//! lies here, whole and by itself, and [`AeadKey::warm`] asks for all of it at once. The calls are those that the other face makes,
//! and so are its answers. The library is reached behind `unsafe` only, so that lies here (`tests/architecture` holds that):
//! `make bench ARGS=fanout` with 1,000 rooms took 1.11 us of processor time per delivered packet with keys out of reach, and 1.01 with these.
//!
//! Entry points: [`AeadKey::open`], [`AeadKey::seal`], [`AeadKey::seal_from`], [`AeadKey::warm`].

#![expect(unsafe_code, reason = "keys that can be fetched ahead: 1.01 us of processor time per delivered packet instead of 1.11")]

use crate::media::ahead;
use aws_lc_sys::{
    EVP_AEAD, EVP_AEAD_CTX, EVP_AEAD_CTX_cleanup, EVP_AEAD_CTX_init, EVP_AEAD_CTX_open_gather, EVP_AEAD_CTX_seal_scatter,
    EVP_aead_aes_128_gcm, EVP_aead_aes_256_gcm, OPENSSL_cleanse,
};
use std::ptr::{from_mut, null, null_mut};

pub(super) const TAG_LEN: usize = 16;
pub(super) const NONCE_LEN: usize = 12;

/// A key of 128 or 256 bits, set up; wiped when dropped.
pub(super) struct AeadKey(Box<Context>);

/// The library's context. It begins a cache line, so that it lies in no more of them than it must.
#[repr(C, align(64))]
struct Context(EVP_AEAD_CTX);

// SAFETY: for AES-GCM the library keeps all it needs within the context and beside it only points to constants; nothing changes it
// between `new` and `drop`, and those have it to themselves.
unsafe impl Send for Context {}
// SAFETY: as above; `open` and `seal` only read it.
unsafe impl Sync for Context {}

impl AeadKey {
    /// Sets a key of 16 or 32 bytes up; nothing for another length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let algorithm: *const EVP_AEAD = match key.len() {
            // SAFETY: it answers a constant.
            16 => unsafe { EVP_aead_aes_128_gcm() },
            // SAFETY: as above.
            32 => unsafe { EVP_aead_aes_256_gcm() },
            _ => return None,
        };
        let mut context = Box::new(Context(EVP_AEAD_CTX::default()));
        // SAFETY: the context is zeros where it will stay, and the key is as long as is said.
        let done =
            unsafe { EVP_AEAD_CTX_init(from_mut(&mut context.0), algorithm, key.as_ptr(), key.len(), TAG_LEN, null_mut()) };
        (done == 1).then_some(Self(context))
    }

    /// Opens ciphertext and tag in place; the length of what was in it, or nothing where the tag is wrong.
    pub(super) fn open(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], body: &mut [u8]) -> Option<usize> {
        let (sealed, tag) = body.split_last_chunk_mut::<TAG_LEN>()?;
        let (place, len) = (sealed.as_mut_ptr(), sealed.len());
        let (aad_at, aad_len) = (aad.as_ptr(), aad.len());
        // SAFETY: the context is set up; each pointer is that of a slice of the length beside it, and the library allows input
        // and output to be the same.
        let done = unsafe {
            let (nonce_at, tag_at) = (nonce.as_ptr(), tag.as_ptr());
            EVP_AEAD_CTX_open_gather(&self.0.0, place, nonce_at, NONCE_LEN, place, len, tag_at, TAG_LEN, aad_at, aad_len)
        };
        (done == 1).then_some(len)
    }

    /// Seals a text in place and writes its tag; whether it did.
    #[must_use]
    pub(super) fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8], tag: &mut [u8; TAG_LEN]) -> bool {
        let place = text.as_mut_ptr();
        self.seal_raw(nonce, aad, (place, place, text.len()), tag)
    }

    /// Seals a text into another place of the same length and writes its tag; whether it did.
    #[must_use]
    pub(super) fn seal_from(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &[u8],
        sealed: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> bool {
        text.len() == sealed.len() && self.seal_raw(nonce, aad, (text.as_ptr(), sealed.as_mut_ptr(), text.len()), tag)
    }

    fn seal_raw(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        (from, to, len): (*const u8, *mut u8, usize),
        tag: &mut [u8; TAG_LEN],
    ) -> bool {
        let (nonce_at, aad_at, aad_len, tag_at) = (nonce.as_ptr(), aad.as_ptr(), aad.len(), tag.as_mut_ptr());
        let mut tag_len = 0;
        // SAFETY: the context is set up; the two callers above have `len` bytes at `from` and, for them alone, at `to`; the other
        // pointers are those of slices of the lengths beside them.
        let done = unsafe {
            EVP_AEAD_CTX_seal_scatter(
                &self.0.0,
                to,
                tag_at,
                &mut tag_len,
                TAG_LEN,
                nonce_at,
                NONCE_LEN,
                from,
                len,
                null(),
                0,
                aad_at,
                aad_len,
            )
        };
        done == 1 && tag_len == TAG_LEN
    }

    /// Asks for all of it.
    pub(super) fn warm(&self) {
        ahead::fetch(&*self.0);
    }
}

impl Drop for AeadKey {
    fn drop(&mut self) {
        let context = from_mut(&mut self.0.0);
        // SAFETY: it was set up, and nobody uses it any more; zeros are a context as good as any to be freed.
        unsafe {
            EVP_AEAD_CTX_cleanup(context);
            OPENSSL_cleanse(context.cast(), size_of::<EVP_AEAD_CTX>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    #[test]
    fn seals_and_opens_as_the_other_face_does() {
        for (algorithm, len) in [(&AES_128_GCM, 16), (&AES_256_GCM, 32)] {
            let bytes: Vec<u8> = (0..len).collect();
            let (key, other) = (AeadKey::new(&bytes).unwrap(), LessSafeKey::new(UnboundKey::new(algorithm, &bytes).unwrap()));
            for size in [0, 1, 15, 16, 17, 255, 1_150, 1_400] {
                let (text, aad, nonce) = (vec![0xa5; size], [7; 20], [size as u8; NONCE_LEN]);
                let mut expected = text.clone();
                let expected_tag =
                    other.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut expected).unwrap();
                let (mut sealed, mut tag) = (vec![0; size], [0; TAG_LEN]);
                assert!(key.seal_from(&nonce, &aad, &text, &mut sealed, &mut tag));
                assert_eq!((&sealed, tag.as_slice()), (&expected, expected_tag.as_ref()));
                let (mut in_place, mut tag_too) = (text.clone(), [0; TAG_LEN]);
                assert!(key.seal(&nonce, &aad, &mut in_place, &mut tag_too));
                assert_eq!((&in_place, tag_too), (&sealed, tag));
                sealed.extend(tag);
                let mut forged = sealed.clone();
                assert_eq!(key.open(&nonce, &aad, &mut sealed), Some(size));
                assert_eq!(sealed[..size], text);
                *forged.last_mut().unwrap() ^= 1;
                assert_eq!(key.open(&nonce, &aad, &mut forged), None);
            }
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        assert!(AeadKey::new(&[0; 24]).is_none() && AeadKey::new(&[]).is_none());
        let key = AeadKey::new(&[0; 16]).unwrap();
        assert!(!key.seal_from(&[0; NONCE_LEN], &[], &[0; 4], &mut [0; 5], &mut [0; TAG_LEN]));
        assert_eq!(key.open(&[0; NONCE_LEN], &[], &mut [0; 15]), None);
    }
}
