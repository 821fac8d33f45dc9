//! Packets and nothing else: views, rewriting, repair, layer choice. No people, no sockets, no clock.

pub mod inbound;
pub mod nacker;
pub mod outbound;
pub mod rtcp;
pub mod seq;
pub mod speaker;
pub mod twcc;
