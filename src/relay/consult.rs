//! Consultations on a shard: acts of the doors, gates on links, and facts on their way to the record.

use super::command::AdminReply;
use super::event::{Recorded, Ticket};
use super::shard::Shard;
use crate::consultation::{self as rules, Act, By, ConsultationPolicy, Fact, MemberId, Policy, Recording, Refusal, RoomSettings};
use crate::model::roster::LeaveReason;
use crate::model::{Identity, Instant, Now, RoomKey};
use std::time::Duration;

/// Facts that may wait to be fetched; a worker fetches them after each batch. Beyond it the oldest are lost, and counted.
const MAX_FACTS: usize = 65_536;

impl Shard {
    /// Opens a consultation, or changes the rules of one to which nobody has come yet.
    pub(super) fn open_consultation(
        &mut self,
        key: &RoomKey,
        policy: ConsultationPolicy,
        now: Now,
    ) -> Result<AdminReply, Refusal> {
        policy.check()?;
        let fresh = !self.room_index.contains_key(key);
        let room = self.open_room(key, Policy::Consultation, &RoomSettings::default(), now);
        let opened = self.check_record(room, now).and_then(|()| self.apply(room, rules::Command::Open(Box::new(policy)), now));
        if opened.is_err() && fresh {
            self.close_room(room);
        }
        opened?;
        if let Some(state) = self.rooms.get_mut(room) {
            state.openings += 1;
            // It waits as long as its new rules say.
            state.close_at = None;
        }
        self.check_room(room, now.mono);
        self.show_consultation(room)
    }

    pub(super) fn consult(&mut self, room: usize, by: By, act: Act, asked_at: Instant, now: Now) -> Result<AdminReply, Refusal> {
        if act.gives() {
            self.check_record(room, now)?;
        }
        self.apply(room, rules::Command::Consult { by, act, asked_at }, now)?;
        Ok(AdminReply::Done)
    }

    pub(super) fn show_consultation(&self, room: usize) -> Result<AdminReply, Refusal> {
        let rules = self.rooms.get(room).map(|room| &room.rules).ok_or(Refusal::NoSuchRoom)?;
        let overview = rules.overview().ok_or(Refusal::NotAConsultation)?;
        Ok(AdminReply::Consultation(Box::new(overview)))
    }

    /// A seat whose socket is known to be gone may be taken again, whatever the policy says of a second use.
    pub(super) fn note_away(&mut self, room: usize, identity: &Identity, now: Now) {
        let Some(state) = self.rooms.get(room).filter(|state| state.rules.is_consultation()) else { return };
        let gone = state.rules.id_of(identity).filter(|member| {
            let link = state.links.get(member).and_then(|link| self.links.get(*link));
            link.is_some_and(|link| link.events.is_none())
        });
        if let Some(member) = gone {
            // It was found a line above.
            let _ = self.apply(room, rules::Command::Away(member), now);
        }
    }

    /// Tells every consultation whether the audit log can be written.
    pub(super) fn on_recording(&mut self, recording: Recording, now: Now) {
        let rooms: Vec<usize> = self.rooms.iter().map(|(room, _)| room).filter(|_| self.config.audit).collect();
        for room in rooms {
            // News are never refused.
            let _ = self.apply(room, rules::Command::Recording(recording), now);
        }
    }

    /// Opens or shuts a member's gate for data; media goes by routes.
    pub(super) fn set_gate(&mut self, room: usize, member: MemberId, open: bool) {
        let Some(link) = self.link_of(room, member) else { return };
        let Some(state) = self.links.get_mut(link) else { return };
        state.data.shut = !open;
        if !open {
            state.data.order.forget();
            let sid = state.sid.clone();
            if let Some(room) = self.rooms.get_mut(room) {
                room.recent.forget(&sid, member);
            }
        }
        self.gate_data(room, member);
    }

    /// Puts a fact on its way.
    pub(super) fn record(&mut self, room: usize, fact: Fact, ticket: Option<Ticket>, now: Now) {
        let Some(state) = self.rooms.get(room) else { return };
        let recorded = Recorded { room: state.key.clone(), sid: state.rules.facts().sid.clone(), at: now, fact, ticket };
        if self.facts.len() >= MAX_FACTS {
            self.facts.pop_front();
            self.counters.facts_lost += 1;
        }
        self.facts.push_back(recorded);
    }

    /// Facts since the last call, in the order in which they became so.
    pub fn drain_facts(&mut self) -> impl Iterator<Item = Recorded> + '_ {
        self.facts.drain(..)
    }

    /// When a room's rules want to hear of the time.
    pub(super) fn note_rules_deadline(&mut self, room: usize, now: Now) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        let at_ms = state.rules.next_deadline_ms();
        state.rules_at = at_ms.map(|at_ms| now.mono + Duration::from_millis(at_ms.saturating_sub(now.wall_ms)));
    }

    /// Closes a room in which nobody is; a consultation says so on record.
    pub(super) fn close_empty_room(&mut self, room: usize, now: Now) {
        let consultation = self.rooms.get(room).is_some_and(|state| state.rules.is_consultation());
        if consultation {
            // Closing is never refused, and takes the room along.
            let _ = self.apply(room, rules::Command::Close(LeaveReason::RoomDeleted), now);
        } else {
            self.close_room(room);
        }
    }
}
