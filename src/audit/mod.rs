//! The audit record.

pub mod attestation;
