//! The audit record: what happened, in a form that shows every later change.
//!
//! A log is a chain of canonical JSON entries under an RFC 6962 Merkle tree; its heads are signed as C2SP checkpoints by
//! keys that live one day and are certified by a root key kept elsewhere. Whoever has a copy of the files and the root's
//! public key can check all of it, offline and without a secret.
//!
//! This room is pure: no files, clocks, threads or locks; time and chance are arguments, and bytes go in and out. It uses
//! nothing else of the house, so that a verifier can be built from it alone. It never holds a name, an address, a token or
//! free text: the types have no place for them.
//!
//! Entry points: [`Fact`] and [`Event`] to say what happened, [`Entry`] for its bytes.

pub mod attestation;
pub mod checkpoint;
pub mod event;
pub mod export;
pub mod field;
pub mod json;
pub mod log;
pub mod note;
pub mod pseudonym;
pub mod purge;
pub mod record;
pub mod recover;
pub mod resolve;
pub mod samples;
pub mod segment;
pub mod tree;
pub mod types;
pub mod verify;
pub mod words;

pub use event::{Class, Degraded, Event, Scope};
pub use pseudonym::{NetPseudonyms, Period, RoomPseudonyms, SecretKey, TenantPseudonyms};
pub use record::{Actor, Eid, Entry, Fact, Source, Target};
pub use types::{Hash, Micros, ParticipantRef, Stamp, Word};

/// Why something cannot stand in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Not canonical JSON.
    #[error("not canonical JSON")]
    Malformed,
    /// Keys are doubled or out of order.
    #[error("keys are doubled or out of order")]
    KeyOrder,
    /// A string leaves the record's alphabet.
    #[error("a string leaves the record's alphabet")]
    BadText,
    /// A number is not an integer below 2^53 in its shortest form.
    #[error("a number is out of bounds or not in its shortest form")]
    BadNumber,
    /// Nested too deeply.
    #[error("nested too deeply")]
    TooDeep,
    /// Longer than an entry may be.
    #[error("longer than an entry may be")]
    TooLong,
    /// A field is missing or not of its type.
    #[error("a field is missing or not of its type")]
    BadField,
    /// A field the catalogue does not have.
    #[error("a field the catalogue does not have")]
    UnknownField,
    /// An event the catalogue does not have.
    #[error("an event the catalogue does not have")]
    UnknownEvent,
    /// Another version of the schema.
    #[error("another version of the schema")]
    Version,
    /// An event of a tenant without its tenant.
    #[error("an event of a tenant without its tenant")]
    NoTenant,
}
