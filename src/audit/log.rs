//! One log as a state machine: facts go in, frames and notes come out; where bytes go is decided above.
//!
//! The order of an epoch's change is part of the format: last checkpoint of the old epoch over every entry, then
//! `audit.epoch_started` as the next entry, then the old key is destroyed. A verifier asks for exactly that.

use super::Refused;
use super::checkpoint::{Checkpoint, EpochKey, epoch_of};
use super::event::Event;
use super::note::Note;
use super::record::{Actor, Eid, Entry, Fact, Source};
use super::segment;
use super::tree::{Frontier, leaf_hash};
use super::types::{Hash, Micros, Stamp, Word};

/// Most entries without a checkpoint.
pub const CHECKPOINT_ENTRIES: u64 = 1_024;

/// Longest time an entry stays without a checkpoint, in nanoseconds.
pub const CHECKPOINT_AFTER: u64 = 10 * 1_000_000_000;

/// The end of a log: all that is needed to append to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The hash of the last entry.
    pub head: Hash,
    /// The tree over all entries.
    pub tree: Frontier,
}

impl State {
    /// Takes an entry's bytes in.
    pub fn push(&mut self, entry: &[u8]) {
        self.head = leaf_hash(entry);
        self.tree.push(self.head);
    }

    /// Number of entries, which is the place of the next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.tree.size()
    }
}

impl Default for Hash {
    /// All zero: what stands before the first entry.
    fn default() -> Self {
        Self([0; 32])
    }
}

/// A head that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

/// A time and what chance an entry's id needs.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time.
    pub stamp: Stamp,
    /// Random bytes.
    pub random: [u8; 10],
}

/// Why a log did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// The fact cannot stand in the record.
    #[error("the event cannot be recorded: {0}")]
    Refused(#[from] Refused),
    /// Nothing can be signed, because no epoch has begun.
    #[error("no epoch has begun")]
    NoEpoch,
    /// The epoch is not later than the one before, or not that of the present day.
    #[error("the epoch does not fit the day")]
    WrongEpoch,
    /// Entries of the old epoch are not yet signed.
    #[error("entries of the ending epoch are not yet signed")]
    Unsigned,
    /// What would be signed contradicts what was signed: the log was changed behind our back.
    #[error("the log contradicts its last signed head")]
    Inconsistent,
}

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    origin: Word,
    source: Source,
    state: State,
    signed: Option<Head>,
    epoch: Option<EpochKey>,
    /// When the oldest entry without a checkpoint was written, in nanoseconds since the machine started.
    unsigned_since: Option<u64>,
}

impl Log {
    /// A log as it was found: its end and its last signed head.
    #[must_use]
    pub fn new(origin: Word, source: Source, state: State, signed: Option<Head>) -> Self {
        // Entries a crash left without a checkpoint are due at once.
        let unsigned_since = (state.next() > signed.map_or(0, |head| head.size)).then_some(0);
        Self { origin, source, state, signed, epoch: None, unsigned_since }
    }

    /// The origin.
    #[must_use]
    pub fn origin(&self) -> &Word {
        &self.origin
    }

    /// Number of entries.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.state.next()
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> Option<u32> {
        self.epoch.as_ref().map(|key| key.epoch)
    }

    /// The last signed head.
    #[must_use]
    pub fn signed(&self) -> Option<Head> {
        self.signed
    }

    /// The end of the log, to come back to when what follows could not be written.
    #[must_use]
    pub fn mark(&self) -> State {
        self.state.clone()
    }

    /// Forgets what was appended since a mark, because it never became durable.
    pub fn rewind(&mut self, mark: State) {
        debug_assert!(self.signed.is_none_or(|head| head.size <= mark.next()), "what is signed is durable");
        self.state = mark;
    }

