//! Colloque: a media relay (SFU) for medical video consultations.
#![warn(missing_docs)]

pub mod api;
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
