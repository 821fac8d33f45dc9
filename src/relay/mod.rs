//! The shard: the rooms and peers of one worker, and where a decision of the room becomes a compiled route.
//!
//! Sans-IO: it is driven by datagrams, commands and time, and reads no clock. Its parts: [`shard`] the whole, `rooms` commands and
//! effects, `negotiation` offers and answers, `downlink` what the relay offers itself, `tracks` what is published and routed, `rest` what an aside interrupts,
//! `datagrams` what the socket received, `stray` what came from nowhere, `media` the packet path, `repeats` what goes out later, `sound` redundant audio,
//! `feedback` control packets, `line` what a receiver's line bears, `allocation` how it is shared out, `data` data messages,
//! `telling` what members are told, `truth` of each other's lines, `tally` what reached whom, `consult` consultations, `held` what waits for the
//! record, `admin` what the platform asks. The doors see [`command`],
//! [`event`] and [`envelope`] and nothing else.

pub use crate::transport::outbox;
pub use datagrams::Received;

mod admin;
mod allocation;
pub mod command;
mod consult;
mod data;
mod datagrams;
mod downlink;
pub mod envelope;
pub mod event;
mod feedback;
mod held;
mod in_order;
mod incidents;
mod line;
pub mod link;
mod media;
mod negotiation;
mod passes;
mod plan;
mod repeats;
mod rest;
mod rooms;
mod sections;
pub mod shard;
mod sound;
mod stray;
mod table;
mod tally;
mod telling;
mod timers;
mod tracks;
mod truth;
mod warm;
