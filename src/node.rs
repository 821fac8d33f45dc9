//! The composition root: builds workers, doors and telemetry from a [`Config`], and ends them in order.

use crate::config::{Config, Mode};

/// Why a node did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Something the configuration asks for cannot be had: a taken port, a missing folder.
    #[error("{0}")]
    Setup(String),
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(String),
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// [`NodeError::Setup`] when a port or folder is not to be had, [`NodeError::Internal`] when a part of the node ends by fault.
pub fn run(config: Config, mode: Mode) -> Result<(), NodeError> {
    let _not_yet = (config, mode);
    Err(NodeError::Internal("the node is not built yet".to_owned()))
}
