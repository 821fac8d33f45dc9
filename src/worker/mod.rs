//! One thread around one shard: its sockets, its mailbox and its clock.
//!
//! Each tick goes: clock, commands, packets handed over by other workers, timers, socket batches, touched links, sending, news for
//! the others, counters, waiting. Timers come before packets so that an overload cannot starve keep-alives; commands come before
//! packets so that what was withdrawn is withdrawn for the very next packet. Every "some" in that list is a bound below.

mod load;
pub mod udp;

use crate::model::counters::{Counters, DropReason};
use crate::model::{Now, Path, RoomKey, ShardId};
use crate::relay::command::{Busy, Command};
use crate::relay::outbox::MAX_DATAGRAM;
use crate::relay::shard::{Disposition, Shard, ShardConfig};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use load::Load;
use mio::{Events, Poll, Token, Waker};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use udp::UdpPort;

/// Commands that may wait for a worker: a join storm of thousands fits, beyond it clients are told "busy".
const MAILBOX: usize = 4_096;

/// Commands taken per tick, so that a flood of signalling leaves time for packets.
const COMMANDS_PER_TICK: usize = 64;

/// Batches that may wait on the way between two workers.
const LANE: usize = 256;

/// Batches taken per tick from the other workers.
const BATCHES_PER_TICK: usize = 16;

/// Socket rounds per tick: 4 of 32 datagrams and trains per socket, then timers get their turn again.
const ROUNDS_PER_TICK: usize = 4;

/// Bytes gathered before a batch is sent within a tick: what stays in the second-level cache.
const SEND_AT: usize = 256 * MAX_DATAGRAM;

/// How often counters are handed out.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Addresses remembered for each of the other workers at most; entries go when their worker says so.
const MAX_STRAYS: usize = 1 << 18;

const WAKE: Token = Token(usize::MAX);

/// Sends commands to one worker.
#[derive(Clone, Debug)]
pub struct Mailbox {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Mailbox {
    /// Puts a command into the mailbox; never waits.
    ///
    /// # Errors
    /// [`Busy`] when the mailbox is full or the worker has stopped.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| Busy)?;
        // The worker polls the mailbox after each wake-up; a failed wake-up only delays it to its next timer.
        let _ = self.waker.wake();
        Ok(())
    }
}

/// What a worker tells the node; called on the worker's thread, must not block.
pub trait Observer: Send + Sync {
    /// The counters of a shard, once a second while something happens or the load of it fades, and once more before it sleeps.
    fn counters(&self, shard: ShardId, counters: &Counters);
    /// A room closed after it had taken this many openings (joins, creations).
    fn room_closed(&self, room: &RoomKey, openings: u64);
}

/// What passes between workers.
enum Parcel {
    /// Datagrams the kernel gave to the wrong worker.
    Datagrams(Batch),
    /// Addresses that lead to the sender (`true`) or no longer do.
    Addresses(ShardId, Vec<(SocketAddr, bool)>),
}

/// Datagrams in one buffer.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    datagrams: Vec<(Path, usize)>,
}

impl Batch {
    fn push(&mut self, path: Path, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.datagrams.push((path, datagram.len()));
    }
}

struct Lane {
    shard: ShardId,
    parcels: Sender<Parcel>,
    waker: Arc<Waker>,
    batch: Batch,
    /// Address news that did not fit; never dropped, since a lost one would strand a call.
    unsent: Vec<(SocketAddr, bool)>,
}

struct Worker {
    shard: Shard,
    id: ShardId,
    port: UdpPort,
    poll: Poll,
    commands: Receiver<Command>,
    parcels: Receiver<Parcel>,
    lanes: Vec<Lane>,
    /// Which other worker an address leads to.
    strays: HashMap<SocketAddr, ShardId>,
    observer: Arc<dyn Observer>,
    report_at: Instant,
    reported: bool,
    load: Load,
    stopping: bool,
}

/// The running workers of a node.
#[derive(Debug)]
pub struct Workers {
    /// One mailbox per shard, in order.
    pub mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Waits until every worker has stopped; they stop after [`Command::Shutdown`].
    pub fn join(self) {
        drop(self.mailboxes);
        for thread in self.threads {
            // A worker that panicked has said so in the log already.
            let _ = thread.join();
        }
    }
}

