//! Random numbers that come out the same for the same seed, on every machine.

/// A SplitMix64 sequence: small, and good enough to spread joins.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number from 0 up to 1, without 1.
    pub fn part(&mut self) -> f64 {
        // The upper 53 bits fill the mantissa.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence() {
        let (mut one, mut same, mut other) = (Dice::new(7), Dice::new(7), Dice::new(8));

        let drawn: Vec<u64> = (0..5).map(|_| one.bits()).collect();

        assert_eq!(drawn, (0..5).map(|_| same.bits()).collect::<Vec<_>>());
        assert_ne!(drawn, (0..5).map(|_| other.bits()).collect::<Vec<_>>());
    }

    #[test]
    fn parts_fill_their_range() {
        let mut dice = Dice::new(1);

        let parts: Vec<f64> = (0..1_000).map(|_| dice.part()).collect();

        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)));
        let mean = parts.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
