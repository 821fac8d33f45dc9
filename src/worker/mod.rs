//! One thread around one shard: its sockets, its mailbox and its clock.
//!
//! Each tick goes: clock, commands, packets handed over by other workers, timers, socket batches, touched links, sending, news for
//! the others, counters, waiting. Timers come before packets so that an overload cannot starve keep-alives; commands come before
//! packets so that what was withdrawn is withdrawn for the very next packet. Every "some" in that list is a bound below.
//!
//! Entry points: [`start`], [`Mailbox::send`].

pub mod audit_writer;
mod cores;
mod lanes;
mod load;
mod pace;
pub mod udp;
mod wake;

use crate::model::Instant;
use crate::model::counters::{Counters, DropReason};
use crate::model::{Now, RoomKey, ShardId};
use crate::relay::command::{Busy, Command};
use crate::relay::event::{Recorded, Tally};
use crate::relay::outbox::MAX_DATAGRAM;
use crate::relay::shard::{Disposition, Shard, ShardConfig};
use crossbeam_channel::{Receiver, Sender, bounded};
use lanes::{Lanes, PARCELS_PER_TICK};
use load::Load;
use pace::Pace;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use udp::{Offload, UdpPort};
use wake::{Bell, Ear, pause, wake_in_time};

/// Commands that may wait for a worker: a join storm of thousands fits, beyond it clients are told "busy".
const MAILBOX: usize = 4_096;

/// Commands taken per tick, so that a flood of signalling leaves time for packets.
const COMMANDS_PER_TICK: usize = 64;

/// Socket rounds per tick: 4 of 32 datagrams and trains per socket, then timers get their turn again.
const ROUNDS_PER_TICK: usize = 4;

/// Bytes gathered before a batch is sent within a tick: what stays in the second-level cache.
const SEND_AT: usize = 256 * MAX_DATAGRAM;

/// Datagrams of unknown senders offered to the other workers in a second: a peer that has moved needs one of its own among them.
const OFFERS: u32 = 1_000;

/// How often counters are handed out.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// When news that did not fit into a lane is tried again.
const TELL_AGAIN: Duration = Duration::from_millis(10);

/// When datagrams a full socket did not take are tried again at the latest: what a line of 1 Gbit/s empties 125 kB in.
const SEND_AGAIN: Duration = Duration::from_millis(1);

/// Sends commands to one worker.
#[derive(Clone, Debug)]
pub struct Mailbox {
    commands: Sender<Command>,
    bell: Arc<Bell>,
}

impl Mailbox {
    /// Puts a command into the mailbox; never waits.
    ///
    /// # Errors
    /// [`Busy`] when the mailbox is full or the worker has stopped.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| Busy)?;
        self.bell.ring();
        Ok(())
    }

    /// Commands that wait in it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commands.len()
    }
}

/// What a worker tells the node; called on the worker's thread, must not block.
pub trait Observer: Send + Sync {
    /// The counters of a shard, once a second while something happens or the load of it fades, and once more before it sleeps.
    fn counters(&self, shard: ShardId, counters: &Counters);
    /// A room closed after it had taken this many openings (joins, creations).
    fn room_closed(&self, room: &RoomKey, openings: u64);
    /// Something became so in a consultation; must not block.
    fn recorded(&self, _shard: ShardId, _fact: Recorded) {}
    /// What came of a consultation's media; must not block.
    fn tallied(&self, _tally: Tally) {}
}

/// How workers run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Pin each worker to a core of its own, where there are as many cores as workers and no CPU quota.
    pub pin: bool,
    /// Longest time a worker with thick traffic lets pass to take more datagrams in one go; zero never lets any pass.
    pub coalesce: Duration,
    /// What the kernel is asked to do.
    pub offload: Offload,
}

struct Worker {
    shard: Shard,
    id: ShardId,
    port: UdpPort,
    /// What the kernel still did for the port when this was last said.
    offload: Offload,
    ear: Ear,
    commands: Receiver<Command>,
    lanes: Lanes,
    observer: Arc<dyn Observer>,
    report_at: Instant,
    reported: bool,
    load: Load,
    pace: Pace,
    /// Datagrams found in this tick.
    found: usize,
    /// How many datagrams nobody is known to have sent may be offered to the others until the next report.
    offers: u32,
    stopping: bool,
}

