//! Which worker owns which room: the one place where doors and workers meet, and where newcomers are taken or refused.

use super::accounts::{Accounts, News};
use super::admission::{Admission, Limits, Newcomer, Workers};
use super::facts::Facts;
use super::record::Record;
use crate::api::scribe::NotMade;
use crate::model::Instant;
use crate::model::counters::{Counters, Pressure};
use crate::model::{Identity, RoomKey, ShardId};
use crate::relay::command::{AdminAction, Busy, Command, Policy, Refusal, Relay};
use crate::relay::event::{Recorded, Tally};
use crate::telemetry::health::Health;
use crate::telemetry::host::Host;
use crate::telemetry::metrics::{Admitting, Board};
use crate::worker::{Mailbox, Observer};
use dashmap::DashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// People remembered of one running room so that they are let in again; of more, those who came first are forgotten.
const REMEMBERED: usize = 64;

/// Rooms and their workers. A room is placed on the worker with the most time to spare when it opens, and stays there until it
/// closes.
#[derive(Debug)]
pub(super) struct Placement {
    rooms: DashMap<RoomKey, Placed>,
    per_shard: Vec<AtomicUsize>,
    mailboxes: OnceLock<Vec<Mailbox>>,
    admission: Mutex<Admission>,
    board: Arc<Board>,
    health: Arc<Health>,
    told: Told,
}

/// Who hears what workers say of consultations.
#[derive(Debug)]
pub(super) struct Told {
    /// The register of the API.
    pub(super) facts: Arc<Facts>,
    /// The record.
    pub(super) record: Record,
    /// The accounts.
    pub(super) accounts: Arc<Accounts>,
}

#[derive(Debug)]
struct Placed {
    shard: ShardId,
    /// Commands sent that may open the room, minus those the worker has reported with a closed room. The entry goes when none is
    /// left: so a join that is on its way while its room closes still finds the same worker.
    openings: u64,
    seats: Seats,
}

/// Who was let into a room: fingerprints, so that no identity is kept twice. Two that look alike let a newcomer in.
#[derive(Debug, Default)]
struct Seats(Vec<u64>);

impl Seats {
    fn fingerprint(identity: &Identity) -> u64 {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        hasher.finish()
    }

    fn remember(&mut self, seat: u64) {
        if self.0.contains(&seat) {
            return;
        }
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(seat);
    }
}

#[expect(clippy::disallowed_methods, reason = "where the admission's time comes from")]
fn now() -> Instant {
    std::time::Instant::now().into()
}

impl Placement {
    pub(super) fn new(shards: usize, limits: Limits, seed: u64, board: Arc<Board>, health: Arc<Health>, told: Told) -> Self {
        Self {
            rooms: DashMap::new(),
            per_shard: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            mailboxes: OnceLock::new(),
            admission: Mutex::new(Admission::new(limits, shards, seed, now())),
            board,
            health,
            told,
        }
    }

    /// Tells the workers' mailboxes, once they run.
    pub(super) fn connect(&self, mailboxes: Vec<Mailbox>) {
        // Set once, by the node, before the doors open.
        let _ = self.mailboxes.set(mailboxes);
    }

    /// Tells what the machine says of this process.
    pub(super) fn on_host(&self, host: Host) {
        self.admission().on_host(host);
    }

    /// Rooms that are open.
    pub(super) fn open_rooms(&self) -> u32 {
        u32::try_from(self.rooms.len()).unwrap_or(u32::MAX)
    }

    /// What the metrics show of the admission.
    pub(super) fn admitting(&self) -> Admitting {
        let workers = self.workers();
        let open = self.health.ready();
        let (mut admission, now) = (self.admission(), now());
        Admitting {
            rooms: open && self.record().takes(true) && admission.closed(&workers, now).is_none(),
            members: open && self.record().takes(false) && admission.admits_members(&workers, now),
            refused: admission.refused(),
            expected_permille: admission.expected_permille(&workers, now),
        }
    }

