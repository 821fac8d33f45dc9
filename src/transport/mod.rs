//! One peer's transport: descriptions, connectivity checks, handshake, keys and data channels.
//!
//! Sans-IO: datagrams and the time come in through `handle_*`, datagrams, events and deadlines go out through `poll_*`; nothing here
//! opens a socket, reads a clock, takes a lock or knows a room or a second peer. It is the only room that names the types of the
//! webrtc-rs crates, and none of them is in a public signature, so that each can be replaced behind its door.
//!
//! Entry points: [`peer::Peer`] puts the parts together; [`ice::IceLite`] says who a datagram is from and where media goes,
//! [`dtls::RtcDtls`] agrees on the keys, [`srtp`] opens and seals packets, [`sctp::DataChannels`] carries data messages, [`sdp`]
//! reads offers and writes answers, [`outbox::Outbox`] holds what is to leave.

pub mod dtls;
pub mod ice;
pub mod outbox;
pub mod peer;
pub mod sctp;
pub mod sdp;
pub mod srtp;
