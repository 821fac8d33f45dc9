//! What a log's files say when a node starts again: where to go on, or that somebody was there.
//!
//! A torn end that was never acknowledged is cut. Everything else that does not fit is not repaired but reported: the log
//! stays closed until two persons accept the break, and a new lineage begins.

use super::event::Event;
use super::log::{Head, State};
use super::record::Entry;
use super::segment::{self, Tail};
use super::tree::Frontier;
use super::types::Micros;
use super::words::IntegrityFault;

/// A log whose files are whole.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Its end.
    pub state: State,
    /// The epoch its last entries stand in.
    pub epoch: Option<u32>,
    /// The time of its newest entry.
    pub newest: Option<Micros>,
    /// Bytes of the last segment that are whole, when a torn end must be cut behind them, and how many are torn.
    pub torn: Option<(u64, u64)>,
    /// Whether the last event of the node itself says that it stopped in order.
    pub clean: bool,
    /// What purges and holds need to know of its segments, the oldest first.
    pub segments: Vec<Written>,
}

/// A segment as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its first entry.
    pub first: u64,
    /// Behind its last entry.
    pub end: u64,
    /// The time of its newest entry.
    pub newest: Micros,
}

/// What does not fit, and at which entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log is damaged at entry {at} ({})", kind.as_str())]
pub struct Damage {
    /// Where.
    pub at: u64,
    /// What.
    pub kind: IntegrityFault,
}

/// Reads the segments of a log, the oldest first, behind its frontier; `signed` is the last signed head.
#[derive(Clone, Debug)]
pub struct Recovery {
    found: Recovered,
    base: u64,
    next: Option<u64>,
    signed: Option<Head>,
}

impl Recovery {
    /// Begins behind the frontier.
    #[must_use]
    pub fn new(frontier: Frontier, signed: Option<Head>) -> Self {
        let base = frontier.size();
        let state = State { tree: frontier, ..State::default() };
        Self { found: Recovered { state, clean: true, ..Recovered::default() }, base, next: None, signed }
    }

    /// Reads one segment; `next` is where the one behind it begins.
    ///
    /// # Errors
    /// [`Damage`] when its bytes are not what was written.
    pub fn segment(&mut self, first: u64, next: Option<u64>, bytes: &[u8]) -> Result<(), Damage> {
        let expected = *self.next.get_or_insert(first);
        if first != expected || first > self.base && self.found.segments.is_empty() {
            return Err(Damage { at: expected.min(self.base.max(first)), kind: IntegrityFault::Gap });
        }
        let (entries, tail) = segment::read(bytes);
        let mut length = 0;
        let mut newest = Micros::default();
        for entry in entries {
            if next.is_some() && self.next == next {
                break;
            }
            newest = newest.max(self.entry(entry)?);
            length += segment::HEAD + entry.len();
        }
        let at = self.next.unwrap_or(first);
        match (next, tail) {
            (Some(next), _) if at < next => return Err(Damage { at, kind: IntegrityFault::Gap }),
            (Some(_), _) | (None, Tail::Whole) => {}
            (None, Tail::Broken { .. }) => return Err(Damage { at, kind: IntegrityFault::Frame }),
            (None, Tail::Torn { at }) => {
                let whole = u64::try_from(at).unwrap_or(u64::MAX);
                let torn = u64::try_from(bytes.len() - at.min(bytes.len())).unwrap_or(u64::MAX);
                self.found.torn = Some((whole, torn));
            }
        }
        debug_assert!(length <= bytes.len(), "entries are parts of the segment");
        self.found.segments.push(Written { first, end: at, newest });
        Ok(())
    }

    fn entry(&mut self, bytes: &[u8]) -> Result<Micros, Damage> {
        let at = self.next.unwrap_or_default();
        let damage = |kind| Damage { at, kind };
        let entry = Entry::decode(bytes).map_err(|_| damage(IntegrityFault::Form))?;
        let chained = entry.prev == self.found.state.head || self.found.segments.is_empty() && at > 0 && self.is_first(at);
        if entry.seq != at || !chained {
            return Err(damage(IntegrityFault::Chain));
        }
        if at >= self.base {
            self.found.state.push(bytes);
        } else {
            self.found.state.head = super::tree::leaf_hash(bytes);
        }
        self.next = Some(at + 1);
        if let Event::AuditEpochStarted { epoch, .. } = entry.fact.event {
            self.found.epoch = Some(epoch);
        }
        match entry.fact.event.name() {
            "node.stopped" => self.found.clean = true,
            "node.started" => self.found.clean = false,
            _ => {}
        }
        self.found.newest = self.found.newest.max(Some(entry.stamp.ts));
        let signed = self.signed.filter(|head| head.size == at + 1);
        if signed.is_some_and(|head| at >= self.base && head.root != self.found.state.tree.root()) {
            return Err(damage(IntegrityFault::Tree));
        }
        Ok(entry.stamp.ts)
    }

