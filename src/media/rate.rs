//! Bits per second as a type, so that bytes and bits are never mixed.

use std::iter::Sum;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A rate in bits per second; arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than any line carries.
    pub const MAX: Self = Self(u64::MAX);

    /// A rate in bits per second.
    #[must_use]
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    /// A rate in thousands of bits per second.
    #[must_use]
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1_000))
    }

    /// The rate of so many bytes in a time; `None` for no time.
    #[must_use]
    pub fn of(bytes: u64, over: Duration) -> Option<Self> {
        let micros = u64::try_from(over.as_micros()).ok().filter(|micros| *micros > 0)?;
        Some(Self(bytes.saturating_mul(8_000_000) / micros))
    }

    /// Bits per second.
    #[must_use]
    pub const fn bps(self) -> u64 {
        self.0
    }

    /// Bytes that this rate carries in a time.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        self.bytes_in_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    /// The same for a time in microseconds.
    #[must_use]
    pub const fn bytes_in_micros(self, micros: u64) -> u64 {
        self.0.saturating_mul(micros) / 8_000_000
    }

    /// The time that so many bytes take at this rate; an hour where it is next to nothing.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        const HOUR_MICROS: u64 = 3_600_000_000;
        // Rounded up, so that the bytes have been carried when the time is over.
        let micros = if self.0 == 0 { HOUR_MICROS } else { bytes.saturating_mul(8_000_000).div_ceil(self.0) };
        Duration::from_micros(micros.min(HOUR_MICROS))
    }

    /// The rate times a factor; nothing for a factor that is negative or no number.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor) as u64)
    }

    /// This rate over another as a factor; 0 where the other is nothing.
    #[must_use]
    pub fn over(self, other: Self) -> f64 {
        if other.0 == 0 { 0.0 } else { self.0 as f64 / other.0 as f64 }
    }
}

impl Add for Bitrate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Bitrate {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Bitrate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_bytes_and_time_agree() {
        let rate = Bitrate::from_kbps(800);
        assert_eq!(rate.bytes_in(Duration::from_millis(10)), 1_000);
        assert_eq!(rate.time_for(1_000), Duration::from_millis(10));
        assert_eq!(Bitrate::of(1_000, Duration::from_millis(10)), Some(rate));
        assert_eq!(Bitrate::of(1_000, Duration::ZERO), None);
        assert_eq!(Bitrate::ZERO.time_for(1), Duration::from_secs(3_600));
        assert_eq!(Bitrate::MAX + rate, Bitrate::MAX);
        assert_eq!(rate - Bitrate::MAX, Bitrate::ZERO);
        assert_eq!((rate.scale(0.5).bps(), rate.scale(-1.0), rate.scale(f64::NAN)), (400_000, Bitrate::ZERO, Bitrate::ZERO));
        assert_eq!((rate.over(rate), rate.over(Bitrate::ZERO)), (1.0, 0.0));
    }
}
