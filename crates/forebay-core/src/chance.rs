//! The one source of chance of these crates: it spreads what would happen together, and holds no secret.
//!
//! SplitMix64 ([Steele, Lea, Flood 2014]) is four lines, has eight bytes of state and passes BigCrush: enough for that, and
//! one dependency less than `rand` or `fastrand`.
//!
//! [Steele, Lea, Flood 2014]: https://doi.org/10.1145/2660193.2660195

use std::hash::{BuildHasher, RandomState};

/// A stream of random numbers, the same for the same seed.
///
/// Not `Clone`: two streams with the same state would draw the same numbers.
#[derive(Debug)]
pub struct SplitMix64(u64);

/// By how much the state grows with each number: the odd number nearest to 2^64 divided by the golden ratio.
pub const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed that differs for each call, process and machine.
#[must_use]
pub fn entropy() -> u64 {
    // The standard library seeds its hasher from the operating system, and differently each time.
    RandomState::new().hash_one(GAMMA)
}

/// The number that belongs to a state: for a state that several threads move on, by [`GAMMA`] for each number.
#[inline]
#[must_use]
pub const fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

// === impl SplitMix64 ===

impl SplitMix64 {
    /// The stream that begins at `seed`; [`entropy`] gives one that is drawn for each call.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream with the number `stream` of all those that come from `seed`.
    #[must_use]
    pub const fn stream(seed: u64, stream: u64) -> Self {
        // Both are mixed, so that neighbouring numbers start far apart on the one cycle of 2^64.
        Self(mix(seed) ^ mix(stream.wrapping_add(1).wrapping_mul(GAMMA)))
    }

    /// Uniform over all values.
    #[inline]
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    pub const fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[low, high]`, both ends included; `low` if that is the greater one.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)) + 1;
        // The high half of the product: no division, and a bias below 2^-64 of the span.
        let offset = (u128::from(self.draw()) * span) >> 64;
        low.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn it_is_the_published_generator() {
        let mut rng = SplitMix64::new(1_234_567);
        let drawn: Vec<_> = (0..3).map(|_| rng.draw()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn between_reaches_both_ends_and_nothing_else() {
        let mut rng = SplitMix64::stream(7, 0);
        let drawn: HashSet<_> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(drawn, HashSet::from([3, 4, 5, 6]));
        assert_eq!(rng.between(9, 9), 9);
        assert_eq!(rng.between(9, 2), 9, "an empty range is its lower end");
        assert!((0..100).any(|_| rng.between(0, u64::MAX) > u64::MAX / 2));
    }

    #[test]
    fn a_unit_is_in_the_unit_interval() {
        let mut rng = SplitMix64::new(7);
        assert!((0..10_000).map(|_| rng.unit()).all(|unit| (0.0..1.0).contains(&unit)));
    }

    #[test]
    fn streams_and_seeds_differ() {
        let first = |seed, stream| SplitMix64::stream(seed, stream).draw();
        let drawn: HashSet<_> = (0..100).flat_map(|n| [first(1, n), first(2, n)]).collect();
        assert_eq!(drawn.len(), 200);
        assert_ne!(entropy(), entropy());
    }
}
