//! How long a breaker stays open, and how traffic returns.

use std::time::Duration;

/// How long a breaker stays open before it lets a probe through.
///
/// A plain [`Duration`] is one, with the defaults for all else:
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`new`](Self::new) | – (60 s in the builder) | 1 ms to 365 days |
/// | [`growth`](Self::growth) | 1.0: always the same | 1.0 to 100.0 |
/// | [`cap`](Self::cap) | 10 min, or the longest it can be without growth if that is more | the open time up, to 365 days |
/// | [`jitter`](Self::jitter) | 0.1: up to a tenth longer | 0.0 to 1.0 |
/// | [`max_hint`](Self::max_hint) | 60 s | 0 to 365 days |
///
/// ```
/// use forebay_breaker::OpenFor;
/// use std::time::Duration;
///
/// // 5 s, 10 s, 20 s ... 2 min, each up to a fifth longer by chance.
/// let open_for = OpenFor::new(Duration::from_secs(5)).growth(2.0).cap(Duration::from_secs(120)).jitter(0.2);
/// # drop(open_for);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until it is given to a builder"]
pub struct OpenFor {
    pub(crate) base: Duration,
    pub(crate) growth: f64,
    pub(crate) cap: Option<Duration>,
    pub(crate) jitter: f64,
    pub(crate) max_hint: Duration,
}

/// How traffic returns after a breaker closed: a share of the calls that grows to all of them.
///
/// A call that is not in the share is rejected with [`CircuitOpen`](crate::CircuitOpen). The share is kept exactly,
/// not by chance: with 10 % every tenth call goes.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until it is given to a builder"]
pub struct Ramp {
    pub(crate) over: Duration,
    pub(crate) from: f64,
}

// === impl OpenFor ===

impl OpenFor {
    /// An open time of `base`, with the defaults for all else.
    pub const fn new(base: Duration) -> Self {
        Self { base, growth: 1.0, cap: None, jitter: 0.1, max_hint: Duration::from_secs(60) }
    }

    /// The open time grows by this factor each time a probe fails, until the circuit closes and any ramp is over.
    pub const fn growth(mut self, factor: f64) -> Self {
        self.growth = factor;
        self
    }

    /// The open time is never longer than this, whatever growth, jitter and hints say.
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = Some(cap);
        self
    }

    /// The open time is longer by a random part, up to this share of it, so that breakers that opened together do not probe
    /// together. At the cap it is shorter instead, so that it is spread there as well.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// The longest that a server's hint (a [`Retry-After`](forebay_core::Outcome::Retryable) on the failure that opened it) is
    /// obeyed: it stays open at least that long, below the [`cap`](Self::cap). A longer hint counts as this long, so that a server
    /// that asks for a day is probed after a minute. Zero obeys no hint.
    pub const fn max_hint(mut self, most: Duration) -> Self {
        self.max_hint = most;
        self
    }
}

impl From<Duration> for OpenFor {
    fn from(base: Duration) -> Self {
        Self::new(base)
    }
}

// === impl Ramp ===

impl Ramp {
    /// All calls go through after this time; 1 ms to 24 h. The share starts at 0.1.
    pub const fn over(time: Duration) -> Self {
        Self { over: time, from: 0.1 }
    }

    /// The share at the start; above 0.0 and at most 1.0 (default 0.1).
    pub const fn starting_at(mut self, share: f64) -> Self {
        self.from = share;
        self
    }
}
