//! Reads the entries of all segments in order.

use super::super::json::{self, Object, Value, read_number};
use super::super::record::VERSION;
use super::super::segment::{self, Tail};
use super::super::tree::{Frontier, leaf_hash};
use super::super::types::{Hash, Micros, unhex};
use super::End;
use super::report::{Code, Report};
use super::seals::Seals;

/// How much earlier than the newest an entry may be: what producers and queues put out of order.
const OUT_OF_ORDER: u64 = 1_000_000;

/// What the scan needs of an entry.
struct Seen {
    log: String,
    seq: u64,
    prev: Hash,
    at: Micros,
    event: String,
    unsynced: bool,
    data: Object,
}

/// A scan over the entries.
pub(super) struct Scan<'a> {
    seals: &'a mut Seals,
    report: &'a mut Report,
    tree: Frontier,
    base: u64,
    /// The place of the next entry; unknown before the first.
    next: Option<u64>,
    head: Hash,
    /// The chain's hash where the frontier begins.
    head_at_base: Option<Hash>,
    epoch: Option<u32>,
    newest: Option<Micros>,
    /// Entries that are earlier than those before them, not yet explained.
    late: u64,
    purged: Option<(u64, Hash)>,
    /// A segment ended in bytes that no longer count; the next must say why.
    abandoned: bool,
    stopped: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(tree: Frontier, seals: &'a mut Seals, report: &'a mut Report) -> Self {
        let base = tree.size();
        let (head, head_at_base) = (Hash::default(), None);
        let scan = Self {
            seals,
            report,
            tree,
            base,
            next: None,
            head,
            head_at_base,
            epoch: None,
            newest: None,
            late: 0,
            purged: None,
            abandoned: false,
            stopped: false,
        };
        if base > 0 && scan.seals.wants(base) {
            scan.seals.at(base, scan.tree.root(), None, None, scan.report);
        }
        scan
    }

    fn fail(&mut self, code: Code, what: &'static str, at: u64) -> bool {
        self.report.find(code, what, Some(at));
        self.stopped = true;
        false
    }

    /// Reads a segment; `next` is where the one behind it begins. Answers whether to go on.
    pub(super) fn segment(&mut self, first: u64, next: Option<u64>, bytes: &[u8]) -> bool {
        let expected = self.next.unwrap_or(first);
        if self.next.is_none() {
            self.report.first = Some(first);
            if first > self.base {
                return self.fail(Code::Gap, "entries are missing at the front", self.base);
            }
        }
        if first > expected {
            return self.fail(Code::Gap, "entries are missing between segments", expected);
        }
        if first < expected {
            return self.fail(Code::Content, "segments overlap", first);
        }
        self.next = Some(expected);
        let was_abandoned = std::mem::take(&mut self.abandoned);
        let (entries, tail) = segment::read(bytes);
        let read: Vec<_> = entries.iter().map(|entry| see(entry)).collect();
        let places: Vec<_> = read.iter().map(|seen| seen.as_ref().map(|seen| seen.seq)).collect();
        let mut explained = false;
        let mut taken = 0;
        for (entry, seen) in entries.iter().zip(read) {
            if next.is_some() && self.next == next {
                break;
            }
            explained |= seen.as_ref().is_some_and(|seen| EXPLAINS.contains(&seen.event.as_str()));
            if !self.entry(entry, seen, places.get(taken..).unwrap_or_default()) {
                return false;
            }
            taken += 1;
        }
        if was_abandoned && !explained {
            return self.fail(Code::Content, "a segment ends in bytes that nothing explains", expected);
        }
        let at = self.next.unwrap_or(expected);
        self.abandoned = next.is_some() && (taken < entries.len() || tail != Tail::Whole);
        match (next, tail) {
            (Some(next), Tail::Whole) if at < next => self.fail(Code::Gap, "entries are missing at a segment's end", at),
            (Some(next), _) if at < next => self.fail(Code::Content, "a frame does not read", at),
            (Some(_), _) | (None, Tail::Whole) => true,
            (None, Tail::Torn { .. }) => {
                self.report.find(Code::Torn, "the last segment ends in the middle of a write", Some(at));
                true
            }
            (None, Tail::Broken { .. }) => self.fail(Code::Content, "a frame does not read", at),
        }
    }

    fn entry(&mut self, bytes: &[u8], seen: Option<Seen>, places: &[Option<u64>]) -> bool {
        let expected = self.next.unwrap_or_default();
        let Some(seen) = seen else { return self.fail(Code::Content, "an entry is not canonical", expected) };
        if seen.seq != expected {
            // What is missing here may stand further on: then somebody moved it.
            let gap = seen.seq > expected && !places.contains(&Some(expected));
            return if gap {
                self.fail(Code::Gap, "entries are missing", expected)
            } else {
                self.fail(Code::Content, "entries are out of order", expected)
            };
        }
        if self.seals.origin.as_ref().is_some_and(|origin| origin.as_str() != seen.log) {
            return self.fail(Code::Content, "an entry is another log's", expected);
        }
        let first = Some(expected) == self.report.first;
        if (!first || expected == 0) && seen.prev != self.head {
            return self.fail(Code::Content, "the chain is broken", expected);
        }
        if expected == self.base {
            self.head_at_base = Some(seen.prev);
        }
        self.clock(&seen, expected);
        self.audit(&seen, expected);
        self.head = leaf_hash(bytes);
        self.next = Some(expected + 1);
        if expected >= self.base {
            self.tree.push(self.head);
            let size = self.tree.size();
            if self.seals.wants(size) {
                self.seals.at(size, self.tree.root(), Some(seen.at), self.epoch, self.report);
            }
        }
        true
    }

    fn clock(&mut self, seen: &Seen, expected: u64) {
        self.report.oldest.get_or_insert(seen.at);
        self.report.unsynced += u64::from(seen.unsynced);
        let newest = self.newest.unwrap_or(seen.at);
        self.late += u64::from(seen.at.0.saturating_add(OUT_OF_ORDER) < newest.0);
        self.newest = Some(newest.max(seen.at));
        if self.epoch.is_some_and(|epoch| self.seals.is_past(epoch, seen.at)) && seen.event != "audit.epoch_started" {
            let (code, what) = if seen.unsynced {
                (Code::Warning, "an unsynchronised clock left its epoch")
            } else {
                (Code::Signature, "an epoch went on past its end")
            };
            self.report.find(code, what, Some(expected));
        }
    }

    /// What the log says about itself.
    fn audit(&mut self, seen: &Seen, seq: u64) {
        let field = |name: &str| seen.data.get(name);
        let number = |name: &str| field(name).and_then(read_number);
        match seen.event.as_str() {
            "audit.epoch_started" => {
                let (Some(epoch), Some(Value::Text(kid))) =
                    (number("epoch").and_then(|epoch| epoch.try_into().ok()), field("kid"))
                else {
                    self.report.find(Code::Content, "an epoch without number or key", Some(seq));
                    return;
                };
                self.seals.begin(seq, epoch, kid, seen.at, self.epoch, self.report);
                self.epoch = Some(epoch);
                self.report.epochs.push(epoch);
            }
            "audit.purged" => {
                if let (Some(to), Some(Value::Text(leaf))) = (number("to_seq"), field("last_leaf")) {
                    self.purged = unhex(leaf).map(|leaf| (to, Hash(leaf)));
                }
            }
            // Kept in the reserve while the log was down, with their own times.
            "audit.write_restored" if number("kept_events").is_some_and(|kept| kept >= self.late) => self.late = 0,
            _ => {}
        }
    }

    /// Ends the scan.
    pub(super) fn end(self) -> End {
        let size = self.next.unwrap_or(self.base);
        self.report.size = size;
        self.report.newest = self.newest;
        if !self.stopped && self.late > 0 {
            self.report.find(Code::Warning, "the clock went backwards", None);
        }
        if !self.stopped && self.base > 0 {
            let record = self.purged.filter(|(to, leaf)| to + 1 == self.base && Some(*leaf) == self.head_at_base);
            if record.is_none() {
                self.report.find(Code::Gap, "no purge record explains what is missing at the front", Some(self.base));
            } else if self.report.first.is_some_and(|first| first < self.base) {
                self.report.note("a purge was recorded and not finished");
            }
        }
        End { size, base: self.base, newest: self.newest, stopped: self.stopped }
    }
}

/// Events that say why a segment before them was left behind.
const EXPLAINS: [&str; 2] = ["audit.write_degraded", "audit.recovered"];

fn see(bytes: &[u8]) -> Option<Seen> {
    let Value::Object(object) = json::parse(bytes).ok()? else { return None };
    let text = |name: &str| match object.get(name) {
        Some(Value::Text(text)) => Some(text.as_str()),
        Some(_) | None => None,
    };
    if object.get("v").and_then(read_number)? != u64::from(VERSION) {
        return None;
    }
    let Some(Value::Object(data)) = object.get("data") else { return None };
    Some(Seen {
        log: text("log")?.to_owned(),
        seq: object.get("seq").and_then(read_number)?,
        prev: Hash(unhex(text("prev")?)?),
        at: Micros::parse(text("ts")?)?,
        event: text("ev")?.to_owned(),
        unsynced: text("clk")? == "unsynced",
        data: data.clone(),
    })
}
