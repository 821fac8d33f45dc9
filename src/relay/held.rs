//! What waits for the record: effects that give access stay here until the facts before them are on disk.
//!
//! What takes access away never waits; it is carried out at once and takes out of the queue whatever it contradicts. A fact that
//! cannot be written is undone, so that nobody keeps what is not on record.

use super::command::{AdminReply, Reply};
use super::shard::Shard;
use crate::consultation::{self as rules, Effect, Effects, Fact, MemberId, Refusal};
use crate::model::Instant;
use crate::model::roster::ParticipantState;
use crate::model::{Now, ParticipantSid, RoomKey, TrackSid};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a fact may take to reach the disk; group commits take some 25 ms.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long nobody is given anything after a fact could not be written; then the next one tries again.
const RETRY: Duration = Duration::from_secs(2);

/// Commands of one room whose effects may wait before nobody is given anything more: a room has tens of commands a second at its
/// busiest.
const MAX_HELD: usize = 256;

/// The same for what cannot be refused, wishes of clients say; beyond it everything that waits is given up.
const MOST_HELD: usize = 4_096;

/// Names a fact that must be on disk before its effects are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    room: usize,
    generation: u32,
    number: u64,
}

/// Effects of a room that wait, in the order of the commands they follow from.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<Batch>);

/// What one command left to wait.
#[derive(Debug)]
struct Batch {
    id: u64,
    since: Instant,
    /// Facts that are not on disk yet.
    waits: Vec<u64>,
    /// All its facts that give something, for undoing them.
    facts: Vec<Fact>,
    effects: Effects,
    reply: Option<(Reply, AdminReply)>,
}

impl Held {
    /// When to give up on a fact.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter(|batch| !batch.waits.is_empty()).map(|batch| batch.since + PATIENCE).min()
    }

    fn routes_no_longer(&mut self, receiver: MemberId, track: &TrackSid) -> bool {
        let contradicts = |effect: &mut Effect| matches!(effect, Effect::Route { receiver: to, track: of, .. } if *to == receiver && of == track);
        self.0.iter_mut().any(|batch| batch.effects.extract_if(.., contradicts).count() > 0)
    }

    fn stays_shut(&mut self, member: MemberId) {
        for batch in &mut self.0 {
            batch.effects.retain(|effect| !matches!(effect, Effect::Gate { member: of, .. } if *of == member));
        }
    }

    /// Keeps somebody who is gone off a roster that was to name it.
    fn names_no_longer(&mut self, viewer: rules::To, gone: &[&ParticipantSid]) {
        for effect in self.0.iter_mut().flat_map(|batch| &mut batch.effects) {
            if let Effect::Roster { to, records } = effect
                && *to == viewer
            {
                records.retain(|record| !gone.contains(&&record.sid));
            }
        }
    }
}

/// Whether an effect gives somebody more than before, or tells of it.
fn gives(effect: &Effect) -> bool {
    match effect {
        Effect::Roster { records, .. } => !is_departure(records),
        Effect::RoomChanged | Effect::Route { .. } | Effect::Receipt { .. } | Effect::Gate { open: true, .. } => true,
        Effect::Joined(_)
        | Effect::TrackAccepted { .. }
        | Effect::TrackRefused { .. }
        | Effect::TrackOpened { .. }
        | Effect::TrackClosed { .. }
        | Effect::TrackMuted { .. }
        | Effect::MuteRequested { .. }
        | Effect::Unroute { .. }
        | Effect::SubscriptionAllowed { .. }
        | Effect::Gone { .. }
        | Effect::Gate { open: false, .. }
        | Effect::Record(_)
        | Effect::Closed => false,
    }
}

fn is_departure(records: &[std::sync::Arc<crate::model::roster::Participant>]) -> bool {
    records.iter().all(|record| record.state == ParticipantState::Disconnected)
}

impl Shard {
    /// Keeps back of a command's effects what must wait for the record; answers what is carried out at once.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what gives and what takes is told apart by `gives`")]
    pub(super) fn hold(&mut self, room: usize, effects: Effects, now: Now) -> Effects {
        let Some(state) = self.rooms.get(room) else { return effects };
        let generation = state.generation;
        let (id, since) = (self.tickets, now.mono);
        let mut batch = Batch { id, since, waits: Vec::new(), facts: Vec::new(), effects: Effects::new(), reply: None };
        let mut at_once = Effects::new();
        for effect in effects {
            match effect {
                Effect::Record(fact) if fact.widens() => {
                    self.tickets += 1;
                    let ticket = Ticket { room, generation, number: self.tickets };
                    batch.waits.push(ticket.number);
                    self.record(room, (*fact).clone(), Some(ticket), now);
                    batch.facts.push(*fact);
                }
                // In the order in which things became so; it is fetched only once all of this is done.
                Effect::Record(fact) => self.record(room, *fact, None, now),
                effect if gives(&effect) => batch.effects.push(effect),
                effect => {
                    if !self.contradict(room, &effect) {
                        at_once.push(effect);
                    }
                }
            }
        }
        let Some(held) = self.rooms.get_mut(room).map(|state| &mut state.held) else { return at_once };
        if held.0.is_empty() && batch.waits.is_empty() {
            at_once.append(&mut batch.effects);
        } else if !batch.waits.is_empty() || !batch.effects.is_empty() {
            self.waiting = (!batch.waits.is_empty()).then_some(batch.id).or(self.waiting);
            held.0.push_back(batch);
        }
        at_once
    }

