//! Checks a log from a copy of its files and the root's public key: offline, without a secret, trusting nothing it reads.
//!
//! What is asked of a log, in short: every entry is canonical and follows the one before; the tree over the entries has
//! the roots that were signed; every head is signed by the key of the day it stands in, and a day ends with a head over all
//! its entries; what is missing at the front was purged by the record's own word.
//!
//! Entry point: [`verify`]. The pages of the reference say what each [`Code`] means.

mod report;
mod scan;
mod seals;
#[cfg(test)]
mod tests;

pub use report::{Code, Finding, Report};

use super::checkpoint::Checkpoint;
use super::note::{Note, PublicKey};
use super::purge::read_frontier;
use super::segment;
use super::tree::Frontier;
use super::types::Micros;
use seals::Seals;

/// Where a log's files come from: a folder, or a copy in memory.
pub trait Files {
    /// The names of all files, those below `epochs/` with that in front.
    ///
    /// # Errors
    /// A text for people when the folder cannot be read.
    fn names(&self) -> Result<Vec<String>, String>;

    /// The bytes of a file.
    ///
    /// # Errors
    /// A text for people when it cannot be read.
    fn read(&self, name: &str) -> Result<Vec<u8>, String>;
}

impl Files for super::samples::Files {
    fn names(&self) -> Result<Vec<String>, String> {
        Ok(self.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self.get(name).cloned().ok_or_else(|| format!("{name} is missing"))
    }
}

/// What the verifier knows from elsewhere.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The root's public key.
    pub root: PublicKey,
    /// A revocation note, if the root made one.
    pub revocation: Option<String>,
    /// Checkpoints of this log seen earlier, whole notes.
    pub older: Vec<String>,
    /// Checkpoints kept by witnesses, whole notes.
    pub witnessed: Vec<String>,
    /// Keys of which each witnessed checkpoint must be cosigned by one; empty when witnesses only keep.
    pub witness_keys: Vec<PublicKey>,
}

impl Trust {
    /// Only a root key.
    #[must_use]
    pub fn of(root: PublicKey) -> Self {
        Self { root, revocation: None, older: Vec::new(), witnessed: Vec::new(), witness_keys: Vec::new() }
    }
}

/// Checks a log.
///
/// # Errors
/// A text for people when a file cannot be read at all; what is wrong inside the files is in the report.
pub fn verify(files: &impl Files, trust: &Trust) -> Result<Report, String> {
    let names = files.names()?;
    let mut report = Report::default();
    let mut seals = Seals::read(files, &names, trust, &mut report)?;
    let base = match names.iter().any(|name| name == "frontier") {
        true => frontier(&files.read("frontier")?, &mut report),
        false => Frontier::default(),
    };
    let mut segments: Vec<_> = names.iter().filter_map(|name| Some((segment::first_of(name)?, name.clone()))).collect();
    segments.sort();
    let mut scan = scan::Scan::new(base, &mut seals, &mut report);
    for (at, (first, name)) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map(|(first, _)| *first);
        if !scan.segment(*first, next, &files.read(name)?) {
            break;
        }
    }
    let end = scan.end();
    seals.finish(&end, &mut report);
    witness(&seals, &end, trust, &mut report);
    report.settle();
    Ok(report)
}

/// Where a scan came to.
#[derive(Clone, Debug, Default)]
struct End {
    /// Number of entries, purged ones included.
    size: u64,
    /// Where the tree's known leaves begin.
    base: u64,
    /// The time of the last entry.
    newest: Option<Micros>,
    /// Whether the scan ended early at a fault.
    stopped: bool,
}

fn frontier(bytes: &[u8], report: &mut Report) -> Frontier {
    let read = std::str::from_utf8(bytes).ok().and_then(read_frontier);
    read.unwrap_or_else(|| {
        report.find(Code::Content, "the frontier file does not read", None);
        Frontier::default()
    })
}

/// Compares with what others have seen, and says how much nobody has.
fn witness(seals: &Seals, end: &End, trust: &Trust, report: &mut Report) {
    for note in &trust.older {
        if compare(note, &[], seals, end, report).is_none() {
            report.find(Code::Inconsistent, "an older checkpoint contradicts the log", None);
        }
    }
    let mut witnessed = None;
    for note in &trust.witnessed {
        match compare(note, &trust.witness_keys, seals, end, report) {
            Some(size) => witnessed = witnessed.max(Some(size)),
            None => report.find(Code::Inconsistent, "a witnessed checkpoint contradicts the log", None),
        }
    }
    let size = witnessed.unwrap_or_else(|| end.base.min(end.size));
    report.unwitnessed_entries = end.size.saturating_sub(size);
    let seen = seals.time_at(size);
    let newest = end.newest.unwrap_or_default();
    report.unwitnessed_seconds = newest.secs().saturating_sub(seen.or_else(|| seals.time_at(end.base)).unwrap_or(newest).secs());
    if witnessed.is_some() && report.unwitnessed_entries > 0 {
        report.find(Code::Warning, "entries after the last witnessed checkpoint", Some(size));
    }
}

/// The size of a checkpoint seen elsewhere, if it is this log's and agrees with it.
fn compare(note: &str, keys: &[PublicKey], seals: &Seals, end: &End, report: &mut Report) -> Option<u64> {
    let note = Note::parse(note).ok()?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    let cosigned = keys.is_empty() || keys.iter().any(|key| note.is_signed_by(key));
    if !cosigned || !seals.is_own(&note, &checkpoint) || checkpoint.size > end.size {
        return None;
    }
    if checkpoint.size < end.base {
        report.note("an older checkpoint lies before the purge; only the list of checkpoints speaks for it");
        return seals.lists(&checkpoint).then_some(checkpoint.size);
    }
    seals.agrees(&checkpoint).then_some(checkpoint.size)
}
