//! The audit record's writer: a thread that makes events durable, and the [`Recorder`] everybody hands them to.
//!
//! Who waits for whom: those who called [`Recorder::record_durable`] get an answer when their event is on disk, without
//! blocking; the writer waits for its disk; nothing of the media path waits for either. A full queue refuses what would
//! widen access and puts the rest aside, so that nothing is dropped in silence.
//!
//! Entry points: [`start`], [`Recorder`]. The rules of the format are in [`crate::audit`].

mod book;
mod clock;
pub mod console;
pub mod disk;
#[cfg(test)]
mod fake;
pub mod keys;
mod reserve;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub use clock::{Clock, SystemClock};
pub use keys::Root;
pub use shared::{Figures, Health};

use crate::audit::log::LogFault;
use crate::audit::record::{Fact, Source};
use crate::audit::types::{NetRef, Word};
use crate::audit::words::{PrevStop, RetentionPolicy};
use crate::audit::{Micros, NetPseudonyms, Period, SecretKey, TenantPseudonyms};
use crossbeam_channel::{Sender, TrySendError, bounded};
use disk::Disk;
use shared::Shared;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use writer::{Order, Writer};

/// Events that may wait for the writer: four seconds of a busy node, in which a disk comes back or is lost.
const QUEUE: usize = 8_192;

/// Part of the queue kept for events that narrow access or are owed already.
const KEPT_FREE: usize = 1_024;

/// How long a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(u16);

impl Retention {
    /// The French year.
    pub const DEFAULT: Self = Self(365);

    /// From a number of days, 90 to 1,095.
    #[must_use]
    pub fn from_days(days: u16) -> Option<Self> {
        (90..=1_095).contains(&days).then_some(Self(days))
    }

    /// The number of days.
    #[must_use]
    pub fn days(self) -> u64 {
        u64::from(self.0)
    }

    /// Its name in the record.
    #[must_use]
    pub fn policy(self) -> RetentionPolicy {
        match self.0 {
            365 => RetentionPolicy::Fr365,
            180 => RetentionPolicy::Fr180,
            90 => RetentionPolicy::De90,
            _ => RetentionPolicy::Custom,
        }
    }
}

/// A tenant with a log of its own.
#[derive(Clone, Debug)]
pub struct TenantLog {
    /// The tenant's slug.
    pub name: Word,
    /// How long its log is kept.
    pub retention: Retention,
}

/// What the writer is told.
#[derive(Debug)]
pub struct Settings {
    /// Organisation and deployment: `clinic.example/fr1`.
    pub deployment: Word,
    /// The node.
    pub node: Word,
    /// The root key.
    pub root: Root,
    /// Tenants the node serves.
    pub tenants: Vec<TenantLog>,
    /// How long the node's own log is kept.
    pub retention: Retention,
    /// Bytes of the reserve.
    pub reserve: u64,
    /// How long running calls go on while the log cannot be written.
    pub grace: Duration,
}

/// Why an event is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unavailable {
    /// The log cannot be written at present.
    #[error("the audit log cannot be written at present")]
    Degraded,
    /// Too many events wait.
    #[error("too many events wait for the audit log")]
    Full,
    /// The event cannot stand in the record: a fault of ours.
    #[error("the event cannot stand in the audit record")]
    Refused,
    /// The tenant's log is damaged and closed.
    #[error("the tenant's audit log is damaged and closed")]
    Damaged,
    /// The writer has ended.
    #[error("the audit log is closed")]
    Closed,
}

/// Called once, on the writer's thread, when an event is durable or will not be; it must not block.
pub type Ack = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// Hands events to the writer; cheap to clone, never blocks.
#[derive(Clone)]
pub struct Recorder(Option<Arc<Inner>>);

struct Inner {
    orders: Sender<Order>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    grace: Duration,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.health().as_str())
    }
}

