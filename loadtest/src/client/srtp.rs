//! SRTP and SRTCP with AES-GCM (RFC 7714), keyed by DTLS (RFC 5764), in place.
//!
//! No replay check: a client of a load test wants to see a packet that comes twice.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use dimpl::SrtpProfile;

/// The clear part of an RTCP packet (RFC 3711 section 3.4).
const RTCP_CLEAR: usize = 8;

/// One direction's key and salt for RTP and RTCP.
struct Direction {
    rtp: Protocol,
    rtcp: Protocol,
}

struct Protocol {
    key: LessSafeKey,
    salt: [u8; 12],
}

/// Both directions of a peer.
pub(crate) struct Srtp {
    inbound: Direction,
    outbound: Direction,
    rtcp_index: u32,
}

impl Srtp {
    /// Keys from what the DTLS exporter gave; `None` for a profile this cannot do.
    pub(crate) fn new(profile: SrtpProfile, material: &[u8], we_are_server: bool) -> Option<Self> {
        let key_len = match profile {
            SrtpProfile::AEAD_AES_128_GCM => 16,
            SrtpProfile::AEAD_AES_256_GCM => 32,
            SrtpProfile::AES128_CM_SHA1_80 | _ => return None,
        };
        let (keys, salts) = material.split_at_checked(2 * key_len)?;
        let (client_key, server_key) = keys.split_at_checked(key_len)?;
        let (client_salt, server_salt) = salts.split_at_checked(12)?;
        let client = Direction::derive(client_key, client_salt)?;
        let server = Direction::derive(server_key, server_salt.get(..12)?)?;
        let (inbound, outbound) = if we_are_server { (client, server) } else { (server, client) };
        Some(Self { inbound, outbound, rtcp_index: 0 })
    }

    /// Opens an RTP packet with a header of `header` bytes; the length of the plain packet.
    pub(crate) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        let (head, body) = packet.split_at_mut_checked(header)?;
        let nonce = self.inbound.rtp.nonce(ssrc, index);
        let plain = self.inbound.rtp.key.open_in_place(nonce, Aad::from(&*head), body).ok()?;
        Some(header + plain.len())
    }

    /// Seals the packet that begins at `start` and is the end of `bytes`.
    pub(crate) fn seal_rtp(&self, bytes: &mut Vec<u8>, start: usize, header: usize, ssrc: u32, index: u64) {
        let nonce = self.outbound.rtp.nonce(ssrc, index);
        let Some((head, body)) = bytes.get_mut(start..).and_then(|packet| packet.split_at_mut_checked(header)) else { return };
        if let Ok(tag) = self.outbound.rtp.key.seal_in_place_separate_tag(nonce, Aad::from(&*head), body) {
            bytes.extend_from_slice(tag.as_ref());
        }
    }

    /// Opens an RTCP packet; the length of the plain compound.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8]) -> Option<usize> {
        let (clear, rest) = packet.split_first_chunk_mut::<RTCP_CLEAR>()?;
        let (body, word) = rest.split_last_chunk_mut::<4>()?;
        let word_value = u32::from_be_bytes(*word);
        let ssrc = u32::from_be_bytes(*clear.last_chunk::<4>()?);
        let nonce = self.inbound.rtcp.nonce(ssrc, u64::from(word_value & 0x7fff_ffff));
        let aad = rtcp_aad(clear, word);
        let plain = self.inbound.rtcp.key.open_in_place(nonce, Aad::from(aad), body).ok()?;
        Some(RTCP_CLEAR + plain.len())
    }

    /// Seals the RTCP compound that begins at `start` and is the end of `bytes`.
    pub(crate) fn seal_rtcp(&mut self, bytes: &mut Vec<u8>, start: usize) {
        self.rtcp_index = self.rtcp_index.wrapping_add(1) & 0x7fff_ffff;
        let word = (self.rtcp_index | 0x8000_0000).to_be_bytes();
        let Some((clear, body)) = bytes.get_mut(start..).and_then(|packet| packet.split_first_chunk_mut::<RTCP_CLEAR>()) else {
            return;
        };
        let ssrc = clear.last_chunk::<4>().map_or(0, |ssrc| u32::from_be_bytes(*ssrc));
        let nonce = self.outbound.rtcp.nonce(ssrc, self.rtcp_index.into());
        let aad = rtcp_aad(clear, &word);
        if let Ok(tag) = self.outbound.rtcp.key.seal_in_place_separate_tag(nonce, Aad::from(aad), body) {
            bytes.extend_from_slice(tag.as_ref());
            bytes.extend_from_slice(&word);
        }
    }
}

impl Direction {
    fn derive(key: &[u8], salt: &[u8]) -> Option<Self> {
        Some(Self { rtp: Protocol::derive(key, salt, 0)?, rtcp: Protocol::derive(key, salt, 3)? })
    }
}

impl Protocol {
    /// Labels 0, 2 are RTP's key and salt, 3, 5 RTCP's (RFC 3711 section 4.3.2).
    fn derive(key: &[u8], salt: &[u8], label: u8) -> Option<Self> {
        let mut session = [0; 32];
        let session = session.get_mut(..key.len())?;
        prf(key, salt, label, session)?;
        let mut session_salt = [0; 12];
        prf(key, salt, label + 2, &mut session_salt)?;
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, session).ok()?);
        Some(Self { key, salt: session_salt })
    }

    /// Zeros, SSRC and index, masked by the salt (RFC 7714 sections 8.1 and 9.1).
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let salt = u128::from_be_bytes({
            let mut wide = [0; 16];
            wide[4..].copy_from_slice(&self.salt);
            wide
        });
        let masked = salt ^ (u128::from(ssrc) << 48) ^ u128::from(index & 0xffff_ffff_ffff);
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&masked.to_be_bytes()[4..]);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Session keys by AES counter mode (RFC 3711 section 4.3.3).
fn prf(key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> Option<()> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr).ok()?;
    let mut iv = [0; 16];
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte = *salt;
    }
    iv[7] ^= label;
    key.less_safe_encrypt(out, EncryptionContext::Iv128(iv.into())).ok()?;
    Some(())
}

fn rtcp_aad(clear: &[u8; RTCP_CLEAR], word: &[u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..RTCP_CLEAR].copy_from_slice(clear);
    aad[RTCP_CLEAR..].copy_from_slice(word);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Srtp, Srtp) {
        let material: Vec<u8> = (0..88).collect();
        let make = |server| Srtp::new(SrtpProfile::AEAD_AES_256_GCM, &material, server).unwrap();
        (make(true), make(false))
    }

    #[test]
    fn what_one_seals_the_other_opens() {
        let (a, b) = pair();
        let mut packet = vec![0x80, 100, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3];
        let plain = packet.clone();
        a.seal_rtp(&mut packet, 0, 12, 7, 1);
        assert_ne!(packet[12..15], plain[12..15]);

        let len = b.open_rtp(&mut packet, 12, 7, 1).unwrap();

        assert_eq!(packet[..len], plain);
        assert_eq!(b.open_rtp(&mut packet, 12, 7, 1), None, "opened twice");
    }

    #[test]
    fn rtcp_carries_its_index() {
        let (mut a, b) = pair();
        let plain: Vec<u8> = (0..20).collect();
        let mut packet = plain.clone();
        a.seal_rtcp(&mut packet, 0);

        let len = b.open_rtcp(&mut packet).unwrap();

        assert_eq!(packet[..len], plain);
    }

    #[test]
    fn a_profile_without_gcm_is_none() {
        assert!(Srtp::new(SrtpProfile::AES128_CM_SHA1_80, &[0; 60], true).is_none());
    }
}
