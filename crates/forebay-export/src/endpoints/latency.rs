//! How long an endpoint takes, for the choice between two of them.

use forebay_core::time::saturating_mul;
use std::time::{Duration, Instant};

/// A mean that follows what is slower at once, and what is faster within a few responses, after the peak-sensitive mean of Finagle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// The mean in seconds, and of when it is.
    known: Option<(f64, Instant)>,
    /// Whether the latest request has failed.
    is_failing: bool,
}

/// After this time without another peak, what is left of one is a third.
const DECAY: f64 = 10.0;
/// What each response leaves of the mean at most: one slow response is forgotten after a few, even where they are seconds apart.
const LEFT: f64 = 0.5;
/// A failure counts at least as this long, in seconds: one that fails at once must not pass for fast.
const FAILURE: f64 = 0.01;
/// No failures count as longer than this, in seconds.
const LONGEST: f64 = 60.0;

// === impl Latency ===

impl Latency {
    /// The mean at `now`, in seconds.
    pub(super) fn at(&self, now: Instant) -> Option<f64> {
        self.known.map(|(mean, at)| mean * Self::left(at, now))
    }

    pub(super) fn duration(&self, now: Instant) -> Option<Duration> {
        self.at(now).map(|seconds| saturating_mul(Duration::from_secs(1), seconds))
    }

    /// How much of a mean is left after a time.
    fn left(at: Instant, now: Instant) -> f64 {
        (-now.saturating_duration_since(at).as_secs_f64() / DECAY).exp()
    }

    /// A request took so long. After a failure this is all that is known: an endpoint that is back is as fast as it is now.
    pub(super) fn took(&mut self, now: Instant, took: Duration) {
        let took = took.as_secs_f64();
        let mean = match self.known {
            Some((mean, at)) if !self.is_failing => {
                let left = Self::left(at, now).min(LEFT);
                (mean * left + took * (1.0 - left)).max(took)
            }
            Some(_) | None => took,
        };
        *self = Self { known: Some((mean, now)), is_failing: false };
    }

    /// A request failed after so long: the endpoint counts as twice as slow.
    pub(super) fn failed(&mut self, now: Instant, took: Duration) {
        let doubled = self.at(now).unwrap_or(0.0) * 2.0;
        *self = Self { known: Some((took.as_secs_f64().max(doubled).clamp(FAILURE, LONGEST), now)), is_failing: true };
    }
}
