//! What is measured while the limit stays the same.

use crate::Sample;
use forebay_core::{Outcome, time::saturating_mul};
use std::time::Duration;
use tokio::time::Instant;

/// The attempts that end while one limit is in force.
///
/// Only an attempt that also started under that limit says something about it; what was under way before says something about
/// the limit before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// When this limit came into force.
    opened: Instant,
    /// The limit.
    pub(crate) limit: usize,
    /// How many attempts of this limit it takes.
    wanted: f64,
    /// When the first of them ended.
    first: Option<Instant>,
    /// When the latest attempt ended.
    latest: Instant,
    /// Of this limit and served: number, sum of seconds, sum of their squares, sum of the numbers in flight.
    count: f64,
    seconds: f64,
    squares: f64,
    in_flight: f64,
    /// How many of them found the limit reached.
    limited: f64,
    /// All that were served since `first` and before `latest`, and at the instant of `latest`.
    served: f64,
    served_last: f64,
    /// All that ended with back-pressure, and all that ended.
    refused: f64,
    ended: f64,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// The limit it was measured at.
    pub(crate) limit: usize,
    /// The mean number in flight.
    pub(crate) in_flight: f64,
    /// The mean time of an attempt, in seconds.
    pub(crate) latency: f64,
    /// How many attempts that is the mean of.
    pub(crate) count: f64,
    /// What was served per second.
    pub(crate) rate: f64,
    /// Whether as much was served as those times let expect: nothing hangs.
    pub(crate) whole: bool,
    /// The relative variance of the mean time.
    pub(crate) error: f64,
    /// The relative variance of the time of one attempt.
    pub(crate) spread: f64,
    /// Whether the limit is what held the number in flight.
    pub(crate) limited: bool,
}

/// A window ends at the latest after so many mean times.
const LONGEST: f64 = 8.0;
/// How many attempts it takes to speak of a share.
const A_FEW: f64 = 4.0;

// === impl Window ===

impl Window {
    /// A window from `now` on that takes `rounds` times as many attempts as the limit, or as many as `at_least`.
    pub(crate) fn new(now: Instant, limit: usize, at_least: f64) -> Self {
        Self {
            opened: now,
            limit,
            wanted: float(limit).max(at_least).max(A_FEW),
            first: None,
            latest: now,
            count: 0.0,
            seconds: 0.0,
            squares: 0.0,
            in_flight: 0.0,
            limited: 0.0,
            served: 0.0,
            served_last: 0.0,
            refused: 0.0,
            ended: 0.0,
        }
    }

    /// Takes an attempt in. `true` when the window is over.
    pub(crate) fn take(&mut self, sample: &Sample) -> bool {
        let served = sample.outcome == Outcome::Success;
        self.ended += 1.0;
        if matches!(sample.outcome, Outcome::Retryable { .. }) {
            self.refused += 1.0;
        }
        if self.first.is_some() {
            self.count_served(sample.finished, served);
        }
        if sample.started < self.opened {
            return false;
        }
        if served {
            let seconds = sample.finished.saturating_duration_since(sample.started).as_secs_f64();
            self.count += 1.0;
            self.seconds += seconds;
            self.squares += seconds * seconds;
            self.in_flight += float(sample.in_flight);
            // Close to the limit is reached: the others of a round start before it is full again.
            self.limited += f64::from(u8::from(sample.in_flight + 1 + self.limit / 8 > self.limit));
        }
        if self.first.is_none() {
            self.count_served(sample.finished, served);
        }
        let first = *self.first.get_or_insert(sample.finished);
        if self.count == 0.0 {
            // All are refused: the share is all there is to learn.
            return self.ended >= self.wanted;
        }
        let mean = Duration::try_from_secs_f64(self.seconds / self.count).unwrap_or(Duration::MAX);
        // A millionth less, so that a round trip of one and the same length is one.
        let round = sample.finished.saturating_duration_since(first) >= saturating_mul(mean, 1.0 - 1e-6);
        let longest = sample.finished.saturating_duration_since(self.opened) >= saturating_mul(mean, LONGEST);
        round && (self.count >= self.wanted || longest && self.count >= 2.0)
    }

    /// Counts what is served by its instant: a round of responses that come together is counted whole, or not at all.
    fn count_served(&mut self, at: Instant, served: bool) {
        if at > self.latest {
            self.served += self.served_last;
            self.served_last = 0.0;
            self.latest = at;
        }
        self.served_last += f64::from(u8::from(served));
    }

    /// The share of all that ended which ended with back-pressure, and how far that may be from the truth; `None` if too few
    /// ended.
    pub(crate) fn refused_share(&self) -> Option<(f64, f64)> {
        (self.ended >= A_FEW).then(|| (self.refused / self.ended, self.ended.sqrt().recip()))
    }

    /// What it has shown; `None` if nothing was served.
    pub(crate) fn measure(&self) -> Option<Measure> {
        if self.count < 1.0 {
            return None;
        }
        // A nanosecond is the least that a clock shows.
        let latency = (self.seconds / self.count).max(1e-9);
        let in_flight = (self.in_flight / self.count).max(1.0);
        // Chance decides over time, and over failure.
        let spread = (self.squares / self.count / (latency * latency) - 1.0).max(0.0);
        let took = self.first.map_or(0.0, |first| self.latest.saturating_duration_since(first).as_secs_f64());
        // By Little's law, which knows no noise of counting; but what hangs is not in it, and is missed by counting.
        let refused = self.refused / self.ended.max(1.0);
        let by_law = in_flight / latency * (1.0 - refused);
        let doubt = 1.0 + 2.0 * (spread / self.count).sqrt();
        let by_count = if took > 0.0 { doubt * self.served / took } else { by_law };
        Some(Measure {
            limit: self.limit,
            in_flight,
            latency,
            count: self.count,
            rate: by_law.min(by_count).max(f64::MIN_POSITIVE),
            whole: refused > 0.0 || by_count >= 0.9 * by_law,
            error: (spread + refused) / self.count,
            spread: spread + refused,
            limited: self.limited * 2.0 >= self.count,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers in flight are far below 2^52")]
pub(crate) fn float(number: usize) -> f64 {
    number as f64
}
