//! The thread that writes the audit record: one for all logs of a node, with blocking calls, waiting only for its queue
//! and its disk. Nobody waits for it but those who asked for an acknowledgement.

use super::book::{Book, OpenFault, Place};
use super::clock::Watch;
use super::disk::Disk;
use super::keys::{self, random};
use super::reserve::Reserve;
use super::shared::{Health, Shared};
use super::{Ack, Clock, Settings, Unavailable};
use crate::audit::event::{Degraded, Event, Scope};
use crate::audit::log::Moment;
use crate::audit::purge;
use crate::audit::record::{Actor, Fact, Source};
use crate::audit::types::{By, Micros, Stamp, Word};
use crate::audit::words::WriteFault;
use crate::audit::{Hash, Period};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most events of one commit: what 2,000 events a second bring in 32 ms, and 512 KiB at the most.
const MOST_IN_GROUP: usize = 64;

/// How often timers are looked at while nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// How often the disk is asked whether it is back, and how full it is, in nanoseconds.
const LOOK_EVERY: u64 = 5_000_000_000;

/// Percent of the file system from which somebody is told, new rooms are refused, and everything is.
const LOW: u8 = 80;
const CRITICAL: u8 = 90;
const FULL: u8 = 95;

/// What the queue carries.
#[expect(clippy::large_enum_variant, reason = "the small one is sent once; boxing would cost every event an allocation")]
pub(super) enum Order {
    /// A fact, its time, and who waits for it.
    Record(Fact, Stamp, Option<Ack>),
    /// Write and sign everything, then end.
    Stop,
}

/// Whose log: a tenant's, or the node's own.
type Owner = Option<Word>;

pub(super) struct Writer {
    disk: Box<dyn Disk>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    source: Source,
    shared: Arc<Shared>,
    books: BTreeMap<Owner, Book>,
    /// Tenants whose log is damaged: closed until somebody accepts the break.
    damaged: BTreeSet<Owner>,
    reserve: Reserve,
    cause: Option<(WriteFault, Moment)>,
    lost: u64,
    looked_at: u64,
    watch: Watch,
    day: u64,
    used_percent: u8,
}

/// A moment of a clock.
pub(super) fn moment(clock: &dyn Clock) -> Moment {
    // Without chance an id is still unique by its place; events must go on.
    Moment { stamp: clock.stamp(), random: random().unwrap_or_default() }
}

