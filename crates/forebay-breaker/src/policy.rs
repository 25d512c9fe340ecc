//! The configuration as the state machine reads it: checked, in microseconds and parts per million.

use crate::{
    observation::{Grade, Observation},
    rule::{Bad, Rule},
};

/// A whole, in parts per million.
pub(crate) const WHOLE: u32 = 1_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Failures in a row that open; 0 is none.
    pub(crate) streak: u16,
    /// The rules over windows, in the order in which they were given.
    pub(crate) rules: Box<[Rule]>,
    /// The window of the one rule there is, if that is over a time and about failures.
    pub(crate) only: Option<TimeWindow>,
    /// How many of the rules are over a number of calls.
    pub(crate) rings: usize,
    /// Whether every result needs the clock: a rule is over a time, or about slow calls.
    pub(crate) timed: bool,
    /// Whether a call must be timed from its start.
    pub(crate) stopwatch: bool,
    /// The counters that all rules over a time need per stripe.
    pub(crate) cells: usize,
    pub(crate) open: OpenTime,
    /// How many probes must succeed to close it.
    pub(crate) close_after: u32,
    /// How many probes may be under way at a time.
    pub(crate) probes: u32,
    /// How long a probe may take before another one may go in its place, in microseconds.
    pub(crate) lease: u64,
    /// How traffic returns; `None` is all at once.
    pub(crate) ramp: Option<RampPlan>,
    /// What a call counts as when its future is dropped before it ends.
    pub(crate) cancelled: Grade,
    /// What a terminal failure counts as.
    pub(crate) terminal: Grade,
    /// The share of keys that may be open at once; `WHOLE` is no limit.
    pub(crate) open_share: u32,
}

/// What a rule is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Time(TimeWindow),
    /// The last so many calls.
    Calls(u32),
}

/// A window over a time, in buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeWindow {
    /// How long a bucket lasts, in microseconds.
    pub(crate) width: u64,
    pub(crate) buckets: u32,
    /// Where its counters start among those of all rules.
    pub(crate) first: usize,
}

/// How long it stays open; all in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OpenTime {
    pub(crate) base: u64,
    pub(crate) growth: f64,
    pub(crate) cap: u64,
    pub(crate) jitter: f64,
    /// The longest hint that is obeyed.
    pub(crate) max_hint: u64,
}

/// How traffic returns after closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RampPlan {
    pub(crate) over: u64,
    pub(crate) from: u32,
}

// === impl Policy ===

impl Policy {
    /// Whether `observed` is bad by any rule over a number of calls or a time.
    pub(crate) fn is_bad(&self, observed: &Observation) -> bool {
        self.rules.iter().any(|rule| rule.is_bad(observed))
    }

    /// Whether `observed` is slow by any rule.
    pub(crate) fn is_slow(&self, observed: &Observation) -> bool {
        self.rules.iter().any(|rule| rule.bad != Bad::Failed && rule.is_bad(observed))
    }

    /// The rules over a number of calls, each with its window's length.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (&Rule, u32)> {
        self.rules.iter().filter_map(|rule| match rule.window {
            Window::Calls(calls) => Some((rule, calls)),
            Window::Time(_) => None,
        })
    }

    /// How many of `keys` keys may be open at once: at least one.
    pub(crate) fn open_limit(&self, keys: u64) -> u64 {
        if self.open_share == WHOLE {
            return u64::MAX;
        }
        (keys.saturating_mul(u64::from(self.open_share)) / u64::from(WHOLE)).max(1)
    }
}

// === impl TimeWindow ===

impl TimeWindow {
    /// How many counters it takes: two for each bucket, and one place to remember which is the latest.
    pub(crate) fn cells(&self) -> usize {
        1 + 2 * self.buckets as usize
    }

    /// Where the counter of the calls of this bucket is; the next one is that of the bad ones among them.
    #[inline(always)]
    pub(crate) fn cell(&self, epoch: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "less than 60 is left")]
        {
            self.first + 1 + 2 * (epoch % u64::from(self.buckets)) as usize
        }
    }
}

// === impl OpenTime ===

impl OpenTime {
    /// How long it stays open for the `openings`th time in a row (from 1).
    ///
    /// Never less than the `hint` and never more than the cap; `draw` spreads it between its own length and `jitter`
    /// more, or, where the cap leaves no room above, between the cap and so much less.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of a year are below 2^52, and a float as a cast saturates"
    )]
    pub(crate) fn draw(&self, openings: u32, hint: Option<u64>, draw: u64) -> u64 {
        let exponent = i32::try_from(openings.saturating_sub(1)).unwrap_or(i32::MAX);
        // Infinity, where the growth overflows, is cut off by the cap.
        let grown = ((self.base as f64 * self.growth.powi(exponent)).min(self.cap as f64)) as u64;
        let hint = hint.unwrap_or(0).min(self.max_hint).min(self.cap);
        let wanted = grown.max(hint);
        let above = (wanted as f64 * (1.0 + self.jitter)) as u64;
        let (low, high) = if above <= self.cap {
            (wanted, above)
        } else {
            let below = (self.cap as f64 / (1.0 + self.jitter)) as u64;
            (below.min(wanted).max(hint), self.cap)
        };
        let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        low + ((high - low) as f64 * share) as u64
    }
}

// === impl RampPlan ===

impl RampPlan {
    /// Which share of calls goes through this long after closing.
    pub(crate) fn share(&self, since: u64) -> u32 {
        if since >= self.over {
            return WHOLE;
        }
        let grown = u128::from(WHOLE - self.from) * u128::from(since) / u128::from(self.over);
        self.from + u32::try_from(grown).unwrap_or(WHOLE - self.from)
    }
}
