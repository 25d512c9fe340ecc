use super::{
    Throttle,
    state::{Gates, Terms},
};
use forebay_core::ConfigError;
use forebay_core::chance::entropy;
use std::time::Duration;

/// Sets the terms of a [`Throttle`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`max_hint`](Self::max_hint) | 60 s | any |
/// | [`spread`](Self::spread) | 0.5 of the hint | 0.0 to 100.0 |
/// | [`patience`](Self::patience) | 120 s | any |
/// | [`hold_first_attempts`](Self::hold_first_attempts) | `true` | |
/// | [`max_keys`](Self::max_keys) | 1,024 | 1 to 16,777,216 |
/// | [`seed`](Self::seed) | from the operating system | any |
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct ThrottleBuilder {
    max_hint: Duration,
    spread: f64,
    patience: Duration,
    hold_first_attempts: bool,
    max_keys: usize,
    seed: Option<u64>,
}

// === impl ThrottleBuilder ===

impl ThrottleBuilder {
    pub(super) const DEFAULT: Self = Self {
        max_hint: Duration::from_secs(60),
        // As in Envoy's `rate_limited_retry_back_off`: 1 to 1.5 times what was asked for.
        spread: 0.5,
        patience: Duration::from_secs(120),
        hold_first_attempts: true,
        max_keys: 1024,
        seed: None,
    };

    /// The longest wait that a server can ask for. A hint above it holds its key back this long.
    pub const fn max_hint(mut self, wait: Duration) -> Self {
        self.max_hint = wait;
        self
    }

    /// Over which share of the hint the calls that waited are released after it: with 0.5, the calls that a `Retry-After: 4`
    /// held back are released evenly over the 2 s that follow. 0.0 releases them all at once.
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

    /// Whether first attempts wait as well, or only retries.
    pub const fn hold_first_attempts(mut self, hold: bool) -> Self {
        self.hold_first_attempts = hold;
        self
    }

    /// How many keys can be held back at once. One more releases the key that has least time left.
    pub const fn max_keys(mut self, keys: usize) -> Self {
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
    /// When `spread` or `max_keys` is outside of the range in the table.
    pub fn build(self) -> Result<Throttle, ConfigError> {
        ConfigError::within("spread", self.spread, 0.0..=100.0)?;
        ConfigError::within("max_keys", self.max_keys, 1..=1 << 24)?;
        Ok(self.checked())
    }

    pub(super) fn checked(self) -> Throttle {
        let Self { max_hint, spread, patience, hold_first_attempts, max_keys, seed } = self;
        // Far above any sensible wait, and far below what the clock can count.
        let max_hint = max_hint.min(Duration::from_secs(60 * 60 * 24 * 365));
        let gates = Gates::new(Terms { max_keys, max_hint, spread }, seed.unwrap_or_else(entropy));
        Throttle::of(gates, patience, hold_first_attempts)
    }
}
