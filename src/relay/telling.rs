//! What a room tells its members: each event goes to the one link of a member that carries its session.

use super::event::Event;
use super::link::Link;
use super::shard::Shard;
use crate::consultation::{MemberId, To};
use crate::model::roster::Participant;
use std::sync::Arc;

impl Shard {
    pub(super) fn tell_room(&mut self, room: usize, to: To, event: &Event) {
        let Some(state) = self.rooms.get(room) else { return };
        for (member, link) in &state.links {
            let reached = match to {
                To::All => true,
                To::AllBut(left_out) => *member != left_out,
                To::One(only) => *member == only,
            };
            if let Some(link) = self.links.get_mut(*link).filter(|_| reached) {
                link.tell(event.clone());
            }
        }
    }

    pub(super) fn tell_facts(&mut self, room: usize) {
        let Some(state) = self.rooms.get(room) else { return };
        for (member, link) in &state.links {
            if let Some(link) = self.links.get_mut(*link) {
                link.tell(Event::Room(state.rules.facts_for(*member)));
            }
        }
    }

    pub(super) fn tell_member(&mut self, room: usize, member: MemberId, event: Event) {
        if let Some(link) = self.link_of(room, member) {
            self.tell(link, event);
        }
    }

    /// Tells the member behind a link, whichever of its links it is.
    pub(super) fn tell(&mut self, link: usize, event: Event) {
        let session = self.links.get(link).and_then(Link::up).unwrap_or(link);
        if let Some(link) = self.links.get_mut(session) {
            link.tell(event);
        }
    }

    /// A member's record, for stamping its messages.
    pub(super) fn record_of(&self, link: usize) -> Option<&Arc<Participant>> {
        let state = self.links.get(link)?;
        self.rooms.get(state.room)?.rules.record(state.member)
    }
}
