//! Facts of consultations on their way from the workers to the register of the API.

use crate::api::v1::Register;
use crate::relay::event::Recorded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Facts on their way: some 3 MB, and what a thousand consultations make in the moment they all begin.
const ON_THE_WAY: usize = 16_384;

/// Where workers leave facts; never waits.
#[derive(Debug)]
pub(super) struct Facts {
    sender: mpsc::Sender<Recorded>,
    lost: AtomicBool,
}

/// Both ends.
pub(super) fn channel() -> (Arc<Facts>, mpsc::Receiver<Recorded>) {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    (Arc::new(Facts { sender, lost: AtomicBool::new(false) }), receiver)
}

impl Facts {
    /// Leaves a fact; one that finds no place is lost, and the readers of events are told so.
    pub(super) fn leave(&self, fact: Recorded) {
        if self.sender.try_send(fact).is_err() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Hands facts over as long as the doors' runtime lives.
pub(super) async fn deliver(facts: Arc<Facts>, mut receiver: mpsc::Receiver<Recorded>, register: Arc<Register>) {
    while let Some(recorded) = receiver.recv().await {
        register.on_fact(&recorded.room, recorded.at.wall_ms, &recorded.fact);
        if facts.lost.swap(false, Ordering::Relaxed) {
            register.on_lost_facts();
        }
    }
}
