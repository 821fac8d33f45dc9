//! One thread of clients: waits for sockets, news and due times, and gives each client its turns.

use super::line::Line;
use super::noise::Noise;
use super::sockets::{self, Io};
use super::{ClientId, Coming, Failure, Leftover, Order, Report, now};
use crate::client::{Batch, Client, Identity, Inbox, Letter, Turn};
use crate::impair::Profile;
use crate::measure::{Second, note};
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::time::{ClockId, clock_gettime};
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;

/// News of WebSockets that wait for the thread.
const LETTERS: usize = 65_536;
/// Sockets that one wait may tell of.
const EVENTS: usize = 1_024;
/// Reads of one socket in a turn, so that one client does not starve the others.
const READS: usize = 8;
/// Sources of garbage at a time.
const NOISES: usize = 64;
/// Longest sleep.
const IDLE: Duration = Duration::from_millis(100);
/// Due times are met this closely: finer would cost a system call a packet, coarser would make bursts of a crowd.
const GRAIN: Duration = Duration::from_micros(250);
/// Longest sleep while clients are about: what sockets hold meanwhile is little, and what clients answer is late by less.
const NAP: Duration = Duration::from_micros(500);
const WAKER: Token = Token(usize::MAX);
const SECOND: Duration = Duration::from_secs(1);

/// What a thread is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) seed: u64,
    pub(crate) epoch: Instant,
    pub(crate) orders: Receiver<Order>,
    pub(crate) reports: Sender<Report>,
    pub(crate) runtime: Handle,
    pub(crate) identity: Identity,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) poll: Poll,
    pub(crate) waker: Arc<Waker>,
}

/// A poll and what wakes it.
pub(crate) fn poll() -> io::Result<(Poll, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    Ok((poll, waker))
}

struct Place {
    client: Client,
    socket: UdpSocket,
    line: Option<Box<Line>>,
    /// Its entry in the heap that counts.
    scheduled: Option<Instant>,
}

/// Sleeps until something is due, or for [`NAP`] at most; answers that there is nothing left to wait.
#[expect(clippy::disallowed_methods, reason = "a thread of clients lives by the clock")]
fn nap(timeout: Duration) -> Duration {
    std::thread::sleep(timeout.min(NAP));
    Duration::ZERO
}

/// The state of a thread.
pub(crate) struct Thread {
    parts: Parts,
    joins: u32,
    inbox: Inbox,
    letters: Receiver<Letter>,
    places: Slab<Place>,
    by_id: HashMap<ClientId, usize>,
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    io: Io,
    batch: Batch,
    second: Second,
    next_second: Instant,
    cpu: Duration,
    out: Vec<Report>,
    noises: Vec<Noise>,
}

impl Thread {
    pub(crate) fn new(parts: Parts) -> Self {
        let (queue, letters) = bounded(LETTERS);
        let inbox = Inbox { queue, waker: parts.waker.clone() };
        Self {
            inbox,
            letters,
            places: Slab::new(),
            by_id: HashMap::new(),
            heap: BinaryHeap::new(),
            io: Io::new(),
            batch: Batch::default(),
            second: Second::new(parts.index, 0),
            next_second: parts.epoch + SECOND,
            cpu: Duration::ZERO,
            out: Vec::new(),
            noises: Vec::new(),
            joins: 0,
            parts,
        }
    }

