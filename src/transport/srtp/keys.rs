//! From DTLS keying material to session keys.

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Profile, SrtpError};

/// The keying material is not as long as the profile asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the keying material has the wrong length")]
pub struct KeyMaterialError;

/// The master key and master salt of one direction; wiped when dropped.
pub struct SessionKeys {
    profile: Profile,
    key: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(…)")
    }
}

impl SessionKeys {
    /// Splits what the DTLS exporter gave into (inbound, outbound) keys.
    ///
    /// The material is client key, server key, client salt, server salt (RFC 5764 section 4.2). Wiping it is the caller's part.
    ///
    /// # Errors
    /// When the material is not [`Profile::keying_material_len`] bytes long.
    pub fn split(profile: Profile, material: &[u8], we_are_dtls_server: bool) -> Result<(Self, Self), KeyMaterialError> {
        if material.len() != profile.keying_material_len() {
            return Err(KeyMaterialError);
        }
        let (keys, salts) = material.split_at_checked(2 * profile.key_len()).ok_or(KeyMaterialError)?;
        let (client_key, server_key) = keys.split_at_checked(profile.key_len()).ok_or(KeyMaterialError)?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len()).ok_or(KeyMaterialError)?;
        let client = Self::new(profile, client_key, client_salt);
        let server = Self::new(profile, server_key, server_salt);
        Ok(if we_are_dtls_server { (client, server) } else { (server, client) })
    }

    fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Self {
        Self { profile, key: Zeroizing::new(key.to_vec()), salt: Zeroizing::new(salt.to_vec()) }
    }

    /// The profile they are for.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Derives one session key or salt (RFC 3711 section 4.3, with key derivation rate 0).
    ///
    /// The 12-byte salt of GCM counts as if two zero bytes followed it (RFC 7714 section 11).
    pub(super) fn derive<const LEN: usize>(&self, label: Label) -> Result<Zeroizing<[u8; LEN]>, SrtpError> {
        let algorithm = match self.profile {
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 => &AES_128,
            Profile::AeadAes256Gcm => &AES_256,
        };
        let key = UnboundCipherKey::new(algorithm, &self.key).and_then(EncryptingKey::ctr).map_err(|_| SrtpError::Library)?;
        let mut iv = [0; 16];
        for (byte, salt) in iv.iter_mut().zip(self.salt.iter()) {
            *byte = *salt;
        }
        let [.., label_byte, _, _, _, _, _, _, _, _] = &mut iv;
        *label_byte ^= label as u8;
        let mut derived = Zeroizing::new([0; LEN]);
        let context = EncryptionContext::Iv128(iv.into());
        key.less_safe_encrypt(derived.as_mut_slice(), context).map_err(|_| SrtpError::Library)?;
        Ok(derived)
    }
}

/// What a derived key is for (RFC 3711 section 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The three labels of one protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels {
    pub(super) encryption: Label,
    pub(super) authentication: Label,
    pub(super) salt: Label,
}

impl Labels {
    pub(super) const RTP: Self =
        Self { encryption: Label::RtpEncryption, authentication: Label::RtpAuthentication, salt: Label::RtpSalt };
    pub(super) const RTCP: Self =
        Self { encryption: Label::RtcpEncryption, authentication: Label::RtcpAuthentication, salt: Label::RtcpSalt };
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    #[test]
    fn aes_cm_derivation_is_that_of_rfc_3711_b_3() {
        let keys = SessionKeys::new(
            Profile::Aes128CmSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        );
        assert_eq!(keys.derive::<16>(Label::RtpEncryption).unwrap().to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(keys.derive::<14>(Label::RtpSalt).unwrap().to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(
            keys.derive::<94>(Label::RtpAuthentication).unwrap().to_vec(),
            hex("CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
                 E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
                 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2")
        );
    }

    #[test]
    fn aes_256_derivation_is_that_of_rfc_6188_7_2() {
        let keys = SessionKeys::new(
            Profile::AeadAes256Gcm,
            &hex("f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6"),
            &hex("3b04803de51ee7c96423ab5b78d2"),
        );
        assert_eq!(
            keys.derive::<32>(Label::RtpEncryption).unwrap().to_vec(),
            hex("5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4")
        );
        assert_eq!(keys.derive::<14>(Label::RtpSalt).unwrap().to_vec(), hex("fa31791685ca444a9e07c6c64e93"));
        assert_eq!(
            keys.derive::<20>(Label::RtpAuthentication).unwrap().to_vec(),
            hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05")
        );
    }

    #[test]
    fn material_is_split_as_in_rfc_5764() {
        for profile in Profile::ALL {
            let (key, salt) = (profile.key_len(), profile.salt_len());
            let material: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
            let (inbound, outbound) = SessionKeys::split(profile, &material, true).unwrap();
            assert_eq!(inbound.key[..], material[..key]);
            assert_eq!(outbound.key[..], material[key..2 * key]);
            assert_eq!(inbound.salt[..], material[2 * key..2 * key + salt]);
            assert_eq!(outbound.salt[..], material[2 * key + salt..]);
            let (as_client, _) = SessionKeys::split(profile, &material, false).unwrap();
            assert_eq!(as_client.key[..], outbound.key[..]);
        }
    }

    #[test]
    fn material_of_another_length_is_refused() {
        for len in [0, 55, 57, 60, 88] {
            assert!(SessionKeys::split(Profile::AeadAes128Gcm, &vec![1; len], true).is_err(), "{len}");
        }
    }

    #[test]
    fn keys_do_not_print() {
        let (inbound, _) = SessionKeys::split(Profile::AeadAes128Gcm, &[0xA7; 56], true).unwrap();
        assert_eq!(format!("{inbound:?}"), "SessionKeys(…)");
    }
}
