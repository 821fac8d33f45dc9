//! One peer's transport: connectivity checks, DTLS, SRTP and the feedback around them.
//!
//! Sans-IO: datagrams and times come in by `handle_*`, datagrams and events go out by `poll_*`; nothing here owns a socket,
//! reads a clock or knows a second peer. It is the only room that names the types of the webrtc-rs crates, so that each of
//! them can be replaced behind its door.

pub mod srtp;
