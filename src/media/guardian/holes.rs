//! Which numbers a receiver misses, and which pictures wait for them.

use crate::media::codec::dependency::Needs;

/// Missing numbers remembered: what bursts of loss leave before repairs come. With more of them only a fresh start helps.
const MAX_MISSING: usize = 64;
/// Pictures that wait: a second of them at camera rates.
const MAX_WAITING: usize = 32;

/// A picture behind a missing number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Its first number, where that is known.
    pub(super) first: Option<u16>,
    /// Its last number.
    pub(super) last: u16,
    pub(super) timestamp: u32,
    /// What it needs, where that is known.
    pub(super) needs: Option<Needs>,
}

/// Which of the last frames can be decoded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    newest: Option<u16>,
    /// Bit n stands for the frame n before the newest.
    decoded: u64,
}

impl Frames {
    /// A frame begins; whether everything it needs can be decoded.
    pub(super) fn on_begun(&mut self, needs: Needs) -> bool {
        let ahead = needs.frame.wrapping_sub(self.newest.unwrap_or(needs.frame));
        if ahead < 1 << 15 {
            self.decoded = self.decoded.checked_shl(u32::from(ahead)).unwrap_or(0);
            self.newest = Some(needs.frame);
        }
        self.has(needs)
    }

    pub(super) fn on_decoded(&mut self, needs: Option<Needs>) {
        if let Some((needs, newest)) = needs.zip(self.newest) {
            self.decoded |= 1u64.checked_shl(u32::from(newest.wrapping_sub(needs.frame))).unwrap_or(0);
        }
    }

    fn has(&self, needs: Needs) -> bool {
        let behind = u32::from(self.newest.unwrap_or(needs.frame).wrapping_sub(needs.frame));
        needs.references & !self.decoded.checked_shr(behind + 1).unwrap_or(0) == 0
    }
}

/// What is missing of a sent stream. Nothing is allocated while nothing is.
#[derive(Clone, Debug, Default)]
pub(super) struct Holes {
    /// Oldest first.
    missing: Vec<u16>,
    /// The pictures that wait, oldest first.
    waiting: Vec<Waiting>,
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

    /// A picture waits for what is missing before or of it.
    pub(super) fn wait(&mut self, picture: Waiting) {
        if self.waiting.len() < MAX_WAITING {
            let at = self.waiting.iter().position(|other| is_before(picture.last, other.last)).unwrap_or(self.waiting.len());
            self.waiting.insert(at, picture);
        }
    }

    /// The first packet of a picture came late, and said what the picture needs.
    pub(super) fn on_first(&mut self, sequence: u16, timestamp: u32, needs: Option<Needs>) {
        if let Some(picture) = self.waiting.iter_mut().find(|picture| picture.timestamp == timestamp) {
            (picture.first, picture.needs) = (Some(sequence), needs);
        }
    }

    /// The next picture that waits for nothing any more.
    pub(super) fn poll_shown(&mut self, frames: &Frames) -> Option<Waiting> {
        if self.too_many {
            return None;
        }
        let complete = |first: u16, last: u16| !self.missing.iter().any(|at| !is_before(*at, first) && !is_before(last, *at));
        let at = self.waiting.iter().position(|picture| {
            let all = self.missing.first().is_none_or(|missing| !is_before(*missing, picture.last));
            all || picture
                .first
                .zip(picture.needs)
                .is_some_and(|(first, needs)| frames.has(needs) && complete(first, picture.last))
        })?;
        Some(self.waiting.remove(at))
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
        std::iter::from_fn(|| holes.poll_shown(&Frames::default())).map(|picture| picture.timestamp).collect()
    }

    fn picture(last: u16, timestamp: u32) -> Waiting {
        Waiting { first: None, last, timestamp, needs: None }
    }

    #[test]
    fn pictures_go_on_as_far_as_nothing_is_missing_before_them() {
        let mut holes = Holes::default();
        holes.miss(2, 5);
        holes.wait(picture(3, 100));
        holes.miss(5, 1);
        holes.wait(picture(6, 200));
        assert!([65_533, 65_534, 65_535, 0].into_iter().all(|late| holes.fill(late)));
        assert!(!holes.fill(3) && shown(&mut holes).is_empty(), "one is still missing");
        assert!(holes.fill(1));
        assert_eq!((shown(&mut holes), holes.is_empty()), (vec![100], false));
        holes.wait(picture(4, 150));
        assert!(holes.fill(4));
        assert_eq!((shown(&mut holes), holes.is_empty(), holes.total()), (vec![150, 200], true, 6));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_more_than_that_waits_for_a_fresh_start() {
        let mut holes = Holes::default();
        holes.miss(10_000, 5_000);
        (0..1_000).for_each(|n| holes.wait(picture(10_000 + n, u32::from(n))));
        assert!(!holes.is_empty() && shown(&mut holes).is_empty());
        assert!(holes.missing.len() <= MAX_MISSING && holes.waiting.len() <= MAX_WAITING);
        holes.forget();
        assert!(holes.is_empty() && shown(&mut holes).is_empty());
    }
}
