//! A moment on the monotonic clock, as the packet path keeps it.
//!
//! The standard library's own is seconds and nanoseconds apart: sixteen bytes, and some thirty instructions for each difference. A
//! packet that goes out to two people compares and subtracts some dozens of them. This one is a count of nanoseconds in one word, also
//! where there may be none of it. At the edges of the house one is made from the other by `From`.

use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub};
use std::sync::OnceLock;
use std::time::Duration;

/// What the process's anchor counts as: 146 years, so that nothing before it comes near zero.
const ANCHOR_NANOS: u64 = 1 << 62;

/// Where both clocks meet: the first moment that was made from the other one.
static ANCHOR: OnceLock<std::time::Instant> = OnceLock::new();

/// A moment on the monotonic clock, to the nanosecond. What would lie outside its 584 years becomes the first or the last of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl std::fmt::Debug for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::time::Instant::from(*self).fmt(f)
    }
}

/// Nanoseconds of a duration; one of more than 584 years counts as that.
#[inline]
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

impl Instant {
    /// Nanoseconds since an earlier moment, or none where it is later.
    #[inline]
    #[must_use]
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// The same in whole microseconds.
    #[inline]
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.nanos_since(earlier) / 1_000
    }

    /// The same in whole milliseconds.
    #[inline]
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.nanos_since(earlier) / 1_000_000
    }

    /// Time since an earlier moment, or none where it is later.
    #[inline]
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Time since an earlier moment; nothing where it is later.
    #[inline]
    #[must_use]
    pub fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        self.0.get().checked_sub(earlier.0.get()).map(Duration::from_nanos)
    }

    /// So much earlier; nothing where there is no such moment.
    #[inline]
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.get().checked_sub(nanos(duration)).and_then(NonZeroU64::new).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).unwrap_or(Self(NonZeroU64::MIN))
    }
}

impl Sub for Instant {
    type Output = Duration;

    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl From<std::time::Instant> for Instant {
    fn from(at: std::time::Instant) -> Self {
        let anchor = *ANCHOR.get_or_init(|| at);
        let after = nanos(at.saturating_duration_since(anchor));
        let before = nanos(anchor.saturating_duration_since(at));
        let count = ANCHOR_NANOS.saturating_add(after).saturating_sub(before);
        Self(NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Instant> for std::time::Instant {
    fn from(at: Instant) -> Self {
        let count = at.0.get();
        // There is no moment that was not made from another, and the first of all from the other clock.
        let anchor = *ANCHOR.get().expect("the first moment was made from the other clock");
        let moved = if count >= ANCHOR_NANOS {
            anchor.checked_add(Duration::from_nanos(count - ANCHOR_NANOS))
        } else {
            anchor.checked_sub(Duration::from_nanos(ANCHOR_NANOS - count))
        };
        // Only the far ends of the count lie outside the other clock.
        moved.unwrap_or(anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Instant {
        /// This moment; whoever is not a test is told the time.
        pub(crate) fn now() -> Self {
            std::time::Instant::now().into()
        }
    }

    #[test]
    fn there_and_back_is_the_same_moment() {
        let here = std::time::Instant::now();
        for apart in [0, 1, 999_999_999, 1_000_000_000, 86_400_000_000_001] {
            for at in [here + Duration::from_nanos(apart), here.checked_sub(Duration::from_nanos(apart)).unwrap_or(here)] {
                assert_eq!(std::time::Instant::from(Instant::from(at)), at);
            }
        }
    }

    #[test]
    fn it_counts_as_the_other_does() {
        let (at, there) = (Instant::now(), std::time::Instant::now());
        for step in [Duration::ZERO, Duration::from_nanos(7), Duration::new(3, 999_999_999), Duration::from_secs(86_400)] {
            assert_eq!((at + step).saturating_duration_since(at), (there + step).saturating_duration_since(there));
            assert_eq!(at.saturating_duration_since(at + step), Duration::ZERO);
            assert_eq!((at + step).checked_duration_since(at), Some(step));
            assert_eq!(at.checked_duration_since(at + step).is_some(), step.is_zero());
            assert_eq!(at + step - step, at);
        }
        assert_eq!(size_of::<Option<Instant>>(), 8);
    }

    #[test]
    fn the_ends_are_not_passed() {
        let at = Instant::now();
        assert!(at.checked_sub(Duration::MAX).is_none());
        assert!(at + Duration::MAX > at && at - Duration::MAX < at);
        assert_eq!(at + Duration::MAX, at + Duration::MAX + Duration::from_secs(1));
    }
}
