//! Stories of consultations: a relay's shard, a network with a seed, and people on an independent WebRTC stack.
//!
//! Each file tells one kind of thing that happens in a call, or is done to it.
#![allow(clippy::wildcard_enum_match_arm, reason = "events of the other stack may grow")]
#![allow(clippy::print_stdout, reason = "how much was tried is part of the result")]

#[path = "../world/mod.rs"]
mod world;

mod asides;
mod coming_and_going;
mod consultation;
mod consultation_model;
mod data;
mod datagrams;
mod floods;
mod forgery;
mod frozen;
mod lines;
mod loss;
mod model;
mod moving;
mod muting;
mod permissions;
mod record;
mod scalable;
mod silence;
mod simulcast;
mod sound;
mod speakers;
mod subscriptions;
mod tally;
mod three_people;
mod truth;
mod two_connections;
mod without_gcm;
