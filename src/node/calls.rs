//! Calls of platforms on record, and rooms that were asked for and not made.
//!
//! Whoever calls in a loop writes little: of what is read and what is refused the first of each kind in a minute is an entry, and the
//! rest of it a number. What is changed is always an entry.
//!
//! Entry points: [`Calls`] as a [`Scribe`], [`Record::not_made`], [`Record::look`] once a second.

use super::placement::Placement;
use super::record::Record;
use crate::api::scribe::{Done, NotMade, Note, Op, Scribe, What};
use crate::audit::event::Event;
use crate::audit::record::{Actor, Fact, Target};
use crate::audit::types::{By, Hash, Word};
use crate::audit::words::{AdminOp, CreateRefusal};
use crate::model::Instant;
use crate::model::{RoomKey, TenantId};
use crate::worker::audit_writer::Health;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long calls of one kind are merged.
const WINDOW: Duration = Duration::from_secs(60);

/// Kinds that are merged at once: 1 MB. There are as many kinds of refusals as keys times words; of reads beyond it each is an entry.
const MOST: usize = 8_192;

/// What is merged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    tenant: TenantId,
    key: Arc<str>,
    what: Merging,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Merging {
    /// What is read, or said into a room: by room, so that nobody hides one behind another.
    Call(Op, Option<RoomKey>),
    /// A refused call: whatever it names, since names cost the caller nothing.
    Refused(Op),
    NotMade(NotMade),
}

#[derive(Debug)]
struct Merged {
    since: Instant,
    /// Since the first, which is on record.
    more: u32,
}

/// Calls that were put on record within the last minute.
#[derive(Debug, Default)]
pub(super) struct Lately(HashMap<Kind, Merged>);

#[expect(clippy::disallowed_methods, reason = "windows are measured where calls come in")]
fn now() -> Instant {
    std::time::Instant::now().into()
}

impl Lately {
    /// Whether one of its kind is on record already; then it is counted.
    fn counts(&mut self, kind: &Kind) -> bool {
        self.0.get_mut(kind).map(|merged| merged.more = merged.more.saturating_add(1)).is_some()
    }

    /// The first of a kind is on record.
    fn begin(&mut self, kind: Kind, now: Instant) {
        if self.0.len() < MOST || !matches!(kind.what, Merging::Call(..)) {
            self.0.entry(kind).or_insert(Merged { since: now, more: 0 });
        }
    }

    /// Ends windows that began so long ago; answers what was merged in them.
    fn end_windows(&mut self, now: Instant, length: Duration) -> Vec<(TenantId, Arc<str>, Event)> {
        let over = |merged: &Merged| now.saturating_duration_since(merged.since) >= length;
        let counted = |(kind, merged): (Kind, Merged)| {
            let ev = if matches!(kind.what, Merging::NotMade(_)) { "room.create_refused" } else { "admin.call" };
            let window = now.saturating_duration_since(merged.since).as_millis();
            let window_ms = u32::try_from(window).unwrap_or(u32::MAX);
            let event = Event::AuditSuppressed { count: merged.more, ev: Word::new(ev).ok()?, window_ms };
            (merged.more > 0).then_some((kind.tenant, kind.key, event))
        };
        self.0.extract_if(|_, merged| over(merged)).filter_map(counted).collect()
    }
}

impl What {
    fn merging(self, room: Option<&RoomKey>) -> Option<Merging> {
        match self {
            Self::Read(op) | Self::Change(op @ Op::DataSend) => Some(Merging::Call(op, room.cloned())),
            Self::Refused(op) => Some(Merging::Refused(op)),
            Self::NotMade(why) => Some(Merging::NotMade(why)),
            Self::Change(_) | Self::Report(_) | Self::Revoked => None,
        }
    }
}

impl Record {
    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the numbers of windows that are over.
    pub(super) fn look(&self) {
        self.write_windows(WINDOW);
    }

