use super::{
    Budget,
    state::{BudgetState, ONE, Terms},
};
use forebay_core::ConfigError;

/// Sets the terms of a [`Budget`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`ratio`](Self::ratio) | 0.1 retries per call | 0.0 to 1000.0 |
/// | [`floor_per_second`](Self::floor_per_second) | 1.0 retry | 0.0 to 1,000,000.0 |
/// | [`reserve`](Self::reserve) | 100.0 retries | 1.0 to 1,000,000.0 |
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct BudgetBuilder {
    ratio: f64,
    floor_per_second: f64,
    reserve: f64,
}

// === impl BudgetBuilder ===

impl BudgetBuilder {
    pub(super) const DEFAULT: Self = Self { ratio: 0.1, floor_per_second: 1.0, reserve: 100.0 };

    /// How many retries each call earns.
    pub const fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// How many retries each second earns at least, so that a client that seldom calls can retry at all.
    ///
    /// What the calls of a second have earned counts towards it.
    pub const fn floor_per_second(mut self, retries: f64) -> Self {
        self.floor_per_second = retries;
        self
    }

    /// How many retries can be kept for a burst; the budget starts with as many.
    pub const fn reserve(mut self, retries: f64) -> Self {
        self.reserve = retries;
        self
    }

    /// The budget, full.
    ///
    /// # Errors
    ///
    /// When a value is NaN or outside of the range in the table.
    pub fn build(self) -> Result<Budget, ConfigError> {
        ConfigError::within("ratio", self.ratio, 0.0..=1000.0)?;
        ConfigError::within("floor_per_second", self.floor_per_second, 0.0..=1e6)?;
        ConfigError::within("reserve", self.reserve, 1.0..=1e6)?;
        Ok(self.checked())
    }

    pub(super) fn checked(self) -> Budget {
        let terms = Terms {
            ratio: millionths(self.ratio),
            floor: millionths(self.floor_per_second),
            reserve: millionths(self.reserve),
        };
        Budget::of(BudgetState::new(terms))
    }
}

/// Millionths of a retry; NaN is zero.
#[expect(clippy::cast_possible_truncation, reason = "a float saturates when it becomes an integer")]
pub(super) fn millionths(retries: f64) -> u64 {
    (retries * ONE as f64).round() as u64
}
