//! Synthetic clients that load a relay, and what they got from it.
//!
//! [`cli`] reads the words, [`scenario`] says who comes when, [`run`] drives it against a [`swarm`] of [`client`]s on
//! lines made worse by [`impair`], [`measure`] counts, [`report`] writes it down, [`size`] searches for capacity.

pub mod cli;
pub mod client;
pub mod impair;
pub mod measure;
pub mod process;
pub mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod size;
pub mod swarm;
pub mod token;