/// Starts one worker for each shard.
///
/// # Errors
/// What the kernel says when sockets cannot be registered or threads not started.
pub fn start(shards: Vec<(ShardConfig, Vec<std::net::UdpSocket>)>, observer: &Arc<dyn Observer>) -> io::Result<Workers> {
    let mut ends = Vec::with_capacity(shards.len());
    for _ in &shards {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        ends.push((poll, waker, bounded::<Command>(MAILBOX), bounded::<Parcel>(LANE)));
    }
    let links: Vec<_> = ends.iter().map(|(_, waker, _, parcels)| (parcels.0.clone(), waker.clone())).collect();
    let mailboxes =
        ends.iter().map(|(_, waker, commands, _)| Mailbox { commands: commands.0.clone(), waker: waker.clone() }).collect();
    let mut threads = Vec::with_capacity(shards.len());
    for ((config, sockets), (poll, _, commands, parcels)) in shards.into_iter().zip(ends) {
        let id = config.id;
        let lanes = links
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != usize::from(id.0))
            .map(|(index, (parcels, waker))| Lane {
                shard: ShardId(index as u8),
                parcels: parcels.clone(),
                waker: waker.clone(),
                batch: Batch::default(),
                unsent: Vec::new(),
            })
            .collect();
        let port = UdpPort::new(sockets, poll.registry())?;
        let worker = Worker {
            shard: Shard::new(config),
            id,
            port,
            poll,
            commands: commands.1,
            parcels: parcels.1,
            lanes,
            strays: HashMap::new(),
            observer: observer.clone(),
            report_at: now().mono,
            reported: false,
            load: Load::new(now().mono),
            stopping: false,
        };
        threads.push(std::thread::Builder::new().name(format!("worker-{}", id.0)).spawn(move || worker.run())?);
    }
    Ok(Workers { mailboxes, threads })
}

