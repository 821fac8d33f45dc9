//! What an operator does to the record while the node is stopped: prepare epochs, purge early, hold, resolve,
//! accept a break.

use super::book::{self, Book, CommitFault, OpenFault, Place, lineages};
use super::disk::Disk;
use super::keys;
use super::writer::{moment, node_place, tenant_place};
use super::{Clock, Root, Settings, explain};
use crate::audit::checkpoint::epoch_of;
use crate::audit::event::Event;
use crate::audit::note::PrivateKey;
use crate::audit::purge::{self, consultation_of};
use crate::audit::record::{Actor, Source};
use crate::audit::resolve::{Asked, Resolved, Resolver};
use crate::audit::types::{AdminRef, By, ConsultRef, Micros, Word};
use crate::audit::words::{AdminOp, HoldScope, PurgeRefusal, RetentionPolicy};
use std::io;

/// Most days epochs are prepared for: a key that lies ready is a key that can be stolen.
pub const MOST_DAYS: u32 = 40;

/// Why an operator's order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The rules ask for two different persons.
    #[error("this takes two different persons: --by and --second")]
    OnePerson,
    /// The log cannot be opened.
    #[error("{0}")]
    Open(String),
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The log's own rules said no.
    #[error("{0}")]
    Rule(String),
}

impl From<OpenFault> for Fault {
    fn from(fault: OpenFault) -> Self {
        Self::Open(explain(&fault))
    }
}

impl From<CommitFault> for Fault {
    fn from(fault: CommitFault) -> Self {
        Self::Rule(fault.to_string())
    }
}

/// The console of a stopped node.
pub struct Console<'a> {
    /// The audit folder.
    pub disk: &'a mut dyn Disk,
    /// The machine's clocks.
    pub clock: &'a dyn Clock,
    /// The node's settings.
    pub settings: &'a Settings,
    /// Where entries come from.
    pub source: &'a Source,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