impl Writer {
    /// Opens the node's log and the reserve.
    pub(super) fn open(
        mut disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        source: Source,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenFault> {
        let place = node_place(&settings);
        let origin = Word::new(&place.origin).map_err(crate::audit::log::LogFault::from)?;
        let now = clock.clone();
        let node = Book::open(&mut *disk, place, &source, &settings.root, &|| moment(&*now))?;
        shared.set_clean(node.clean);
        let reserve = Reserve::open(&mut *disk, settings.reserve, origin, source.clone())?;
        let mut writer = Self {
            disk,
            day: clock.stamp().ts.day(),
            clock,
            settings,
            source,
            shared,
            books: BTreeMap::from([(None, node)]),
            damaged: BTreeSet::new(),
            reserve,
            cause: None,
            lost: 0,
            looked_at: 0,
            watch: Watch::default(),
            used_percent: 0,
        };
        for tenant in writer.settings.tenants.clone() {
            writer.book(&Some(tenant.name.clone()));
        }
        writer.prepare_pseudonyms();
        if !writer.reserve.is_empty() {
            writer.cause = Some((WriteFault::Io, writer.moment()));
            writer.try_again();
        }
        Ok(writer)
    }

    fn moment(&self) -> Moment {
        moment(&*self.clock)
    }

    /// Runs until it is told to stop, or until nobody is left who could tell it anything.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut group = Vec::with_capacity(MOST_IN_GROUP);
        loop {
            let stop = match orders.recv_timeout(TICK) {
                Ok(order) => self.fill(order, orders, &mut group),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.record(std::mem::take(&mut group));
            self.tick();
            if stop {
                return self.end();
            }
        }
    }

    /// Takes what waits, without waiting for more: while one group is synced the next one gathers by itself.
    fn fill(&self, first: Order, orders: &Receiver<Order>, group: &mut Vec<(Fact, Moment, Option<Ack>)>) -> bool {
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Record(fact, stamp, ack) => {
                    group.push((fact, Moment { stamp, random: random().unwrap_or_default() }, ack));
                }
                Order::Stop => return true,
            }
            next = if group.len() < MOST_IN_GROUP { orders.try_recv().ok() } else { None };
        }
        false
    }

    /// Makes a group durable and acknowledges it, or refuses and keeps what the rules say.
    pub(super) fn record(&mut self, group: Vec<(Fact, Moment, Option<Ack>)>) {
        if group.is_empty() {
            return;
        }
        if self.cause.is_some() {
            return self.record_degraded(group);
        }
        let mut parts: BTreeMap<Owner, Vec<(Fact, Moment)>> = BTreeMap::new();
        let mut places = Vec::with_capacity(group.len());
        for (fact, moment, _) in &group {
            let owners = owners(fact);
            for owner in &owners {
                parts.entry(owner.clone()).or_default().push((fact.clone(), *moment));
            }
            places.push(owners);
        }
        let mut failed: BTreeMap<Owner, Option<Vec<usize>>> = BTreeMap::new();
        for (owner, facts) in &parts {
            match self.commit(owner, facts) {
                Ok(refused) => failed.insert(owner.clone(), Some(refused)),
                Err(fault) => {
                    // A tenant whose log is damaged is not served; the others are.
                    if !self.damaged.contains(owner) {
                        self.degrade(fault);
                    }
                    failed.insert(owner.clone(), None)
                }
            };
        }
        let mut seen: BTreeMap<Owner, usize> = BTreeMap::new();
        let mut left = Vec::new();
        for ((fact, moment, ack), owners) in group.into_iter().zip(places) {
            let mut result = Ok(());
            for owner in owners {
                let at = seen.entry(owner.clone()).or_default();
                match failed.get(&owner) {
                    Some(Some(refusals)) if refusals.contains(at) => result = Err(Unavailable::Refused),
                    Some(Some(_)) => {}
                    Some(None) | None if self.damaged.contains(&owner) => result = Err(Unavailable::Damaged),
                    Some(None) | None => result = Err(Unavailable::Degraded),
                }
                *at += 1;
            }
            if result == Err(Unavailable::Degraded) {
                left.push((fact, moment, ack));
            } else {
                Shared::add(&self.shared.lost, usize::from(result.is_err() && ack.is_none()));
                self.answer(ack, result);
            }
        }
        self.record_degraded(left);
    }

    fn answer(&self, ack: Option<Ack>, result: Result<(), Unavailable>) {
        Shared::add(if result.is_ok() { &self.shared.durable } else { &self.shared.refused }, 1);
        if let Some(ack) = ack {
            ack(result);
        }
    }

    /// Commits to one log; a segment that failed is left behind, and one try is made with another.
    fn commit(&mut self, owner: &Owner, facts: &[(Fact, Moment)]) -> Result<Vec<usize>, WriteFault> {
        if !self.book(owner) {
            return Err(WriteFault::Io);
        }
        let again = self.moment();
        let Some(book) = self.books.get_mut(owner) else { return Err(WriteFault::Io) };
        Shared::add(&self.shared.commits, 1);
        let first = book.next();
        let cause = match book.commit(&mut *self.disk, facts) {
            Ok(refused) => {
                self.shared.tell(book.origin(), first, facts, &refused);
                let ended = facts.iter().any(|(fact, _)| matches!(fact.event, Event::RoomClosed { .. }));
                // A room's end is signed at once; if that fails, the timer tries again and finds out what is wrong.
                if ended && let Err(fault) = book.checkpoint(&mut *self.disk) {
                    tracing::warn!(%fault, "a checkpoint could not be made");
                }
                return Ok(refused);
            }
            Err(fault) => {
                tracing::error!(%fault, "an audit segment could not be written");
                fault.word()
            }
        };
        let told = [(book.about(Event::AuditWriteDegraded { cause }), again)];
        let restored =
            Event::AuditWriteRestored { cause, kept_events: u64::try_from(facts.len()).unwrap_or(0), lost_b_events: 0 };
        let whole: Vec<_> = told.into_iter().chain(facts.iter().cloned()).chain([(book.about(restored), again)]).collect();
        let first = book.next();
        let second = book.commit(&mut *self.disk, &whole).map_err(|fault| fault.word())?;
        self.shared.tell(book.origin(), first, &whole, &second);
        Ok(second.into_iter().filter_map(|at| at.checked_sub(1)).collect())
    }

    /// The book of a log, opened where it is not yet. False when it is damaged or cannot be opened.
    fn book(&mut self, owner: &Owner) -> bool {
        if self.books.contains_key(owner) {
            return true;
        }
        let Some(tenant) = owner.as_ref().filter(|_| !self.damaged.contains(owner)) else { return false };
        let place = tenant_place(&self.settings, tenant);
        let clock = self.clock.clone();
        let opened = Book::open(&mut *self.disk, place, &self.source, &self.settings.root, &|| moment(&*clock));
        match opened {
            Ok(book) => {
                self.books.insert(owner.clone(), book);
                true
            }
            Err(OpenFault::Damaged(damage)) => {
                self.damaged.insert(owner.clone());
                Shared::add(&self.shared.damaged, 1);
                tracing::error!(%damage, "a tenant's audit log is damaged and stays closed; see colloque audit verify");
                let log = Word::new(&tenant_place(&self.settings, tenant).origin);
                if let (Ok(log), Some(node)) = (log, self.books.get_mut(&None)) {
                    let event = Event::AuditIntegrityFailed { at_seq: damage.at, kind: damage.kind, log };
                    let fact = (node.about(event), moment(&*self.clock));
                    if let Err(fault) = node.commit(&mut *self.disk, &[fact]) {
                        self.degrade(fault.word());
                    }
                }
                false
            }
            Err(fault) => {
                tracing::error!(%fault, "a tenant's audit log cannot be opened");
                false
            }
        }
    }

    fn degrade(&mut self, cause: WriteFault) {
        if self.cause.is_none() {
            let now = self.moment();
            self.cause = Some((cause, now));
            self.looked_at = now.stamp.mono;
            self.shared.set_health(Health::Degraded, now.stamp.ts);
            tracing::error!(cause = cause.as_str(), "the audit log cannot be written: no new access until it can");
        }
    }

    /// What the rules say of events while the log is down: what would widen access is refused, the rest is kept.
    fn record_degraded(&mut self, group: Vec<(Fact, Moment, Option<Ack>)>) {
        for (fact, moment, ack) in group {
            if fact.event.degraded() == Degraded::Refuse && ack.is_some() {
                self.answer(ack, Err(Unavailable::Degraded));
            } else if self.reserve.keep(&mut *self.disk, fact, moment) {
                Shared::add(&self.shared.kept, 1);
                if let Some(ack) = ack {
                    ack(Ok(()));
                }
            } else {
                self.lost += 1;
                Shared::add(&self.shared.lost, 1);
                self.answer(ack, Err(Unavailable::Degraded));
            }
        }
    }

    /// Tries to write again: first what broke and what was kept, in order, then that it goes on.
    fn try_again(&mut self) {
        let Some((cause, since)) = self.cause else { return };
        if self.used_percent >= FULL {
            return;
        }
        let Ok(kept) = self.reserve.kept(&*self.disk) else { return };
        let count = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        let mut parts: BTreeMap<Owner, Vec<(Fact, Moment)>> = BTreeMap::from([(None, Vec::new())]);
        for (fact, moment) in kept {
            for owner in owners(&fact) {
                parts.entry(owner).or_default().push((fact.clone(), moment));
            }
        }
        let now = self.moment();
        for (owner, facts) in parts {
            if !self.book(&owner) {
                if self.damaged.contains(&owner) {
                    // What is damaged takes nothing until somebody looks; the others need not wait for that.
                    self.lost += facts.len() as u64;
                    Shared::add(&self.shared.lost, facts.len());
                    continue;
                }
                return;
            }
            let Some(book) = self.books.get_mut(&owner) else { continue };
            let clock = self.clock.clone();
            let restored = Event::AuditWriteRestored { cause, kept_events: count.saturating_add(1), lost_b_events: self.lost };
            let told = (book.about(Event::AuditWriteDegraded { cause }), since);
            let restored = (book.about(restored), now);
            let whole: Vec<_> = std::iter::once(told).chain(facts).chain([restored]).collect();
            let written = book.turn(&mut *self.disk, &self.settings.root, &|| moment(&*clock), &[]);
            let written = written.and_then(|()| {
                let first = book.next();
                let refused = book.commit(&mut *self.disk, &whole)?;
                self.shared.tell(book.origin(), first, &whole, &refused);
                book.checkpoint(&mut *self.disk)
            });
            if let Err(fault) = written {
                // Logs that took their part already will take it twice: better than not at all, and told by the ids.
                tracing::warn!(%fault, "the audit log still cannot be written");
                return;
            }
        }
        if self.reserve.clear(&mut *self.disk).is_ok() {
            self.cause = None;
            self.lost = 0;
            let health = [Health::Writing, Health::Low, Health::Critical].get(level(self.used_percent)).copied();
            self.shared.set_health(health.unwrap_or_default(), now.stamp.ts);
            tracing::warn!(kept = count, "the audit log is written again");
        }
    }

    /// Timers: checkpoints, days, space, retention.
    pub(super) fn tick(&mut self) {
        let now = self.moment();
        if now.stamp.mono.saturating_sub(self.looked_at) >= LOOK_EVERY {
            self.looked_at = now.stamp.mono;
            self.clock.look();
            self.look_at_clock();
            self.look_at_space(now.stamp.ts);
            self.try_again();
        }
        if self.cause.is_some() {
            return;
        }
        let mut fault = None;
        for book in self.books.values_mut().filter(|book| book.is_due(&now)) {
            let clock = self.clock.clone();
            if let Err(error) = book.turn(&mut *self.disk, &self.settings.root, &|| moment(&*clock), &[]) {
                tracing::error!(fault = %error, "a checkpoint or epoch could not be made");
                fault = Some(error.word());
            }
        }
        if let Some(cause) = fault {
            return self.degrade(cause);
        }
        if now.stamp.ts.day() != self.day {
            self.day = now.stamp.ts.day();
            self.purge(now.stamp.ts);
            self.prepare_pseudonyms();
        }
    }

    fn look_at_clock(&mut self) {
        let now = self.moment();
        let told = self.watch.look(now.stamp).into_iter().map(|event| (Fact::of_node(Actor::System, event), now, None));
        self.record(told.collect());
    }

    fn look_at_space(&mut self, now: Micros) {
        // A file system that does not say how full it is will say so when it is written to.
        let Ok(used) = self.disk.used_percent() else { return };
        let (before, after) = (level(self.used_percent), level(used));
        self.used_percent = used;
        if before == after {
            return;
        }
        if after == 3 {
            return self.degrade(WriteFault::Full);
        }
        let event = match after {
            0 => Event::StorageRestored { used_percent: used },
            1 => Event::StorageLow { used_percent: used },
            _ => Event::StorageCritical { used_percent: used },
        };
        tracing::warn!(used_percent = used, event = event.name(), "space for the audit log");
        let now_moment = self.moment();
        if self.cause.is_none() {
            self.record(vec![(Fact::of_node(Actor::System, event), now_moment, None)]);
        }
        if self.cause.is_none() {
            let health = [Health::Writing, Health::Low, Health::Critical].get(after).copied().unwrap_or_default();
            self.shared.set_health(health, now);
        }
    }

    /// Removes what is older than each tenant's retention.
    fn purge(&mut self, now: Micros) {
        let clock = self.clock.clone();
        for (owner, book) in &mut self.books {
            let tenant = self.settings.tenants.iter().find(|tenant| Some(&tenant.name) == owner.as_ref());
            let retention = tenant.map_or(self.settings.retention, |tenant| tenant.retention);
            let limit = purge::limit(now, retention.days());
            let done = book.purge(&mut *self.disk, limit, By::Policy, retention.policy(), &|| moment(&*clock));
            match done {
                Ok(0) => {}
                Ok(entries) => tracing::info!(entries, "audit entries were purged"),
                Err(fault) => tracing::error!(%fault, "audit entries could not be purged"),
            }
        }
    }

    /// Makes the keys of references for this month and, in time, the next.
    fn prepare_pseudonyms(&mut self) {
        let now = self.clock.stamp().ts;
        let soon = Micros(now.0.saturating_add(2 * Micros::DAY));
        let oldest = Period::of(Micros(now.0.saturating_sub(2 * Micros::DAY)));
        for tenant in &self.settings.tenants {
            let folder = tenant_place(&self.settings, &tenant.name).folder;
            for period in [Period::of(now), Period::of(soon)] {
                match keys::pseudonyms(&mut *self.disk, &folder, period) {
                    Ok(key) => self.shared.hold(tenant.name.as_str(), period, key, oldest),
                    Err(fault) => tracing::error!(%fault, "a key of references cannot be kept"),
                }
            }
        }
    }

    /// Signs everything and ends.
    fn end(mut self) {
        self.try_again();
        for book in self.books.values_mut() {
            if let Err(fault) = book.checkpoint(&mut *self.disk) {
                tracing::error!(%fault, "the last checkpoint could not be made");
            }
        }
    }
}

