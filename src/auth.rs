//! Access tokens: bytes, configured keys and a time go in, grants come out.
//!
//! The algorithm belongs to the configured key and is never chosen by the token. Keys are found by the `iss` claim; `kid` is
//! ignored and embedded keys are refused. This room knows no clock, socket, lock or request; it never logs.
//!
//! Entry points: [`KeyRing::verify`], [`Key::mint`] and [`Revocations`]. Format: RFC 7515 and RFC 7519 with the claims of the
//! LiveKit access token.

mod claims;
mod grants;
mod keys;
mod revoked;
mod witness;

pub use claims::{Claims, VideoClaims};
pub use grants::{Grants, VideoGrant};
pub use keys::{BadKey, Bytes as KeyBytes, Key, KeyRing, RoomPolicy};
pub use revoked::{NotRemovals, Revocations};
pub use witness::{Nobody, RefusedToken, Why, Witness};

use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Longest token accepted, in bytes; metadata and attributes ride in it and the reference SDKs mint well below this.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Clock difference tolerated both ways, in seconds, as the reference server does.
pub const LEEWAY_S: u64 = 60;

/// Attributes with this prefix come from tokens only; the relay owns them.
pub const OWNED_PREFIX: &str = "consultation.";

/// The attribute that names a seat's role.
pub const ROLE_ATTRIBUTE: &str = "consultation.role";

/// Whether any key of a set of attributes belongs to the relay.
pub fn touches_owned<'a>(keys: impl IntoIterator<Item = &'a String>) -> bool {
    keys.into_iter().any(|key| key.starts_with(OWNED_PREFIX))
}

/// Why a token opens nothing; every case is the fault of the one who presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// No token was presented.
    #[error("permissions denied")]
    Missing,
    /// The header is not `Bearer` followed by a token.
    #[error("invalid authorization header. Must start with Bearer ")]
    Header,
    /// Too long, not three base64url parts, or not the expected JSON.
    #[error("invalid authorization token")]
    Malformed,
    /// `iss` names no configured key.
    #[error("invalid API key")]
    UnknownKey,
    /// The header names another algorithm than the key's, or carries a key of its own.
    #[error("invalid authorization token")]
    Algorithm,
    /// The signature is wrong.
    #[error("invalid authorization token")]
    Signature,
    /// `exp` is past.
    #[error("invalid authorization token: expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("invalid authorization token: not yet valid")]
    NotYet,
    /// Valid for longer than the key allows for joining.
    #[error("invalid authorization token: lifetime too long")]
    Lifetime,
    /// The seat was removed after the token was issued.
    #[error("invalid authorization token: revoked")]
    Revoked,
    /// The consultation ended after the token was issued.
    #[error("invalid authorization token: the consultation is over")]
    Ended,
    /// The grant for what is asked is missing.
    #[error("permissions denied")]
    Denied,
    /// Hidden participants do not exist here: whoever can receive is listed.
    #[error("hidden participants are not supported")]
    Hidden,
    /// A kind of participant the relay does not have.
    #[error("participant kind not supported")]
    Kind,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    jwk: Option<serde_json::Value>,
    #[serde(default)]
    jku: Option<serde_json::Value>,
    #[serde(default)]
    x5c: Option<serde_json::Value>,
    #[serde(default)]
    x5u: Option<serde_json::Value>,
}

impl Header {
    /// RFC 7515 section 4.1.11: unknown critical parameters are refused; keys and key addresses in a token prove nothing.
    fn carries_trust(&self) -> bool {
        [&self.crit, &self.jwk, &self.jku, &self.x5c, &self.x5u].into_iter().any(Option::is_some)
    }
}

impl KeyRing {
    /// Checks a token and returns what it grants; `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`AuthError`], whose text may be shown to the one who presented the token.
    pub fn verify(&self, token: &str, now: u64) -> Result<Grants, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(AuthError::Malformed)?;
        let header: Header = part(header)?;
        let claims: Claims = part(payload)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AuthError::Malformed)?;
        let key = self.find(claims.iss.as_deref().unwrap_or_default()).ok_or(AuthError::UnknownKey)?;
        if header.alg != key.algorithm() || header.carries_trust() {
            return Err(AuthError::Algorithm);
        }
        key.check(signed.as_bytes(), &signature)?;
        check_times(&claims, key, now)?;
        Grants::from_claims(claims, key)
    }
}

/// Takes the token out of an `Authorization` header.
///
/// # Errors
/// [`AuthError::Header`] when it does not start with `Bearer `.
pub fn bearer(header: &str) -> Result<&str, AuthError> {
    header.strip_prefix("Bearer ").map(str::trim).ok_or(AuthError::Header)
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| AuthError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| AuthError::Malformed)
}

fn check_times(claims: &Claims, key: &Key, now: u64) -> Result<(), AuthError> {
    let expires = claims.exp.ok_or(AuthError::Malformed)?;
    if now > expires.saturating_add(LEEWAY_S) {
        return Err(AuthError::Expired);
    }
    let not_before = claims.nbf.unwrap_or(0);
    if not_before > now.saturating_add(LEEWAY_S) {
        return Err(AuthError::NotYet);
    }
    let joins = claims.video.as_ref().is_some_and(|video| video.room_join.unwrap_or(false));
    if let Some(limit) = key.join_lifetime_s().filter(|_| joins) {
        // `nbf` and `iat` are optional; without them the token counts as issued now.
        let issued = claims.issued().unwrap_or(now).min(now);
        if expires.saturating_sub(issued) > limit.saturating_add(LEEWAY_S) {
            return Err(AuthError::Lifetime);
        }
    }
    Ok(())
}

impl Key {
    /// Checks a signature with this key's own algorithm.
    fn check(&self, signed: &[u8], signature: &[u8]) -> Result<(), AuthError> {
        match self.verifier() {
            keys::Verifier::Hs256(key) => hmac::verify(key, signed, signature).map_err(|_| AuthError::Signature),
            keys::Verifier::EdDsa(public) => signature::UnparsedPublicKey::new(&signature::ED25519, public)
                .verify(signed, signature)
                .map_err(|_| AuthError::Signature),
            keys::Verifier::Es256(public) => signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public)
                .verify(signed, signature)
                .map_err(|_| AuthError::Signature),
        }
    }

    /// Signs claims with this key; `iss` becomes the key's id.
    ///
    /// `None` when only a public key is held.
    #[must_use]
    pub fn mint(&self, claims: &Claims) -> Option<String> {
        let keys::Verifier::Hs256(secret) = self.verifier() else { return None };
        let claims = Claims { iss: Some(self.id().to_owned()), ..claims.clone() };
        let payload = serde_json::to_vec(&claims).ok()?;
        let mut token = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let tag = hmac::sign(secret, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag.as_ref(), &mut token);
        Some(token)
    }
}

#[cfg(test)]
#[path = "auth/tests.rs"]
mod tests;