/// How a worker spends the time until its next tick.
enum Rest {
    /// Not at all: more waits than one tick takes.
    None,
    /// Lets a moment pass, then looks at the sockets.
    Pause(Duration),
    /// Sleeps until something comes, or so long.
    Sleep(Option<Duration>),
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
/// What the kernel says when sockets cannot be used or threads not started.
pub fn start(
    shards: Vec<(ShardConfig, Vec<UdpSocket>)>,
    settings: Settings,
    observer: &Arc<dyn Observer>,
) -> io::Result<Workers> {
    let count = shards.len();
    let ears = (0..count).map(|_| Ear::new()).collect::<io::Result<Vec<_>>>()?;
    let bells: Vec<_> = ears.iter().map(Ear::bell).collect();
    let cores = if settings.pin { cores::spread(count) } else { None };
    let (told, offloads) = bounded::<io::Result<Offload>>(count);
    let mut workers = Workers { mailboxes: Vec::with_capacity(count), threads: Vec::with_capacity(count) };
    let parts = shards.into_iter().zip(ears).zip(Lanes::between(&bells)).zip(bells);
    for (index, ((((config, sockets), ear), lanes), bell)) in parts.enumerate() {
        let (sender, commands) = bounded::<Command>(MAILBOX);
        workers.mailboxes.push(Mailbox { commands: sender, bell });
        let core = cores.as_ref().and_then(|cores| cores.get(index).copied());
        let (observer, told) = (observer.clone(), told.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{}", config.id.0));
        workers.threads.push(thread.spawn(move || {
            if core.is_some_and(|core| !cores::pin(core)) {
                tracing::warn!(worker = config.id.0, "cannot be pinned to its core");
            }
            // Made on the thread itself: what system calls need is not to be handed from thread to thread.
            match UdpPort::new(sockets, settings.offload) {
                Ok(port) => {
                    // The starter waits for exactly these answers.
                    let _ = told.send(Ok(port.offload()));
                    drop(told);
                    Worker::new(config, port, ear, commands, lanes, observer, settings.coalesce).run();
                }
                Err(error) => drop(told.send(Err(error))),
            }
        })?);
    }
    drop(told);
    let offloads = offloads.iter().collect::<io::Result<Vec<_>>>()?;
    let (gso, gro) = (offloads.iter().all(|offload| offload.gso), offloads.iter().all(|offload| offload.gro));
    tracing::info!(workers = count, pinned = cores.is_some(), gso, gro, "workers started");
    Ok(workers)
}

#[expect(clippy::disallowed_methods, reason = "the worker is where the shard's time comes from")]
fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { mono: std::time::Instant::now().into(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
}

impl Worker {
    fn new(
        config: ShardConfig,
        port: UdpPort,
        ear: Ear,
        commands: Receiver<Command>,
        lanes: Lanes,
        observer: Arc<dyn Observer>,
        coalesce: Duration,
    ) -> Self {
        let now = now().mono;
        Self {
            id: config.id,
            shard: Shard::new(config),
            offload: port.offload(),
            port,
            ear,
            commands,
            lanes,
            observer,
            report_at: now,
            reported: false,
            load: Load::new(now),
            pace: Pace::new(coalesce, now),
            found: 0,
            offers: OFFERS,
            stopping: false,
        }
    }

    fn run(mut self) {
        wake_in_time();
        loop {
            let began = now();
            self.tick(began);
            if self.stopping {
                return;
            }
            let ended = now().mono;
            self.load.worked(began.mono, ended);
            match self.rest(ended) {
                Rest::None => {}
                Rest::Pause(moment) => {
                    pause(moment);
                    self.port.mark_all_readable();
                }
                Rest::Sleep(most) => {
                    if let Err(error) = self.sleep(most) {
                        tracing::error!(worker = self.id.0, kind = ?error.kind(), "waiting for sockets failed");
                        return;
                    }
                }
            }
        }
    }

    fn sleep(&mut self, most: Option<Duration>) -> io::Result<()> {
        let Self { port, ear, commands, lanes, .. } = self;
        let readable = ear.sleep(port.sockets(), port.is_holding(), most, || commands.is_empty() && lanes.is_empty())?;
        for socket in (0..u16::BITS).filter(|socket| readable >> socket & 1 == 1) {
            self.port.mark_readable(socket as usize);
        }
        Ok(())
    }

    fn tick(&mut self, now: Now) {
        self.found = 0;
        self.take_commands(now);
        self.take_parcels(now);
        if self.shard.poll_timeout().is_some_and(|at| at <= now.mono) {
            // A timer may end a stay or a room, which counts as well.
            self.reported = false;
        }
        self.shard.handle_timeout(now);
        for _ in 0..ROUNDS_PER_TICK {
            if !self.port.is_readable() || self.receive(now) == 0 {
                break;
            }
            self.shard.finish_batch(now);
            if self.shard.outbox().size() > SEND_AT {
                self.send(now);
            }
        }
        self.shard.finish_batch(now);
        self.send(now);
        self.tell_others();
        self.report(now);
        self.pace.found(self.found, now.mono);
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
        for _ in 0..PARCELS_PER_TICK {
            let (shard, found) = (&mut self.shard, &mut self.found);
            let taken = self.lanes.take(|path, datagram| {
                *found += 1;
                if shard.handle_datagram(now, path, datagram) != Disposition::Taken {
                    // Handed over once already; a second time it would go in circles.
                    shard.count_unknown(1);
                }
            });
            if !taken {
                break;
            }
            self.reported = false;
        }
    }

    fn receive(&mut self, now: Now) -> usize {
        let (shard, lanes, offers) = (&mut self.shard, &mut self.lanes, &mut self.offers);
        let received = self.port.receive(|bytes, batch| {
            // Counted after the batch: the shard is at work while it says what is not its own.
            let (mut full, mut unknown) = (0, 0);
            shard.handle_batch(now, bytes, batch, |received, datagram, disposition| {
                let owner = match disposition {
                    Disposition::Taken => return,
                    Disposition::Elsewhere(owner) => Some(owner),
                    Disposition::Unknown | Disposition::Unclaimed => lanes.owner(&received.path.remote),
                };
                if owner.is_none() && disposition == Disposition::Unclaimed && *offers > 0 && !lanes.is_alone() {
                    *offers -= 1;
                    full += lanes.offer(received.path, datagram) as u64;
                    return;
                }
                match owner.and_then(|owner| lanes.put(owner, received.path, datagram)) {
                    Some(lost) => full += lost as u64,
                    None => unknown += 1,
                }
            });
            shard.counters().drop_many(DropReason::HandOverFull, full);
            shard.count_unknown(unknown);
        });
        self.found += received;
        self.reported &= received == 0;
        received
    }

    fn send(&mut self, received_at: Now) {
        if self.shard.outbox().is_empty() && !self.port.is_holding() {
            return;
        }
        let sent = self.port.send(self.shard.outbox().gather());
        self.shard.outbox().clear();
        let counters = self.shard.counters();
        counters.packets_out += sent.datagrams;
        counters.bytes_out += sent.bytes;
        counters.drop_many(DropReason::SendFullUrgent, sent.full_urgent);
        counters.drop_many(DropReason::SendFull, sent.full);
        counters.drop_many(DropReason::SendLost, sent.lost);
        let delay = now().mono.saturating_duration_since(received_at.mono);
        counters.delay(delay, sent.datagrams);
    }

    fn tell_others(&mut self) {
        for (room, openings) in self.shard.drain_closed_rooms() {
            self.observer.room_closed(&room, openings);
        }
        // Before the facts: what ends with one of them was delivered before it.
        for tally in self.shard.drain_tallies() {
            self.observer.tallied(tally);
        }
        for fact in self.shard.drain_facts() {
            self.observer.recorded(self.id, fact);
        }
        self.lanes.tell(self.shard.drain_address_changes());
        let lost = self.lanes.post();
        self.shard.counters().drop_many(DropReason::HandOverFull, lost as u64);
    }

    fn report(&mut self, now: Now) {
        if self.reported || now.mono < self.report_at {
            return;
        }
        let offload = self.port.offload();
        if offload != self.offload {
            self.offload = offload;
            tracing::warn!(worker = self.id.0, "the kernel no longer cuts trains of datagrams; they go one by one");
        }
        self.reported = self.load.is_settled();
        self.report_at = now.mono + REPORT_EVERY;
        self.offers = OFFERS;
        let dropped = self.port.dropped();
        self.port.ask_dropped();
        let counters = self.shard.counters();
        counters.busy_permille = self.load.permille();
        counters.drop_many(DropReason::ReceiveFull, dropped.saturating_sub(counters.drops(DropReason::ReceiveFull)));
        (counters.gso, counters.gro) = (offload.gso, offload.gro);
        self.observer.counters(self.id, counters);
    }

    fn rest(&self, now: Instant) -> Rest {
        if self.port.is_readable() || !self.commands.is_empty() || !self.lanes.is_empty() {
            return Rest::None;
        }
        if self.found > 0
            && let Some(moment) = self.pace.pause()
        {
            return Rest::Pause(moment);
        }
        let report = (!self.reported).then_some(self.report_at);
        let unsent = self.lanes.has_unsent().then(|| now + TELL_AGAIN);
        let held = self.port.is_holding().then(|| now + SEND_AGAIN);
        let next = [self.shard.poll_timeout(), report, unsent, held].into_iter().flatten().min();
        Rest::Sleep(next.map(|next| next.saturating_duration_since(now)))
    }
}