/// How full is how bad, from 0.
fn level(used_percent: u8) -> usize {
    match used_percent {
        FULL.. => 3,
        CRITICAL.. => 2,
        LOW.. => 1,
        _ => 0,
    }
}

/// In whose logs a fact stands.
fn owners(fact: &Fact) -> Vec<Owner> {
    match (fact.event.scope(), &fact.tenant) {
        (Scope::Node, _) | (Scope::Both | Scope::Either | Scope::Tenant, None) => vec![None],
        (Scope::Tenant | Scope::Either, Some(tenant)) => vec![Some(tenant.clone())],
        (Scope::Both, Some(tenant)) => vec![None, Some(tenant.clone())],
    }
}

pub(super) fn node_place(settings: &Settings) -> Place {
    let (deployment, node) = (settings.deployment.as_str(), settings.node.as_str());
    Place { folder: "node".to_owned(), tenant: None, origin: format!("{deployment}/{node}/{node}") }
}

pub(super) fn tenant_place(settings: &Settings, tenant: &Word) -> Place {
    let slug = slug(tenant.as_str());
    let origin = format!("{}/{slug}/{}", settings.deployment.as_str(), settings.node.as_str());
    Place { folder: format!("tenants/{slug}"), tenant: Some(tenant.clone()), origin }
}

/// A tenant's name as that of a folder; one that could mean another folder is hashed.
fn slug(tenant: &str) -> String {
    let plain = tenant.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if plain && !tenant.is_empty() && tenant.len() <= 48 {
        return tenant.to_owned();
    }
    let Hash(hash) = crate::audit::tree::sha256(tenant.as_bytes());
    hash.iter().take(8).fold("x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
