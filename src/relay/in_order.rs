//! Reliable messages of one client in the order of its numbers, over the loss of its signalling.
//!
//! A client whose signalling breaks keeps some messages back and sends others; what it kept it sends after the resume, behind
//! them. Receivers drop what comes behind a higher number, so what is ahead of a gap waits here until the gap is filled.

use crate::model::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long messages wait for the ones before them. A client that is connected sends what it kept back at once.
const GAP: Duration = Duration::from_secs(1);

/// The same while its signalling is down: clients try to resume for this long before they join anew.
const GAP_WHILE_AWAY: Duration = Duration::from_secs(20);

/// The same after a resume: a client sends what it kept back only when its ICE restart has come through, which takes Firefox
/// some seconds.
const GAP_AFTER_RESUME: Duration = Duration::from_secs(10);

/// Messages that may wait; with the bound on bytes this is a long minute of chat.
const MAX_HELD: usize = 256;

/// Bytes that may wait.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// Puts messages into the order of their numbers.
#[derive(Debug)]
pub(super) struct InOrder<T> {
    last: u32,
    held: BTreeMap<u32, (T, usize)>,
    bytes: usize,
    since: Option<Instant>,
    resumed: Option<Instant>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { last: 0, held: BTreeMap::new(), bytes: 0, since: None, resumed: None }
    }
}

impl<T> InOrder<T> {
    /// The highest number up to which everything has gone through.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// Takes a message with its number and size; answers what may go on now, in order. A number seen before answers nothing.
    pub(super) fn push(&mut self, number: u32, message: T, size: usize, now: Instant) -> Vec<T> {
        if number <= self.last || self.held.contains_key(&number) {
            return Vec::new();
        }
        self.bytes += size;
        self.held.insert(number, (message, size));
        // The first message of a stay opens the count, whatever its number.
        if self.last == 0 {
            self.last = number - 1;
        }
        if self.held.len() > MAX_HELD || self.bytes > MAX_HELD_BYTES { self.flush() } else { self.release(now) }
    }

    /// Gives up on a gap whose time is over; answers what waited behind it.
    pub(super) fn poll(&mut self, now: Instant, away: bool) -> Vec<T> {
        if self.deadline(away).is_some_and(|at| at <= now) { self.flush() } else { Vec::new() }
    }

    /// When [`poll`](Self::poll) has something to say.
    pub(super) fn deadline(&self, away: bool) -> Option<Instant> {
        let gap = if away { GAP_WHILE_AWAY } else { GAP };
        let after_resume = self.resumed.map(|at| at + GAP_AFTER_RESUME);
        self.since.map(|since| (since + gap).max(after_resume.unwrap_or(since)))
    }

    /// A message with this number was dropped, and everything that waits with it.
    pub(super) fn note(&mut self, number: u32) {
        self.forget();
        self.last = self.last.max(number);
    }

    /// Drops what waits.
    pub(super) fn forget(&mut self) {
        drop(self.flush());
    }

    /// The client is back: what it kept is on its way.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.resumed = Some(now);
    }

    fn release(&mut self, now: Instant) -> Vec<T> {
        let mut released = Vec::new();
        while let Some((message, size)) = self.held.remove(&(self.last.saturating_add(1))) {
            self.last = self.last.saturating_add(1);
            self.bytes -= size;
            released.push(message);
        }
        if self.held.is_empty() {
            self.since = None;
        } else if !released.is_empty() || self.since.is_none() {
            self.since = Some(now);
        }
        released
    }

    fn flush(&mut self) -> Vec<T> {
        self.last = self.held.last_key_value().map_or(self.last, |(number, _)| *number);
        self.bytes = 0;
        self.since = None;
        std::mem::take(&mut self.held).into_values().map(|(message, _)| message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn numbered(order: &mut InOrder<u32>, numbers: &[u32], now: Instant) -> Vec<u32> {
        numbers.iter().flat_map(|number| order.push(*number, *number, 10, now)).collect()
    }

    #[test]
    fn what_a_client_kept_back_goes_out_before_what_it_sent_meanwhile() {
        let (t0, mut order) = (Instant::now(), InOrder::default());
        assert_eq!(numbered(&mut order, &[1, 2, 3, 5, 6], t0), [1, 2, 3]);
        assert_eq!(order.last(), 3, "the client is told to repeat from here");
        assert!(order.poll(t0 + 5 * SECOND, true).is_empty(), "it is away and will come back");
        order.resumed(t0 + 6 * SECOND);
        assert!(order.poll(t0 + 9 * SECOND, false).is_empty(), "its transport is still coming up");
        assert_eq!(numbered(&mut order, &[4, 5, 6, 7], t0 + 6 * SECOND), [4, 5, 6, 7], "each once");
        assert_eq!(order.deadline(false), None);
    }

    #[test]
    fn a_gap_that_nobody_fills_does_not_hold_for_ever() {
        let (t0, mut order) = (Instant::now(), InOrder::default());
        assert_eq!(numbered(&mut order, &[1, 3, 4], t0), [1]);
        assert!(order.poll(t0 + SECOND / 2, false).is_empty());
        assert_eq!(order.poll(t0 + SECOND, false), [3, 4]);
        assert!(numbered(&mut order, &[2, 3], t0 + SECOND).is_empty(), "too late now");
        assert_eq!(numbered(&mut order, &[5], t0 + SECOND), [5]);
    }

    #[test]
    fn a_count_may_begin_anywhere_and_waiting_is_bounded() {
        let (t0, mut order) = (Instant::now(), InOrder::default());
        assert_eq!(numbered(&mut order, &[7], t0), [7]);
        let ahead: Vec<u32> = (9..9 + MAX_HELD as u32 + 1).collect();
        assert_eq!(numbered(&mut order, &ahead, t0).len(), MAX_HELD + 1, "all let go at the bound");
        assert_eq!(numbered(&mut order, &[u32::MAX, 1], t0), [] as [u32; 0]);
    }
}
