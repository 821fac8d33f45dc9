//! Threads of clients: sockets, batches, time.
//!
//! [`Swarm::start`] spawns them, [`Swarm::order`] tells one client something, [`Swarm::reports`] says what happened.
//! It never decides who comes when; it never reads what a scenario says.

mod line;
mod noise;
mod sockets;
mod thread;

use crate::client::{Codec, Identity, MediaKind, Quality};
use crate::impair;
use crate::measure::Second;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thread::{Parts, Thread};
use tokio::runtime::{Builder, Runtime};

/// Orders that wait for a thread; it takes all of them in a turn.
const ORDERS: usize = 16_384;
/// Threads of the signalling: messages are few once people have joined.
const SIGNAL_THREADS: usize = 2;

/// Reports that wait to be read; a client makes a handful in its life, a thread one a second.
const REPORTS: usize = 65_536;

/// Names one client; its thread is `id % threads`.
pub type ClientId = u32;

/// What a client or a thread is told.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "orders are few")]
pub enum Order {
    /// Connect, publish, subscribe to everybody.
    Join(ClientId, Box<Coming>),
    /// Say goodbye and go.
    Leave(ClientId),
    /// Be gone without a word: sockets close, nothing is said.
    Vanish(ClientId),
    /// Drop the WebSocket; the client resumes by itself, if it does at all.
    CutSignal(ClientId),
    /// A new local UDP port; the old one is silent.
    Move(ClientId),
    /// Change what the line does.
    Impair(ClientId, Option<impair::Profile>),
    /// Stop or go on sending a kind of media, and say so in the signalling.
    Mute(ClientId, MediaKind, bool),
    /// Ask for a layer of every video track received.
    Ask(ClientId, Quality),
    /// Ask for a key frame of every video track received.
    KeyFrames(ClientId),
    /// Garbage towards the media port.
    Noise {
        /// Where to.
        to: SocketAddr,
        /// How dense.
        datagrams_per_s: u32,
        /// How long.
        for_: Duration,
        /// What the bytes come from.
        seed: u64,
    },
}

/// How somebody comes.
#[derive(Clone, Debug)]
pub struct Coming {
    /// Base URL of the relay, `ws://host:port` (a path prefix is kept); `http` is read as `ws`.
    pub url: String,
    /// The join token.
    pub token: String,
    /// Index of the room, for measures.
    pub room: u32,
    /// Which of the people of the room.
    pub seat: u8,
    /// What it sends.
    pub publish: Publish,
    /// What its line does in both directions.
    pub link: Option<impair::Profile>,
    /// Where its choices come from: phases of its media, identifiers.
    pub seed: u64,
    /// Comes back by itself after a cut: first by resuming, then by a new join.
    pub resumes: bool,
}

/// What somebody sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publish {
    /// A voice.
    pub audio: Option<Audio>,
    /// A camera.
    pub video: Option<Video>,
}

/// A voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Bytes of a payload.
    pub packet_bytes: u16,
    /// Packets a second.
    pub per_second: u16,
}

impl Default for Audio {
    fn default() -> Self {
        Self { packet_bytes: 120, per_second: 50 }
    }
}

/// A camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// How pictures are packed.
    pub codec: Codec,
    /// One to three, lowest first; more than one is simulcast.
    pub layers: Vec<LayerShape>,
    /// Part of the frame interval (0 to 1) over which the packets of a frame leave.
    pub spread: f32,
    /// Scales the bit rate by what the transport-wide feedback says.
    pub adapt: bool,
}

/// One simulcast layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Pictures a second.
    pub frames_per_s: u16,
    /// Sizes of pictures vary around this.
    pub bits_per_s: u32,
    /// Instead of a bit rate: packets a frame, payload bytes of each.
    pub fixed: Option<(u8, u16)>,
    /// A key frame at least this often; otherwise only when asked.
    pub key_every: Option<Duration>,
}