impl Console<'_> {
    /// Prepares keys and certificates of the days ahead for the node's log and every tenant's, where there are none yet.
    /// Answers how many were made.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn prepare(&mut self, root: &PrivateKey, days: u32) -> Result<u32, Fault> {
        let today = epoch_of(self.clock.stamp().ts);
        let mut places = vec![node_place(self.settings)];
        places.extend(self.settings.tenants.iter().map(|tenant| tenant_place(self.settings, &tenant.name)));
        let mut made = 0;
        for place in places {
            let lineage = lineages(self.disk, &place.folder)?.last().copied().unwrap_or(1);
            let folder = format!("{}/{lineage}", place.folder);
            let origin = Word::new(&format!("{}/{lineage}", place.origin)).map_err(|fault| Fault::Rule(fault.to_string()))?;
            let there = self.disk.list(&format!("{folder}/epochs"))?;
            for epoch in (today..).take(usize::try_from(days.min(MOST_DAYS)).unwrap_or_default()) {
                if !there.contains(&format!("{epoch:06}.cert")) {
                    keys::make_epoch(self.disk, &folder, &origin, epoch, root)?;
                    made += 1;
                }
            }
        }
        Ok(made)
    }

    fn book(&mut self, tenant: Option<&Word>) -> Result<Book, Fault> {
        let place = tenant.map_or_else(|| node_place(self.settings), |tenant| tenant_place(self.settings, tenant));
        let clock = self.clock;
        Ok(Book::open(self.disk, place, self.source, &self.settings.root, &|| moment(clock))?)
    }

    fn write(&mut self, book: &mut Book, actor: Option<&AdminRef>, event: Event) -> Result<(), Fault> {
        let mut fact = book.about(event);
        if let Some(by) = actor {
            fact.actor = Actor::Admin(by.clone());
        }
        let refused = book.commit(self.disk, &[(fact, moment(self.clock))])?;
        if refused.is_empty() { Ok(()) } else { Err(Fault::Rule("the event cannot stand in the record".to_owned())) }
    }

    /// Purges what is older than the given days. Earlier than the log's own retention it takes two persons; the refusal of
    /// one is recorded.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn purge(&mut self, tenant: Option<&Word>, days: u16, by: &AdminRef, second: Option<&AdminRef>) -> Result<u64, Fault> {
        let kept = self.settings.tenants.iter().find(|known| Some(&known.name) == tenant);
        let retention = kept.map_or(self.settings.retention, |tenant| tenant.retention);
        let early = u64::from(days) < retention.days();
        let mut book = self.book(tenant)?;
        if early && second.is_none_or(|second| second == by) {
            let who = By::Admin(by.clone());
            let event = Event::AuditPurgeRefused { why: PurgeRefusal::OnePerson, by: who, from_seq: 0, to_seq: 0 };
            self.write(&mut book, Some(by), event)?;
            book.checkpoint(self.disk)?;
            return Err(Fault::OnePerson);
        }
        if let (true, Some(second)) = (early, second) {
            self.break_glass(&mut book, AdminOp::AuditPurge, by, second)?;
        }
        let (clock, now) = (self.clock, self.clock.stamp().ts);
        let policy = if early { RetentionPolicy::Early } else { retention.policy() };
        let limit = purge::limit(now, u64::from(days));
        let gone = book.purge(self.disk, limit, By::Admin(by.clone()), policy, &|| moment(clock))?;
        book.checkpoint(self.disk)?;
        Ok(gone)
    }

    /// Records that entries of a log go to somebody's eyes or to another system; before the first byte of them does. `event` is
    /// told how many entries the log has.
    ///
    /// # Errors
    /// [`Fault`]; then nothing may be handed on.
    pub fn told(&mut self, tenant: Option<&Word>, by: &AdminRef, event: impl FnOnce(u64) -> Event) -> Result<(), Fault> {
        let mut book = self.book(tenant)?;
        let event = event(book.size());
        self.write(&mut book, Some(by), event)?;
        Ok(book.checkpoint(self.disk)?)
    }

    /// The tenant whose log lies in a folder below the audit folder, `Some(None)` for the node's own.
    #[must_use]
    pub fn owner(&self, folder: &str) -> Option<Option<Word>> {
        let of = |place: Place| folder.strip_prefix(&format!("{}/", place.folder)).is_some_and(|rest| !rest.contains('/'));
        if of(node_place(self.settings)) {
            return Some(None);
        }
        let mut tenants = self.settings.tenants.iter().map(|tenant| &tenant.name);
        tenants.find(|name| of(tenant_place(self.settings, name))).map(|name| Some(name.clone()))
    }

    /// Suspends purging until a time, or lets it go on.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn hold(&mut self, tenant: Option<&Word>, until: Option<Micros>, by: &AdminRef) -> Result<(), Fault> {
        let mut book = self.book(tenant)?;
        let name = format!("{}/hold", book.place.folder);
        let scope_ref = book.origin().clone();
        let who = By::Admin(by.clone());
        match until {
            Some(until) => {
                let event = Event::AuditHoldSet { by: who, scope: HoldScope::Log, scope_ref, until };
                self.write(&mut book, Some(by), event)?;
                self.disk.replace(&name, format!("{}\n", until.to_text()).as_bytes(), false)?;
            }
            None => {
                let event = Event::AuditHoldReleased { by: who, scope: HoldScope::Log, scope_ref };
                self.write(&mut book, Some(by), event)?;
                match self.disk.remove(&name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(book.checkpoint(self.disk)?)
    }

    /// Keeps the segments with a consultation's entries from being purged until a time, or lets them go.
    ///
    /// # Errors
    /// [`Fault`]; also when the log has no entry of the consultation, or holds as many as it may, so that no hold is set that
    /// holds nothing.
    pub fn hold_consultation(
        &mut self,
        tenant: Option<&Word>,
        consultation: ConsultRef,
        until: Option<Micros>,
        by: &AdminRef,
    ) -> Result<(), Fault> {
        let mut book = self.book(tenant)?;
        let (name, mut holds) = book::holds(self.disk, &book.place)?;
        let scope_ref = Word::new(&consultation.to_text()).map_err(|fault| Fault::Rule(fault.to_string()))?;
        let (scope, who, now) = (HoldScope::Consultation, By::Admin(by.clone()), self.clock.stamp().ts);
        let event = match until {
            Some(until) => {
                let mut there = false;
                book::every_entry(self.disk, &book.place, |_, entry| there |= consultation_of(entry) == Some(consultation))?;
                if !there {
                    return Err(Fault::Rule("the log has no entry of this consultation".to_owned()));
                }
                if !holds.set(consultation, until, now) {
                    return Err(Fault::Rule(
                        "as many consultations are held as may be: release some, or hold the log".to_owned(),
                    ));
                }
                Event::AuditHoldSet { by: who, scope, scope_ref, until }
            }
            None if holds.release(&consultation) => Event::AuditHoldReleased { by: who, scope, scope_ref },
            None => return Err(Fault::Rule("this consultation is not held".to_owned())),
        };
        self.write(&mut book, Some(by), event)?;
        self.disk.replace(&name, holds.write().as_bytes(), false)?;
        Ok(book.checkpoint(self.disk)?)
    }

    /// Finds the references of ids somebody names in a tenant's log, by the keys of the months that are kept. That it was done, and
    /// of how many, is on record before anything is answered.
    ///
    /// # Errors
    /// [`Fault`]; then nothing may be told.
    pub fn resolve(&mut self, tenant: &Word, asked: Asked, by: &AdminRef) -> Result<(Vec<Resolved>, Vec<String>), Fault> {
        let mut book = self.book(Some(tenant))?;
        let keys = keys::held_pseudonyms(self.disk, &book.place.folder)?;
        let mut resolver = Resolver::new(&keys, asked).map_err(|fault| Fault::Rule(fault.to_string()))?;
        book::every_entry(self.disk, &book.place, |seq, entry| resolver.look(seq, entry))?;
        let (found, missing) = resolver.found();
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        self.write(&mut book, Some(by), Event::AuditResolved { by: By::Admin(by.clone()), count })?;
        book.checkpoint(self.disk)?;
        Ok((found, missing))
    }

    /// Leaves a damaged lineage as it is and begins the next, whose first entry names the last signed head of the old one.
    /// Where the root key is elsewhere, it must be passed: the new lineage is another log and needs a certificate of its own.
    ///
    /// # Errors
    /// [`Fault::OnePerson`], or why the new lineage cannot begin.
    pub fn accept_break(
        &mut self,
        tenant: Option<&Word>,
        by: &AdminRef,
        second: &AdminRef,
        root: Option<&PrivateKey>,
    ) -> Result<u32, Fault> {
        if by == second {
            return Err(Fault::OnePerson);
        }
        let place = tenant.map_or_else(|| node_place(self.settings), |tenant| tenant_place(self.settings, tenant));
        let next = lineages(self.disk, &place.folder)?.last().copied().unwrap_or(0) + 1;
        let folder = format!("{}/{next}", place.folder);
        match (&self.settings.root, root) {
            (Root::Here(_), _) => self.disk.make_folder(&format!("{folder}/epochs"))?,
            (Root::Away(_), Some(root)) => {
                let origin = Word::new(&format!("{}/{next}", place.origin)).map_err(|fault| Fault::Rule(fault.to_string()))?;
                keys::make_epoch(self.disk, &folder, &origin, epoch_of(self.clock.stamp().ts), root)?;
            }
            (Root::Away(_), None) => {
                return Err(Fault::Rule("the root key is not on this node: pass its private half with --root-key".to_owned()));
            }
        }
        let mut book = self.book(tenant)?;
        self.break_glass(&mut book, AdminOp::AuditAcceptBreak, by, second)?;
        book.checkpoint(self.disk)?;
        Ok(next)
    }

    fn break_glass(&mut self, book: &mut Book, op: AdminOp, by: &AdminRef, second: &AdminRef) -> Result<(), Fault> {
        let ticket: [u8; 8] = keys::random()?;
        let ticket = ticket.iter().fold("tk-".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        let ticket_ref = Word::new(&ticket).map_err(|fault| Fault::Rule(fault.to_string()))?;
        self.write(book, Some(by), Event::AdminBreakGlass { op, second: second.clone(), ticket_ref })
    }
}
