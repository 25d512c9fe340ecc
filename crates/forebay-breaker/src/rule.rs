//! The rules over a window: what each counts, and when it trips.
//!
//! A rule of a new kind is a constructor in `trip`, its meaning in here, and a `Reason` in `status`.

use crate::{
    Reason,
    check::{DAY, MILLISECOND, share},
    env::micros,
    observation::{Grade, Observation},
    policy::{TimeWindow, WHOLE, Window},
    snapshot::WindowStatus,
    trip::{RatioTrip, Span},
};
use forebay_core::ConfigError;
use std::time::Duration;

/// A share of bad results that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) bad: Bad,
    /// The share that opens, in parts per million.
    pub(crate) ratio: u32,
    /// The circuit never opens on fewer calls than these.
    pub(crate) min_calls: u32,
    pub(crate) window: Window,
}

/// Which results a rule counts as bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    Failed,
    /// It took at least this many microseconds.
    SlowerThan(u64),
}

// === impl Rule ===

impl Rule {
    /// The rules that a user has given, checked.
    pub(crate) fn compile(ratios: &[RatioTrip]) -> Result<Box<[Self]>, ConfigError> {
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
            rules.push(Self { bad, ratio: share("ratio", rule.ratio)?, min_calls, window });
        }
        Ok(rules.into())
    }

    pub(crate) fn is_bad(&self, observed: &Observation) -> bool {
        match self.bad {
            Bad::Failed => observed.grade == Grade::Failure,
            Bad::SlowerThan(limit) => observed.grade == Grade::Slow || observed.took.is_some_and(|took| took >= limit),
        }
    }

    /// Whether `observed` is a call at all in the eyes of this rule.
    pub(crate) fn counts(&self, observed: &Observation) -> bool {
        match observed.grade {
            Grade::Success | Grade::Failure => true,
            Grade::Slow => self.bad != Bad::Failed,
            Grade::Ignored => false,
        }
    }

    /// Why the circuit opens, if the window holds what trips the rule.
    pub(crate) fn tripped(&self, WindowStatus { calls, bad }: WindowStatus) -> Option<Reason> {
        let trips = calls >= u64::from(self.min_calls)
            && bad.saturating_mul(u64::from(WHOLE)) >= calls.saturating_mul(u64::from(self.ratio));
        trips.then_some(match self.bad {
            Bad::Failed => Reason::FailureRatio { failures: bad, calls },
            Bad::SlowerThan(_) => Reason::SlowRatio { slow: bad, calls },
        })
    }
}
