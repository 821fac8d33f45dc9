//! Which worker owns which room: the one place where doors and workers meet.

use crate::model::RoomKey;
use crate::model::ShardId;
use crate::model::counters::Counters;
use crate::relay::command::{AdminAction, Busy, Command, Relay};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Board;
use crate::worker::{Mailbox, Observer};
use dashmap::DashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Rooms and their workers. A room is placed on the worker with the fewest rooms when it opens, and stays there until it closes.
#[derive(Debug)]
pub(super) struct Placement {
    rooms: DashMap<RoomKey, Placed>,
    per_shard: Vec<AtomicUsize>,
    mailboxes: OnceLock<Vec<Mailbox>>,
    board: Arc<Board>,
    health: Arc<Health>,
}

#[derive(Debug)]
struct Placed {
    shard: ShardId,
    /// Commands sent that may open the room, minus those the worker has reported with a closed room. The entry goes when none is
    /// left: so a join that is on its way while its room closes still finds the same worker.
    openings: u64,
}

impl Placement {
    pub(super) fn new(shards: usize, board: Arc<Board>, health: Arc<Health>) -> Self {
        Self {
            rooms: DashMap::new(),
            per_shard: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            mailboxes: OnceLock::new(),
            board,
            health,
        }
    }

    /// Tells the workers' mailboxes, once they run.
    pub(super) fn connect(&self, mailboxes: Vec<Mailbox>) {
        // Set once, by the node, before the doors open.
        let _ = self.mailboxes.set(mailboxes);
    }

    fn mailbox(&self, shard: ShardId) -> Result<&Mailbox, Busy> {
        self.mailboxes.get().and_then(|mailboxes| mailboxes.get(usize::from(shard.0))).ok_or(Busy)
    }

    fn place(&self) -> ShardId {
        let least = self.per_shard.iter().enumerate().min_by_key(|(_, rooms)| rooms.load(Ordering::Relaxed));
        ShardId(least.map_or(0, |(shard, _)| u8::try_from(shard).unwrap_or(0)))
    }

    fn open(&self, room: &RoomKey, command: Command) -> Result<(), Busy> {
        let mut placed = self.rooms.entry(room.clone()).or_insert_with(|| {
            let shard = self.place();
            self.count(shard, 1);
            Placed { shard, openings: 0 }
        });
        placed.openings += 1;
        let shard = placed.shard;
        drop(placed);
        self.mailbox(shard).and_then(|mailbox| mailbox.send(command)).inspect_err(|_| self.settle(room, 1))
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

impl Relay for Placement {
    fn send(&self, command: Command) -> Result<(), Busy> {
        match &command {
            Command::Join(join) => {
                if !self.health.ready() {
                    return Err(Busy);
                }
                let room = join.room.clone();
                self.open(&room, command)
            }
            Command::Admin { room, action: AdminAction::CreateRoom(_), .. } => {
                let room = room.clone();
                self.open(&room, command)
            }
            Command::Resume(resume) => {
                let room = resume.room.clone();
                self.forward(&room, command)
            }
            Command::Request { room, .. } | Command::SocketClosed { room, .. } | Command::Admin { room, .. } => {
                let room = room.clone();
                self.forward(&room, command)
            }
            Command::ListRooms { tenant, names, reply } => {
                self.to_all(|| Command::ListRooms { tenant: tenant.clone(), names: names.clone(), reply: reply.clone() })
            }
            Command::Shutdown => self.to_all(|| Command::Shutdown),
        }
    }

    fn ready(&self) -> bool {
        self.health.ready()
    }

    fn shards(&self) -> usize {
        self.per_shard.len()
    }
}

impl Observer for Placement {
    fn counters(&self, shard: ShardId, counters: &Counters) {
        self.board.publish(shard, counters.clone());
    }

    fn room_closed(&self, room: &RoomKey, openings: u64) {
        self.settle(room, openings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomName, TenantId};

    fn placement() -> Placement {
        Placement::new(2, Arc::new(Board::new(2)), Arc::new(Health::default()))
    }

    fn key(name: &str) -> RoomKey {
        RoomKey { tenant: TenantId::new("t"), name: RoomName::new(name) }
    }

    fn placed(placement: &Placement, name: &str, openings: u64) -> ShardId {
        let shard = placement.place();
        placement.count(shard, 1);
        placement.rooms.insert(key(name), Placed { shard, openings });
        shard
    }

    #[test]
    fn rooms_spread_over_the_workers() {
        let placement = placement();
        assert_ne!(placed(&placement, "a", 1), placed(&placement, "b", 1));
    }

    #[test]
    fn a_join_on_its_way_keeps_a_closing_room_in_its_place() {
        let placement = placement();
        placed(&placement, "a", 3);
        placement.room_closed(&key("a"), 2);
        assert!(placement.rooms.contains_key(&key("a")), "one join is still on its way");
        placement.room_closed(&key("a"), 1);
        assert!(!placement.rooms.contains_key(&key("a")));
        assert_eq!(placement.per_shard.iter().map(|rooms| rooms.load(Ordering::Relaxed)).sum::<usize>(), 0);
    }

    #[test]
    fn a_refused_opening_leaves_nothing_behind() {
        let placement = placement();
        let opened = placement.open(&key("a"), Command::Shutdown);
        assert_eq!(opened, Err(Busy), "no worker runs in this test");
        assert!(placement.rooms.is_empty());
    }
}
