//! Packets and nothing else: views, rewriting, repair, layer choice. No people, no sockets, no clock.

pub mod ahead;
pub mod allocation;
pub mod bwe;
pub mod cache;
pub mod codec;
pub mod grade;
pub mod guardian;
pub mod inbound;
pub mod keyframe;
pub mod layers;
pub mod nacker;
pub mod outbound;
pub mod pacer;
pub mod packet;
pub mod rate;
pub mod rates;
pub mod red;
pub mod route;
pub mod rtcp;
pub mod rtx;
pub mod seq;
pub mod speaker;
pub mod twcc;

/// Simulcast layers a track may have: three is what browsers send (rids `q`, `h`, `f`).
pub const MAX_LAYERS: usize = 3;
