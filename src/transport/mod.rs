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
//! One peer's transport: ICE-lite, DTLS and SCTP, fed with datagrams and time.
//! These are the only files that name a crate of the rtc family; none of their types is in a public signature, so
//! that each can be replaced by another implementation. Nothing here opens a socket, reads a clock, takes a lock or
//! knows a room: datagrams and the time come in through `handle_*`, datagrams, events and deadlines go out through
//! `poll_*`.
//! Entry points: [`ice::IceLite`] says who a datagram is from and where media goes, [`dtls::RtcDtls`] agrees on the
//! keys, [`sctp::DataChannels`] carries data messages.
pub mod dtls;
pub mod ice;
pub mod sctp;
