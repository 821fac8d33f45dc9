//! What may be removed because its time is over: whole segments, always the oldest, never past a hold.
//!
//! Entry points: [`plan`], [`Holds`].

use super::event::Event;
use super::record::{Actor, Fact};
use super::tree;
use super::types::{By, ConsultRef, Hash, Micros, Word};
use super::words::RetentionPolicy;
use std::collections::HashMap;

/// Consultations held at once in one log: one a week for five years. Each purge reads the segments that are due for them.
const MOST_HOLDS: usize = 256;

/// What a purge needs to know of a closed segment.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Its first entry.
    pub first: u64,
    /// Its last entry.
    pub last: u64,
    /// The time of its newest entry.
    pub newest: Micros,
    /// Whether a hold covers an entry of it.
    pub held: bool,
}

/// Segments that may go, as a range of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The first entry that goes.
    pub from: u64,
    /// The last entry that goes.
    pub to: u64,
}

/// Plans a purge over the closed segments, the oldest first: those whose newest entry is before `limit`, up to the first
/// that is held or too young.
#[must_use]
pub fn plan(closed: &[Closed], limit: Micros) -> Option<Plan> {
    let due = closed.iter().take_while(|segment| segment.newest < limit && !segment.held);
    let (from, to) = due.fold((None, None), |(from, _), segment| (from.or(Some(segment.first)), Some(segment.last)));
    Some(Plan { from: from?, to: to? })
}

/// The oldest time that is kept.
#[must_use]
pub fn limit(now: Micros, days: u64) -> Micros {
    Micros(now.0.saturating_sub(days.saturating_mul(Micros::DAY)))
}

impl Plan {
    /// The record of the purge, from the leaf hashes of exactly its entries; it must be durable before they go.
    #[must_use]
    pub fn fact(&self, leaves: &[Hash], tenant: Option<Word>, by: By, policy: RetentionPolicy) -> Option<Fact> {
        let count = self.to.checked_sub(self.from)? + 1;
        if u64::try_from(leaves.len()).ok()? != count {
            return None;
        }
        let event = Event::AuditPurged {
            by,
            count,
            from_seq: self.from,
            last_leaf: *leaves.last()?,
            policy,
            range_root: tree::root_of(leaves.iter().copied()),
            to_seq: self.to,
        };
        Some(Fact { tenant, ..Fact::of_node(Actor::System, event) })
    }
}

/// Holds of single consultations: the segments with their entries stay, and so does everything behind them, because a purge takes
/// whole segments from the oldest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(HashMap<ConsultRef, Micros>);

impl Holds {
    /// Reads the file: a reference and a time a line. `None` for anything else: what does not read must not let anything go.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let (reference, until) = line.split_once(' ')?;
            Some((ConsultRef::parse(reference)?, Micros::parse(until)?))
        };
        text.lines().map(line).collect::<Option<_>>().map(Self)
    }

    /// The file.
    #[must_use]
    pub fn write(&self) -> String {
        let mut lines: Vec<_> = self.0.iter().map(|(held, until)| format!("{} {}\n", held.to_text(), until.to_text())).collect();
        lines.sort();
        lines.concat()
    }

    /// Holds a consultation until a time, in place of a hold it had; holds that are over are forgotten. `false` when there are as
    /// many as there may be.
    #[must_use]
    pub fn set(&mut self, consultation: ConsultRef, until: Micros, now: Micros) -> bool {
        self.0.retain(|_, until| *until > now);
        let fits = self.0.len() < MOST_HOLDS || self.0.contains_key(&consultation);
        if fits {
            self.0.insert(consultation, until);
        }
        fits
    }

    /// Lets a consultation go; `false` when it was not held.
    #[must_use]
    pub fn release(&mut self, consultation: &ConsultRef) -> bool {
        self.0.remove(consultation).is_some()
    }

    /// Whether a hold is in force.
    #[must_use]
    pub fn any(&self, now: Micros) -> bool {
        self.0.values().any(|until| *until > now)
    }

    /// Whether an entry is of a consultation that is held.
    #[must_use]
    pub fn cover(&self, entry: &[u8], now: Micros) -> bool {
        consultation_of(entry).and_then(|consultation| self.0.get(&consultation)).is_some_and(|until| *until > now)
    }
}

