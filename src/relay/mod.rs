//! The shard: the rooms and peers of one worker, and where a decision of the room becomes a compiled route.

pub mod command;
pub mod envelope;
pub mod event;
