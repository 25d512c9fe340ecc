//! The one source of chance in this crate: it keeps a fleet apart, and holds no secret.
//!
//! SplitMix64 ([Steele, Lea, Flood 2014]): eight bytes of state, and seedable.
//!
//! [Steele, Lea, Flood 2014]: https://doi.org/10.1145/2660193.2660195

use std::hash::{BuildHasher, RandomState};

#[derive(Debug)]
pub(crate) struct SplitMix64(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

// === impl SplitMix64 ===

impl SplitMix64 {
    /// Without a seed, one that differs for each call, process and machine.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(|| RandomState::new().hash_one(GAMMA)))
    }

    /// Uniform in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_generator() {
        let mut rng = SplitMix64::new(Some(1_234_567));
        assert_eq!([rng.next(), rng.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_draw_is_in_the_unit_interval_and_unseeded_ones_differ() {
        let mut rng = SplitMix64::new(Some(7));
        assert!((0..10_000).map(|_| rng.unit()).all(|draw| (0.0..1.0).contains(&draw)));
        assert!(SplitMix64::new(None).next() != SplitMix64::new(None).next());
    }
}