    /// Writes every number there is: the node stops.
    pub(super) fn finish(&self) {
        self.write_windows(Duration::ZERO);
    }

    fn write_windows(&self, length: Duration) {
        let counted = self.lately().end_windows(now(), length);
        for (tenant, key, event) in counted {
            if let Ok(tenant) = Word::new(tenant.as_str()) {
                // A loss is counted by the recorder and shown by its figures.
                let _ = self.recorder.record(Fact::of_tenant(tenant, self.platform_of(&key), event));
            }
        }
    }

    fn platform_of(&self, key: &str) -> Actor {
        Actor::Platform(Word::new(key).unwrap_or_else(|_| self.platform.clone()))
    }

    /// Somebody with a good token would have opened a room, and the node took none.
    pub(super) fn not_made(&self, room: &RoomKey, key: &Arc<str>, why: NotMade) {
        let what = What::NotMade(why);
        let note = Note { tenant: room.tenant.clone(), key: key.clone(), room: Some(room.clone()), seat: None, what };
        self.note(note, Box::new(|_| {}));
    }

    /// Takes a note; `done` hears when it is durable.
    pub(super) fn note(&self, note: Note, done: Done) {
        if !self.recorder.is_on() {
            return done(true);
        }
        let kind = note.what.merging(note.room.as_ref());
        let kind = kind.map(|what| Kind { tenant: note.tenant.clone(), key: note.key.clone(), what });
        if kind.as_ref().is_some_and(|kind| self.lately().counts(kind)) {
            return done(true);
        }
        let Some(fact) = self.fact_of(&note) else { return done(false) };
        if matches!(note.what, What::Refused(_) | What::NotMade(_)) {
            // Its effect is the answer, and that is the same for all that follow.
            if let Some(kind) = kind {
                self.lately().begin(kind, now());
            }
            return done(self.recorder.record(fact).is_ok());
        }
        let lately = self.lately.clone();
        self.recorder.record_durable(fact, move |result| {
            // Until then the same again is an entry of its own: nobody is answered before something is on disk.
            if let Some(kind) = kind.filter(|_| result.is_ok()) {
                lately.lock().unwrap_or_else(PoisonError::into_inner).begin(kind, now());
            }
            done(result.is_ok());
        });
    }

    /// The entry a note makes; nothing when its tenant has no log on this node.
    fn fact_of(&self, note: &Note) -> Option<Fact> {
        let keys = self.recorder.pseudonyms(note.tenant.as_str())?;
        let event = match note.what {
            What::Change(op) | What::Read(op) => Event::AdminCall { done: true, op: word(op) },
            What::Refused(op) => Event::AdminCall { done: false, op: word(op) },
            What::NotMade(why) => Event::RoomCreateRefused { why: self.reason(why) },
            What::Report(sha256) => Event::RoomReportIssued { sha256: Hash(sha256) },
            What::Revoked => Event::TokenRevoked { by: By::Platform, jti_ref: None },
        };
        let fact = Fact::of_tenant(Word::new(note.tenant.as_str()).ok()?, self.platform_of(&note.key), event);
        let Some(room) = &note.room else { return Some(fact) };
        let running = self.in_room(room, |chronicle| {
            let (room, consult) = chronicle.place();
            let seat = note.seat.as_ref().map(|seat| Target::Participant(chronicle.reference(seat)));
            (room, consult, seat.unwrap_or(Target::Room(room)))
        });
        Some(match running {
            Some((room, consult, target)) => fact.in_room(room, consult).about(target),
            // People have references inside an opening of a room only.
            None => Fact { consult: Some(keys.consultation(room.name.as_str())), ..fact },
        })
    }

    fn reason(&self, why: NotMade) -> CreateRefusal {
        match why {
            NotMade::Unrecorded if self.recorder.health() == Health::Critical => CreateRefusal::StorageCritical,
            NotMade::Unrecorded => CreateRefusal::AuditUnavailable,
            NotMade::Full => CreateRefusal::NodeFull,
            NotMade::Draining => CreateRefusal::Draining,
            NotMade::Policy => CreateRefusal::Policy,
            NotMade::Malformed => CreateRefusal::Malformed,
        }
    }
}

