//! Two flags for the machine that watches the node: is it alive, and does it take new calls.

use std::sync::atomic::{AtomicBool, Ordering};

/// Alive until a worker is lost; ready from the end of the start until the drain begins.
#[derive(Debug)]
pub struct Health {
    alive: AtomicBool,
    ready: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self { alive: AtomicBool::new(true), ready: AtomicBool::new(false) }
    }
}

impl Health {
    /// Whether the process works; `false` asks for a restart.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether new calls are taken; `false` while starting, draining, or after a fault.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.alive() && self.ready.load(Ordering::Relaxed)
    }

    /// Opens the node for new calls, or closes it.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Records a fault that only a restart mends, for example a worker that ended.
    pub fn fail(&self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_between_start_and_drain() {
        let health = Health::default();
        assert!(health.alive() && !health.ready());
        health.set_ready(true);
        assert!(health.ready());
        health.set_ready(false);
        assert!(health.alive() && !health.ready());
    }

    #[test]
    fn a_fault_ends_both() {
        let health = Health::default();
        health.set_ready(true);
        health.fail();
        assert!(!health.alive() && !health.ready());
    }
}