    pub(crate) fn run(&mut self) -> Vec<Leftover> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.parts.stop.load(Relaxed) {
            let timeout = self.wait();
            // With work about, the thread sleeps by the clock: if it waited for its clients' sockets, each datagram would wake it, and
            // on one machine the relay would pay for that while it sends. Arrival times come from the kernel and do not suffer.
            let timeout = if self.places.is_empty() && self.noises.is_empty() { timeout } else { nap(timeout) };
            if let Err(error) = self.parts.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                break;
            }
            for event in &events {
                if event.token() != WAKER {
                    self.read(event.token().0);
                }
            }
            self.take_orders();
            self.take_letters();
            self.run_due();
            self.run_noises();
            self.tick();
        }
        let left = self.places.iter().map(|(_, place)| Leftover { client: place.client.id, connected: place.client.is_up() });
        left.collect()
    }

    fn wait(&self) -> Duration {
        let due = self.heap.peek().map(|Reverse((at, _))| *at);
        let noises = self.noises.iter().map(Noise::due);
        let next = due.into_iter().chain(noises).chain([self.next_second]).min();
        next.map_or(IDLE, |at| at.saturating_duration_since(now()).max(GRAIN).min(IDLE))
    }

    /// Lets a client do something, sends what comes of it and notes when it wants to go on.
    fn turn(&mut self, slot: usize, at: Instant, act: impl FnOnce(&mut Client, &mut Turn<'_>)) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let mut turn = Turn {
            now: at,
            wall: wall(),
            second: &mut self.second,
            batch: &mut self.batch,
            reports: &mut self.out,
            runtime: &self.parts.runtime,
            inbox: &self.inbox,
        };
        deliver(place, at, &mut turn);
        act(&mut place.client, &mut turn);
        self.settle(slot, at);
    }

    fn settle(&mut self, slot: usize, at: Instant) {
        let Some(place) = self.places.get_mut(slot) else { return };
        if let Some(line) = &mut place.line {
            line.pass_up(at, &mut self.batch);
        }
        if !self.batch.is_empty() {
            self.second.socket_errors += self.io.send(&place.socket, &mut self.batch);
        }
        if place.client.is_over() {
            self.remove(slot);
            return;
        }
        if place.client.wants_socket {
            self.replace_socket(slot, at);
            return;
        }
        let line = place.line.as_ref().and_then(|line| line.next_at());
        if let Some(due) = place.client.due().into_iter().chain(line).min()
            && place.scheduled.is_none_or(|scheduled| due < scheduled)
        {
            place.scheduled = Some(due);
            self.heap.push(Reverse((due, slot)));
        }
    }

    fn remove(&mut self, slot: usize) {
        let Some(mut place) = self.places.try_remove(slot) else { return };
        self.by_id.remove(&place.client.id);
        // A socket that cannot be taken out is closed all the same.
        let _ = self.parts.poll.registry().deregister(&mut place.socket);
    }

    fn open(&self, slot: usize) -> io::Result<(UdpSocket, SocketAddr)> {
        let (mut socket, local) = sockets::bind()?;
        self.parts.poll.registry().register(&mut socket, Token(slot), Interest::READABLE)?;
        Ok((socket, local))
    }

    fn replace_socket(&mut self, slot: usize, at: Instant) {
        let Ok((socket, local)) = self.open(slot) else {
            let client = self.places.get(slot).map(|place| place.client.id);
            self.out.extend(client.map(|client| Report::Failed { client, why: Failure::Socket }));
            return self.remove(slot);
        };
        if let Some(place) = self.places.get_mut(slot) {
            let mut old = std::mem::replace(&mut place.socket, socket);
            let _ = self.parts.poll.registry().deregister(&mut old);
        }
        self.turn(slot, at, |client, turn| client.on_socket(local, turn));
    }

    fn read(&mut self, slot: usize) {
        for _ in 0..READS {
            let Some(place) = self.places.get_mut(slot) else { return };
            let (at, wall) = (now(), wall());
            let more = match self.io.receive(&place.socket) {
                Ok(more) => more,
                Err(_) => {
                    // An ICMP message about a port that is closed, for example.
                    self.second.socket_errors += 1;
                    true
                }
            };
            let mut turn = Turn {
                now: at,
                wall,
                second: &mut self.second,
                batch: &mut self.batch,
                reports: &mut self.out,
                runtime: &self.parts.runtime,
                inbox: &self.inbox,
            };
            self.io.each(|got, bytes| {
                let arrived = got.arrived.unwrap_or(wall);
                note(&mut turn.second.waited, wall.saturating_sub(arrived) / 1_000);
                match &mut place.line {
                    Some(line) => line.push_down(at, got.from, bytes),
                    None => place.client.on_datagram(got.from, bytes, arrived, &mut turn),
                }
            });
            deliver(place, at, &mut turn);
            if !more {
                return self.settle(slot, at);
            }
        }
        // The event will not come again for what is left.
        let at = now();
        self.settle(slot, at);
        if let Some(place) = self.places.get_mut(slot) {
            let _ = self.parts.poll.registry().reregister(&mut place.socket, Token(slot), Interest::READABLE);
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.parts.orders.try_recv() {
            let at = now();
            match order {
                Order::Join(id, coming) => self.join(id, coming, at),
                Order::Leave(id) => self.tell(id, at, Client::leave),
                Order::Vanish(id) => self.tell(id, at, Client::vanish),
                Order::CutSignal(id) => self.tell(id, at, Client::cut_signal),
                Order::Move(id) => self.tell(id, at, |client, _| client.wants_socket = true),
                Order::Mute(id, kind, muted) => self.tell(id, at, |client, _| client.mute(kind, muted)),
                Order::Ask(id, quality) => self.tell(id, at, |client, _| client.ask(quality)),
                Order::KeyFrames(id) => self.tell(id, at, |client, turn| client.ask_key_frames(turn)),
                Order::Impair(id, profile) => self.impair(id, &profile.unwrap_or_default(), at),
                Order::Noise { to, datagrams_per_s, for_, seed } => {
                    if self.noises.len() < NOISES {
                        self.noises.extend(Noise::new(to, datagrams_per_s, for_, seed, at));
                    }
                }
            }
        }
    }

    fn impair(&mut self, id: ClientId, profile: &Profile, at: Instant) {
        let slot = self.by_id.get(&id).copied();
        if let Some(place) = slot.and_then(|slot| self.places.get_mut(slot)) {
            match &mut place.line {
                Some(line) => line.change(at, profile),
                None => place.line = Some(Box::new(Line::new(profile, self.parts.seed ^ u64::from(id) << 20))),
            }
        }
    }

    fn tell(&mut self, id: ClientId, at: Instant, act: impl FnOnce(&mut Client, &mut Turn<'_>)) {
        if let Some(slot) = self.by_id.get(&id).copied() {
            self.turn(slot, at, act);
        }
    }

    fn join(&mut self, id: ClientId, mut coming: Box<Coming>, at: Instant) {
        coming.seed ^= self.parts.seed;
        if let Some(slot) = self.by_id.get(&id).copied() {
            self.turn(slot, at, Client::vanish);
        }
        let slot = self.places.vacant_key();
        let Ok((socket, local)) = self.open(slot) else {
            self.out.push(Report::Failed { client: id, why: Failure::Socket });
            return;
        };
        let turn = Turn {
            now: at,
            wall: wall(),
            second: &mut self.second,
            batch: &mut self.batch,
            reports: &mut self.out,
            runtime: &self.parts.runtime,
            inbox: &self.inbox,
        };
        // Letters for who had the slot before carry other numbers.
        self.joins = self.joins.wrapping_add(1 << 12);
        let line = coming.link.as_ref().map(|profile| Box::new(Line::new(profile, coming.seed)));
        let client = Client::new(id, (slot, self.joins), coming, &self.parts.identity, local, &turn);
        self.places.insert(Place { client, socket, line, scheduled: None });
        self.by_id.insert(id, slot);
        self.settle(slot, at);
    }

    fn take_letters(&mut self) {
        while let Ok(letter) = self.letters.try_recv() {
            let known = self.places.get(letter.slot).is_some_and(|place| place.client.takes(letter.generation));
            if known {
                self.turn(letter.slot, now(), |client, turn| client.on_news(letter.news, turn));
            }
        }
    }

    fn run_due(&mut self) {
        let at = now();
        while let Some(Reverse((due, slot))) = self.heap.peek().copied().filter(|Reverse((due, _))| *due <= at) {
            self.heap.pop();
            let Some(place) = self.places.get_mut(slot) else { continue };
            if place.scheduled != Some(due) {
                continue;
            }
            place.scheduled = None;
            self.turn(slot, now().max(due), |client, turn| client.on_time(turn));
        }
    }

    fn run_noises(&mut self) {
        if !self.noises.is_empty() {
            let at = now();
            self.noises.retain_mut(|noise| noise.on_time(at));
        }
    }

    fn tick(&mut self) {
        let at = now();
        if at >= self.next_second {
            for slot in 0..self.places.capacity() {
                self.turn(slot, at, |client, turn| client.every_second(turn));
            }
            let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
            self.second.cpu = cpu.saturating_sub(self.cpu);
            self.cpu = cpu;
            let number = at.saturating_duration_since(self.parts.epoch).as_secs() as u32;
            let next = Second::new(self.parts.index, number);
            let done = std::mem::replace(&mut self.second, next);
            self.out.push(Report::Tick(Box::new(done)));
            self.next_second = self.parts.epoch + SECOND * (number + 1);
        }
        // Somebody who reads too slowly loses reports rather than stops the media.
        self.out.drain(..).for_each(|report| drop(self.parts.reports.try_send(report)));
    }
}

/// Hands a client what has come through its line; the way through it counts as part of the delay.
fn deliver(place: &mut Place, at: Instant, turn: &mut Turn<'_>) {
    let Some(line) = &mut place.line else { return };
    while let Some((from, mut bytes)) = line.poll_down(at) {
        place.client.on_datagram(from, &mut bytes, turn.wall, turn);
    }
}

/// ns since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the swarm is where time is read")]
fn wall() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
