//! Chance that stays the same: SplitMix64, so that a seed means the same run in every version of every dependency.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of `seed` for one purpose; purposes with different numbers do not disturb each other.
    #[must_use]
    pub fn of(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose.wrapping_add(1))))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 up to, without, 1.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let numerator = (self.bits() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }

    /// A number of mean 0 and deviation 1, never beyond ±3.5: four sixteen-bit numbers added up.
    ///
    /// A sum needs no logarithm, whose last bit differs between C libraries.
    pub fn bell(&mut self) -> f64 {
        let bits = self.bits();
        let sum: u32 = (0..4).map(|part| u32::from((bits >> (16 * part)) as u16)).sum();
        (f64::from(sum) / 65_535.0 - 2.0) * 1.732_050_807_568_877_2
    }
}

/// A seed for the part `index` of a run that has `seed`, for instance one client or one direction.
#[must_use]
pub fn seed_for(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(mix(index.wrapping_add(0x5eed))))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_keeps_its_meaning() {
        // The published first numbers of SplitMix64 for the state 0.
        let mut random = Random::new(0);
        assert_eq!([random.bits(), random.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert_ne!(Random::of(7, 0).bits(), Random::of(7, 1).bits());
        assert_ne!(seed_for(7, 0), seed_for(7, 1));
    }

    #[test]
    fn the_bell_has_mean_0_and_deviation_1() {
        let mut random = Random::of(1, 0);
        let values: Vec<f64> = (0..100_000).map(|_| random.bell()).collect();
        let mean = values.iter().sum::<f64>() / 100_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 100_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(values.iter().all(|v| v.abs() <= 3.5));
    }

    #[test]
    fn a_seed_gives_one_sequence() {
        let (mut one, mut same, mut other) = (Random::new(7), Random::new(7), Random::new(8));

        let drawn: Vec<u64> = (0..5).map(|_| one.bits()).collect();

        assert_eq!(drawn, (0..5).map(|_| same.bits()).collect::<Vec<_>>());
        assert_ne!(drawn, (0..5).map(|_| other.bits()).collect::<Vec<_>>());
    }

    #[test]
    fn units_fill_their_range() {
        let mut random = Random::new(1);

        let parts: Vec<f64> = (0..1_000).map(|_| random.unit()).collect();

        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)));
        let mean = parts.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
