use crate::{ConfigError, chance::entropy};

/// What a [`Limiter`](super::Limiter) may do: the bounds of its limit, and where it starts.
///
/// [`Adaptive::default()`] is right wherever nothing is known of the server: 1 to 200 in flight, beginning with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive {
    floor: usize,
    ceiling: usize,
    initial: usize,
    seed: Option<u64>,
}

/// Builds an [`Adaptive`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`floor`](Self::floor) | 1 | 1 to 65,536 |
/// | [`ceiling`](Self::ceiling) | 200 | the floor to 65,536 |
/// | [`initial`](Self::initial) | 1, or the floor | the floor to the ceiling |
/// | [`seed`](Self::seed) | drawn by the operating system | any |
///
/// Nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AdaptiveBuilder {
    floor: usize,
    ceiling: usize,
    initial: Option<usize>,
    seed: Option<u64>,
}

/// More in flight than that is a matter of bytes, not of numbers.
const MOST: usize = 65_536;
/// A single attempt shows how long one takes without load, also where twenty clients start at once; the limit doubles from there.
const INITIAL: usize = 1;
/// What Vector and failsafe-go have, too.
const CEILING: usize = 200;

// === impl Adaptive ===

impl Adaptive {
    /// A builder with the defaults.
    pub const fn builder() -> AdaptiveBuilder {
        AdaptiveBuilder { floor: 1, ceiling: CEILING, initial: None, seed: None }
    }

    /// The least that may be in flight, whatever the server does.
    #[must_use]
    pub const fn floor(&self) -> usize {
        self.floor
    }

    /// The most that may be in flight, whatever the server takes.
    #[must_use]
    pub const fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// The limit before anything is known.
    #[must_use]
    pub const fn initial(&self) -> usize {
        self.initial
    }

    /// The seed for one limiter.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(entropy)
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { floor: 1, ceiling: CEILING, initial: INITIAL, seed: None }
    }
}

// === impl AdaptiveBuilder ===

impl AdaptiveBuilder {
    /// The least that may be in flight, whatever the server does. Default: 1.
    pub const fn floor(mut self, floor: usize) -> Self {
        self.floor = floor;
        self
    }

    /// The most that may be in flight, whatever the server takes. Default: 200.
    ///
    /// It bounds the memory and the connections that requests in flight take.
    pub const fn ceiling(mut self, ceiling: usize) -> Self {
        self.ceiling = ceiling;
        self
    }

    /// The limit before anything is known. Default: 1, and it doubles as long as that is worth it.
    pub const fn initial(mut self, initial: usize) -> Self {
        self.initial = Some(initial);
        self
    }

    /// Makes the jitter the same for each limiter and each run: for tests. Limiters with one seed probe together.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The finished settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob that is out of its range.
    pub fn build(self) -> Result<Adaptive, ConfigError> {
        let Self { floor, ceiling, initial, seed } = self;
        if !(1..=MOST).contains(&floor) {
            return Err(ConfigError::new("floor", floor, "1 to 65,536"));
        }
        if !(floor..=MOST).contains(&ceiling) {
            return Err(ConfigError::new("ceiling", ceiling, format!("the floor, {floor}, to 65,536")));
        }
        let initial = initial.unwrap_or(INITIAL.clamp(floor, ceiling));
        if !(floor..=ceiling).contains(&initial) {
            return Err(ConfigError::new("initial", initial, format!("the floor, {floor}, to the ceiling, {ceiling}")));
        }
        Ok(Adaptive { floor, ceiling, initial, seed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_knob_is_refused_by_name_value_and_range() {
        let refused = |builder: AdaptiveBuilder| builder.build().unwrap_err().to_string();
        assert_eq!(refused(Adaptive::builder().floor(0)), "`floor` is 0; allowed: 1 to 65,536");
        assert_eq!(
            refused(Adaptive::builder().floor(9).ceiling(8)),
            "`ceiling` is 8; allowed: the floor, 9, to 65,536"
        );
        assert_eq!(
            refused(Adaptive::builder().ceiling(65_537)),
            "`ceiling` is 65537; allowed: the floor, 1, to 65,536"
        );
        let initial = Adaptive::builder().floor(2).ceiling(8).initial(9);
        assert_eq!(refused(initial), "`initial` is 9; allowed: the floor, 2, to the ceiling, 8");
    }

    #[test]
    fn the_default_is_what_the_builder_has() {
        assert_eq!(Adaptive::builder().build(), Ok(Adaptive::default()));
        assert_eq!(Adaptive::builder().floor(9).build().unwrap().initial(), 9);
    }
}
