//! A room that opens as it was arranged.

use super::shard::Shard;
use crate::consultation::{By, Command, Plan};
use crate::model::Now;

impl Shard {
    /// Gives a room its rules, its invitations and the consents that were recorded beforehand. Once somebody has come they hold,
    /// and what is arranged later reaches the room by itself.
    pub(super) fn open_as_planned(&mut self, room: usize, plan: Plan, now: Now) {
        let fresh = self.rooms.get(room).is_some_and(|state| !state.visited);
        if !fresh || self.apply(room, Command::Open(Box::new(plan.policy)), now).is_err() {
            return;
        }
        for act in plan.acts {
            // One that the rules refuse (a consent to nothing) must not keep the others out.
            let _ = self.apply(room, Command::Consult { by: By::Platform, act }, now);
        }
    }
}
