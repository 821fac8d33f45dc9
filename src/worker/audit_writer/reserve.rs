//! What happened while the log could not be written: kept in a file whose space was taken long before, or else in memory.
//!
//! Facts lie there as entries without a place in a chain; they get one, with their own times, when the log is back.

use super::disk::Disk;
use crate::audit::log::Moment;
use crate::audit::record::{Eid, Entry, Fact, Source};
use crate::audit::segment;
use crate::audit::types::{Hash, Word};
use std::collections::VecDeque;
use std::io;

/// Name of the file.
pub(super) const FILE: &str = "reserve";

/// Most facts in memory when the file fails as well: 4 MiB of entries of the usual length.
const MOST_IN_MEMORY: usize = (4 << 20) / 800;

/// The reserve.
#[derive(Debug)]
pub(super) struct Reserve {
    size: u64,
    used: u64,
    memory: VecDeque<(Fact, Moment)>,
    origin: Word,
    source: Source,
}

impl Reserve {
    /// Takes its space, and finds what a process before this one left in it.
    pub(super) fn open(disk: &mut dyn Disk, size: u64, origin: Word, source: Source) -> io::Result<Self> {
        let mut reserve = Self { size, used: 0, memory: VecDeque::new(), origin, source };
        if size > 0 {
            disk.allocate(FILE, size)?;
            let bytes = disk.read(FILE)?;
            let whole: usize = segment::read(&bytes).0.iter().map(|entry| entry.len() + segment::HEAD).sum();
            reserve.used = u64::try_from(whole).unwrap_or(u64::MAX);
        }
        Ok(reserve)
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0 && self.memory.is_empty()
    }

    /// Keeps a fact. Answers whether there was room for it.
    pub(super) fn keep(&mut self, disk: &mut dyn Disk, fact: Fact, moment: Moment) -> bool {
        let entry = Entry {
            log: self.origin.clone(),
            seq: 0,
            prev: Hash::default(),
            eid: Eid::new(moment.stamp.ts, moment.random),
            stamp: moment.stamp,
            source: self.source.clone(),
            fact,
        };
        let Ok(bytes) = entry.encode() else { return false };
        let mut frame = Vec::new();
        segment::frame(&bytes, &mut frame);
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if self.used.saturating_add(length) <= self.size && disk.write_at(FILE, self.used, &frame).is_ok() {
            self.used += length;
            return true;
        }
        let fits = self.memory.len() < MOST_IN_MEMORY;
        if fits {
            self.memory.push_back((entry.fact, moment));
        }
        fits
    }

    /// All that is kept, in the order it happened.
    pub(super) fn kept(&self, disk: &dyn Disk) -> io::Result<Vec<(Fact, Moment)>> {
        let mut kept: Vec<_> = self.memory.iter().cloned().collect();
        if self.used > 0 {
            let bytes = disk.read(FILE)?;
            let entries = segment::read(&bytes).0;
            let entries = entries.into_iter().filter_map(|entry| Entry::decode(entry).ok());
            kept.extend(entries.map(|entry| (entry.fact, Moment { stamp: entry.stamp, random: entry.eid.random() })));
        }
        kept.sort_by_key(|(_, moment)| moment.stamp.ts);
        Ok(kept)
    }

    /// Forgets what was kept, because it is in the log now.
    pub(super) fn clear(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        if self.used > 0 {
            disk.write_at(FILE, 0, &vec![0; usize::try_from(self.used).unwrap_or(0)])?;
            self.used = 0;
        }
        self.memory.clear();
        Ok(())
    }
}
