//! Colloque: a media relay (SFU) for medical video consultations.
#![warn(missing_docs)]

pub mod media;
pub mod model;
pub mod relay;
pub mod transport;
