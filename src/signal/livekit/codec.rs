//! Client messages to neutral requests, neutral events to client messages.

mod request;
mod response;

pub use request::{Incoming, decode};
pub(in crate::signal::livekit) use request::{add_track, sync_state};
pub use response::{Greeting, encode, refresh, unsupported_track};
pub(in crate::signal::livekit) use response::{pong, pong_response};

/// A message that cannot be read; the socket is closed with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct BadMessage;
