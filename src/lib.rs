//! Colloque: a media relay (SFU) for medical video consultations.
#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may take any time as its first; shipped code is checked without it")
)]

pub mod cli;
pub mod config;
pub mod media;
pub mod model;
pub mod node;
pub mod relay;
pub mod telemetry;