#[expect(clippy::disallowed_methods, reason = "the worker is where the shard's time comes from")]
fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { mono: Instant::now(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let began = now();
            self.tick(began);
            if self.stopping {
                return;
            }
            let ended = now().mono;
            self.load.worked(began.mono, ended);
            let wait = self.wait(ended);
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(worker = self.id.0, kind = ?error.kind(), "waiting for sockets failed");
                return;
            }
            for event in &events {
                if event.token() != WAKE {
                    self.port.mark_readable(event.token().0);
                }
            }
        }
    }

    fn tick(&mut self, now: Now) {
        self.take_commands(now);
        self.take_parcels(now);
        if self.shard.poll_timeout().is_some_and(|at| at <= now.mono) {
            // A timer may end a stay or a room, which counts as well.
            self.reported = false;
        }
        self.shard.handle_timeout(now);
        for _ in 0..ROUNDS_PER_TICK {
            if self.receive(now) == 0 {
                break;
            }
            self.shard.finish_batch(now);
            if self.shard.outbox().bytes().len() > SEND_AT {
                self.send(now);
            }
        }
        self.shard.finish_batch(now);
        self.send(now);
        self.tell_others();
        self.report(now);
    }

    fn take_commands(&mut self, now: Now) {
        for _ in 0..COMMANDS_PER_TICK {
            let Ok(command) = self.commands.try_recv() else { break };
            self.reported = false;
            self.stopping |= matches!(command, Command::Shutdown);
            self.shard.on_command(command, now);
        }
    }

    fn take_parcels(&mut self, now: Now) {
        for _ in 0..BATCHES_PER_TICK {
            match self.parcels.try_recv() {
                Ok(Parcel::Datagrams(mut batch)) => {
                    self.reported = false;
                    let mut rest = batch.bytes.as_mut_slice();
                    for (path, len) in batch.datagrams {
                        let Some((datagram, after)) = rest.split_at_mut_checked(len) else { break };
                        rest = after;
                        if self.shard.handle_datagram(now, path, datagram) != Disposition::Taken {
                            // Handed over once already; a second time it would go in circles.
                            self.shard.count_unknown();
                        }
                    }
                }
                Ok(Parcel::Addresses(shard, changes)) => {
                    for (address, known) in changes {
                        if known && self.strays.len() < MAX_STRAYS {
                            self.strays.insert(address, shard);
                        } else if !known && self.strays.get(&address) == Some(&shard) {
                            self.strays.remove(&address);
                        }
                    }
                }
                Err(_) => break,
            }
        }
    }

    fn receive(&mut self, now: Now) -> usize {
        let (shard, lanes, strays) = (&mut self.shard, &mut self.lanes, &self.strays);
        let received = self.port.receive(|path, datagram| {
            let owner = match shard.handle_datagram(now, path, datagram) {
                Disposition::Taken => return,
                Disposition::Elsewhere(owner) => Some(owner),
                Disposition::Unknown => strays.get(&path.remote).copied(),
            };
            match owner.and_then(|owner| lanes.iter_mut().find(|lane| lane.shard == owner)) {
                Some(lane) => lane.batch.push(path, datagram),
                None => shard.count_unknown(),
            }
        });
        if received > 0 {
            self.reported = false;
            self.hand_over();
        }
        received
    }

    fn hand_over(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.batch.datagrams.is_empty()) {
            let batch = std::mem::take(&mut lane.batch);
            let count = batch.datagrams.len();
            if lane.parcels.try_send(Parcel::Datagrams(batch)).is_err() {
                for _ in 0..count {
                    self.shard.counters().drop(DropReason::HandOverFull);
                }
            } else {
                // The other worker looks again at its next timer if this fails.
                let _ = lane.waker.wake();
            }
        }
    }

    fn send(&mut self, received_at: Now) {
        if self.shard.outbox().is_empty() {
            return;
        }
        let sent = self.port.send(self.shard.outbox());
        self.shard.outbox().clear();
        let counters = self.shard.counters();
        counters.packets_out += sent.datagrams;
        counters.bytes_out += sent.bytes;
        for _ in 0..sent.refused {
            counters.drop(DropReason::SendFull);
        }
        let delay = now().mono.saturating_duration_since(received_at.mono);
        counters.delay(delay, sent.datagrams);
    }

    fn tell_others(&mut self) {
        for (room, openings) in self.shard.drain_closed_rooms() {
            self.observer.room_closed(&room, openings);
        }
        let changes: Vec<_> = self.shard.drain_address_changes().collect();
        for lane in &mut self.lanes {
            lane.unsent.extend_from_slice(&changes);
            if lane.unsent.is_empty() {
                continue;
            }
            match lane.parcels.try_send(Parcel::Addresses(self.id, std::mem::take(&mut lane.unsent))) {
                Ok(()) => {
                    // As above.
                    let _ = lane.waker.wake();
                }
                Err(
                    TrySendError::Full(Parcel::Addresses(_, unsent)) | TrySendError::Disconnected(Parcel::Addresses(_, unsent)),
                ) => {
                    lane.unsent = unsent;
                }
                Err(_) => {}
            }
        }
    }

    fn report(&mut self, now: Now) {
        if self.reported || now.mono < self.report_at {
            return;
        }
        self.reported = self.load.is_settled();
        self.report_at = now.mono + REPORT_EVERY;
        self.shard.counters().busy_permille = self.load.permille();
        self.observer.counters(self.id, self.shard.counters());
    }

    /// How long to sleep at most; `None` until something comes.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let pending = self.port.is_readable() || !self.commands.is_empty() || !self.parcels.is_empty();
        if pending {
            return Some(Duration::ZERO);
        }
        let report = (!self.reported).then_some(self.report_at);
        let unsent = self.lanes.iter().any(|lane| !lane.unsent.is_empty()).then(|| now + Duration::from_millis(10));
        let next = [self.shard.poll_timeout(), report, unsent].into_iter().flatten().min()?;
        // epoll counts whole milliseconds; rounding up avoids waking just too early, several times.
        Some(next.saturating_duration_since(now) + Duration::from_micros(500))
    }
}
