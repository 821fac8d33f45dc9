//! One log on disk: segments, checkpoints, epochs and purges of one [`Log`].
//!
//! What could not be made durable is forgotten here and told upwards; a segment whose sync failed is never written again.

use super::disk::Disk;
use super::keys::{self, Root};
use crate::audit::checkpoint::{Checkpoint, EpochKey, epoch_of, split_notes};
use crate::audit::event::Event;
use crate::audit::log::{Head, Log, LogFault, Moment};
use crate::audit::note::{Note, PublicKey};
use crate::audit::purge::{self, Closed, Holds, read_frontier, write_frontier};
use crate::audit::record::{Actor, Entry, Fact, Source};
use crate::audit::recover::{Damage, Recovery, Written};
use crate::audit::segment::{self, OpenSegment};
use crate::audit::tree::{Frontier, leaf_hash};
use crate::audit::types::{By, Micros, Word};
use crate::audit::words::{OpenReason, RetentionPolicy, WriteFault};
use std::io;

/// Where a log lies and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its folder below the audit folder, without the lineage.
    pub(super) folder: String,
    /// Whose it is; nobody's for the node's own.
    pub(super) tenant: Option<Word>,
    /// Its origin without the lineage.
    pub(super) origin: String,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFault {
    /// Its bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The file system said no.
    #[error("the audit log cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// Its own rules said no.
    #[error("the audit log cannot be opened: {0}")]
    Log(#[from] LogFault),
}

/// Why something is not durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitFault {
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The log's own rules said no.
    #[error("{0}")]
    Log(#[from] LogFault),
}

impl CommitFault {
    /// Its name in the record.
    pub(super) fn word(&self) -> WriteFault {
        match self {
            Self::Io(error) if [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind()) => {
                WriteFault::Full
            }
            Self::Log(LogFault::NoEpoch | LogFault::WrongEpoch) => WriteFault::NoEpoch,
            Self::Io(_) | Self::Log(_) => WriteFault::Io,
        }
    }
}

/// A log on disk.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) place: Place,
    folder: String,
    log: Log,
    open: Option<OpenSegment>,
    closed: Vec<Written>,
    newest: Micros,
    /// Whether the node's last run ended in order; only the node's own log knows.
    pub(super) clean: bool,
}

