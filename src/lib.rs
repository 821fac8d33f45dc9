//! Colloque: a media relay (SFU) for medical video consultations.
#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may take any time as its first; shipped code is checked without it")
)]

pub mod api;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod config;
pub mod consultation;
pub mod media;
pub mod model;
pub mod node;
pub mod relay;
pub mod signal;
pub mod telemetry;
pub mod transport;
pub mod web;
pub mod wire;
pub mod worker;