    /// Appends a fact: its frame is added to `out`. Answers its place.
    ///
    /// # Errors
    /// [`Refused`] when the fact cannot stand in the record; nothing has changed then.
    pub fn append(&mut self, fact: &Fact, moment: Moment, out: &mut Vec<u8>) -> Result<u64, Refused> {
        let entry = Entry {
            log: self.origin.clone(),
            seq: self.next(),
            prev: self.state.head,
            eid: Eid::new(moment.stamp.ts, moment.random),
            stamp: moment.stamp,
            source: self.source.clone(),
            fact: fact.clone(),
        };
        let bytes = entry.encode()?;
        segment::frame(&bytes, out);
        self.state.push(&bytes);
        self.unsigned_since.get_or_insert(moment.stamp.mono);
        Ok(entry.seq)
    }

    /// Whether a checkpoint is due.
    #[must_use]
    pub fn checkpoint_due(&self, mono: u64) -> bool {
        let unsigned = self.next() - self.signed.map_or(0, |head| head.size);
        let waited = self.unsigned_since.map_or(0, |since| mono.saturating_sub(since));
        self.epoch.is_some() && unsigned > 0 && (unsigned >= CHECKPOINT_ENTRIES || waited >= CHECKPOINT_AFTER)
    }

    /// Signs the present head; nothing when it is signed already.
    ///
    /// Every entry must be durable before this is called, and the note must be before it is published.
    ///
    /// # Errors
    /// [`LogFault::NoEpoch`] without a key, [`LogFault::Inconsistent`] when the tree is smaller than what was signed or
    /// differs from it.
    pub fn checkpoint(&mut self) -> Result<Option<Note>, LogFault> {
        let epoch = self.epoch.as_ref().ok_or(LogFault::NoEpoch)?;
        let head = Head { size: self.next(), root: self.state.tree.root() };
        match self.signed {
            Some(signed) if signed == head => return Ok(None),
            Some(signed) if signed.size >= head.size => return Err(LogFault::Inconsistent),
            Some(_) | None => {}
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: head.size, root: head.root };
        self.signed = Some(head);
        self.unsigned_since = None;
        Ok(Some(epoch.key.sign(checkpoint.to_text())))
    }

    /// Whether the epoch is that of another day.
    #[must_use]
    pub fn epoch_is_over(&self, now: Micros) -> bool {
        self.epoch().is_none_or(|epoch| epoch_of(now) > epoch)
    }

    /// Begins an epoch: takes its key and appends `audit.epoch_started`. Answers the key before, to be destroyed.
    ///
    /// # Errors
    /// [`LogFault::Unsigned`] when the old epoch has not signed its last entry, [`LogFault::WrongEpoch`] when the key is
    /// not later than the old one or not of this day, [`LogFault::Refused`] never in practice.
    pub fn begin_epoch(
        &mut self,
        key: EpochKey,
        tenant: Option<Word>,
        moment: Moment,
        out: &mut Vec<u8>,
    ) -> Result<Option<EpochKey>, LogFault> {
        if self.epoch.is_some() && self.signed.is_none_or(|head| head.size != self.next()) {
            return Err(LogFault::Unsigned);
        }
        let fits = key.key.public().name() == &self.origin
            && key.certificate().covers(moment.stamp.ts)
            && self.epoch().is_none_or(|old| key.epoch > old);
        if !fits {
            return Err(LogFault::WrongEpoch);
        }
        let kid = Word::new(&key.key.public().id_text())?;
        let event = Event::AuditEpochStarted { epoch: key.epoch, kid };
        let fact = Fact { tenant, ..Fact::of_node(Actor::System, event) };
        self.append(&fact, moment, out)?;
        Ok(self.epoch.replace(key))
    }

    /// Ends the epoch without another: nothing is signed until the next begins.
    pub fn end_epoch(&mut self) {
        self.epoch = None;
    }

