//! The numbered events of each tenant: a bounded log that says when a reader missed some.
//!
//! No event holds a name or an address; a seat is named by the reference the platform gave it.

use crate::model::TenantId;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use utoipa::ToSchema;

/// Events kept of one tenant: a consultation makes some twenty, so this is the last two hundred consultations.
pub(super) const KEPT: usize = 4_096;

/// Events in one answer.
pub(super) const MOST_AT_ONCE: usize = 500;

/// Tenants with a log; a node's tenants are written in its configuration and stay far below.
const MAX_TENANTS: usize = 4_096;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Event {
    /// Counts up by one for each event of the tenant.
    pub(super) number: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    /// What happened, for example `seat.admitted`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Where.
    pub(super) consultation: String,
    /// Whose seat, where one is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seat: Option<String>,
    /// More about it, in words that depend on `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) facts: Option<serde_json::Value>,
}

/// Some events of a tenant, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Events {
    /// The log these numbers belong to; another value means that the node was restarted and counts anew.
    pub(super) log: String,
    /// Events between the one asked for and the first of these are gone: fetch the state of your consultations.
    pub(super) gap: bool,
    /// What to ask for next: `after` this number.
    pub(super) next: u64,
    /// Whether there are more already.
    pub(super) more: bool,
    /// The events.
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Number of the newest event.
    last: u64,
    kept: VecDeque<Event>,
}

/// The logs of all tenants.
#[derive(Debug, Default)]
pub(super) struct Log {
    tenants: HashMap<TenantId, Ring>,
}

impl Log {
    /// Adds an event and numbers it.
    pub(super) fn push(&mut self, tenant: &TenantId, event: Event) {
        if self.tenants.len() >= MAX_TENANTS && !self.tenants.contains_key(tenant) {
            return;
        }
        let ring = self.tenants.entry(tenant.clone()).or_default();
        ring.last += 1;
        if ring.kept.len() >= KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Event { number: ring.last, ..event });
    }

    /// Leaves a hole in every tenant's numbers, which its readers see as a gap.
    pub(super) fn lose(&mut self) {
        for ring in self.tenants.values_mut() {
            ring.kept.clear();
            ring.last += 1;
        }
    }

    /// The number of a tenant's newest event.
    pub(super) fn last(&self, tenant: &TenantId) -> u64 {
        self.tenants.get(tenant).map_or(0, |ring| ring.last)
    }

    /// What came after a number.
    pub(super) fn after(&self, tenant: &TenantId, log: &str, after: u64) -> Events {
        let empty = Ring::default();
        let ring = self.tenants.get(tenant).unwrap_or(&empty);
        let oldest = ring.kept.front().map_or(ring.last + 1, |event| event.number);
        // A number this log has not reached yet belongs to the log of an earlier start.
        let unknown = after > ring.last;
        let after = if unknown { 0 } else { after };
        let gap = unknown || after + 1 < oldest;
        let events: Vec<_> = ring.kept.iter().filter(|event| event.number > after).take(MOST_AT_ONCE).cloned().collect();
        let next = events.last().map_or_else(|| ring.last.min(after.max(oldest - 1)), |event| event.number);
        Events { log: log.to_owned(), gap, next, more: next < ring.last, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str) -> Event {
        Event { number: 0, at_ms: 1, kind, consultation: "c".to_owned(), seat: None, facts: None }
    }

    fn log(events: usize) -> (Log, TenantId) {
        let (mut log, tenant) = (Log::default(), TenantId::new("t"));
        for _ in 0..events {
            log.push(&tenant, event("x"));
        }
        (log, tenant)
    }

    fn numbers(answer: &Events) -> Vec<u64> {
        answer.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn a_reader_sees_every_event_once_and_in_order() {
        let (mut log, tenant) = log(3);
        let first = log.after(&tenant, "l", 0);
        assert_eq!((numbers(&first), first.next, first.gap, first.more), (vec![1, 2, 3], 3, false, false));
        let nothing = log.after(&tenant, "l", first.next);
        assert_eq!((numbers(&nothing), nothing.next, nothing.gap), (vec![], 3, false));
        log.push(&tenant, event("y"));
        assert_eq!(numbers(&log.after(&tenant, "l", 3)), [4]);
    }

    #[test]
    fn tenants_do_not_see_each_other() {
        let (log, _) = log(3);
        let other = log.after(&TenantId::new("u"), "l", 0);
        assert_eq!((other.events.len(), other.next, other.gap), (0, 0, false));
    }

    #[test]
    fn what_was_dropped_is_said() {
        let (log, tenant) = log(KEPT + 10);
        assert!(log.after(&tenant, "l", 0).gap);
        assert!(log.after(&tenant, "l", 9).gap);
        let whole = log.after(&tenant, "l", 10);
        assert_eq!((whole.gap, whole.events.len(), whole.next, whole.more), (false, MOST_AT_ONCE, 510, true));
    }

    #[test]
    fn lost_facts_are_a_gap_for_everybody() {
        let (mut log, tenant) = log(3);
        log.lose();
        let answer = log.after(&tenant, "l", 3);
        assert_eq!((answer.gap, answer.next), (true, 4));
        log.push(&tenant, event("y"));
        assert_eq!((numbers(&log.after(&tenant, "l", 4)), log.after(&tenant, "l", 4).gap), (vec![5], false));
    }

    #[test]
    fn a_number_of_an_earlier_start_is_a_gap() {
        let (log, tenant) = log(2);
        let answer = log.after(&tenant, "l", 77);
        assert_eq!((answer.gap, numbers(&answer), answer.next), (true, vec![1, 2], 2));
    }
}
