//! One peer's transport: connectivity checks, DTLS, SRTP and the feedback around them.
//!
//! Sans-IO: datagrams and times come in by `handle_*`, datagrams and events go out by `poll_*`; nothing here owns a socket,
//! reads a clock or knows a second peer. It is the only room that names the types of the webrtc-rs crates, so that each of
//! them can be replaced behind its door.
pub mod srtp;
//! One peer's transport: descriptions, connectivity checks, keys and packets on the wire.
//! The only room that names `rtc-*` types. It is sans-IO: it opens no socket, reads no clock and takes no lock.
//! It knows packets and the far end of a path, never rooms, roles or consent.
pub mod sdp;
