//! The configured keys.

use crate::model::TenantId;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Shortest shared secret outside dev mode, in bytes: the size of the hash (RFC 7518 section 3.2).
const MIN_SECRET: usize = 32;

/// Default join lifetime for consultation tenants, in seconds.
const CONSULTATION_JOIN_LIFETIME_S: u64 = 15 * 60;

/// DER of a SubjectPublicKeyInfo up to the key itself (RFC 8410 section 4).
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The same for an uncompressed P-256 point (RFC 5480 section 2).
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];

/// How the rooms of a key's tenant behave; the door maps it to the core's own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoomPolicy {
    /// Plain rooms.
    #[default]
    Open,
    /// Consultations.
    Consultation,
}

/// A key that cannot be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The secret has fewer than 32 bytes.
    #[error("the secret is shorter than 32 bytes")]
    WeakSecret,
    /// Neither Ed25519 nor P-256, or not a PEM public key.
    #[error("not an Ed25519 or P-256 public key in PEM")]
    NotAPublicKey,
    /// Two keys share an id.
    #[error("two keys have the same id")]
    Duplicate,
    /// The id is empty.
    #[error("the key has no id")]
    NoId,
}

pub(super) enum Verifier {
    Hs256(Box<hmac::Key>),
    EdDsa(Vec<u8>),
    Es256(Vec<u8>),
}

/// The bytes of a key, by the algorithm they are bound to.
#[derive(Clone, Copy)]
pub enum Bytes<'a> {
    /// A shared secret.
    Hs256(&'a [u8]),
    /// An Ed25519 public key.
    EdDsa(&'a [u8]),
    /// A P-256 public key.
    Es256(&'a [u8]),
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bytes(…)")
    }
}

/// One configured key with its algorithm and tenant.
pub struct Key {
    id: Arc<str>,
    tenant: TenantId,
    policy: RoomPolicy,
    join_lifetime_s: Option<u64>,
    verifier: Verifier,
}

impl Key {
    /// A shared secret for HS256, what every LiveKit server SDK mints with.
    ///
    /// # Errors
    /// [`BadKey::WeakSecret`] below 32 bytes.
    pub fn shared(id: &str, tenant: TenantId, policy: RoomPolicy, secret: &Zeroizing<String>) -> Result<Self, BadKey> {
        if secret.len() < MIN_SECRET {
            return Err(BadKey::WeakSecret);
        }
        Self::build(id, tenant, policy, Verifier::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))))
    }

    /// A public key in PEM: Ed25519 verifies EdDSA, P-256 verifies ES256; the relay cannot mint with it.
    ///
    /// # Errors
    /// [`BadKey::NotAPublicKey`].
    pub fn public(id: &str, tenant: TenantId, policy: RoomPolicy, pem: &str) -> Result<Self, BadKey> {
        let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).map_err(|_| BadKey::NotAPublicKey)?;
        let verifier = match (der.strip_prefix(ED25519_SPKI), der.strip_prefix(P256_SPKI)) {
            (Some(raw), _) if raw.len() == 32 => Verifier::EdDsa(raw.to_vec()),
            (_, Some(point)) if point.len() == 65 => Verifier::Es256(point.to_vec()),
            _ => return Err(BadKey::NotAPublicKey),
        };
        Self::build(id, tenant, policy, verifier)
    }

    /// The pair `devkey` / `secret` that every SDK's tests default to; for dev mode only.
    #[must_use]
    pub fn dev(tenant: TenantId, policy: RoomPolicy) -> Self {
        let verifier = Verifier::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, b"secret")));
        Self::build("devkey", tenant, policy, verifier).expect("the dev key has an id").with_join_lifetime(None)
    }

    /// A key whose bytes were checked when they were configured: an HMAC secret of any length, the 32 bytes of an Ed25519 public
    /// key, or the 65 bytes of an uncompressed P-256 point.
    ///
    /// # Errors
    /// [`BadKey::NoId`], or [`BadKey::NotAPublicKey`] where a length is wrong.
    pub fn checked(id: &str, tenant: TenantId, policy: RoomPolicy, bytes: Bytes<'_>) -> Result<Self, BadKey> {
        let verifier = match bytes {
            Bytes::Hs256(secret) => Verifier::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret))),
            Bytes::EdDsa(key) if key.len() == 32 => Verifier::EdDsa(key.to_vec()),
            Bytes::Es256(point) if point.len() == 65 => Verifier::Es256(point.to_vec()),
            Bytes::EdDsa(_) | Bytes::Es256(_) => return Err(BadKey::NotAPublicKey),
        };
        Self::build(id, tenant, policy, verifier)
    }

    fn build(id: &str, tenant: TenantId, policy: RoomPolicy, verifier: Verifier) -> Result<Self, BadKey> {
        if id.is_empty() {
            return Err(BadKey::NoId);
        }
        let join_lifetime_s = match policy {
            RoomPolicy::Open => None,
            RoomPolicy::Consultation => Some(CONSULTATION_JOIN_LIFETIME_S),
        };
        Ok(Self { id: id.into(), tenant, policy, join_lifetime_s, verifier })
    }

    /// Sets how long a token that joins may be valid in all, in seconds; `None` lifts the limit.
    #[must_use]
    pub fn with_join_lifetime(mut self, seconds: Option<u64>) -> Self {
        self.join_lifetime_s = seconds;
        self
    }

    /// The id that `iss` names; public, but of no use in logs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whose key it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// How its tenant's rooms behave.
    #[must_use]
    pub fn policy(&self) -> RoomPolicy {
        self.policy
    }

    /// How long a joining token may be valid in all, in seconds.
    #[must_use]
    pub fn join_lifetime_s(&self) -> Option<u64> {
        self.join_lifetime_s
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(super) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    /// The `alg` its tokens must name (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub(super) fn algorithm(&self) -> &'static str {
        match self.verifier {
            Verifier::Hs256(_) => "HS256",
            Verifier::EdDsa(_) => "EdDSA",
            Verifier::Es256(_) => "ES256",
        }
    }

    fn signs(&self) -> bool {
        matches!(self.verifier, Verifier::Hs256(_))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

/// Every configured key, found by the `iss` of a token.
#[derive(Default)]
pub struct KeyRing {
    keys: BTreeMap<Arc<str>, Key>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.values()).finish()
    }
}

impl KeyRing {
    /// Collects keys.
    ///
    /// # Errors
    /// [`BadKey::Duplicate`] when two share an id.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, BadKey> {
        let mut ring = Self::default();
        for key in keys {
            if ring.keys.insert(key.shared_id(), key).is_some() {
                return Err(BadKey::Duplicate);
            }
        }
        Ok(ring)
    }

    /// The key of an id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.keys.get(id)
    }

    /// A key the relay can mint with for holders of `id`'s tokens: the key itself, or another of the same tenant and policy.
    #[must_use]
    pub fn minting(&self, id: &str) -> Option<&Key> {
        let own = self.find(id)?;
        if own.signs() {
            return Some(own);
        }
        self.keys.values().find(|key| key.signs() && key.tenant == own.tenant && key.policy == own.policy)
    }

    /// Whether no key is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
