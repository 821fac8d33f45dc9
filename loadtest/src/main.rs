//! Synthetic clients that load a relay and report what they got.

fn main() {}
