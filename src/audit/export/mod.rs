//! The audit record in other people's formats: FHIR, DICOM over syslog, the consultation report, the extract.
//!
//! It reads stored entries and writes text. It never changes an entry, never opens a file or a socket, and adds nothing that
//! the entry does not hold: people stay pseudonyms, addresses stay keyed hashes. What was exported can be checked against
//! the log by its origin, number and time-ordered id, which every format carries.
//!
//! Sources: FHIR R4 `AuditEvent`; ANS "Traçabilité des événements" (profile `TDEAuditEvent`); IHE Basic Audit Log Patterns
//! (profile `IHE.BasicAudit.AuthZconsent`); DICOM PS3.15 A.5 (audit message) and PS3.16 CID 400 and 401 (codes); RFC 5424
//! and RFC 5425 (syslog).
//!
//! Entry points: [`Stored::read`], then [`fhir::Exporter`], [`atna::Exporter`], [`report::Report`], [`story`];
//! [`extract::Extract`] for one consultation with proofs, [`reading::chosen`] to find entries.

pub mod atna;
pub mod codes;
pub mod extract;
pub mod fhir;
pub mod people;
pub mod reading;
pub mod report;
mod stored;
pub mod story;

pub use stored::{Actor, Object, Stored};

/// An entry that cannot be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Longer than an entry may be.
    #[error("an entry is longer than 8 KiB")]
    TooLong,
    /// Not JSON, or not an object.
    #[error("an entry is not JSON")]
    NotJson,
    /// A field of the envelope is missing or of another type.
    #[error("an entry has no field \"{0}\", or it is of another type")]
    Field(&'static str),
    /// Of a version this program does not know.
    #[error("an entry is of a version this program does not know; use a newer one")]
    Version,
}

#[cfg(test)]
mod tests;
