//! What the writer thread and everybody else see of each other: a few numbers, and the keys of references.

use crate::audit::record::Fact;
use crate::audit::types::{Micros, Word};
use crate::audit::{NetPseudonyms, Period, TenantPseudonyms};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// How well the record can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Health {
    /// As it should be.
    #[default]
    Writing = 0,
    /// The file system is filling up: somebody should look.
    Low = 1,
    /// The file system is nearly full: no new rooms.
    Critical = 2,
    /// Nothing can be written: no new access at all, running calls go on for the grace time.
    Degraded = 3,
}

impl Health {
    /// The word for status pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Low => "low",
            Self::Critical => "critical",
            Self::Degraded => "degraded",
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Writing,
            1 => Self::Low,
            2 => Self::Critical,
            _ => Self::Degraded,
        }
    }
}

/// Numbers of the record, each on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How well it can be written.
    pub health: Health,
    /// Since when it cannot be written.
    pub degraded_since: Option<Micros>,
    /// Events made durable.
    pub durable: u64,
    /// Groups they were made durable in.
    pub commits: u64,
    /// Durable-first events that were refused.
    pub refused: u64,
    /// Events kept in the reserve or in memory while the log was down.
    pub kept: u64,
    /// Events lost. More than none is a fault that somebody must look at.
    pub lost: u64,
    /// Tenants whose log is damaged and closed.
    pub damaged: u64,
}

/// The months and tenants whose keys are held: two months of every tenant at most.
type Pseudonyms = BTreeMap<(String, Period), TenantPseudonyms>;

/// Hears which entry a fact became, on the writer's thread; it must not block.
pub(super) type Placed = Box<dyn Fn(&Fact, &Word, u64) + Send + Sync>;

/// Whoever wants to hear it.
#[derive(Default)]
pub(super) struct Listener(OnceLock<Placed>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    health: AtomicU8,
    degraded_since: AtomicU64,
    clean: AtomicBool,
    pub(super) durable: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) damaged: AtomicU64,
    pseudonyms: Mutex<Pseudonyms>,
    net: Mutex<Option<(u64, NetPseudonyms)>>,
    placed: Listener,
}

impl Shared {
    pub(super) fn health(&self) -> Health {
        Health::from_number(self.health.load(Ordering::Acquire))
    }

    pub(super) fn set_health(&self, health: Health, now: Micros) {
        let since = if health == Health::Degraded { now.0 } else { 0 };
        self.degraded_since.store(since, Ordering::Release);
        self.health.store(health as u8, Ordering::Release);
    }

    /// Names who hears of entries; the first one stays.
    pub(super) fn listen(&self, placed: Placed) {
        // A second listener would be a fault of the node's, and hears nothing.
        let _ = self.placed.0.set(placed);
    }

    /// Tells which entries of a log, from `first` on, these facts became, but for those that were refused.
    pub(super) fn tell<T>(&self, log: &Word, first: u64, facts: &[(Fact, T)], refused: &[usize]) {
        let Some(placed) = self.placed.0.get() else { return };
        let kept = facts.iter().enumerate().filter(|(at, _)| !refused.contains(at));
        for (seq, (_, (fact, _))) in (first..).zip(kept) {
            placed(fact, log, seq);
        }
    }

    pub(super) fn set_clean(&self, clean: bool) {
        self.clean.store(clean, Ordering::Release);
    }

    pub(super) fn was_clean(&self) -> bool {
        self.clean.load(Ordering::Acquire)
    }

    pub(super) fn figures(&self) -> Figures {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let since = self.degraded_since.load(Ordering::Acquire);
        Figures {
            health: self.health(),
            degraded_since: (since > 0).then_some(Micros(since)),
            durable: read(&self.durable),
            commits: read(&self.commits),
            refused: read(&self.refused),
            kept: read(&self.kept),
            lost: read(&self.lost),
            damaged: read(&self.damaged),
        }
    }

    pub(super) fn add(number: &AtomicU64, count: usize) {
        number.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn pseudonyms(&self, tenant: &str, period: Period) -> Option<TenantPseudonyms> {
        let held = self.pseudonyms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.get(&(tenant.to_owned(), period)).cloned()
    }

    /// Holds a key, and lets go of months before the oldest that is still of use.
    pub(super) fn hold(&self, tenant: &str, period: Period, pseudonyms: TenantPseudonyms, oldest: Period) {
        let mut held = self.pseudonyms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.retain(|(_, month), _| *month >= oldest);
        held.insert((tenant.to_owned(), period), pseudonyms);
    }

    /// The day's key of addresses; it lives in memory only and is gone with its day.
    pub(super) fn net(&self, day: u64, make: impl FnOnce() -> Option<NetPseudonyms>) -> Option<NetPseudonyms> {
        let mut held = self.net.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*held {
            Some((of, net)) if *of == day => Some(net.clone()),
            _ => {
                let net = make()?;
                *held = Some((day, net.clone()));
                Some(net)
            }
        }
    }
}