    /// Whether this is the very first entry read.
    fn is_first(&self, at: u64) -> bool {
        self.found.newest.is_none() && self.next == Some(at)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Damage`] when entries are missing that were signed.
    pub fn end(self) -> Result<Recovered, Damage> {
        let next = self.found.state.next();
        if self.signed.is_some_and(|head| head.size > next) {
            return Err(Damage { at: next, kind: IntegrityFault::Gap });
        }
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Checkpoint, split_notes};
    use super::super::note::Note;
    use super::super::samples::{self, Files, Shape};
    use super::*;

    const SHAPE: Shape = Shape { seed: 4, events: 30, days: 2, purged_days: 0 };

    fn signed(files: &Files) -> Option<Head> {
        let text = String::from_utf8(files["checkpoints.log"].clone()).unwrap();
        let last = Checkpoint::parse(Note::parse(split_notes(&text).0.last()?).ok()?.text()).ok()?;
        Some(Head { size: last.size, root: last.root })
    }

    fn recover(files: &Files, signed: Option<Head>) -> Result<Recovered, Damage> {
        let frontier = files.get("frontier").map(|text| String::from_utf8(text.clone()).unwrap());
        let frontier = frontier.map_or_else(Frontier::default, |text| super::super::purge::read_frontier(&text).unwrap());
        let mut recovery = Recovery::new(frontier, signed);
        let segments: Vec<_> = files.iter().filter_map(|(name, bytes)| Some((segment::first_of(name)?, bytes))).collect();
        for (at, (first, bytes)) in segments.iter().enumerate() {
            recovery.segment(*first, segments.get(at + 1).map(|(first, _)| *first), bytes)?;
        }
        recovery.end()
    }

    #[test]
    fn a_whole_log_goes_on_where_it_ended() {
        for purged_days in [0, 1] {
            let files = samples::files(Shape { purged_days, ..SHAPE }).unwrap();
            let head = signed(&files).unwrap();
            let found = recover(&files, Some(head)).unwrap();
            assert_eq!((found.state.next(), found.state.tree.root()), (head.size, head.root));
            assert_eq!(found.epoch.map(u64::from), Some(samples::FIRST_DAY + 1));
            assert_eq!(found.torn, None);
        }
    }

    #[test]
    fn cut_anywhere_the_end_is_torn_or_signed_entries_are_missed() {
        let files = samples::files(SHAPE).unwrap();
        let name = files.keys().rfind(|name| name.starts_with("seg-")).unwrap().clone();
        let first = segment::first_of(&name).unwrap();
        let whole = files[&name].clone();
        let mut state = State::default();
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("seg-")) {
            let most = if *name == segment::name(first) { 2 } else { usize::MAX };
            segment::read(bytes).0.into_iter().take(most).for_each(|entry| state.push(entry));
        }
        let head = Head { size: state.next(), root: state.tree.root() };
        for cut in 0..=whole.len() {
            let mut files = files.clone();
            files.insert(name.clone(), whole[..cut].to_vec());
            let read = segment::read(&whole[..cut]);
            let count = first + u64::try_from(read.0.len()).unwrap();
            let whole_bytes: usize = read.0.iter().map(|entry| entry.len() + segment::HEAD).sum();
            match recover(&files, Some(head)) {
                Err(damage) => assert!(count < head.size && damage.kind == IntegrityFault::Gap, "cut at {cut}"),
                Ok(found) => {
                    assert_eq!(found.state.next(), count, "cut at {cut}");
                    let torn =
                        (cut > whole_bytes).then(|| (whole_bytes.try_into().unwrap(), (cut - whole_bytes).try_into().unwrap()));
                    assert_eq!(found.torn, torn, "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn damage_is_told_and_not_mended() {
        let files = samples::files(SHAPE).unwrap();
        let names: Vec<_> = files.keys().filter(|name| name.starts_with("seg-")).cloned().collect();
        let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut files = files.clone();
            change(files.get_mut(name).unwrap());
            recover(&files, signed(&files)).map(|_| ()).map_err(|damage| damage.kind)
        };
        assert_eq!(with(&names[1], &|bytes| bytes[40] ^= 1), Err(IntegrityFault::Frame));
        assert_eq!(with(&names[0], &|bytes| bytes.truncate(100)), Err(IntegrityFault::Gap));
        let mut forged = signed(&files).unwrap();
        forged.root.0[0] ^= 1;
        assert_eq!(recover(&files, Some(forged)).map(|_| ()).map_err(|damage| damage.kind), Err(IntegrityFault::Tree));
        let mut fewer = files.clone();
        fewer.remove(&names[0]);
        assert!(recover(&fewer, signed(&files)).is_err());
    }
}
