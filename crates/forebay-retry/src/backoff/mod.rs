//! How long to wait before the next attempt: a recipe, and the delays that come from it.

mod delays;
mod jitter;

pub use self::{delays::Delays, jitter::Jitter};

use forebay_core::{
    ConfigError,
    chance::{SplitMix64, entropy},
};
use std::time::Duration;

/// How long to wait before each next attempt.
///
/// A recipe: `Copy`, built in a `const`, and without a timer. The delays themselves come from
/// [`delays`](Self::delays), an endless iterator; each iterator draws its own, so that two requests never share them.
///
/// | knob | default | meaning |
/// | --- | --- | --- |
/// | kind | [`exponential`](Self::exponential), 100 ms | how steps grow |
/// | [`factor`](Self::factor) | 2.0 | growth from step to step, exponential only |
/// | [`cap`](Self::cap) | 10 s, or the first step if that is longer | no delay is longer |
/// | [`jitter`](Self::jitter) | [`Jitter::Full`] | how a delay is drawn around its step |
/// | [`seed`](Self::seed) | from the operating system | makes the delays reproducible |
///
/// # A server's hint
///
/// Where the server has asked for a wait of `h` (`Retry-After`, `RetryInfo`), the delay is not below `h`, even where
/// `h` is above the cap: it is the longer of the step's own delay and `h` plus a spread, uniform up to the longer of
/// the step and `h/2` and never wider than the cap. So `h ..= h + cap` holds it, unless the step's own delay is longer.
/// With [`Jitter::None`] nothing is added. How long a hint may be at all is the retry layer's
/// [`max_hint`](crate::RetryBuilder::max_hint).
///
/// ```
/// use forebay_retry::{Backoff, Jitter};
/// use std::time::Duration;
///
/// const BACKOFF: Backoff = Backoff::exponential(Duration::from_millis(100))
///     .cap(Duration::from_millis(500))
///     .jitter(Jitter::None);
///
/// let delays: Vec<_> = BACKOFF.into_iter().take(4).map(|delay| delay.as_millis()).collect();
/// assert_eq!(delays, [100, 200, 400, 500]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    kind: Kind,
    base: Duration,
    cap: Duration,
    jitter: Jitter,
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Exponential { factor: f64 },
    Constant,
    Fibonacci,
    Decorrelated,
}

// === impl Backoff ===

impl Backoff {
    const DEFAULT_FACTOR: f64 = 2.0;
    const DEFAULT_CAP: Duration = Duration::from_secs(10);

    /// Steps `base`, `base·factor`, `base·factor²`, ...
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::new(Kind::Exponential { factor: Self::DEFAULT_FACTOR }, base, Jitter::Full)
    }

    /// Steps that are all `base`.
    #[must_use]
    pub const fn constant(base: Duration) -> Self {
        Self::new(Kind::Constant, base, Jitter::Full)
    }

    /// Steps `base` times 1, 1, 2, 3, 5, 8, ...
    #[must_use]
    pub const fn fibonacci(base: Duration) -> Self {
        Self::new(Kind::Fibonacci, base, Jitter::Full)
    }

    /// Steps uniform in `base ..= min(cap, 3 · the step before)`, the first one after `base` itself.
    ///
    /// The steps are random already, so the jitter is [`Jitter::None`] unless another is set. The cap is inside the
    /// draw, not around it: with `min(cap, draw)` two thirds of the delays would be the cap itself.
    #[must_use]
    pub const fn decorrelated(base: Duration) -> Self {
        Self::new(Kind::Decorrelated, base, Jitter::None)
    }

    const fn new(kind: Kind, base: Duration, jitter: Jitter) -> Self {
        // A first step that was asked for is not cut by a default.
        let cap = if base.as_nanos() > Self::DEFAULT_CAP.as_nanos() { base } else { Self::DEFAULT_CAP };
        Self { kind, base, cap, jitter, seed: None }
    }

    /// How much longer each step is than the one before; for exponential steps only, others ignore it.
    ///
    /// Finite, and not below 1.0: [`check`](Self::check) refuses every other value.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        if let Kind::Exponential { factor: kept } = &mut self.kind {
            *kept = factor;
        }
        self
    }

    /// No delay is longer than this, jitter included, unless the server asks for more.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How a delay is drawn around its step.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Makes the delays reproducible: the same seed and the same number of the stream give the same delays.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether every number in it means something. Each builder that takes a backoff calls this in its `build`.
    ///
    /// # Errors
    ///
    /// When [`factor`](Self::factor) is NaN, infinite or below 1.0, or the share of a [`Jitter::Proportional`] is NaN or not
    /// from 0.0 to 1.0. Delays that are drawn from such a backoff all the same stay below the cap.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.kind {
            Kind::Exponential { factor } if !factor.is_finite() || factor < 1.0 => {
                Err(ConfigError::new("factor", factor, "1.0 and more, finite"))
            }
            _ => self.jitter.check(),
        }
    }

    /// The delays of the stream with this number; streams differ from each other, with a seed as well.
    ///
    /// Without a seed each call of this method draws a new one, and the number does not matter.
    #[must_use]
    pub fn delays(&self, stream: u64) -> Delays {
        self.delays_from(self.seed.unwrap_or_else(entropy), stream)
    }

    pub(crate) fn delays_from(&self, seed: u64, stream: u64) -> Delays {
        Delays::new(self, SplitMix64::stream(seed, stream))
    }

    pub(crate) fn fixed_seed(&self) -> Option<u64> {
        self.seed
    }
}

/// 100 ms, doubling to 10 s, full jitter.
impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100))
    }
}

/// The delays of stream 0. `Backoff` itself is no iterator: a `Copy` of one would draw the same delays again.
impl IntoIterator for Backoff {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        self.delays(0)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `nanos` times a factor that is not negative; what does not fit is `u64::MAX`.
#[expect(clippy::cast_possible_truncation, reason = "a float saturates when it becomes an integer")]
fn scale(nanos: u64, factor: f64) -> u64 {
    // A float keeps 53 bits: exact up to 104 days, and off by a quarter of a microsecond in 50 years.
    (nanos as f64 * factor) as u64
}
