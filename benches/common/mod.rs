//! What the benches of the relay share.

pub(crate) mod hall;
pub(crate) mod meter;
pub(crate) mod socket;
#[path = "../../tests/world/mod.rs"]
pub(crate) mod world;
