//! One peer's transport: descriptions, connectivity checks, keys and packets on the wire.
//!
//! The only room that names `rtc-*` types. It is sans-IO: it opens no socket, reads no clock and takes no lock.
//! It knows packets and the far end of a path, never rooms, roles or consent.

pub mod sdp;
