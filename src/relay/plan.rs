//! A room that opens as it was arranged.

use super::command::Join;
use super::event::{Event, EventSink};
use super::shard::Shard;
use crate::consultation::{By, Command, Plan, Policy, Refusal, RoomSettings};
use crate::model::{Now, RoomKey};

impl Shard {
    /// The room of a join, opened as it was arranged where nobody has come yet; `None` where the join was refused for it.
    pub(super) fn room_for(&mut self, join: &mut Join, now: Now) -> Option<usize> {
        let opened = match join.plan.take() {
            Some(plan) => self.open_as_planned(&join.room, &join.room_settings, *plan, now),
            None => Ok(self.open_room(&join.room, join.policy, &join.room_settings, now)),
        };
        opened.map_err(|refusal| self.turn_away(&join.room, join.events.as_mut(), refusal)).ok()
    }

    /// Gives a room its rules, its invitations and the consents that were recorded beforehand. Once somebody has come they hold,
    /// and what is arranged later reaches the room by itself.
    fn open_as_planned(&mut self, key: &RoomKey, settings: &RoomSettings, plan: Plan, now: Now) -> Result<usize, Refusal> {
        let plain = self.room_index.get(key).copied().filter(|room| {
            let state = self.rooms.get(*room);
            state.is_some_and(|state| !state.visited && !state.rules.is_consultation())
        });
        if let Some(room) = plain {
            // Somebody opened a plain room of this name, and nobody came.
            self.close_room(room);
        }
        let fresh = !self.room_index.contains_key(key);
        let room = self.open_room(key, Policy::Consultation, settings, now);
        if self.rooms.get(room).is_none_or(|state| state.visited) {
            return Ok(room);
        }
        if let Err(refusal) = self.apply(room, Command::Open(Box::new(plan.policy)), now) {
            if fresh {
                self.close_room(room);
            }
            return Err(refusal);
        }
        for act in plan.acts {
            // One that the rules refuse (a consent to nothing) must not keep the others out.
            let _ = self.apply(room, Command::Consult { by: By::Platform, act, asked_at: now.mono }, now);
        }
        Ok(room)
    }

    /// Refuses a join whose room does not open; the directory counted it as an opening.
    fn turn_away(&mut self, key: &RoomKey, events: &mut dyn EventSink, refusal: Refusal) {
        // A session that is gone already needs no refusal.
        let _ = events.push(Event::Rejected(refusal));
        match self.room_index.get(key).and_then(|room| self.rooms.get_mut(*room)) {
            Some(state) => state.openings += 1,
            None => self.closed_rooms.push((key.clone(), 1)),
        }
    }
}
