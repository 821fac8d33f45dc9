//! Synthetic clients that load a relay, and what they got from it.

pub mod impair;
