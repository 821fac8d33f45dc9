//! What platforms and operators call over HTTP: consultations, the room service and the node's health.
//!
//! Calls become commands of `relay` with a reply; nothing is decided here but who may call. Never logs bodies or tokens.
//! Entry points: [`twirp`], [`v1`] and [`health`]; [`scribe`] hears which calls go on record.

pub mod health;
pub mod scribe;
pub mod twirp;
pub mod v1;
