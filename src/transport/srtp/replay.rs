//! Packet indexes: guessing the rollover counter and remembering what was seen or sent.

/// Highest SRTP packet index, 2^48 - 1 (RFC 3711 section 3.3.1).
const MAX_INDEX: u64 = (1 << 48) - 1;

/// Why a sequence number has no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfRange {
    /// It would lie before the first index there is.
    Below,
    /// It would lie after the last.
    Above,
}

/// The 48-bit index of a sequence number, nearest to the highest one known (RFC 3711 appendix A).
///
/// A stream nobody has seen yet starts with rollover counter 0.
pub(super) fn estimate(highest: Option<u64>, sequence: u16) -> Result<u64, OutOfRange> {
    const HALF: u16 = 1 << 15;
    let sequence_index = u64::from(sequence);
    let Some(highest) = highest else {
        return Ok(sequence_index);
    };
    let rollovers = highest >> 16;
    let last = highest as u16;
    let guess = if last < HALF && sequence.saturating_sub(last) > HALF {
        rollovers.checked_sub(1).ok_or(OutOfRange::Below)?
    } else if last >= HALF && last - HALF > sequence {
        rollovers + 1
    } else {
        rollovers
    };
    let index = guess << 16 | sequence_index;
    if index > MAX_INDEX { Err(OutOfRange::Above) } else { Ok(index) }
}

/// State of a stream that can be put away as one number, and be taken up again without forgetting what is used.
pub(super) trait Resume: Default {
    /// The highest index used, where any is.
    fn highest(&self) -> Option<u64>;

    /// The state in which every index up to `highest` counts as used.
    fn resumed(highest: u64) -> Self;
}

/// The indexes used of late: those above the highest are free, those more than [`SPAN`](Self::SPAN) below it are taken.
///
/// A ring of words as in RFC 6479: one word more than the span, so that moving on clears whole words. The newest word lies
/// apart from the ring, so that packets in order touch nothing else: one in 64 begins another.
#[derive(Clone, Debug)]
pub(super) struct Window<const WORDS: usize> {
    /// [`NONE`] before the first.
    highest: u64,
    /// The word of the highest index.
    newest: u64,
    /// The words before it, by their place in the ring; none as long as there is only one. A forged packet of a new stream must
    /// not cost an allocation.
    older: Option<Box<[u64; WORDS]>>,
}

/// No index at all: they have 48 bits.
const NONE: u64 = u64::MAX;

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Self { highest: NONE, newest: 0, older: None }
    }
}

impl<const WORDS: usize> Window<WORDS> {
    /// Number of indexes that are told apart, the highest included.
    pub(super) const SPAN: u64 = (WORDS as u64 - 1) * 64;

    /// Whether an index is still free.
    pub(super) fn is_free(&self, index: u64) -> bool {
        if self.highest == NONE || index > self.highest {
            return true;
        }
        self.highest - index < Self::SPAN && self.word(index) & Self::bit(index) == 0
    }

    /// Takes an index; the highest never moves back.
    pub(super) fn take(&mut self, index: u64) {
        if self.highest == NONE {
            self.highest = index;
        }
        if index > self.highest {
            self.move_on(index);
        }
        if index / 64 == self.highest / 64 {
            self.newest |= Self::bit(index);
        } else if let Some(word) = self.ring().get_mut(Self::slot(index)) {
            *word |= Self::bit(index);
        }
    }

    /// Makes a higher index the highest.
    fn move_on(&mut self, index: u64) {
        let (highest, newest) = (self.highest, self.newest);
        let passed = (index / 64 - highest / 64).min(WORDS as u64);
        if passed > 0 {
            let ring = self.ring();
            if let Some(word) = ring.get_mut(Self::slot(highest)) {
                *word = newest;
            }
            for step in 1..=passed {
                if let Some(word) = ring.get_mut(Self::slot(highest + step * 64)) {
                    *word = 0;
                }
            }
            self.newest = 0;
        }
        self.highest = index;
    }

    fn ring(&mut self) -> &mut [u64; WORDS] {
        self.older.get_or_insert_with(|| Box::new([0; WORDS]))
    }

    fn word(&self, index: u64) -> u64 {
        if index / 64 == self.highest / 64 {
            return self.newest;
        }
        self.older.as_ref().and_then(|older| older.get(Self::slot(index))).copied().unwrap_or(0)
    }

    fn slot(index: u64) -> usize {
        (index / 64 % WORDS as u64) as usize
    }

    fn bit(index: u64) -> u64 {
        1 << (index % 64)
    }
}

impl<const WORDS: usize> Resume for Window<WORDS> {
    fn highest(&self) -> Option<u64> {
        Some(self.highest).filter(|highest| *highest != NONE)
    }

    fn resumed(highest: u64) -> Self {
        Self { highest, newest: u64::MAX >> (63 - highest % 64), older: Some(Box::new([u64::MAX; WORDS])) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rollover_is_guessed_as_in_rfc_3711_appendix_a() {
        assert_eq!(estimate(None, 65_535), Ok(65_535));
        assert_eq!(estimate(Some(0x1_FFFE), 1), Ok(0x2_0001), "forward over the end");
        assert_eq!(estimate(Some(0x2_0001), 0xFFFE), Ok(0x1_FFFE), "late, before the end");
        assert_eq!(estimate(Some(0x2_0001), 0x8001), Ok(0x2_8001), "half a cycle is forward");
        assert_eq!(estimate(Some(0x2_0001), 0x8002), Ok(0x1_8002));
        assert_eq!(estimate(Some(0x2_9000), 0x1000), Ok(0x2_1000), "half a cycle back stays");
        assert_eq!(estimate(Some(0x2_9000), 0x0FFF), Ok(0x3_0FFF));
    }

    #[test]
    fn there_is_nothing_before_the_first_and_after_the_last_index() {
        assert_eq!(estimate(Some(5), 65_530), Err(OutOfRange::Below));
        assert_eq!(estimate(Some(MAX_INDEX), 0), Err(OutOfRange::Above));
        assert_eq!(estimate(Some(MAX_INDEX), 65_534), Ok(MAX_INDEX - 1));
    }

    #[test]
    fn a_resumed_window_has_no_free_index_up_to_its_highest() {
        for highest in [0, 63, 64, 1000, 70_000] {
            let mut window = Window::<17>::resumed(highest);
            assert!((0..=highest).all(|index| !window.is_free(index)), "{highest}");
            assert!(window.is_free(highest + 1));
            window.take(highest + 3);
            assert!(window.is_free(highest + 1) && window.is_free(highest + 2) && !window.is_free(highest + 3));
            assert!(!window.is_free(highest));
        }
    }

    proptest! {
        #[test]
        fn a_window_agrees_with_a_set_of_all_indexes(start in 0..5000_u64, steps in vec(-300..330_i64, 1..400)) {
            let mut window = Window::<3>::default();
            let (mut taken, mut at, mut highest) = (HashSet::new(), start, 0);
            for step in steps {
                at = at.saturating_add_signed(step);
                let in_span = taken.is_empty() || at > highest || highest - at < 128;
                prop_assert_eq!(window.is_free(at), in_span && !taken.contains(&at), "index {}", at);
                if window.is_free(at) {
                    window.take(at);
                    taken.insert(at);
                    highest = highest.max(at);
                }
                prop_assert_eq!(window.highest(), Some(highest).filter(|_| !taken.is_empty()));
            }
        }
    }
}