/// Lineages of a place, the latest last.
pub(super) fn lineages(disk: &dyn Disk, folder: &str) -> io::Result<Vec<u32>> {
    let mut found: Vec<u32> = disk.list(folder)?.iter().filter_map(|name| name.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

impl Book {
    /// Opens a log, or begins it; what happened to it is recorded as its next entries.
    pub(super) fn open(
        disk: &mut dyn Disk,
        place: Place,
        source: &Source,
        root: &Root,
        moment: &dyn Fn() -> Moment,
    ) -> Result<Self, OpenFault> {
        let lineage = lineages(disk, &place.folder)?.last().copied().unwrap_or(1);
        let folder = format!("{}/{lineage}", place.folder);
        disk.make_folder(&format!("{folder}/epochs"))?;
        let origin = Word::new(&format!("{}/{lineage}", place.origin)).map_err(LogFault::from)?;
        let signed = mend_checkpoints(disk, &folder)?;
        let (found, first) = recover(disk, &folder, signed)?;
        let mut log = Log::new(origin, source.clone(), found.state, signed);
        let (newest, clean) = (found.newest.unwrap_or_default(), found.clean);
        if let Some(epoch) = found.epoch
            && let Some(key) = keys::prepared(disk, &folder, log.origin(), epoch, root.public())?
        {
            log.resume_epoch(key)?;
        }
        let mut book = Self { place, folder, log, open: None, closed: found.segments, newest, clean };
        let mut facts = Vec::new();
        if first {
            facts.push(book.opened(disk, root.public(), lineage)?);
        }
        if let Some((_, torn_bytes)) = found.torn {
            let last = |size: u64| size.checked_sub(1);
            let event = Event::AuditRecovered {
                last_good_seq: last(book.log.next()),
                last_signed_seq: signed.and_then(|head| last(head.size)),
                torn_bytes,
            };
            facts.push(book.about(event));
        }
        let begun: Result<(), CommitFault> = book.turn(disk, root, moment, &facts);
        match begun {
            Ok(()) => Ok(book),
            Err(CommitFault::Io(error)) => Err(error.into()),
            Err(CommitFault::Log(fault)) => Err(fault.into()),
        }
    }

    fn opened(&self, disk: &dyn Disk, root: &PublicKey, lineage: u32) -> Result<Fact, OpenFault> {
        let root_key_id = Word::new(&root.id_text()).map_err(LogFault::from)?;
        let before = lineage.checked_sub(1).filter(|before| *before > 0);
        let before = before.map(|before| last_head(disk, &format!("{}/{before}", self.place.folder))).transpose()?.flatten();
        let event = Event::AuditLogOpened {
            why: if lineage == 1 { OpenReason::First } else { OpenReason::Recovery },
            lineage,
            prev_lineage_root: before.map(|head| head.root),
            prev_lineage_size: before.map(|head| head.size),
            root_key_id,
        };
        Ok(self.about(event))
    }

    /// A fact about this log.
    pub(super) fn about(&self, event: Event) -> Fact {
        Fact { tenant: self.place.tenant.clone(), ..Fact::of_node(Actor::System, event) }
    }

    /// Entries it has.
    pub(super) fn size(&self) -> u64 {
        self.log.next()
    }

    pub(super) fn origin(&self) -> &Word {
        self.log.origin()
    }

    /// Number of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.log.next()
    }

    /// Appends facts and makes them durable, all or none. Answers which of them the record refused: a fault of ours, which
    /// must not hold up the others.
    pub(super) fn commit(&mut self, disk: &mut dyn Disk, facts: &[(Fact, Moment)]) -> Result<Vec<usize>, CommitFault> {
        let Some((_, last)) = facts.last() else { return Ok(Vec::new()) };
        let mark = self.log.mark();
        let mut bytes = Vec::with_capacity(facts.len() * 768);
        let mut newest = self.newest;
        let mut refusals = Vec::new();
        for (at, (fact, moment)) in facts.iter().enumerate() {
            match self.log.append(fact, *moment, &mut bytes) {
                Ok(_) => newest = newest.max(moment.stamp.ts),
                Err(refused) => {
                    tracing::error!(event = fact.event.name(), %refused, "an audit event was refused");
                    refusals.push(at);
                }
            }
        }
        let written = self.write(disk, mark.next(), &bytes, last.stamp.ts);
        if written.is_err() {
            self.abandon(disk, mark);
        } else {
            self.newest = newest;
        }
        written.map(|()| refusals).map_err(CommitFault::from)
    }

    fn write(&mut self, disk: &mut dyn Disk, first: u64, bytes: &[u8], now: Micros) -> io::Result<()> {
        if self.open.is_some_and(|open| open.is_over(now)) {
            self.close(disk);
        }
        let fresh = self.open.is_none();
        let mut open = self.open.unwrap_or_else(|| OpenSegment::begin(first, now));
        self.open = Some(open);
        let name = self.segment_name(open.first);
        if fresh {
            // What an abandoned try left under this name never counted, and nothing may stand before the first frame.
            match disk.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        disk.append(&name, bytes)?;
        disk.sync(&name)?;
        if fresh {
            disk.sync_folder(&self.folder)?;
        }
        open.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.open = Some(open);
        Ok(())
    }

    fn segment_name(&self, first: u64) -> String {
        format!("{}/{}", self.folder, segment::name(first))
    }

    /// Closes the open segment for good.
    fn close(&mut self, disk: &mut dyn Disk) {
        if let Some(open) = self.open.take() {
            disk.leave(&self.segment_name(open.first), true);
            let end = self.log.mark().next();
            self.closed.push(Written { first: open.first, end, newest: self.newest });
        }
    }

    /// Forgets what was not made durable and the segment it was meant for.
    fn abandon(&mut self, disk: &mut dyn Disk, mark: crate::audit::log::State) {
        let end = mark.next();
        self.log.rewind(mark);
        let Some(open) = self.open.take() else { return };
        disk.leave(&self.segment_name(open.first), false);
        if open.first < end {
            self.closed.push(Written { first: open.first, end, newest: self.newest });
        }
    }

    /// Whether a checkpoint or another day's epoch is due.
    pub(super) fn is_due(&self, moment: &Moment) -> bool {
        self.log.checkpoint_due(moment.stamp.mono) || self.log.epoch_is_over(moment.stamp.ts)
    }

    /// Signs the present head and publishes it.
    pub(super) fn checkpoint(&mut self, disk: &mut dyn Disk) -> Result<(), CommitFault> {
        let Some(note) = self.log.checkpoint()? else { return Ok(()) };
        publish(disk, &self.folder, &note.to_text()).map_err(CommitFault::from)
    }

    /// Does what is due: a checkpoint, and at the day's end another segment and epoch. `facts` come first where the log is
    /// new or was mended.
    pub(super) fn turn(
        &mut self,
        disk: &mut dyn Disk,
        root: &Root,
        moment: &dyn Fn() -> Moment,
        facts: &[Fact],
    ) -> Result<(), CommitFault> {
        let now = moment();
        let over = self.log.epoch_is_over(now.stamp.ts);
        let old = self.log.epoch();
        if over && old.is_some() {
            self.checkpoint(disk)?;
            self.close(disk);
        }
        let stamped: Vec<_> = facts.iter().map(|fact| (fact.clone(), moment())).collect();
        if !over {
            self.commit(disk, &stamped)?;
            return if self.log.checkpoint_due(now.stamp.mono) { self.checkpoint(disk) } else { Ok(()) };
        }
        let epoch = epoch_of(now.stamp.ts);
        let key = keys::epoch_key(disk, &self.folder, self.log.origin(), epoch, root)?.ok_or(LogFault::NoEpoch)?;
        // What comes before the epoch can only be a new log's first words: nothing else may stand unsigned between two.
        let (before, after) = if old.is_none() { (stamped, Vec::new()) } else { (Vec::new(), stamped) };
        self.commit(disk, &before)?;
        self.begin_epoch(disk, key, moment())?;
        self.commit(disk, &after)?;
        self.destroy(disk, epoch, moment)?;
        self.checkpoint(disk)
    }

    fn begin_epoch(&mut self, disk: &mut dyn Disk, key: EpochKey, now: Moment) -> Result<(), CommitFault> {
        let mark = self.log.mark();
        let mut bytes = Vec::new();
        self.log.begin_epoch(key, self.place.tenant.clone(), now, &mut bytes)?;
        let written = self.write(disk, mark.next(), &bytes, now.stamp.ts);
        if written.is_err() {
            // The key has begun nothing that is durable; the log comes back to it with the next turn.
            self.abandon(disk, mark);
            self.log.end_epoch();
        }
        written.map_err(CommitFault::from)
    }

    /// Wipes the keys of all days that are over.
    fn destroy(&mut self, disk: &mut dyn Disk, today: u32, moment: &dyn Fn() -> Moment) -> Result<(), CommitFault> {
        for name in disk.list(&format!("{}/epochs", self.folder))? {
            let Some(epoch) = name.strip_suffix(".key").and_then(|epoch| epoch.parse().ok()).filter(|epoch| *epoch < today)
            else {
                continue;
            };
            let kid = keys::certificate_key(disk, &self.folder, epoch)?;
            keys::destroy_epoch(disk, &self.folder, epoch)?;
            if let Some(kid) = kid {
                let kid = Word::new(&kid).map_err(LogFault::from)?;
                self.commit(disk, &[(self.about(Event::AuditEpochDestroyed { epoch, kid }), moment())])?;
            }
        }
        Ok(())
    }

    /// Closed segments, the oldest first, up to one that holds an entry of a consultation that is held; and the time from which on
    /// references must stay of use.
    fn closed_until(&self, disk: &dyn Disk, limit: Micros, now: Micros) -> io::Result<(Vec<Closed>, Micros)> {
        let (_, holds) = holds(disk, &self.place)?;
        let any = holds.any(now);
        let (mut closed, mut kept_from) = (Vec::new(), limit);
        for written in self.closed.iter().filter(|written| written.end > written.first) {
            let mut held = false;
            if any && written.newest < limit {
                let bytes = disk.read(&self.segment_name(written.first))?;
                let entries = segment::read(&bytes).0;
                held = entries.iter().any(|entry| holds.cover(entry, now));
                let first = entries.first().and_then(|entry| Entry::decode(entry).ok());
                kept_from = if held { first.map_or(Micros(0), |entry| entry.stamp.ts) } else { kept_from };
            }
            closed.push(Closed { first: written.first, last: written.end - 1, newest: written.newest, held });
            if held {
                // Nothing behind it can go.
                break;
            }
        }
        Ok((closed, kept_from))
    }

    /// Removes what is older than the limit, on the record's own word. Answers how many entries went.
    pub(super) fn purge(
        &mut self,
        disk: &mut dyn Disk,
        limit: Micros,
        by: By,
        policy: RetentionPolicy,
        moment: &dyn Fn() -> Moment,
    ) -> Result<u64, CommitFault> {
        let held = disk.read(&format!("{}/hold", self.place.folder)).ok();
        let held = held.and_then(|text| Micros::parse(String::from_utf8_lossy(&text).trim()));
        if held.is_some_and(|until| until > moment().stamp.ts) {
            return Ok(0);
        }
        let (closed, kept_from) = self.closed_until(disk, limit, moment().stamp.ts)?;
        let Some(plan) = purge::plan(&closed, limit) else { return Ok(0) };
        let mut frontier = read_base(disk, &self.folder)?;
        let mut leaves = Vec::new();
        for written in self.closed.iter().filter(|written| written.end <= plan.to + 1) {
            let bytes = disk.read(&self.segment_name(written.first))?;
            let count = usize::try_from(written.end - written.first).unwrap_or(usize::MAX);
            leaves.extend(segment::read(&bytes).0.into_iter().take(count).map(leaf_hash));
        }
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let Some(fact) = plan.fact(&leaves, self.place.tenant.clone(), by, policy) else {
            return Err(CommitFault::Io(io::Error::other("the entries to purge do not read")));
        };
        self.checkpoint(disk)?;
        self.commit(disk, &[(fact, moment())])?;
        self.checkpoint(disk)?;
        disk.replace(&format!("{}/frontier", self.folder), write_frontier(&frontier).as_bytes(), false)?;
        remove_purged(disk, &self.folder, plan.to + 1, &mut self.closed)?;
        // A room keeps the references of the month it was created in, and may outlast that month by hours.
        let month = crate::audit::Period::of(Micros(kept_from.0.saturating_sub(2 * Micros::DAY)));
        keys::destroy_pseudonyms(disk, &self.place.folder, month)?;
        Ok(plan.to - plan.from + 1)
    }
}

/// Holds of single consultations, and the file they stand in.
///
/// # Errors
/// What the file system answers; a file that does not read, which must not let anything go.
pub(super) fn holds(disk: &dyn Disk, place: &Place) -> io::Result<(String, Holds)> {
    let name = format!("{}/holds", place.folder);
    let holds = Holds::read(&read_or_nothing(disk, &name)?);
    let unread = || io::Error::other("the file `holds` does not read: nothing is purged until it is mended");
    holds.map(|holds| (name, holds)).ok_or_else(unread)
}

/// Calls a function with every entry of a log and its number, all lineages.
pub(super) fn every_entry(disk: &dyn Disk, place: &Place, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    for lineage in lineages(disk, &place.folder)? {
        let folder = format!("{}/{lineage}", place.folder);
        let mut firsts: Vec<u64> = disk.list(&folder)?.iter().filter_map(|name| segment::first_of(name)).collect();
        firsts.sort_unstable();
        for first in firsts {
            let bytes = disk.read(&format!("{folder}/{}", segment::name(first)))?;
            (first..).zip(segment::read(&bytes).0).for_each(|(seq, entry)| each(seq, entry));
        }
    }
    Ok(())
}

/// Writes a signed head: first where we compare with it, then to the list, then for readers.
fn publish(disk: &mut dyn Disk, folder: &str, note: &str) -> io::Result<()> {
    disk.replace(&format!("{folder}/signed-head"), note.as_bytes(), false)?;
    let list = format!("{folder}/checkpoints.log");
    disk.append(&list, format!("{note}\n").as_bytes())?;
    disk.sync(&list)?;
    disk.replace(&format!("{folder}/checkpoint"), note.as_bytes(), false)
}

fn read_or_nothing(disk: &dyn Disk, name: &str) -> io::Result<String> {
    match disk.read(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Brings the list of checkpoints and the latest up to the last signed head, which is written first. Answers that head.
fn mend_checkpoints(disk: &mut dyn Disk, folder: &str) -> Result<Option<Head>, OpenFault> {
    let head = read_or_nothing(disk, &format!("{folder}/signed-head"))?;
    let list_name = format!("{folder}/checkpoints.log");
    let list = read_or_nothing(disk, &list_name)?;
    let (notes, torn) = split_notes(&list);
    if !torn.is_empty() {
        disk.truncate(&list_name, u64::try_from(list.len() - torn.len()).unwrap_or(0))?;
    }
    let missing = !head.is_empty() && notes.last() != Some(&head.as_str());
    disk.append(&list_name, if missing { format!("{head}\n") } else { String::new() }.as_bytes())?;
    disk.sync(&list_name)?;
    // Its name must be as durable as what is written to it later.
    disk.sync_folder(folder)?;
    if !head.is_empty() {
        disk.replace(&format!("{folder}/checkpoint"), head.as_bytes(), false)?;
    }
    Ok(head_of(&head))
}

fn head_of(note: &str) -> Option<Head> {
    let checkpoint = Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?;
    Some(Head { size: checkpoint.size, root: checkpoint.root })
}

/// The last signed head of another lineage.
fn last_head(disk: &dyn Disk, folder: &str) -> io::Result<Option<Head>> {
    Ok(head_of(&read_or_nothing(disk, &format!("{folder}/signed-head"))?))
}

fn read_base(disk: &dyn Disk, folder: &str) -> io::Result<Frontier> {
    let text = read_or_nothing(disk, &format!("{folder}/frontier"))?;
    if text.is_empty() {
        return Ok(Frontier::default());
    }
    read_frontier(&text).ok_or_else(|| io::Error::other("the frontier file does not read"))
}

/// Finishes a purge: removes segments wholly before the frontier.
fn remove_purged(disk: &mut dyn Disk, folder: &str, base: u64, closed: &mut Vec<Written>) -> io::Result<()> {
    for written in closed.iter().filter(|written| written.end <= base) {
        disk.remove(&format!("{folder}/{}", segment::name(written.first)))?;
    }
    closed.retain(|written| written.end > base);
    disk.sync_folder(folder)
}

/// Reads a log's segments; also says whether there is none yet.
fn recover(
    disk: &mut dyn Disk,
    folder: &str,
    signed: Option<Head>,
) -> Result<(crate::audit::recover::Recovered, bool), OpenFault> {
    let base = read_base(disk, folder)?;
    let mut firsts: Vec<u64> = disk.list(folder)?.iter().filter_map(|name| segment::first_of(name)).collect();
    firsts.sort_unstable();
    let mut recovery = Recovery::new(base.clone(), signed);
    for (at, first) in firsts.iter().enumerate() {
        let bytes = disk.read(&format!("{folder}/{}", segment::name(*first)))?;
        recovery.segment(*first, firsts.get(at + 1).copied(), &bytes)?;
    }
    let mut found = recovery.end()?;
    if let (Some((whole, _)), Some(last)) = (found.torn, found.segments.last()) {
        disk.truncate(&format!("{folder}/{}", segment::name(last.first)), whole)?;
    }
    // A segment nothing was ever written to in whole: the next takes its name.
    if let Some(empty) = found.segments.pop_if(|last| last.end == last.first) {
        disk.remove(&format!("{folder}/{}", segment::name(empty.first)))?;
    }
    if found.segments.first().is_some_and(|first| first.end <= base.size()) {
        remove_purged(disk, folder, base.size(), &mut found.segments)?;
    }
    let is_new = found.state.next() == 0;
    Ok((found, is_new))
}
