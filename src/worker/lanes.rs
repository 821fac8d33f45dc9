//! What passes between workers: datagrams the kernel gave to the wrong one, and news of whose address is whose.
//!
//! Buffers go there full and come back empty, so that a warm lane allocates nothing. A full lane drops datagrams and counts them;
//! news is never dropped, since a lost one would strand a call.

use super::wake::Bell;
use crate::model::{Path, ShardId};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Parcels that may wait on the way to a worker: several ticks of every other worker.
const LANE: usize = 256;

/// Empty buffers that may wait on their way back to one worker: what it can have under way while the other is in one tick.
const EMPTIES: usize = 8;

/// Bytes after which a buffer leaves before its tick ends: what stays in the second-level cache.
const BATCH_BYTES: usize = 128 * 1024;

/// Parcels taken per tick from the other workers: as many datagrams as four rounds of an own socket bring.
pub(super) const PARCELS_PER_TICK: usize = 16;

/// Addresses remembered for each of the other workers at most; entries go when their worker says so.
const MAX_STRAYS: usize = 1 << 18;

/// What passes between workers.
enum Parcel {
    /// Datagrams the kernel gave to the wrong worker.
    Datagrams(ShardId, Batch),
    /// Addresses that lead to the sender (`true`) or no longer do.
    Addresses(ShardId, Vec<(SocketAddr, bool)>),
}

/// Datagrams in one buffer.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    datagrams: Vec<(Path, usize)>,
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
        // One train too many must not stay in memory for ever.
        self.bytes.shrink_to(2 * BATCH_BYTES);
    }
}

/// The way to one other worker.
struct Lane {
    shard: ShardId,
    parcels: Sender<Parcel>,
    /// Where its buffers go back to.
    empties: Sender<Batch>,
    bell: Arc<Bell>,
    batch: Batch,
    /// News that did not fit.
    unsent: Vec<(SocketAddr, bool)>,
    /// Something was sent in this tick.
    posted: bool,
}

/// One worker's ways to and from all others.
pub(super) struct Lanes {
    own: ShardId,
    lanes: Vec<Lane>,
    parcels: Receiver<Parcel>,
    /// Own buffers the others have emptied.
    empties: Receiver<Batch>,
    /// Which other worker an address leads to. Its keys are addresses that passed a check at that worker.
    strays: HashMap<SocketAddr, ShardId, RandomState>,
}

impl Lanes {
    /// The lanes of workers with these bells, in the order of their shards.
    pub(super) fn between(bells: &[Arc<Bell>]) -> Vec<Self> {
        let ends: Vec<_> = bells.iter().map(|bell| (bounded::<Parcel>(LANE), bounded::<Batch>(EMPTIES), bell)).collect();
        let lane = |there: usize| {
            let (parcels, empties, bell) = ends.get(there)?;
            Some(Lane {
                shard: shard(there),
                parcels: parcels.0.clone(),
                empties: empties.0.clone(),
                bell: Arc::clone(bell),
                batch: Batch::default(),
                unsent: Vec::new(),
                posted: false,
            })
        };
        let others = |here: usize| (0..ends.len()).filter(move |there| *there != here);
        let one = ends.iter().enumerate().map(|(here, (parcels, empties, _))| Self {
            own: shard(here),
            lanes: others(here).filter_map(lane).collect(),
            parcels: parcels.1.clone(),
            empties: empties.1.clone(),
            strays: HashMap::default(),
        });
        one.collect()
    }

