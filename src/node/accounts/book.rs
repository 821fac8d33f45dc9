//! Every opening that runs, and those that ended of late.

use super::opening::Opening;
use super::{News, Notary};
use crate::api::v1::{Attested, Unattested};
use crate::audit::Micros;
use crate::audit::attestation::sign;
use crate::audit::types::RoomRef;
use crate::consultation::Fact;
use crate::consultation::timeline::{SupportCode, Timelines};
use crate::model::Instant;
use crate::model::{RoomKey, RoomSid, TenantId};
use crate::relay::event::Recorded;
use crate::worker::audit_writer::Recorder;
use crate::worker::audit_writer::keys::random;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long a story can be asked for after its call: people ring up the same day, or the next morning.
const STORIES_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Calls that ended and are still known by their consultation; of more, the oldest story is known by its code only.
const MOST_ENDED: usize = 8_192;

/// Attestations that could not be written and are kept in memory: some 10 MB.
const MOST_UNWRITTEN: usize = 1_024;

/// How long the last entry of a room may take to reach the record; then it is stated without.
const ENTRY_WITHIN: Duration = Duration::from_secs(10);

/// How often files past their time are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// A call that ended.
struct Ended {
    key: RoomKey,
    code: Option<SupportCode>,
    at: Instant,
}

/// An attestation that has no file.
struct Unwritten {
    key: RoomKey,
    opened: Micros,
    jws: String,
}

pub(super) struct Book {
    recorder: Recorder,
    notary: Option<Notary>,
    /// Openings that run, or whose attestation is not signed yet; each goes with its room's end.
    openings: HashMap<RoomSid, Opening>,
    rooms: HashMap<RoomRef, RoomSid>,
    stories: Timelines,
    ended: VecDeque<Ended>,
    unwritten: VecDeque<Unwritten>,
    purged: Option<Instant>,
}

impl Book {
    pub(super) fn new(recorder: Recorder, notary: Option<Notary>) -> Self {
        Self {
            recorder,
            notary,
            openings: HashMap::new(),
            rooms: HashMap::new(),
            stories: Timelines::default(),
            ended: VecDeque::new(),
            unwritten: VecDeque::new(),
            purged: None,
        }
    }

    /// Something may be missing from every account that is open.
    pub(super) fn on_loss(&mut self) {
        self.openings.values_mut().for_each(Opening::on_loss);
    }

    pub(super) fn take(&mut self, news: News, now: Instant, wall: Micros) {
        match news {
            News::Fact(recorded) => self.on_fact(&recorded, now),
            News::Tally(tally) => {
                let Some(opening) = self.openings.get_mut(&tally.sid) else { return };
                let story = opening.code.and_then(|code| self.stories.story_mut(code));
                opening.on_tally(&tally, story);
            }
            News::Entry { room, log, seq, noted } => {
                let Some(sid) = self.rooms.get(&room).cloned() else { return };
                let Some(opening) = self.openings.get_mut(&sid) else { return };
                opening.on_entry(log, seq, &noted, now);
                if opening.recorded && opening.closed.is_some() {
                    self.conclude(&sid, now, wall);
                }
            }
            News::Stop => {}
        }
    }

    fn on_fact(&mut self, recorded: &Recorded, now: Instant) {
        if let Fact::RoomCreated { .. } = recorded.fact {
            self.begin(recorded);
        }
        let Some(opening) = self.openings.get_mut(&recorded.sid) else { return };
        let story = opening.code.and_then(|code| self.stories.story_mut(code));
        opening.on_fact(recorded, story);
        if opening.closed.is_some()
            && let Some(code) = opening.code
        {
            self.stories.close(code, now);
        }
    }

    fn begin(&mut self, recorded: &Recorded) {
        if self.openings.contains_key(&recorded.sid) {
            return;
        }
        let keys = self.recorder.pseudonyms(recorded.room.tenant.as_str());
        let keys = keys.as_ref().zip(self.notary.as_ref().map(|notary| &notary.site));
        // Without chance the code is still a free one, only easier to guess.
        let chance = random::<4>().map_or(0, u32::from_be_bytes);
        let code = self.stories.open(chance, recorded.at.mono);
        let opening = Opening::new(recorded, keys, code);
        if let Some(room) = opening.room_ref() {
            self.rooms.insert(room, recorded.sid.clone());
        }
        self.openings.insert(recorded.sid.clone(), opening);
    }

    /// Signs what is over, forgets what is past its time.
    pub(super) fn look(&mut self, now: Instant, wall: Micros) {
        let late = |opening: &Opening| opening.closed.is_some_and(|at| now.saturating_duration_since(at) >= ENTRY_WITHIN);
        let over: Vec<_> = self.openings.iter().filter(|(_, opening)| late(opening)).map(|(sid, _)| sid.clone()).collect();
        for sid in over {
            self.conclude(&sid, now, wall);
        }
        while self.ended.front().is_some_and(|call| now.saturating_duration_since(call.at) > STORIES_KEPT) {
            self.ended.pop_front();
        }
        if let Some(before) = now.checked_sub(STORIES_KEPT) {
            self.stories.forget(before);
        }
        if self.purged.is_none_or(|at| now.saturating_duration_since(at) >= PURGE_EVERY) {
            self.purged = Some(now);
            if let Some(notary) = &self.notary {
                notary.store.purge(wall);
            }
        }
    }