    /// Goes on with the epoch that was running when the process ended.
    ///
    /// # Errors
    /// [`LogFault::WrongEpoch`] when the key is not this log's.
    pub fn resume_epoch(&mut self, key: EpochKey) -> Result<(), LogFault> {
        if key.key.public().name() != &self.origin {
            return Err(LogFault::WrongEpoch);
        }
        self.epoch = Some(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::PrivateKey;
    use super::super::samples;
    use super::*;

    #[test]
    fn a_checkpoint_is_due_after_entries_or_time() {
        let mut log = samples::log(1);
        let day = samples::FIRST_DAY;
        assert!(!log.checkpoint_due(u64::MAX), "no epoch yet");
        let mut out = Vec::new();
        log.begin_epoch(samples::epoch_key(&log, day), None, samples::moment(day, 0), &mut out).unwrap();
        let mono = samples::moment(day, 0).stamp.mono;
        assert!(!log.checkpoint_due(mono + CHECKPOINT_AFTER - 1));
        assert!(log.checkpoint_due(mono + CHECKPOINT_AFTER));
        assert!(log.checkpoint().unwrap().is_some());
        assert_eq!(log.checkpoint().unwrap(), None, "nothing new");
        for number in 0..CHECKPOINT_ENTRIES {
            assert!(!log.checkpoint_due(mono));
            log.append(&samples::fact(number), samples::moment(day, 0), &mut out).unwrap();
        }
        assert!(log.checkpoint_due(mono));
    }

    #[test]
    fn an_epoch_ends_with_everything_signed() {
        let mut log = samples::log(1);
        let (day, mut out) = (samples::FIRST_DAY, Vec::new());
        log.begin_epoch(samples::epoch_key(&log, day), None, samples::moment(day, 0), &mut out).unwrap();
        let next = samples::epoch_key(&log, day + 1);
        let fault = log.begin_epoch(next, None, samples::moment(day + 1, 0), &mut out).unwrap_err();
        assert_eq!(fault, LogFault::Unsigned);
        log.checkpoint().unwrap();
        let same = samples::epoch_key(&log, day);
        assert_eq!(log.begin_epoch(same, None, samples::moment(day, 1), &mut out).unwrap_err(), LogFault::WrongEpoch);
        let early = samples::epoch_key(&log, day + 2);
        assert_eq!(log.begin_epoch(early, None, samples::moment(day + 1, 0), &mut out).unwrap_err(), LogFault::WrongEpoch);
        let next = samples::epoch_key(&log, day + 1);
        let old = log.begin_epoch(next, None, samples::moment(day + 1, 0), &mut out).unwrap();
        assert_eq!(old.map(|key| u64::from(key.epoch)), Some(day));
        let foreign = EpochKey { epoch: 1, key: PrivateKey::new(Word::new("other").unwrap(), [1; 32]).unwrap() };
        assert_eq!(log.resume_epoch(foreign), Err(LogFault::WrongEpoch));
    }

    #[test]
    fn a_head_that_contradicts_the_last_one_is_not_signed() {
        let mut log = samples::log(1);
        let (day, mut out) = (samples::FIRST_DAY, Vec::new());
        log.begin_epoch(samples::epoch_key(&log, day), None, samples::moment(day, 0), &mut out).unwrap();
        let head = Head { size: 1, root: Hash([9; 32]) };
        let mut again = Log::new(log.origin.clone(), log.source.clone(), log.mark(), Some(head));
        again.resume_epoch(samples::epoch_key(&log, day)).unwrap();
        assert_eq!(again.checkpoint(), Err(LogFault::Inconsistent));
    }

    #[test]
    fn what_never_became_durable_is_forgotten() {
        let mut log = samples::log(1);
        let mut first = Vec::new();
        let mark = log.mark();
        log.append(&samples::fact(1), samples::moment(samples::FIRST_DAY, 0), &mut first).unwrap();
        log.rewind(mark);
        let mut second = Vec::new();
        assert_eq!(log.append(&samples::fact(1), samples::moment(samples::FIRST_DAY, 0), &mut second), Ok(0));
        assert_eq!(first, second, "the same fact makes the same frame");
    }
}
