//! Which numbers a receiver misses, and which pictures wait for them.

/// Missing numbers remembered: what bursts of loss leave before repairs come. With more of them only a fresh start helps.
const MAX_MISSING: usize = 64;
/// Pictures that wait: a second of them at camera rates.
const MAX_WAITING: usize = 32;

/// What is missing of a sent stream. Nothing is allocated while nothing is.
#[derive(Clone, Debug, Default)]
pub(super) struct Holes {
    /// Oldest first.
    missing: Vec<u16>,
    /// Last number and timestamp of each picture behind the oldest missing number, oldest first.
    waiting: Vec<(u16, u32)>,
    /// More was missing than is remembered.
    too_many: bool,
    /// Numbers missed so far; wraps.
    total: u16,
}

impl Holes {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && !self.too_many
    }

    pub(super) fn total(&self) -> u16 {
        self.total
    }

    /// Nothing before is needed any more.
    pub(super) fn forget(&mut self) {
        self.missing.clear();
        self.waiting.clear();
        self.too_many = false;
    }

    /// So many numbers before this one did not come.
    pub(super) fn miss(&mut self, before: u16, count: u16) {
        self.total = self.total.wrapping_add(count);
        if self.missing.len() + usize::from(count) > MAX_MISSING {
            self.too_many = true;
            return;
        }
        self.missing.extend((1..=count).rev().map(|back| before.wrapping_sub(back)));
    }

    /// A number came late; whether it was missed.
    pub(super) fn fill(&mut self, sequence: u16) -> bool {
        let at = self.missing.iter().position(|missing| *missing == sequence);
        at.is_some_and(|at| self.missing.remove(at) == sequence)
    }

    /// A picture that ends with this number waits for what is missing before it.
    pub(super) fn wait(&mut self, sequence: u16, timestamp: u32) {
        if self.waiting.len() < MAX_WAITING {
            let at = self.waiting.iter().position(|(other, _)| is_before(sequence, *other)).unwrap_or(self.waiting.len());
            self.waiting.insert(at, (sequence, timestamp));
        }
    }

    /// The timestamp of the next picture that waits for nothing any more.
    pub(super) fn poll_shown(&mut self) -> Option<u32> {
        let (sequence, timestamp) = *self.waiting.first().filter(|_| !self.too_many)?;
        if self.missing.first().is_some_and(|missing| is_before(*missing, sequence)) {
            return None;
        }
        self.waiting.remove(0);
        Some(timestamp)
    }
}

/// Whether a number is older than another, by less than half the range.
fn is_before(sequence: u16, other: u16) -> bool {
    let ahead = other.wrapping_sub(sequence);
    ahead != 0 && ahead < 1 << 15
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(holes: &mut Holes) -> Vec<u32> {
        std::iter::from_fn(|| holes.poll_shown()).collect()
    }

    #[test]
    fn pictures_go_on_as_far_as_nothing_is_missing_before_them() {
        let mut holes = Holes::default();
        holes.miss(2, 5);
        holes.wait(3, 100);
        holes.miss(5, 1);
        holes.wait(6, 200);
        assert!([65_533, 65_534, 65_535, 0].into_iter().all(|late| holes.fill(late)));
        assert!(!holes.fill(3) && shown(&mut holes).is_empty(), "one is still missing");
        assert!(holes.fill(1));
        assert_eq!((shown(&mut holes), holes.is_empty()), (vec![100], false));
        holes.wait(4, 150);
        assert!(holes.fill(4));
        assert_eq!((shown(&mut holes), holes.is_empty(), holes.total()), (vec![150, 200], true, 6));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_more_than_that_waits_for_a_fresh_start() {
        let mut holes = Holes::default();
        holes.miss(10_000, 5_000);
        (0..1_000).for_each(|n| holes.wait(10_000 + n, u32::from(n)));
        assert!(!holes.is_empty() && shown(&mut holes).is_empty());
        assert!(holes.missing.len() <= MAX_MISSING && holes.waiting.len() <= MAX_WAITING);
        holes.forget();
        assert!(holes.is_empty() && shown(&mut holes).is_empty());
    }
}
