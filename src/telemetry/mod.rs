//! What operators see: metrics, the operational log, health.
//!
//! Workers hand over one plain value a second and never touch a registry; doors count in a few atomics. No metric,
//! label or line carries a room, a person, an address or a token.
//!
//! Entry points: [`metrics::Board`], [`metrics::Doors`], [`metrics::render`], [`logs::install`], [`health::Health`],
//! [`host::Ceiling`].

pub mod health;
pub mod host;
pub mod logs;
pub mod metrics;
mod process;
