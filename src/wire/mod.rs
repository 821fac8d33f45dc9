//! LiveKit protobuf to model and back, for the doors that speak it (signalling and server API).
//!
//! Pure translation: no sockets, no clock, no decisions. It uses `model` and the command types of `relay`, and never logs.
//!
//! Entry points: [`people`] for records, [`fields`] for looking at encoded messages without decoding them.

pub mod fields;
pub mod people;

use livekit_protocol as proto;

/// Codec announced in `join`, in this order: video first, and VP8 before all, because clients fall back to the first entry.
pub const ANNOUNCED: [crate::model::Codec; 5] = [
    crate::model::Codec::Vp8,
    crate::model::Codec::H264,
    crate::model::Codec::Vp9,
    crate::model::Codec::Av1,
    crate::model::Codec::Opus,
];

/// Longest identity and room name, in bytes, as the reference server has it.
pub const MAX_NAME: usize = 256;

/// Longest metadata, in bytes.
pub const MAX_METADATA: usize = 512 * 1024;

/// Sum of keys and values of attributes, in bytes.
pub const MAX_ATTRIBUTES: usize = 64 * 1024;

/// Size of attributes as [`MAX_ATTRIBUTES`] counts it.
#[must_use]
pub fn attributes_size<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a String)>) -> usize {
    attributes.into_iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// The room settings in a token's `roomConfig`; what does not parse counts as absent.
#[must_use]
pub fn room_settings(config: &serde_json::Value) -> crate::relay::command::RoomSettings {
    let config: proto::RoomConfiguration = serde::Deserialize::deserialize(config).unwrap_or_default();
    people::settings(config.empty_timeout, config.departure_timeout, config.max_participants, &config.metadata)
}