    /// The record that consultations are put on.
    pub(super) fn record(&self) -> &Record {
        &self.told.record
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> Workers {
        let mailboxes = self.mailboxes.get().map(Vec::as_slice).unwrap_or_default();
        Workers {
            rooms: self.per_shard.iter().map(|rooms| rooms.load(Ordering::Relaxed)).collect(),
            waiting: mailboxes.iter().map(Mailbox::waiting).collect(),
        }
    }

    fn mailbox(&self, shard: ShardId) -> Result<&Mailbox, Busy> {
        self.mailboxes.get().and_then(|mailboxes| mailboxes.get(usize::from(shard.0))).ok_or(Busy)
    }

    /// Asks the admission for a seat; answers where.
    fn admit(&self, room: &RoomKey, seat: u64) -> Result<ShardId, Busy> {
        if !self.health.ready() {
            self.admission().refuse(Pressure::NotOpen);
            return Err(Busy);
        }
        let newcomer = self.rooms.get(room).map_or(Newcomer::Room, |placed| {
            if placed.seats.0.contains(&seat) { Newcomer::Returning(placed.shard) } else { Newcomer::Member(placed.shard) }
        });
        let workers = self.workers();
        self.admission().decide(newcomer, &workers, now()).map_err(|_| Busy)
    }

    /// The same for a room the platform opens; settings of an open one are always taken.
    fn admit_room(&self, room: &RoomKey) -> Result<ShardId, Busy> {
        if let Some(placed) = self.rooms.get(room) {
            return Ok(placed.shard);
        }
        let workers = self.workers();
        self.admission().decide_room(&workers, now()).map_err(|_| Busy)
    }

    /// What happens in consultations is put on record; nobody is let into one that could not be.
    fn admit_on_record(&self, policy: Policy, room: &RoomKey) -> Result<(), Busy> {
        match policy {
            Policy::Open => Ok(()),
            Policy::Consultation => self.check_record(Some(room)).map_err(|_| Busy),
        }
    }

    fn open(&self, room: &RoomKey, shard: ShardId, seat: Option<u64>, command: Command) -> Result<(), Busy> {
        let mut placed = self.rooms.entry(room.clone()).or_insert_with(|| {
            self.count(shard, 1);
            Placed { shard, openings: 0, seats: Seats::default() }
        });
        placed.openings += 1;
        // Another who opened the same room at the same moment may have placed it elsewhere.
        let shard = placed.shard;
        if let Some(seat) = seat {
            placed.seats.remember(seat);
        }
        drop(placed);
        self.mailbox(shard).and_then(|mailbox| mailbox.send(command)).inspect_err(|_| {
            self.admission().refuse(Pressure::Mailbox);
            self.settle(room, 1);
        })
    }

    /// Why a room does not open, in the words of the record.
    fn not_made(&self, unrecorded: bool) -> NotMade {
        match (self.health.ready(), unrecorded) {
            (false, _) => NotMade::Draining,
            (true, true) => NotMade::Unrecorded,
            (true, false) => NotMade::Full,
        }
    }

    fn settle(&self, room: &RoomKey, openings: u64) {
        let removed = self.rooms.remove_if_mut(room, |_, placed| {
            placed.openings = placed.openings.saturating_sub(openings);
            placed.openings == 0
        });
        if let Some((_, placed)) = removed
            && let Some(rooms) = self.per_shard.get(usize::from(placed.shard.0))
        {
            rooms.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn count(&self, shard: ShardId, rooms: usize) {
        if let Some(counted) = self.per_shard.get(usize::from(shard.0)) {
            counted.fetch_add(rooms, Ordering::Relaxed);
        }
    }

    fn forward(&self, room: &RoomKey, command: Command) -> Result<(), Busy> {
        // A room nobody placed is unknown to every worker alike; the first one says so.
        let shard = self.rooms.get(room).map_or(ShardId(0), |placed| placed.shard);
        self.mailbox(shard)?.send(command)
    }

    fn to_all(&self, command: impl Fn() -> Command) -> Result<(), Busy> {
        self.mailboxes.get().ok_or(Busy)?.iter().try_for_each(|mailbox| mailbox.send(command()))
    }
}

/// The rules of the room an action opens.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other actions are for rooms that are open")]
fn opening(action: &AdminAction) -> Option<Policy> {
    match action {
        AdminAction::CreateRoom(_, policy) => Some(*policy),
        AdminAction::OpenConsultation(_) => Some(Policy::Consultation),
        _ => None,
    }
}

impl Relay for Placement {
    fn send(&self, command: Command) -> Result<(), Busy> {
        match &command {
            Command::Join(join) => {
                let (room, seat) = (join.room.clone(), Seats::fingerprint(&join.identity));
                let key = join.token.key.clone();
                let opens = !self.rooms.contains_key(&room);
                let recorded = self.admit_on_record(join.policy, &room);
                let taken = recorded
                    .and_then(|()| self.admit(&room, seat))
                    .and_then(|shard| self.open(&room, shard, Some(seat), command));
                if taken.is_err() && opens {
                    self.record().not_made(&room, &key, self.not_made(recorded.is_err()));
                }
                taken
            }
            Command::Admin { room, action, .. } if let Some(policy) = opening(action) => {
                let room = room.clone();
                self.admit_on_record(policy, &room)?;
                let shard = self.admit_room(&room)?;
                self.open(&room, shard, None, command)
            }
            Command::Resume(resume) => {
                let room = resume.room.clone();
                self.forward(&room, command)
            }
            Command::Request { room, .. }
            | Command::SocketClosed { room, .. }
            | Command::Admin { room, .. }
            | Command::Durable { room, .. }
            | Command::NotDurable { room, .. } => {
                let room = room.clone();
                self.forward(&room, command)
            }
            Command::ListRooms { tenant, names, reply } => {
                self.to_all(|| Command::ListRooms { tenant: tenant.clone(), names: names.clone(), reply: reply.clone() })
            }
            Command::Recording(recording) => self.to_all(|| Command::Recording(*recording)),
            Command::Shutdown => self.to_all(|| Command::Shutdown),
        }
    }

    fn ready(&self) -> bool {
        self.health.ready()
    }

    fn closed(&self) -> Option<&'static str> {
        if !self.health.ready() {
            return Some("not ready");
        }
        if !self.record().takes(true) {
            return Some(Pressure::Record.as_str());
        }
        let workers = self.workers();
        self.admission().closed(&workers, now()).map(Pressure::as_str)
    }

    fn check_record(&self, opening: Option<&RoomKey>) -> Result<(), Refusal> {
        if self.record().takes(opening.is_some_and(|room| !self.rooms.contains_key(room))) {
            return Ok(());
        }
        self.admission().refuse(Pressure::Record);
        Err(Refusal::AuditUnavailable)
    }

    fn retry_after(&self) -> Duration {
        self.admission().retry_after()
    }

    fn shards(&self) -> usize {
        self.per_shard.len()
    }
}

impl Observer for Placement {
    fn counters(&self, shard: ShardId, counters: &Counters) {
        self.admission().on_report(shard, counters, now());
        self.board.publish(shard, counters.clone());
    }

    fn room_closed(&self, room: &RoomKey, openings: u64) {
        self.settle(room, openings);
    }

    fn recorded(&self, shard: ShardId, fact: Recorded) {
        // Before the record, so that an entry never comes before its fact.
        self.told.accounts.leave(News::Fact(fact.clone()));
        self.told.record.take(&fact, self.mailboxes.get().and_then(|mailboxes| mailboxes.get(usize::from(shard.0))));
        self.told.facts.leave(fact);
    }

    fn tallied(&self, tally: Tally) {
        self.told.accounts.leave(News::Tally(tally));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomName, TenantId};
    use crate::worker::audit_writer::Recorder;

    fn placement_with(limits: Limits) -> Placement {
        let placement = Placement::new(
            2,
            limits,
            1,
            Arc::new(Board::new(2)),
            Arc::new(Health::default()),
            Told {
                facts: super::super::facts::channel(Arc::default()).0,
                record: Record::new(Recorder::none(), crate::config::AfterGrace::Close),
                accounts: Accounts::start(Recorder::none(), None).expect("a thread").0,
            },
        );
        placement.health.set_ready(true);
        placement
    }

    fn placement() -> Placement {
        placement_with(Limits::default())
    }

    fn key(name: &str) -> RoomKey {
        RoomKey { tenant: TenantId::new("t"), name: RoomName::new(name) }
    }

    fn seat(identity: &str) -> u64 {
        Seats::fingerprint(&Identity::new(identity))
    }

    /// What the relay does with a join, but for the mailbox, which no test has.
    fn join(placement: &Placement, room: &str, identity: &str) -> Result<ShardId, Busy> {
        let shard = placement.admit(&key(room), seat(identity))?;
        let mut placed = placement.rooms.entry(key(room)).or_insert_with(|| {
            placement.count(shard, 1);
            Placed { shard, openings: 0, seats: Seats::default() }
        });
        placed.openings += 1;
        placed.seats.remember(seat(identity));
        Ok(placed.shard)
    }

    #[test]
    fn rooms_spread_over_the_workers() {
        let placement = placement();
        assert_ne!(join(&placement, "a", "x"), join(&placement, "b", "x"));
        assert_eq!(join(&placement, "a", "x"), join(&placement, "a", "y"), "a room stays where it is");
    }

    #[test]
    fn a_join_on_its_way_keeps_a_closing_room_in_its_place() {
        let placement = placement();
        for identity in ["x", "y", "z"] {
            join(&placement, "a", identity).expect("nothing limits it");
        }
        placement.room_closed(&key("a"), 2);
        assert!(placement.rooms.contains_key(&key("a")), "one join is still on its way");
        placement.room_closed(&key("a"), 1);
        assert!(!placement.rooms.contains_key(&key("a")));
        assert_eq!(placement.workers().rooms, [0, 0]);
    }

    #[test]
    fn a_refused_opening_leaves_nothing_behind() {
        let placement = placement();
        let opened = placement.open(&key("a"), ShardId(0), None, Command::Shutdown);
        assert_eq!(opened, Err(Busy), "no worker runs in this test");
        assert!(placement.rooms.is_empty());
        assert_eq!(placement.admitting().refused[Pressure::Mailbox as usize], 1);
    }

    #[test]
    fn who_had_a_seat_comes_back_into_a_full_node_until_the_room_closes() {
        let placement = placement_with(Limits { participants: 2, ..Limits::default() });
        assert!(join(&placement, "a", "x").is_ok() && join(&placement, "a", "y").is_ok());
        assert_eq!(join(&placement, "a", "z"), Err(Busy));
        assert_eq!(join(&placement, "b", "x"), Err(Busy), "a seat is a seat of its room");
        assert!(join(&placement, "a", "x").is_ok());
        assert_eq!(placement.closed(), Some("participants"));
        placement.room_closed(&key("a"), 3);
        assert_eq!(join(&placement, "a", "x"), Err(Busy), "a new room is a new call");
        placement.counters(ShardId(0), &Counters::default());
        placement.counters(ShardId(1), &Counters::default());
        assert_eq!(placement.closed(), None);
        assert_eq!(placement.admitting().refused[Pressure::Participants as usize], 3);
    }

    #[test]
    fn settings_of_an_open_room_are_taken_when_no_new_room_is() {
        let placement = placement_with(Limits { rooms: 1, ..Limits::default() });
        let shard = join(&placement, "a", "x");
        assert_eq!(placement.admit_room(&key("a")), shard);
        assert_eq!(placement.admit_room(&key("b")), Err(Busy));
        assert!(join(&placement, "a", "y").is_ok(), "the limit is of rooms");
    }

    #[test]
    fn a_node_that_drains_takes_nobody() {
        let placement = placement();
        placement.health.set_ready(false);
        assert_eq!(join(&placement, "a", "x"), Err(Busy));
        assert_eq!((placement.closed(), placement.admitting().rooms), (Some("not ready"), false));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut seats = Seats::default();
        (0..1_000).for_each(|seat| seats.remember(seat));
        seats.remember(999);
        assert_eq!(seats.0, (1_000 - REMEMBERED as u64..1_000).collect::<Vec<_>>());
    }
}