/// What happened to a client, or a thread's second.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// The transport is up.
    Joined {
        /// Who.
        client: ClientId,
        /// From the order to the join response.
        signalled: Duration,
        /// From the order to ICE and DTLS being done.
        connected: Duration,
    },
    /// The first media packet of somebody else arrived.
    FirstMedia {
        /// Who.
        client: ClientId,
        /// From the order to join.
        after: Duration,
    },
    /// The relay, or the way to it, said no.
    Refused {
        /// Who.
        client: ClientId,
        /// HTTP status of the refused upgrade.
        status: Option<u16>,
        /// A 503, or a leave with the reason that the server is full.
        busy: bool,
        /// What the refusal asked for.
        retry_after: Option<Duration>,
        /// A short reason, without the token.
        text: String,
    },
    /// It never got in, or lost the call for good.
    Failed {
        /// Who.
        client: ClientId,
        /// Why.
        why: Failure,
    },
    /// The signalling is back after a cut.
    Resumed {
        /// Who.
        client: ClientId,
        /// From the cut.
        after: Duration,
        /// It took a new join.
        full: bool,
    },
    /// It is gone because it was told to.
    Left {
        /// Who.
        client: ClientId,
    },
    /// What a thread measured in a second.
    Tick(Box<Second>),
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// No answer of the signalling in time.
    SignalTimeout,
    /// ICE and DTLS were not done in time.
    TransportTimeout,
    /// The transport was up and broke.
    TransportLost,
    /// The WebSocket broke and nothing brought it back.
    SignalLost,
    /// The relay said leave.
    SentAway,
    /// The relay answered with something the client cannot read.
    Protocol,
    /// No socket.
    Socket,
}

impl Failure {
    /// A few words for a report.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::SignalTimeout => "no answer of the signalling in time",
            Self::TransportTimeout => "media transport not up in time",
            Self::TransportLost => "media transport lost",
            Self::SignalLost => "signalling lost",
            Self::SentAway => "sent away by the relay",
            Self::Protocol => "unreadable answer of the relay",
            Self::Socket => "no socket",
        }
    }
}

/// A client that was still there when the swarm stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Who.
    pub client: ClientId,
    /// Its transport was up.
    pub connected: bool,
}

/// A handle to threads of clients.
#[derive(Debug)]
pub struct Swarm {
    threads: Vec<Handle>,
    reports: Receiver<Report>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Handle {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    joined: Option<JoinHandle<Vec<Leftover>>>,
}

impl Swarm {
    /// Spawns `threads` threads of clients and a small runtime for their signalling.
    ///
    /// # Errors
    /// When a thread, its poll, the certificate or the runtime cannot be had.
    pub fn start(threads: usize, seed: u64) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(SIGNAL_THREADS).thread_name("signal").enable_all().build()?;
        let identity = Identity::new().ok_or_else(|| io::Error::other("no certificate"))?;
        let (send, reports) = bounded(REPORTS);
        let epoch = now();
        let mut handles = Vec::new();
        for index in 0..threads.max(1) {
            let (orders, ordered) = bounded(ORDERS);
            let stop = Arc::new(AtomicBool::new(false));
            let (poll, waker) = thread::poll()?;
            let parts = Parts {
                index,
                seed: seed.wrapping_add(index as u64),
                epoch,
                orders: ordered,
                reports: send.clone(),
                runtime: runtime.handle().clone(),
                identity: identity.clone(),
                stop: stop.clone(),
                poll,
                waker: waker.clone(),
            };
            let named = std::thread::Builder::new().name(format!("clients-{index}"));
            let joined = named.spawn(move || Thread::new(parts).run())?;
            handles.push(Handle { orders, waker, stop, joined: Some(joined) });
        }
        Ok(Self { threads: handles, reports, runtime: Some(runtime) })
    }

    /// Tells a client, or a thread, something; waits only where a thread has `ORDERS` orders before it.
    pub fn order(&self, order: Order) {
        let index = order.client().map_or(0, |client| client as usize % self.threads.len());
        if let Some(thread) = self.threads.get(index) {
            // A thread that ended has no more clients to tell.
            let _ = thread.orders.send(order);
            let _ = thread.waker.wake();
        }
    }

    /// What happened; to be read often, the queue is bounded and what does not fit is lost.
    #[must_use]
    pub fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Ends all threads without a goodbye and says who was still there.
    #[must_use]
    pub fn stop(mut self) -> Vec<Leftover> {
        for thread in &self.threads {
            thread.stop.store(true, Relaxed);
            let _ = thread.waker.wake();
        }
        let joined = self.threads.iter_mut().filter_map(|thread| thread.joined.take()?.join().ok());
        let left = joined.flatten().collect();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
        left
    }
}

impl Order {
    fn client(&self) -> Option<ClientId> {
        match self {
            Self::Join(client, _)
            | Self::Leave(client)
            | Self::Vanish(client)
            | Self::CutSignal(client)
            | Self::Move(client)
            | Self::Impair(client, _)
            | Self::Mute(client, ..)
            | Self::Ask(client, _)
            | Self::KeyFrames(client) => Some(*client),
            Self::Noise { .. } => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the swarm is where time is read")]
fn now() -> Instant {
    Instant::now()
}
