//! Entries of a log's files within a time. The log has been verified before; this only finds and filters.

use super::Stored;
use crate::audit::purge::read_frontier;
use crate::audit::segment;
use crate::audit::tree::{Frontier, Leaves, leaf_hash};
use crate::audit::types::Micros;
use crate::audit::verify::Files;
use std::collections::BTreeSet;

/// A time, the end not included. Every reading is bounded by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First moment.
    pub from: Micros,
    /// First moment after.
    pub to: Micros,
}

impl Period {
    /// Whether an entry lies in it.
    #[must_use]
    pub fn holds(&self, entry: &Stored) -> bool {
        Micros::parse(entry.text("ts")).is_some_and(|at| self.from <= at && at < self.to)
    }
}

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All.
    All,
    /// Those of one consultation, by its reference `c-…`.
    Consultation(String),
    /// Those of the rooms one participant was in, by its reference `p-…`.
    Participant(String),
}

/// Calls a function with every entry and its number, segment by segment.
///
/// # Errors
///
/// A text for people when a file cannot be read, or an entry cannot.
pub fn every(files: &impl Files, mut each: impl FnMut(u64, &[u8]) -> Result<(), String>) -> Result<(), String> {
    let names = files.names()?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| Some((segment::first_of(name)?, name))).collect();
    segments.sort();
    for (at, (first, name)) in segments.iter().enumerate() {
        // A segment that could not be made durable was given up, and what it held unsaid stands again in the next.
        let most = segments.get(at + 1).map_or(u64::MAX, |(next, _)| next - first);
        let bytes = files.read(name)?;
        // A torn tail was reported by the verifier; it holds nothing that was ever acknowledged.
        let (entries, _) = segment::read(&bytes);
        for (seq, entry) in (*first..).zip(entries).take(usize::try_from(most).unwrap_or(usize::MAX)) {
            each(seq, entry)?;
        }
    }
    Ok(())
}

/// The leaves of the tree.
///
/// # Errors
///
/// A text for people.
pub fn leaves(files: &impl Files) -> Result<Leaves, String> {
    let base = match files.names()?.iter().any(|name| name == "frontier") {
        true => String::from_utf8(files.read("frontier")?).ok().and_then(|text| read_frontier(&text)),
        false => Some(Frontier::default()),
    };
    let base = base.ok_or("the frontier file does not read")?;
    let (start, mut rest) = (base.size(), Vec::new());
    every(files, |seq, entry| {
        if seq >= start {
            rest.push(leaf_hash(entry));
        }
        Ok(())
    })?;
    Ok(Leaves::new(base, rest))
}

/// Calls a function with every entry of a choice within a time, in the order of the log.
///
/// # Errors
///
/// A text for people, from a file, an entry or the function.
pub fn chosen(
    files: &impl Files,
    period: Period,
    select: &Select,
    mut each: impl FnMut(Stored) -> Result<(), String>,
) -> Result<(), String> {
    let read = |seq: u64, bytes: &[u8]| Stored::read(bytes).map_err(|error| format!("entry {seq}: {error}"));
    let mut rooms = BTreeSet::new();
    if *select != Select::All {
        every(files, |seq, bytes| {
            let entry = read(seq, bytes)?;
            if mentions(&entry, select) {
                rooms.extend(entry.optional("room").map(str::to_owned));
            }
            Ok(())
        })?;
    }
    every(files, |seq, bytes| {
        let entry = read(seq, bytes)?;
        let in_room = || entry.optional("room").is_some_and(|room| rooms.contains(room));
        let wanted = *select == Select::All || mentions(&entry, select) || in_room();
        if wanted && period.holds(&entry) { each(entry) } else { Ok(()) }
    })
}

fn mentions(entry: &Stored, select: &Select) -> bool {
    match select {
        Select::All => true,
        Select::Consultation(reference) => entry.optional("consult") == Some(reference),
        Select::Participant(reference) => {
            entry.actor().reference == reference || entry.object().is_some_and(|object| object.reference == reference)
        }
    }
}
