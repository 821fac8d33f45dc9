//! Colloque: a media relay (SFU) for medical video consultations.
#![warn(missing_docs)]

pub mod api;
pub mod auth;
pub mod media;
pub mod model;
pub mod relay;
pub mod signal;
pub mod web;
pub mod wire;
