//! Stretches of time, in milliseconds since the consultation opened.

use serde::{Deserialize, Serialize};

/// One stretch of time, in milliseconds since the consultation opened; the end is the last moment that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its first moment.
    pub from_ms: u64,
    /// Its last moment.
    pub to_ms: u64,
}

impl Span {
    /// How long it lasts, in milliseconds.
    #[must_use]
    pub fn length_ms(self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    /// What two stretches share.
    pub(super) fn shared(self, other: Self) -> Option<Self> {
        let both = Self { from_ms: self.from_ms.max(other.from_ms), to_ms: self.to_ms.min(other.to_ms) };
        (both.from_ms < both.to_ms).then_some(both)
    }
}

/// Stretches in order, none touching the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    list: Vec<Span>,
    open: bool,
    full: bool,
}

/// Most stretches kept of one kind: a line that breaks every ten seconds of the longest consultation (4 h) fits. Beyond it
/// nothing is claimed any more, and the statement says so.
const MOST: usize = 1_440;

impl Spans {
    /// Notes that something was true at a moment; joins it to the last stretch when no more than `tolerance_ms` lie between.
    pub(super) fn reach(&mut self, at_ms: u64, tolerance_ms: u64) {
        match self.list.last_mut() {
            Some(last) if at_ms <= last.to_ms.saturating_add(tolerance_ms) => last.to_ms = last.to_ms.max(at_ms),
            _ => {
                self.push(at_ms);
            }
        }
    }

    /// Notes that something was true over a stretch; joins it to the last one as [`reach`](Self::reach) does.
    pub(super) fn stretch(&mut self, span: Span, tolerance_ms: u64) {
        let before = self.list.len();
        self.reach(span.from_ms, tolerance_ms);
        let fits = self.list.len() > before || self.list.last().is_some_and(|last| last.to_ms >= span.from_ms);
        if fits && let Some(last) = self.list.last_mut() {
            last.to_ms = last.to_ms.max(span.to_ms);
        }
    }

    /// Begins a stretch that lasts until [`end`](Self::end).
    pub(super) fn begin(&mut self, at_ms: u64) {
        if !self.open {
            let joins = self.list.last().is_some_and(|last| at_ms <= last.to_ms);
            self.open = joins || self.push(at_ms);
        }
    }

    /// Ends the stretch that is open.
    pub(super) fn end(&mut self, at_ms: u64) {
        if std::mem::take(&mut self.open)
            && let Some(last) = self.list.last_mut()
        {
            last.to_ms = last.to_ms.max(at_ms);
        }
    }

    fn push(&mut self, at_ms: u64) -> bool {
        let fits = self.list.len() < MOST;
        if fits {
            self.list.push(Span { from_ms: at_ms, to_ms: at_ms });
        }
        self.full |= !fits;
        fits
    }

    /// Whether something was left out for want of room.
    pub(super) fn full(&self) -> bool {
        self.full
    }

    /// The stretches that last, an open one until `now_ms`.
    pub(super) fn until(&self, now_ms: u64) -> Vec<Span> {
        let mut list = self.list.clone();
        if self.open
            && let Some(last) = list.last_mut()
        {
            last.to_ms = last.to_ms.max(now_ms);
        }
        list.retain(|span| span.from_ms < span.to_ms);
        list
    }
}

/// What two lists of stretches share.
pub(super) fn shared(a: &[Span], b: &[Span]) -> Vec<Span> {
    let (mut left, mut right) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    let mut both = Vec::new();
    while let (Some(one), Some(other)) = (left.peek().copied(), right.peek().copied()) {
        both.extend(one.shared(other));
        if one.to_ms < other.to_ms {
            left.next()
        } else {
            right.next()
        };
    }
    both
}

/// Stretches of several lists laid over one another.
pub(super) fn union(mut all: Vec<Span>) -> Vec<Span> {
    all.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for span in all {
        match joined.last_mut() {
            Some(last) if span.from_ms <= last.to_ms => last.to_ms = last.to_ms.max(span.to_ms),
            _ => joined.push(span),
        }
    }
    joined
}

/// Length of a list, in milliseconds.
pub(super) fn total_ms(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.length_ms()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from_ms: u64, to_ms: u64) -> Span {
        Span { from_ms, to_ms }
    }

    #[test]
    fn moments_join_within_the_tolerance_only() {
        let mut spans = Spans::default();
        for at in [1_000, 2_000, 3_000, 4_501, 5_000] {
            spans.reach(at, 1_500);
        }
        assert_eq!(spans.until(9_000), [span(1_000, 3_000), span(4_501, 5_000)]);
    }

    #[test]
    fn stretches_join_within_the_tolerance_only() {
        let mut spans = Spans::default();
        for (from_ms, to_ms) in [(250, 1_000), (1_500, 2_000), (9_000, 12_000), (8_000, 8_500)] {
            spans.stretch(span(from_ms, to_ms), 1_500);
        }
        assert_eq!(spans.until(u64::MAX), [span(250, 2_000), span(9_000, 12_000)]);
    }

    #[test]
    fn an_open_stretch_lasts_until_now() {
        let mut spans = Spans::default();
        spans.begin(5);
        spans.begin(7);
        assert_eq!(spans.until(10), [span(5, 10)]);
        spans.end(20);
        spans.begin(30);
        spans.end(30);
        assert_eq!(spans.until(99), [span(5, 20)], "a stretch without length is no stretch");
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_claimed() {
        let mut spans = Spans::default();
        for number in 0..=MOST as u64 {
            spans.reach(number * 100, 10);
            spans.reach(number * 100 + 5, 10);
        }
        assert!(spans.full());
        assert_eq!(spans.until(u64::MAX).len(), MOST);
    }

    #[test]
    fn shares_and_unions() {
        let a = [span(0, 10), span(20, 30)];
        assert_eq!(shared(&a, &[span(5, 25), span(29, 40)]), [span(5, 10), span(20, 25), span(29, 30)]);
        assert_eq!(shared(&a, &[span(10, 20)]), []);
        assert_eq!(union(vec![span(20, 30), span(0, 10), span(8, 21)]), [span(0, 30)]);
        assert_eq!(total_ms(&a), 20);
    }
}
