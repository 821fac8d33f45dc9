//! Ed25519 keys of attestations, read from PEM.

use super::AttestationError;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{self, Write};
use zeroize::Zeroizing;

/// DER of a SubjectPublicKeyInfo up to the key itself (RFC 8410 section 4).
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// DER of a PKCS#8 private key up to the key itself (RFC 8410 section 7).
const PKCS8: &[u8] = &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Longest key file: a PEM of an Ed25519 key has fewer than 200 bytes; the rest is for comments around it.
const LONGEST_FILE: usize = 4_096;

/// The private key that signs attestations.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl SigningKey {
    /// Reads a PKCS#8 key in PEM, as `openssl genpkey -algorithm ed25519` writes it (RFC 5958, RFC 7468).
    ///
    /// # Errors
    ///
    /// [`AttestationError::NotASigningKey`] when the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, AttestationError> {
        let der = unwrap_pem(text, "PRIVATE KEY").ok_or(AttestationError::NotASigningKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| AttestationError::NotASigningKey)?;
        let id = key_id(pair.public_key().as_ref());
        Ok(Self { pair, id })
    }

    /// The PEM of the key of 32 random bytes (RFC 8410 section 7).
    #[must_use]
    pub fn pem_of(seed: &[u8; 32]) -> Zeroizing<String> {
        let der = Zeroizing::new([PKCS8, seed.as_slice()].concat());
        let body = Zeroizing::new(STANDARD.encode(der.as_slice()));
        Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", body.as_str()))
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey { bytes: self.pair.public_key().as_ref().to_vec(), id: self.id.clone() }
    }

    /// First 64 bits of the SHA-256 of the public key, in hex: says which key to ask for, and nothing else.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The public key that checks attestations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    bytes: Vec<u8>,
    id: String,
}

impl VerifyingKey {
    /// Reads a SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it (RFC 8410).
    ///
    /// # Errors
    ///
    /// [`AttestationError::NotAVerifyingKey`] when the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, AttestationError> {
        let der = unwrap_pem(text, "PUBLIC KEY").ok_or(AttestationError::NotAVerifyingKey)?;
        let bytes = der.strip_prefix(SPKI).filter(|key| key.len() == 32).ok_or(AttestationError::NotAVerifyingKey)?;
        Ok(Self { bytes: bytes.to_vec(), id: key_id(bytes) })
    }

    /// The key in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let der = [SPKI, &self.bytes].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// See [`SigningKey::id`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }
}

fn key_id(public: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public);
    hash.as_ref().iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unwrap_pem(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() > LONGEST_FILE {
        return None;
    }
    let (_, after) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = after.split_once(&format!("-----END {label}-----"))?;
    let packed: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(packed.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_openssl_are_read() {
        // The key pair of RFC 8410 section 10.3.
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let signing = SigningKey::from_pem(private).expect("a key");
        let verifying = VerifyingKey::from_pem(public).expect("a key");
        assert_eq!(signing.verifying_key(), verifying);
        assert_eq!(signing.id(), verifying.id());
        assert_eq!(verifying.to_pem(), public);
        assert!(verifying.accepts(b"words", &signing.sign(b"words")));
        assert!(!verifying.accepts(b"wordz", &signing.sign(b"words")));
        let seed: [u8; 32] =
            STANDARD.decode("1O5y2/kTWErVttjx92n4rTr+fCjL8dT74Jeoj0R1WEI=").expect("base64").try_into().expect("32");
        assert_eq!(SigningKey::pem_of(&seed).as_str(), private);
    }

    #[test]
    fn other_keys_are_refused() {
        let p256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\nq9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n-----END PUBLIC KEY-----\n";
        for wrong in ["", "MCowBQYDK2VwAyEA", p256] {
            assert!(VerifyingKey::from_pem(wrong).is_err());
            assert!(SigningKey::from_pem(wrong).is_err());
        }
    }
}