    /// Takes out of the queue what an effect contradicts; whether nothing else is left to do for it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what takes away contradicts")]
    fn contradict(&mut self, room: usize, effect: &Effect) -> bool {
        let Some(held) = self.rooms.get_mut(room).map(|state| &mut state.held).filter(|held| !held.0.is_empty()) else {
            return false;
        };
        match effect {
            // A place that was kept is to be given up all the same.
            Effect::Unroute { receiver, track, rests } => return held.routes_no_longer(*receiver, track) && *rests,
            Effect::Gate { member, open: false } => held.stays_shut(*member),
            Effect::Roster { to, records } => {
                let gone: Vec<_> = records.iter().map(|record| &record.sid).collect();
                held.names_no_longer(*to, &gone);
            }
            _ => {}
        }
        false
    }

    /// Answers the platform, at once or when what it did is on record.
    pub(super) fn answer(&mut self, key: &RoomKey, reply: Reply, answer: Result<AdminReply, Refusal>) {
        let waiting = self.waiting.take();
        let room = self.room_index.get(key).copied().and_then(|room| self.rooms.get_mut(room));
        let batch = room.and_then(|state| state.held.0.iter_mut().find(|batch| Some(batch.id) == waiting));
        match (answer, batch) {
            (Ok(answer), Some(batch)) => batch.reply = Some((reply, answer)),
            (answer, _) => (reply.0)(answer),
        }
    }

    /// A fact is on disk, or cannot be written.
    pub(super) fn on_durable(&mut self, ticket: Ticket, durable: bool, now: Now) {
        self.audit_down_until = (!durable).then(|| now.mono + RETRY);
        let Some(state) = self.rooms.get_mut(ticket.room).filter(|state| state.generation == ticket.generation) else { return };
        if durable {
            for batch in &mut state.held.0 {
                batch.waits.retain(|number| *number != ticket.number);
            }
        } else {
            self.take_back(ticket.room, |batch| batch.waits.contains(&ticket.number), now);
        }
        self.let_go(ticket.room, now);
    }

    /// Gives up on everything where too much waits.
    pub(super) fn bound_held(&mut self, room: usize, now: Now) {
        if self.rooms.get(room).is_some_and(|state| state.held.0.len() > MOST_HELD) {
            self.expire_held(room, now);
        }
    }

    /// Gives up on facts that took too long.
    pub(super) fn expire_held(&mut self, room: usize, now: Now) {
        let full = self.rooms.get(room).is_some_and(|state| state.held.0.len() > MOST_HELD);
        if self.take_back(room, |batch| full || batch.since + PATIENCE <= now.mono, now) {
            self.audit_down_until = Some(now.mono + RETRY);
        }
        self.let_go(room, now);
    }

    /// Undoes what could not be put on record; whether there was any of it.
    fn take_back(&mut self, room: usize, which: impl Fn(&Batch) -> bool, now: Now) -> bool {
        let Some(state) = self.rooms.get_mut(room) else { return false };
        let (mut facts, mut replies) = (Vec::new(), Vec::new());
        for batch in state.held.0.iter_mut().filter(|batch| !batch.waits.is_empty() && which(batch)) {
            batch.waits.clear();
            facts.append(&mut batch.facts);
            replies.extend(batch.reply.take());
            self.counters.facts_refused += 1;
        }
        if facts.is_empty() {
            return false;
        }
        // Undoing only takes away and is never refused; what it contradicts leaves the queue.
        let _ = self.apply(room, rules::Command::Undo(facts), now);
        for (reply, _) in replies {
            (reply.0)(Err(Refusal::AuditUnavailable));
        }
        true
    }

    /// Carries out what need not wait any longer, in order.
    fn let_go(&mut self, room: usize, now: Now) {
        let ready = |state: &mut super::rooms::RoomState| {
            let front = state.held.0.front().is_some_and(|batch| batch.waits.is_empty());
            front.then(|| state.held.0.pop_front()).flatten()
        };
        while let Some(batch) = self.rooms.get_mut(room).and_then(ready) {
            for effect in batch.effects {
                self.perform(room, effect, now);
            }
            if let Some((reply, answer)) = batch.reply {
                (reply.0)(Ok(answer));
            }
        }
        self.check_room(room, now.mono);
    }

    /// Lets go of what waited in a room that closes.
    pub(super) fn drop_held(held: Held) {
        for (reply, _) in held.0.into_iter().filter_map(|batch| batch.reply) {
            (reply.0)(Err(Refusal::NoSuchRoom));
        }
    }

    /// Whether a room can give anybody anything now.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`] for a moment after a fact could not be written, or while too much waits.
    pub(super) fn check_record(&self, room: usize, now: Now) -> Result<(), Refusal> {
        let Some(state) = self.rooms.get(room).filter(|state| self.config.audit && state.rules.is_consultation()) else {
            return Ok(());
        };
        let down = self.audit_down_until.is_some_and(|until| now.mono < until);
        (!down && state.held.0.len() < MAX_HELD).then_some(()).ok_or(Refusal::AuditUnavailable)
    }
}