/// The consultation an entry belongs to; its bytes are canonical, so the field is written in one way.
#[must_use]
pub fn consultation_of(entry: &[u8]) -> Option<ConsultRef> {
    const FIELD: &[u8] = b"\"consult\":\"";
    let at = entry.windows(FIELD.len()).position(|window| window == FIELD)?;
    let rest = entry.get(at + FIELD.len()..)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    ConsultRef::parse(std::str::from_utf8(rest.get(..end)?).ok()?)
}

/// The frontier as a file: the size, then a hash a line.
#[must_use]
pub fn write_frontier(frontier: &tree::Frontier) -> String {
    let mut text = format!("{}\n", frontier.size());
    for node in frontier.nodes() {
        text.push_str(&super::types::hex(&node.0));
        text.push('\n');
    }
    text
}

/// Reads the frontier's file.
#[must_use]
pub fn read_frontier(text: &str) -> Option<tree::Frontier> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let size = lines.next()?.parse().ok()?;
    let nodes: Option<Vec<_>> = lines.take(65).map(|line| super::types::unhex(line).map(Hash)).collect();
    tree::Frontier::new(size, nodes?).filter(|frontier| write_frontier(frontier) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(first: u64, newest: u64) -> Closed {
        Closed { first, last: first + 9, newest: Micros(newest), held: false }
    }

    #[test]
    fn only_a_prefix_goes() {
        let all = [closed(0, 5), closed(10, 20), closed(20, 6)];
        assert_eq!(plan(&all, Micros(10)), Some(Plan { from: 0, to: 9 }), "the third is old but behind a young one");
        assert_eq!(plan(&all, Micros(21)), Some(Plan { from: 0, to: 29 }));
        assert_eq!(plan(&all, Micros(5)), None, "kept to the day");
        assert_eq!(plan(&[], Micros(5)), None);
    }

    #[test]
    fn a_hold_stops_the_purge() {
        let mut all = [closed(0, 1), closed(10, 2), closed(20, 3)];
        all[1].held = true;
        assert_eq!(plan(&all, Micros(10)), Some(Plan { from: 0, to: 9 }));
        all[0].held = true;
        assert_eq!(plan(&all, Micros(10)), None);
    }

    #[test]
    fn holds_read_back_and_end_by_themselves() {
        let (one, two) = (ConsultRef([1; 16]), ConsultRef([2; 16]));
        let mut holds = Holds::default();
        assert!(holds.set(one, Micros(100), Micros(1)) && holds.set(two, Micros(200), Micros(1)));
        assert_eq!(Holds::read(&holds.write()), Some(holds.clone()));
        let entry = |held: ConsultRef| format!(r#"{{"clk":"synced","consult":"{}","data":{{}}}}"#, held.to_text()).into_bytes();
        assert!(holds.cover(&entry(one), Micros(99)) && !holds.cover(&entry(one), Micros(100)), "it is over then");
        assert!(!holds.cover(&entry(ConsultRef([3; 16])), Micros(99)) && !holds.cover(b"{}", Micros(99)));
        assert!(holds.release(&two) && !holds.release(&two));
        assert!(holds.any(Micros(99)) && !holds.any(Micros(100)));
        assert_eq!(Holds::read("c-nonsense 2026\n"), None, "what does not read is not taken for nothing");
        assert_eq!(Holds::read(""), Some(Holds::default()));
    }

    #[test]
    fn holds_are_bounded_and_what_is_over_makes_room() {
        let mut holds = Holds::default();
        let number = |at: usize| ConsultRef([u8::try_from(at % 256).unwrap(); 16]);
        assert!((0..MOST_HOLDS).all(|at| holds.set(number(at), Micros(10), Micros(1))));
        let more = ConsultRef([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert!(!holds.set(more, Micros(10), Micros(1)) && holds.set(number(0), Micros(20), Micros(1)), "a known one is moved");
        assert!(holds.set(more, Micros(30), Micros(10)), "the others are over");
        assert!(!holds.release(&number(1)) && holds.release(&number(0)));
    }

    #[test]
    fn the_frontier_reads_back_in_one_form() {
        let mut frontier = tree::Frontier::default();
        for number in 0..7_u8 {
            frontier.push(tree::leaf_hash(&[number]));
        }
        let text = write_frontier(&frontier);
        assert_eq!(read_frontier(&text), Some(frontier));
        assert_eq!(read_frontier(&text.replacen('7', "8", 1)), None);
        assert_eq!(read_frontier(&text.to_uppercase()), None);
        assert_eq!(read_frontier("0\n"), Some(tree::Frontier::default()));
    }
}
