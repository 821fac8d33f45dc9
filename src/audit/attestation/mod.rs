//! The attestation: a signed, content-free statement of who was in a consultation and what was delivered to whom.
//!
//! It says that a two-way video link existed, or plainly that it did not. It names nobody: seats are the pseudonyms of the
//! audit log, and the log's origin and range of entries are in it, so that each can be checked against the other. It never
//! holds media, text, addresses or names; [`Word`](super::Word) leaves no room for them.
//!
//! A JWS in compact form (RFC 7515), EdDSA with Ed25519 (RFC 8037), over canonical JSON (RFC 8785). Whoever has the public key
//! checks it without us: [`verify`].
//!
//! Entry points: [`Account`] takes facts in, [`Account::statement`] says what they amount to, [`sign`] and [`verify`].

mod account;
mod key;
mod span;
mod statement;
mod table;
mod time;
mod word;

pub use account::{Account, ConsentFact, Member};
pub use key::{SigningKey, VerifyingKey};
pub use span::Span;
pub use statement::{
    Aside, Cause, Consent, ConsentState, Delivery, Interruption, LogRange, Modality, Place, Seat, Statement, Summary, TwoWay,
    VERSION,
};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// The type of an attestation (RFC 7515 section 4.1.9).
pub const TYPE: &str = "consultation-attestation+jwt";

/// Longest attestation, in bytes: the bounds of [`Account`] keep a real one far below.
pub const LONGEST: usize = 4 << 20;

/// Why an attestation was not made or not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// The file is no JWS in compact form.
    #[error("this is not an attestation: expected one line of three parts with dots between them")]
    NotAJws,
    /// Too long to be one.
    #[error("this is not an attestation: it is longer than 4 MiB")]
    TooLong,
    /// The header is not exactly that of an attestation.
    #[error("this is not an attestation: its header names another type or algorithm")]
    OtherHeader,
    /// Signed with another key.
    #[error("the attestation was signed with another key; ask its issuer for the key it names")]
    OtherKey,
    /// The signature does not fit.
    #[error("the attestation was changed, or was not signed with this key")]
    BadSignature,
    /// Signed, but of a version or form we cannot read.
    #[error("the signature is good, but the statement has a form this version cannot read")]
    UnknownForm,
    /// Not a private key.
    #[error("expected an Ed25519 private key in PEM (PKCS#8), as made by: openssl genpkey -algorithm ed25519")]
    NotASigningKey,
    /// Not a public key.
    #[error("expected an Ed25519 public key in PEM, as made by: openssl pkey -in PRIVATE -pubout")]
    NotAVerifyingKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Signs a statement; the answer is one line without its end.
#[must_use]
pub fn sign(statement: &Statement, key: &SigningKey) -> String {
    sign_document(TYPE, &statement.canonical(), key)
}

/// Signs any canonical document of ours under its own type.
#[must_use]
pub fn sign_document(kind: &str, canonical: &[u8], key: &SigningKey) -> String {
    let header = Header { alg: "EdDSA".to_owned(), kid: key.id().to_owned(), typ: kind.to_owned() };
    let header = serde_json::to_vec(&header).expect("three texts are JSON");
    let mut signed = URL_SAFE_NO_PAD.encode(header);
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(canonical, &mut signed);
    let signature = key.sign(signed.as_bytes());
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signed);
    signed
}

/// Checks an attestation and reads what it says. One line end behind it is allowed.
///
/// # Errors
///
/// [`AttestationError`]: any change of any byte is refused.
pub fn verify(file: &[u8], key: &VerifyingKey) -> Result<Statement, AttestationError> {
    let payload = verify_document(TYPE, file, key)?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|_| AttestationError::UnknownForm)?;
    let same = statement.v == VERSION && statement.canonical() == payload;
    if same { Ok(statement) } else { Err(AttestationError::UnknownForm) }
}

/// Checks a signed document of a type and hands its bytes over.
///
/// # Errors
///
/// [`AttestationError`].
pub fn verify_document(kind: &str, file: &[u8], key: &VerifyingKey) -> Result<Vec<u8>, AttestationError> {
    if file.len() > LONGEST {
        return Err(AttestationError::TooLong);
    }
    let text = std::str::from_utf8(file).map_err(|_| AttestationError::NotAJws)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (signed, signature) = text.rsplit_once('.').ok_or(AttestationError::NotAJws)?;
    let (header, payload) = signed.split_once('.').ok_or(AttestationError::NotAJws)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| AttestationError::NotAJws);
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let header: Header = serde_json::from_slice(&header).map_err(|_| AttestationError::OtherHeader)?;
    if header.alg != "EdDSA" || header.typ != kind {
        return Err(AttestationError::OtherHeader);
    }
    if header.kid != key.id() {
        return Err(AttestationError::OtherKey);
    }
    if key.accepts(signed.as_bytes(), &signature) { Ok(payload) } else { Err(AttestationError::BadSignature) }
}

#[cfg(test)]
mod tests;
