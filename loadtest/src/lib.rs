//! Synthetic clients that load a relay, and what they got from it.

pub mod client;
pub mod impair;
pub mod measure;
pub mod scenario;
pub mod swarm;
pub mod token;
