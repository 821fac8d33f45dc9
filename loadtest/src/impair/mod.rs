//! Bad networks, on purpose and repeatable: profiles, a link that follows one, and a UDP proxy for browsers.
//!
//! The kernel's own tool for this needs rights and a module that test machines often lack, so this is done in user
//! space. [`Link`] is one direction without sockets or clock: time is an argument, the same seed gives every datagram
//! the same fate. [`Profile`] holds the numbers of both directions; [`profile`] finds the named ones. [`proxy`] puts
//! links between real browsers and a relay. Payloads are opaque here and never looked at.

mod link;
mod named;
mod profile;
pub mod proxy;

pub use link::{Counts, Link, QueueDelay};
pub use named::{NAMES, profile};
pub use profile::{Direction, Outage, Profile, ProfileError, RateStep};
