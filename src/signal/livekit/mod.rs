//! The door for LiveKit client SDKs: WebSocket and protobuf, with one peer connection (`/rtc/v1`) or two (`/rtc`).
//!
//! [`http`] checks the request and joins, `socket` carries messages, [`codec`] translates them, [`data`] stamps data messages.

pub mod codec;
pub mod data;
pub mod http;
pub mod join;
mod limits;
mod query;
mod socket;

pub use data::LiveKitEnvelope;
pub use http::{Door, DoorConfig, IceServer};
pub use limits::{Addresses, ClientAddress};
