//! What is measured while the limit stays the same.

use super::Sample;
use crate::{
    Outcome,
    time::{saturating_add, saturating_mul},
};
use std::time::{Duration, Instant};

/// The attempts that end while one limit is in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When the limit came into force.
    opened: Instant,
    /// When the attempts that started under the limit before have ended, as far as is known; `None` where nothing is known, so that
    /// only attempts that started in this window count.
    settled: Option<Instant>,
    pub(super) limit: usize,
    /// How many attempts it takes.
    wanted: f64,
    /// The mean time that is expected: a window in which attempts take much longer is over at once.
    expected: Option<f64>,
    /// When the first attempt that counts ended.
    first: Option<Instant>,
    /// The attempts that started in this window, and those of them that were refused.
    pub(super) ended: f64,
    pub(super) refused: f64,
    /// What was served of the attempts that started in this window: it shows a collapse before the window has settled.
    own: Times,
    /// What was served of the attempts that count.
    served: Times,
    /// The attempts that count: how many, the sum of their times, of the numbers in flight, and how many found the limit reached.
    counted: f64,
    seconds: f64,
    in_flight: f64,
    limited: f64,
}

/// The times of attempts, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    count: f64,
    sum: f64,
    squares: f64,
    least: f64,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// The limit it was measured at.
    pub(super) limit: f64,
    /// The mean number in flight.
    pub(super) in_flight: f64,
    /// The mean time of an attempt that was served, in seconds.
    pub(super) latency: f64,
    /// The time of the fastest one, in seconds.
    fastest: f64,
    /// How many attempts that is the mean of.
    pub(super) count: f64,
    /// What was served per second.
    pub(super) rate: f64,
    /// The relative variance of `rate`.
    pub(super) error: f64,
    /// The relative variance of the time of one attempt.
    pub(super) spread: f64,
    /// Whether the limit is what held the number in flight.
    pub(super) limited: bool,
    /// Whether nothing was refused.
    pub(super) clean: bool,
}

/// A window ends at the latest after so many mean times.
const LONGEST: f64 = 12.0;
/// Attempts that take so many times as long as expected show a collapse.
const COLLAPSED: f64 = 3.0;
/// A window takes so many attempts for each one of the limit.
const ROUNDS: f64 = 2.0;

// === impl Window ===

impl Window {
    /// A window from `now` on, whose first attempts take `settle` seconds to end; zero where nothing is known of that.
    pub(super) fn new(now: Instant, limit: usize, settle: f64, expected: Option<f64>) -> Self {
        // A millionth more, so that a round trip of one and the same length is over.
        let settle =
            (settle > 0.0).then(|| Duration::try_from_secs_f64(settle * (1.0 + 1e-6)).unwrap_or(Duration::MAX));
        Self {
            opened: now,
            settled: settle.map(|settle| saturating_add(now, settle)),
            limit,
            wanted: (ROUNDS * float(limit)).max(2.0),
            expected,
            first: None,
            ended: 0.0,
            refused: 0.0,
            own: Times::default(),
            served: Times::default(),
            counted: 0.0,
            seconds: 0.0,
            in_flight: 0.0,
            limited: 0.0,
        }
    }

    /// The window ends after one round: what it has to show is large.
    pub(super) fn shorten(&mut self) {
        self.wanted = float(self.limit);
    }

    /// Takes an attempt in. `true` when the window is over.
    pub(super) fn take(&mut self, sample: &Sample) -> bool {
        let served = sample.outcome == Outcome::Success;
        let seconds = sample.finished.saturating_duration_since(sample.started).as_secs_f64();
        if sample.started >= self.opened {
            self.ended += 1.0;
            self.refused += one_if(!served);
            if served {
                self.own.add(seconds);
            }
        }
        let counts = match self.settled {
            Some(settled) => sample.finished >= settled,
            None => sample.started > self.opened || self.expected.is_none(),
        };
        if !counts {
            return false;
        }
        let first = *self.first.get_or_insert(sample.finished);
        self.counted += 1.0;
        self.seconds += seconds;
        self.in_flight += float(sample.in_flight);
        self.limited += one_if(self.is_reached_by(sample.in_flight));
        if served {
            self.served.add(seconds);
        }
        if self.served.count == 0.0 {
            return self.counted >= self.wanted.max(4.0);
        }
        let mean = Duration::try_from_secs_f64(self.served.mean()).unwrap_or(Duration::MAX);
        // A millionth less, so that a round trip of one and the same length is one.
        let is_round = sample.finished.saturating_duration_since(first) >= saturating_mul(mean, 1.0 - 1e-6);
        let is_longest = sample.finished.saturating_duration_since(self.opened) >= saturating_mul(mean, LONGEST);
        self.has_collapsed() || is_round && (self.counted >= self.wanted || is_longest && self.counted >= 2.0)
    }

    fn has_collapsed(&self) -> bool {
        let Some(expected) = self.expected else { return false };
        let doubt = 3.0 * (self.own.spread() / self.own.count).sqrt();
        self.own.count >= 3.0 && self.own.mean() > COLLAPSED * expected * (1.0 + doubt)
    }

    /// Whether so many in flight are as many as may be. Close to the limit counts: the others of a round start before it is full
    /// again.
    pub(super) fn is_reached_by(&self, in_flight: usize) -> bool {
        in_flight.saturating_add(1 + self.limit / 8) > self.limit
    }

    /// What it has shown; `None` if nothing was served.
    pub(super) fn measure(&self) -> Option<Measure> {
        if self.served.count < 1.0 {
            return None;
        }
        let in_flight = (self.in_flight / self.counted).max(1.0);
        let share = self.served.count / self.counted;
        let spread = self.served.spread();
        Some(Measure {
            limit: float(self.limit),
            in_flight,
            latency: self.served.mean(),
            fastest: self.served.least,
            count: self.served.count,
            // Little's law, which knows no noise of counting. What was refused, or hung, took its time as well.
            rate: in_flight * self.served.count / self.seconds.max(1e-9),
            error: (spread + (1.0 - share) / share) / self.served.count,
            spread,
            limited: self.limited * 2.0 >= self.counted,
            clean: self.refused == 0.0,
        })
    }
}

// === impl Measure ===

impl Measure {
    /// Whether throughput has collapsed since `good`: it is less by more than `much`, as a logarithm, than `doubt` explains, and even
    /// the fastest attempt took longer. Of few attempts a slow one is enough for the first, and says nothing about the limit.
    pub(super) fn has_collapsed(&self, good: &Self, much: f64, doubt: f64) -> bool {
        (self.rate / good.rate).ln() < -much - 2.0 * doubt && self.fastest > good.latency
    }
}

// === impl Times ===

impl Times {
    fn add(&mut self, seconds: f64) {
        self.least = if self.count == 0.0 { seconds } else { self.least.min(seconds) };
        self.count += 1.0;
        self.sum += seconds;
        self.squares += seconds * seconds;
    }

    fn mean(&self) -> f64 {
        // A nanosecond is the least that a clock shows.
        (self.sum / self.count).max(1e-9)
    }

    /// The relative variance.
    fn spread(&self) -> f64 {
        let mean = self.mean();
        (self.squares / self.count / (mean * mean) - 1.0).max(0.0)
    }
}

pub(super) fn one_if(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

#[expect(clippy::cast_precision_loss, reason = "numbers in flight are far below 2^52")]
pub(super) fn float(number: usize) -> f64 {
    number as f64
}
