//! One peer's transport: ICE-lite, DTLS and SCTP, fed with datagrams and time.
//!
//! These are the only files that name a crate of the rtc family; none of their types is in a public signature, so
//! that each can be replaced by another implementation. Nothing here opens a socket, reads a clock, takes a lock or
//! knows a room: datagrams and the time come in through `handle_*`, datagrams, events and deadlines go out through
//! `poll_*`.
//!
//! Entry points: [`ice::IceLite`] says who a datagram is from and where media goes, [`dtls::RtcDtls`] agrees on the
//! keys, [`sctp::DataChannels`] carries data messages.

pub mod dtls;
pub mod ice;
pub mod sctp;