impl Recorder {
    /// A recorder that records nothing and acknowledges everything, for nodes without an audit folder.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether events are recorded at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records an event whose effect came first or need not wait. It is stamped with the time of this call.
    ///
    /// # Errors
    /// [`Unavailable::Full`] when even the room kept for such events is taken; the event is then counted as lost.
    pub fn record(&self, fact: Fact) -> Result<(), Unavailable> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let order = Order::Record(fact, inner.clock.stamp(), None);
        inner.orders.try_send(order).map_err(|refused| {
            Shared::add(&inner.shared.lost, 1);
            match refused {
                TrySendError::Full(_) => Unavailable::Full,
                TrySendError::Disconnected(_) => Unavailable::Closed,
            }
        })
    }

    /// Records an event that must be durable before its effect; `ack` says when it is. It is stamped with the time of this
    /// call. While the log cannot be written, what would widen access is refused at once.
    pub fn record_durable(&self, fact: Fact, ack: impl FnOnce(Result<(), Unavailable>) + Send + 'static) {
        let Some(inner) = &self.0 else { return ack(Ok(())) };
        let widens = fact.event.degraded() == crate::audit::Degraded::Refuse;
        let refused = match inner.shared.health() {
            Health::Degraded if widens => Some(Unavailable::Degraded),
            _ if inner.orders.len() + KEPT_FREE >= QUEUE && widens => Some(Unavailable::Full),
            Health::Writing | Health::Low | Health::Critical | Health::Degraded => None,
        };
        if let Some(refused) = refused {
            Shared::add(&inner.shared.refused, 1);
            return ack(Err(refused));
        }
        let order = Order::Record(fact, inner.clock.stamp(), Some(Box::new(ack)));
        let (order, refused) = match inner.orders.try_send(order) {
            Ok(()) => return,
            Err(TrySendError::Full(order)) => (order, Unavailable::Full),
            Err(TrySendError::Disconnected(order)) => (order, Unavailable::Closed),
        };
        Shared::add(&inner.shared.refused, 1);
        if let Order::Record(_, _, Some(ack)) = order {
            ack(Err(refused));
        }
    }

    /// [`record_durable`](Self::record_durable) for those who can await.
    ///
    /// # Errors
    /// Why the event is not durable.
    pub async fn durable(&self, fact: Fact) -> Result<(), Unavailable> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.record_durable(fact, move |result| {
            // Whoever asked may have gone; the event stands all the same.
            let _ = tell.send(result);
        });
        told.await.unwrap_or(Err(Unavailable::Closed))
    }

    /// Names who hears which entry each fact became, on the writer's thread, once it is durable.
    pub fn on_placed(&self, placed: impl Fn(&Fact, &Word, u64) + Send + Sync + 'static) {
        if let Some(inner) = &self.0 {
            inner.shared.listen(Box::new(placed));
        }
    }

    /// How well the record can be written at present.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.as_ref().map_or(Health::Writing, |inner| inner.shared.health())
    }

    /// When calls must end because the log cannot be written; nothing while it can.
    #[must_use]
    pub fn grace_ends(&self) -> Option<Micros> {
        let inner = self.0.as_ref()?;
        let since = inner.shared.figures().degraded_since?;
        Some(Micros(since.0.saturating_add(u64::try_from(inner.grace.as_micros()).unwrap_or(u64::MAX))))
    }

    /// Numbers for metrics and status pages.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.0.as_ref().map_or_else(Figures::default, |inner| inner.shared.figures())
    }

    /// How the node's last run ended; in order where there was none.
    #[must_use]
    pub fn prev_stop(&self) -> PrevStop {
        let clean = self.0.as_ref().is_none_or(|inner| inner.shared.was_clean());
        if clean { PrevStop::Clean } else { PrevStop::Crash }
    }

    /// Events that wait for the writer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.orders.len())
    }

    /// References of a tenant for what begins now; a room keeps those of the month it was created in. Nothing for a tenant
    /// the writer was not told of, or when the record is off.
    #[must_use]
    pub fn pseudonyms(&self, tenant: &str) -> Option<TenantPseudonyms> {
        let inner = self.0.as_ref()?;
        inner.shared.pseudonyms(tenant, Period::of(inner.clock.stamp().ts))
    }

    /// The reference of an address for today, and its family.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Option<(NetRef, u8)> {
        let inner = self.0.as_ref()?;
        let net = inner
            .shared
            .net(inner.clock.stamp().ts.day(), || keys::random().ok().map(|key| NetPseudonyms::new(SecretKey::new(key))))?;
        Some(net.address(address))
    }
}

/// The running writer; it ends with [`stop`](Self::stop).
#[derive(Debug)]
pub struct Running {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Record(..) => "Record(…)",
            Self::Stop => "Stop",
        })
    }
}

impl Running {
    /// Writes and signs everything that waits, then ends. Blocks until it has.
    pub fn stop(self) {
        // Both fail only when the thread is gone, which is what is asked for.
        let _ = self.orders.send(Order::Stop);
        let _ = self.thread.join();
    }
}

/// Why the record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartFault(String);

/// Opens the logs and starts the writer. The node must not serve anybody when this fails.
///
/// # Errors
/// [`StartFault`] says in a line what is wrong with the folder, its logs or its keys.
pub fn start(
    settings: Settings,
    source: Source,
    disk: Box<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<(Recorder, Running), StartFault> {
    let shared = Arc::new(Shared::default());
    let grace = settings.grace;
    let opened = Writer::open(disk, clock.clone(), settings, source, shared.clone());
    let writer = opened.map_err(|fault| StartFault(explain(&fault)))?;
    let (orders, queue) = bounded(QUEUE);
    let thread = std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run(&queue))
        .map_err(|error| StartFault(format!("the audit thread cannot be started: {error}")))?;
    Ok((Recorder(Some(Arc::new(Inner { orders: orders.clone(), clock, shared, grace }))), Running { orders, thread }))
}

fn explain(fault: &book::OpenFault) -> String {
    match fault {
        book::OpenFault::Damaged(_) => {
            format!("{fault}; look with colloque audit verify, go on with colloque audit accept-break")
        }
        book::OpenFault::Log(LogFault::NoEpoch) => {
            "no audit epoch is prepared for today; make some with colloque audit init".to_owned()
        }
        book::OpenFault::Io(_) | book::OpenFault::Log(_) => fault.to_string(),
    }
}