    /// Signs everything there is: the node ends.
    pub(super) fn end(&mut self, now: Instant, wall: Micros) {
        let all: Vec<_> = self.openings.keys().cloned().collect();
        for sid in all {
            self.conclude(&sid, now, wall);
        }
        if !self.unwritten.is_empty() {
            tracing::error!(count = self.unwritten.len(), "attestations could not be written and are lost");
        }
    }

    /// Signs an opening that is over, and forgets the rest of it.
    fn conclude(&mut self, sid: &RoomSid, now: Instant, wall: Micros) {
        let Some(opening) = self.openings.remove(sid) else { return };
        if let Some(room) = opening.room_ref() {
            self.rooms.remove(&room);
        }
        if let (Some(notary), Some(statement)) = (&self.notary, opening.statement(true, now, wall)) {
            let jws = sign(&statement, &notary.key);
            if let Err(error) = notary.store.write(&opening.key, opening.opened, &jws) {
                tracing::error!(kind = ?error.kind(), "an attestation cannot be written; it is kept in memory");
                if self.unwritten.len() >= MOST_UNWRITTEN {
                    self.unwritten.pop_front();
                }
                self.unwritten.push_back(Unwritten { key: opening.key.clone(), opened: opening.opened, jws });
            }
        }
        if self.ended.len() >= MOST_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { key: opening.key, code: opening.code, at: opening.closed.unwrap_or(now) });
    }

    /// Signs what can be stated of an opening, 1 the first; without a number the latest.
    pub(super) fn attestation(
        &self,
        room: &RoomKey,
        asked: Option<u32>,
        now: Instant,
        wall: Micros,
    ) -> Result<Attested, Unattested> {
        let notary = self.notary.as_ref().ok_or(Unattested::NoRecord)?;
        let running: Vec<_> = self.openings.values().filter(|opening| opening.key == *room).collect();
        let unwritten: Vec<_> = self.unwritten.iter().filter(|one| one.key == *room).collect();
        let mut began = notary.store.openings(room);
        began.extend(unwritten.iter().map(|one| one.opened));
        began.extend(running.iter().filter(|opening| opening.is_attested()).map(|opening| opening.opened));
        began.sort_unstable();
        began.dedup();
        let openings = u32::try_from(began.len()).unwrap_or(u32::MAX);
        if openings == 0 {
            // Its tenant may have no log of its own.
            return Err(if running.is_empty() { Unattested::Unknown } else { Unattested::NoRecord });
        }
        let opening = asked.unwrap_or(openings);
        let index = opening.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let at = *index.and_then(|index| began.get(index)).ok_or(Unattested::NoSuchOpening { openings })?;
        if let Some(found) = running.iter().find(|found| found.opened == at) {
            let statement = found.statement(false, now, wall).ok_or(Unattested::NotRecorded)?;
            return Ok(Attested { jws: sign(&statement, &notary.key), opening, openings, ended: statement.ended });
        }
        let unwritten = unwritten.iter().find(|one| one.opened == at).map(|one| one.jws.clone());
        let jws = unwritten.or_else(|| notary.store.read(room, at)).ok_or(Unattested::Unreadable)?;
        Ok(Attested { jws, opening, openings, ended: true })
    }

    pub(super) fn public_key(&self) -> Option<String> {
        self.notary.as_ref().map(|notary| notary.key.verifying_key().to_pem())
    }

    /// The code of a consultation's latest opening, and when it ended.
    fn latest(&self, room: &RoomKey) -> Option<(SupportCode, Option<Instant>)> {
        let running = self.openings.values().filter(|opening| opening.key == *room).max_by_key(|opening| opening.opened);
        let running = running.and_then(|opening| Some((opening.code?, opening.closed)));
        running
            .or_else(|| self.ended.iter().rev().find(|call| call.key == *room).and_then(|call| Some((call.code?, Some(call.at)))))
    }

    pub(super) fn code(&self, room: &RoomKey) -> Option<String> {
        self.latest(room).map(|(code, _)| code.to_text())
    }

    pub(super) fn story(&self, room: &RoomKey, now: Instant) -> Option<Value> {
        let (code, ended) = self.latest(room)?;
        Some(self.stories.story(code)?.render(&code, ended.unwrap_or(now)))
    }

    /// The story of a code, where it is of this tenant's.
    pub(super) fn story_of(&self, tenant: &TenantId, code: &str, now: Instant) -> Option<Value> {
        let code = SupportCode::parse(code)?;
        let running = self.openings.values().map(|opening| (&opening.key, opening.code, opening.closed));
        let ended = self.ended.iter().map(|call| (&call.key, call.code, Some(call.at)));
        let (_, _, closed) = running.chain(ended).find(|(key, of, _)| key.tenant == *tenant && *of == Some(code))?;
        Some(self.stories.story(code)?.render(&code, closed.unwrap_or(now)))
    }
}