    /// Whether no parcel waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Whether news waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.unsent.is_empty())
    }

    /// The worker an address leads to, as far as it has said so.
    pub(super) fn owner(&self, address: &SocketAddr) -> Option<ShardId> {
        self.strays.get(address).copied()
    }

    /// Takes one parcel: its news is remembered, its datagrams are handed on. Answers whether there was one.
    pub(super) fn take(&mut self, mut datagram: impl FnMut(Path, &mut [u8])) -> bool {
        match self.parcels.try_recv() {
            Ok(Parcel::Datagrams(from, mut batch)) => {
                let mut rest = batch.bytes.as_mut_slice();
                for (path, len) in &batch.datagrams {
                    let Some((head, after)) = rest.split_at_mut_checked(*len) else { break };
                    rest = after;
                    datagram(*path, head);
                }
                batch.clear();
                if let Some(lane) = self.lanes.iter().find(|lane| lane.shard == from) {
                    // A buffer too many is given back to the heap.
                    let _ = lane.empties.try_send(batch);
                }
                true
            }
            Ok(Parcel::Addresses(from, changes)) => {
                for (address, known) in changes {
                    if known && self.strays.len() < MAX_STRAYS {
                        self.strays.insert(address, from);
                    } else if !known && self.strays.get(&address) == Some(&from) {
                        self.strays.remove(&address);
                    }
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Puts a datagram on the way to a worker; answers how many were lost by it, `None` when there is no such worker.
    pub(super) fn put(&mut self, to: ShardId, path: Path, datagram: &[u8]) -> Option<usize> {
        let Self { own, lanes, empties, .. } = self;
        let lane = lanes.iter_mut().find(|lane| lane.shard == to)?;
        lane.batch.bytes.extend_from_slice(datagram);
        lane.batch.datagrams.push((path, datagram.len()));
        Some(if lane.batch.bytes.len() >= BATCH_BYTES { lane.post(*own, empties) } else { 0 })
    }

    /// Puts a datagram on the way to every other worker, one of which may know its sender; answers how many were lost by it.
    pub(super) fn offer(&mut self, path: Path, datagram: &[u8]) -> usize {
        (0..self.lanes.len()).filter_map(|at| self.put(self.lanes.get(at)?.shard, path, datagram)).sum()
    }

    /// Whether there are other workers.
    pub(super) fn is_alone(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Sends what was put in, and wakes who got something; once per tick. Answers how many datagrams were lost.
    pub(super) fn post(&mut self) -> usize {
        let Self { own, lanes, empties, .. } = self;
        let mut lost = 0;
        for lane in lanes {
            if !lane.batch.datagrams.is_empty() {
                lost += lane.post(*own, empties);
            }
            if std::mem::take(&mut lane.posted) {
                lane.bell.ring();
            }
        }
        lost
    }

    /// Tells the others which addresses were learnt (`true`) and forgotten, and what they could not be told before.
    pub(super) fn tell(&mut self, changes: impl Iterator<Item = (SocketAddr, bool)>) {
        for change in changes {
            self.lanes.iter_mut().for_each(|lane| lane.unsent.push(change));
        }
        for lane in self.lanes.iter_mut().filter(|lane| !lane.unsent.is_empty()) {
            match lane.parcels.try_send(Parcel::Addresses(self.own, std::mem::take(&mut lane.unsent))) {
                Ok(()) => lane.posted = true,
                Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) => {
                    if let Parcel::Addresses(_, unsent) = parcel {
                        lane.unsent = unsent;
                    }
                }
            }
        }
    }
}

impl Lane {
    /// Sends the batch; answers how many datagrams were lost since the other worker does not keep up.
    fn post(&mut self, own: ShardId, empties: &Receiver<Batch>) -> usize {
        let batch = std::mem::replace(&mut self.batch, empties.try_recv().unwrap_or_default());
        match self.parcels.try_send(Parcel::Datagrams(own, batch)) {
            Ok(()) => {
                self.posted = true;
                0
            }
            Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) => {
                let Parcel::Datagrams(_, batch) = parcel else { return 0 };
                let lost = batch.datagrams.len();
                self.batch = batch;
                self.batch.clear();
                lost
            }
        }
    }
}

fn shard(index: usize) -> ShardId {
    ShardId(u8::try_from(index).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::wake::Ear;

    fn two() -> (Lanes, Lanes) {
        let bells: Vec<_> = (0..2).map(|_| Ear::new().expect("a pipe").bell()).collect();
        let mut lanes = Lanes::between(&bells).into_iter();
        (lanes.next().expect("two"), lanes.next().expect("two"))
    }

    fn path(port: u16) -> Path {
        Path { socket: 0, local: None, remote: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn taken(lanes: &mut Lanes) -> Vec<(u16, Vec<u8>)> {
        let mut all = Vec::new();
        while lanes.take(|path, datagram| all.push((path.remote.port(), datagram.to_vec()))) {}
        all
    }

    #[test]
    fn datagrams_arrive_whole_and_in_order() {
        let (mut here, mut there) = two();
        for n in 0..3 {
            assert_eq!(here.put(ShardId(1), path(n), &[n as u8; 10]), Some(0));
        }
        assert!(there.is_empty(), "they leave together");
        assert_eq!(here.post(), 0);
        assert_eq!(taken(&mut there), [(0, vec![0; 10]), (1, vec![1; 10]), (2, vec![2; 10])]);
        assert_eq!(here.put(ShardId(7), path(1), b"x"), None, "there is no such worker");
    }

    #[test]
    fn what_nobody_is_known_to_have_sent_is_offered_to_all_others() {
        let bells: Vec<_> = (0..3).map(|_| Ear::new().expect("a pipe").bell()).collect();
        let mut lanes = Lanes::between(&bells);
        assert_eq!((lanes[0].offer(path(4), b"media"), lanes[0].post()), (0, 0));
        let taken: Vec<usize> = lanes.iter_mut().map(|lane| taken(lane).len()).collect();
        assert_eq!(taken, [0, 1, 1]);
        let alone = Lanes::between(&bells[..1]);
        assert!(alone[0].is_alone() && !lanes[0].is_alone());
    }

    #[test]
    fn buffers_come_back() {
        let (mut here, mut there) = two();
        let mut addresses = std::collections::HashSet::new();
        for _ in 0..50 {
            here.put(ShardId(1), path(1), &[1; 100]);
            addresses.insert(here.lanes[0].batch.bytes.as_ptr());
            here.post();
            taken(&mut there);
        }
        assert!(addresses.len() <= 2, "{} buffers in fifty rounds", addresses.len());
    }

    #[test]
    fn a_worker_that_does_not_keep_up_loses_datagrams_but_no_news() {
        let (mut here, mut there) = two();
        let lost: usize = (0..LANE + 5).map(|_| (here.put(ShardId(1), path(1), b"x"), here.post()).1).sum();
        assert_eq!(lost, 5);
        here.tell([(path(9).remote, true)].into_iter());
        assert!(here.has_unsent());
        taken(&mut there);
        here.tell(std::iter::empty());
        taken(&mut there);
        assert_eq!((here.has_unsent(), there.owner(&path(9).remote)), (false, Some(ShardId(0))));
        here.tell([(path(9).remote, false)].into_iter());
        taken(&mut there);
        assert_eq!(there.owner(&path(9).remote), None);
    }
}
