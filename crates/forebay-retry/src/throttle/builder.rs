use super::{
    Throttle,
    state::{Gates, Terms},
};
use forebay_core::ConfigError;
use forebay_core::chance::entropy;
use std::{num::NonZeroUsize, time::Duration};

/// Sets the terms of a [`Throttle`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`max_hold`](Self::max_hold) | 60 s | any |
/// | [`spread`](Self::spread) | 0.5 of the hint | 0.0 to 100.0 |
/// | [`patience`](Self::patience) | 120 s | any |
/// | [`hold_first_attempts`](Self::hold_first_attempts) | `true` | |
/// | [`max_keys`](Self::max_keys) | 1024 | 1 and more |
/// | [`seed`](Self::seed) | from the operating system | any |
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct ThrottleBuilder {
    max_hold: Duration,
    spread: f64,
    patience: Duration,
    hold_first_attempts: bool,
    max_keys: NonZeroUsize,
    seed: Option<u64>,
}

// === impl ThrottleBuilder ===

impl ThrottleBuilder {
    pub(super) const DEFAULT: Self = Self {
        max_hold: Duration::from_secs(60),
        // As in Envoy's `rate_limited_retry_back_off`: 1 to 1.5 times what was asked for.
        spread: 0.5,
        patience: Duration::from_secs(120),
        hold_first_attempts: true,
        max_keys: match NonZeroUsize::new(1024) {
            Some(keys) => keys,
            None => NonZeroUsize::MIN,
        },
        seed: None,
    };

    /// No single hint holds a key back for longer, however much it asks for.
    pub const fn max_hold(mut self, hold: Duration) -> Self {
        self.max_hold = hold;
        self
    }

    /// Over which share of the hint the calls that waited are let go after it: 0.5 releases the calls that a
    /// `Retry-After: 4` has held back evenly over the 2 s that follow. 0.0 releases them all at once.
    pub const fn spread(mut self, share: f64) -> Self {
        self.spread = share;
        self
    }

    /// How long one call may be held back in all, over any number of hints, before one attempt.
    ///
    /// A call that would wait longer is refused at once with [`Throttled`](crate::Throttled), if it was never sent.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether calls that were never sent wait as well, or only retries.
    pub const fn hold_first_attempts(mut self, hold: bool) -> Self {
        self.hold_first_attempts = hold;
        self
    }

    /// How many keys can be held back at once. One more opens the gate that has least time left.
    pub const fn max_keys(mut self, keys: NonZeroUsize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Makes the release times reproducible.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The throttle, with no key held back.
    ///
    /// # Errors
    ///
    /// When `spread` is NaN or outside of the range in the table.
    pub fn build(self) -> Result<Throttle, ConfigError> {
        if !(0.0..=100.0).contains(&self.spread) {
            return Err(ConfigError::new("spread", self.spread, "0 to 100"));
        }
        Ok(self.checked())
    }

    pub(super) fn checked(self) -> Throttle {
        let Self { max_hold, spread, patience, hold_first_attempts, max_keys, seed } = self;
        // Far above any sensible hold, and far below what the clock can count.
        let max_hold = max_hold.min(Duration::from_secs(60 * 60 * 24 * 365));
        let gates = Gates::new(Terms { max_keys, max_hold, spread }, seed.unwrap_or_else(entropy));
        Throttle::of(gates, patience, hold_first_attempts)
    }
}