fn word(op: Op) -> AdminOp {
    match op {
        Op::RoomCreate => AdminOp::RoomCreate,
        Op::RoomRead => AdminOp::RoomRead,
        Op::RoomUpdate => AdminOp::RoomUpdate,
        Op::RoomEnd => AdminOp::RoomEnd,
        Op::SeatInvite => AdminOp::SeatInvite,
        Op::SeatRead => AdminOp::SeatRead,
        Op::SeatUpdate => AdminOp::SeatUpdate,
        Op::SeatRemove => AdminOp::SeatRemove,
        Op::TrackMute => AdminOp::TrackMute,
        Op::DataSend => AdminOp::DataSend,
        Op::ConsentWrite => AdminOp::ConsentWrite,
        Op::AttestationRead => AdminOp::AttestationRead,
        Op::TimelineRead => AdminOp::TimelineRead,
        Op::EventsRead => AdminOp::EventsRead,
    }
}

/// The record as the API sees it.
#[derive(Debug)]
pub(super) struct Calls(pub(super) Arc<Placement>);

impl Scribe for Calls {
    fn note(&self, note: Note, done: Done) {
        self.0.record().note(note, done);
    }

    fn follows(&self, room: &RoomKey) -> bool {
        self.0.record().in_room(room, |_| ()).is_some()
    }
}

/// Where calls that were merged are counted, shared with the writer's answers.
pub(super) type Shared = Arc<Mutex<Lately>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(key: &str, what: Merging) -> Kind {
        Kind { tenant: TenantId::new("t"), key: key.into(), what }
    }

    fn room(name: &str) -> Option<RoomKey> {
        Some(RoomKey { tenant: TenantId::new("t"), name: crate::model::RoomName::new(name) })
    }

    #[test]
    fn a_loop_of_refused_calls_is_an_entry_and_a_number_a_minute_whatever_it_names() {
        let (mut lately, start) = (Lately::default(), now());
        let mut written = 0;
        for at in 0..10_000 {
            let merging = What::Refused(Op::SeatRead).merging(room(&format!("guess-{at}")).as_ref()).expect("merged");
            let kind = kind("k", merging);
            if !lately.counts(&kind) {
                written += 1;
                lately.begin(kind, start);
            }
        }
        assert_eq!(written, 1);
        assert!(lately.end_windows(start + WINDOW / 2, WINDOW).is_empty());
        let ended = lately.end_windows(start + WINDOW, WINDOW);
        let [(_, _, Event::AuditSuppressed { count, window_ms, ev })] = ended.as_slice() else { panic!("{ended:?}") };
        assert_eq!((*count, *window_ms, ev.as_str()), (9_999, 60_000, "admin.call"));
        assert!(lately.0.is_empty(), "nothing is kept of what is over");
    }

    #[test]
    fn what_is_read_of_another_room_or_with_another_key_is_an_entry_of_its_own() {
        let (mut lately, start) = (Lately::default(), now());
        let read = |name: &str| What::Read(Op::RoomRead).merging(room(name).as_ref()).expect("merged");
        lately.begin(kind("k", read("a")), start);
        assert!(lately.counts(&kind("k", read("a"))));
        assert!(!lately.counts(&kind("k", read("b"))) && !lately.counts(&kind("l", read("a"))));
        assert!(What::Change(Op::SeatUpdate).merging(None).is_none(), "what is changed always stands");
    }

    #[test]
    fn with_too_many_kinds_each_is_an_entry() {
        let (mut lately, start) = (Lately::default(), now());
        for at in 0..MOST + 5 {
            let merging = What::Read(Op::RoomRead).merging(room(&format!("r{at}")).as_ref()).expect("merged");
            lately.begin(kind("k", merging), start);
        }
        assert_eq!(lately.0.len(), MOST);
    }
}
