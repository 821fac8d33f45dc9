//! Puts what rooms decide on record, and tells a room when what it waits for is on disk.
//!
//! It is called on the workers' threads and never blocks: references are made here, the writing is the audit writer's. An answer
//! that finds its worker's mailbox full is lost, and the room gives up on what waited, as it does when the disk is too slow.
//!
//! Entry points: [`Record::take`]; calls of platforms come in through `calls`.

use super::calls::Shared;
use super::chronicle::Chronicle;
use crate::audit::types::{Micros, Word};
use crate::config::AfterGrace;
use crate::consultation::Fact;
use crate::model::{RoomKey, RoomSid};
use crate::relay::command::{Command, Recording};
use crate::relay::event::Recorded;
use crate::telemetry::metrics;
use crate::worker::Mailbox;
use crate::worker::audit_writer::{Health, Recorder};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The record as the workers see it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) recorder: Recorder,
    after_grace: AfterGrace,
    /// How the platform is named: the relay knows its keys, not its people.
    pub(super) platform: Word,
    rooms: Mutex<Rooms>,
    /// Calls of the last minute.
    pub(super) lately: Shared,
}

/// Openings of rooms that are not over; each ends with its room's last fact, and workers close every room they open.
#[derive(Debug, Default)]
struct Rooms {
    openings: HashMap<RoomSid, Chronicle>,
    /// The latest of each room.
    latest: HashMap<RoomKey, RoomSid>,
}

impl Record {
    pub(super) fn new(recorder: Recorder, after_grace: AfterGrace) -> Self {
        let platform = Word::new("platform").expect("a word of letters");
        Self { recorder, after_grace, platform, rooms: Mutex::default(), lately: Shared::default() }
    }

    /// Whether anybody can be given more than before, or, while the disk is nearly full, whether a consultation can open.
    pub(super) fn takes(&self, opening: bool) -> bool {
        match self.recorder.health() {
            Health::Writing | Health::Low => true,
            Health::Critical => !opening,
            Health::Degraded => false,
        }
    }

    /// What the metrics show; nothing where no record is kept.
    pub(super) fn shown(&self) -> Option<metrics::Recording> {
        let figures = self.recorder.is_on().then(|| self.recorder.figures())?;
        Some(metrics::Recording {
            state: figures.health.as_str(),
            states: Health::WORDS,
            waiting: self.recorder.waiting() as u64,
            durable: figures.durable,
            commits: figures.commits,
            refused: figures.refused,
            kept: figures.kept,
            lost: figures.lost,
            damaged: figures.damaged,
        })
    }

    /// What consultations are to be told of the log, and until when they may go on without it.
    pub(super) fn state(&self) -> Recording {
        match (self.recorder.health(), self.recorder.grace_ends()) {
            (Health::Degraded, Some(ends)) => {
                Recording::Fails { closes_at_ms: (self.after_grace == AfterGrace::Close).then_some(ends.0 / 1_000) }
            }
            _ => Recording::Works,
        }
    }

    /// Takes a fact; `worker` hears when those that wait for it may go on.
    pub(super) fn take(&self, recorded: &Recorded, worker: Option<&Mailbox>) {
        if !self.recorder.is_on() {
            return;
        }
        let entries = self.entries(recorded);
        let Some(ticket) = recorded.ticket else {
            for entry in entries.into_iter().flatten() {
                // A loss is counted by the recorder and shown by its figures.
                let _ = self.recorder.record(entry);
            }
            return;
        };
        let (worker, room) = (worker.cloned(), recorded.room.clone());
        let answer = move |durable: bool| {
            let command = if durable { Command::Durable { room, ticket } } else { Command::NotDurable { room, ticket } };
            if let Some(worker) = worker {
                // The room gives up by itself on what is never answered.
                let _ = worker.send(command);
            }
        };
        let Some(mut entries) = entries else { return answer(false) };
        let Some(last) = entries.pop() else { return answer(true) };
        for entry in entries {
            let _ = self.recorder.record(entry);
        }
        self.recorder.record_durable(last, move |result| answer(result.is_ok()));
    }

    /// What a fact makes; nothing when its tenant has no log on this node.
    fn entries(&self, recorded: &Recorded) -> Option<Vec<crate::audit::record::Fact>> {
        let at = Micros(recorded.at.wall_ms.saturating_mul(1_000));
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if !rooms.openings.contains_key(&recorded.sid) {
            let tenant = recorded.room.tenant.as_str();
            let keys = self.recorder.pseudonyms(tenant)?;
            let word = Word::new(tenant).ok()?;
            let consult = Some(recorded.room.name.as_str());
            let chronicle = Chronicle::new(word, self.platform.clone(), &keys, recorded.sid.as_str(), consult);
            rooms.openings.insert(recorded.sid.clone(), chronicle);
            rooms.latest.insert(recorded.room.clone(), recorded.sid.clone());
        }
        let chronicle = rooms.openings.get_mut(&recorded.sid)?;
        let entries = chronicle.entries(&recorded.fact, at);
        if matches!(recorded.fact, Fact::RoomClosed { .. }) {
            rooms.openings.remove(&recorded.sid);
            if rooms.latest.get(&recorded.room) == Some(&recorded.sid) {
                rooms.latest.remove(&recorded.room);
            }
        }
        Some(entries)
    }

    /// Asks the chronicle of a consultation that runs.
    pub(super) fn in_room<T>(&self, room: &RoomKey, ask: impl FnOnce(&Chronicle) -> T) -> Option<T> {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.openings.get(rooms.latest.get(room)?).map(ask)
    }
}
