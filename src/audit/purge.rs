//! What may be removed because its time is over: whole segments, always the oldest, never past a hold.

use super::event::Event;
use super::record::{Actor, Fact};
use super::tree;
use super::types::{By, Hash, Micros, Word};
use super::words::RetentionPolicy;

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
