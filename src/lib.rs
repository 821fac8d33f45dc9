//! Colloque: a media relay (SFU) for medical video consultations.
#![warn(missing_docs)]

pub mod consultation;
pub mod cli;
pub mod config;
pub mod media;
pub mod model;
pub mod node;
pub mod relay;
pub mod transport;
pub mod worker;
pub mod telemetry;
