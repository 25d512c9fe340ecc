//! When a breaker opens.

use crate::{
    check::{DAY, MILLISECOND, share},
    env::micros,
    policy::{TimeWindow, Window},
    rule::{Bad, Rule},
};
use forebay_core::ConfigError;
use std::time::Duration;

/// When a closed breaker opens: one rule, or several of which any suffices.
///
/// ```
/// use forebay_breaker::Trip;
/// use std::time::Duration;
///
/// // Five failures in a row ...
/// let trip = Trip::consecutive(5)
///     // ... or half of at least 20 calls in 30 seconds ...
///     .or(Trip::ratio(0.5).over(Duration::from_secs(30)).min_calls(20))
///     // ... or four fifths of the last 100 calls took two seconds or more.
///     .or(Trip::slow_ratio(0.8, Duration::from_secs(2)).over_calls(100));
/// # drop(trip);
/// ```
///
/// A rule is looked at when a result arrives that is bad to it; a success never opens. The values are checked by
/// [`BreakerBuilder::build`](crate::BreakerBuilder::build).
#[derive(Clone, Debug, PartialEq)]
pub struct Trip {
    pub(crate) consecutive: Option<u32>,
    pub(crate) ratios: Vec<RatioTrip>,
}

/// Opens when a share of the calls in a window is bad.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`over`](Self::over) or [`over_calls`](Self::over_calls) | over 30 s | 10 ms to 24 h; 1 to 10,000 calls |
/// | [`buckets`](Self::buckets) | 10 | 2 to 60 |
/// | [`min_calls`](Self::min_calls) | 20, or the window's length in calls if that is less | 1 up, at most the window |
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a rule does nothing until it is given to a builder"]
pub struct RatioTrip {
    pub(crate) ratio: f64,
    pub(crate) slower_than: Option<Duration>,
    pub(crate) window: Span,
    pub(crate) min_calls: Option<u32>,
    pub(crate) buckets: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Span {
    Time(Duration),
    Calls(u32),
}

// === impl Trip ===

impl Trip {
    /// Opens after this many failures in a row, with no success in between; 1 to 65,535.
    ///
    /// The state of a key is one atomic word, and a call that succeeds reads no clock.
    #[must_use]
    pub const fn consecutive(failures: u32) -> Self {
        Self { consecutive: Some(failures), ratios: Vec::new() }
    }

    /// Opens when at least this share of the calls in a window failed; above 0.0 and at most 1.0.
    pub const fn ratio(share: f64) -> RatioTrip {
        RatioTrip::new(share, None)
    }

    /// Opens when at least this share of the calls in a window took `slower_than` or longer, whether they failed or not; above
    /// 0.0 and at most 1.0.
    ///
    /// Where there is such a rule, a probe that is that slow has failed, and each call reads the clock twice.
    pub const fn slow_ratio(share: f64, slower_than: Duration) -> RatioTrip {
        RatioTrip::new(share, Some(slower_than))
    }

    /// Opens when this or `other` says so. Of two rules about failures in a row the smaller number is kept.
    #[must_use]
    pub fn or(mut self, other: impl Into<Self>) -> Self {
        let other = other.into();
        self.consecutive = match (self.consecutive, other.consecutive) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.ratios.extend(other.ratios);
        self
    }
}

impl From<RatioTrip> for Trip {
    fn from(rule: RatioTrip) -> Self {
        Self { consecutive: None, ratios: vec![rule] }
    }
}

// === impl RatioTrip ===

impl RatioTrip {
    const fn new(ratio: f64, slower_than: Option<Duration>) -> Self {
        let window = Span::Time(Duration::from_secs(30));
        Self { ratio, slower_than, window, min_calls: None, buckets: 10 }
    }

    /// Counts the calls that ended in the last `window`.
    ///
    /// The window slides by buckets: a result leaves between 9/10 of `window` and all of it after it came (with 10
    /// [`buckets`](Self::buckets)). A result costs one clock read and the same time however many calls the window
    /// holds; a key costs 16 bytes for each bucket, in cache lines of 64, however many calls it gets.
    pub const fn over(mut self, window: Duration) -> Self {
        self.window = Span::Time(window);
        self
    }

    /// Counts the last `calls` calls.
    ///
    /// The window takes one bit for each call. While the window is full of good calls, a success reads one word and no clock;
    /// else a result takes the lock of its key.
    pub const fn over_calls(mut self, calls: u32) -> Self {
        self.window = Span::Calls(calls);
        self
    }

    /// The rule never opens the circuit on fewer calls than these.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = Some(calls);
        self
    }

    /// The number of steps in which a window over a time slides.
    pub const fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// Opens when this or `other` says so.
    #[must_use]
    pub fn or(self, other: impl Into<Trip>) -> Trip {
        Trip::from(self).or(other)
    }
}

/// The rules that a user has given, checked.
pub(crate) fn compile(ratios: &[RatioTrip]) -> Result<Box<[Rule]>, ConfigError> {
    let (mut rules, mut first) = (Vec::with_capacity(ratios.len()), 0);
    for rule in ratios {
        let (window, most) = match rule.window {
            Span::Time(span) => {
                ConfigError::within("over", span, Duration::from_millis(10)..=DAY)?;
                ConfigError::within("buckets", rule.buckets, 2..=60)?;
                let width = micros(span).checked_div(rule.buckets.into()).unwrap_or_default();
                let window = TimeWindow { width, buckets: rule.buckets, first };
                first += window.cells();
                (Window::Time(window), u32::MAX)
            }
            Span::Calls(calls) => {
                ConfigError::within("over_calls", calls, 1..=10_000)?;
                (Window::Calls(calls), calls)
            }
        };
        let min_calls = ConfigError::within("min_calls", rule.min_calls.unwrap_or(20.min(most)), 1..=most)?;
        let bad = match rule.slower_than {
            Some(limit) => Bad::SlowerThan(micros(ConfigError::within("slow_ratio", limit, MILLISECOND..=DAY)?)),
            None => Bad::Failed,
        };
        rules.push(Rule { bad, ratio: share("ratio", rule.ratio)?, min_calls, window });
    }
    Ok(rules.into())
}
