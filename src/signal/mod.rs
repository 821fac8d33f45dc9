//! Signalling: what a client asks on its session, and what it learns.
//!
//! [`session`] knows no wire protocol; [`livekit`] is the door for LiveKit client SDKs. Neither decides anything about rooms:
//! requests become commands of `relay`, events become messages. Tokens, identities, addresses and SDP are never logged.

pub mod livekit;
pub mod session;
