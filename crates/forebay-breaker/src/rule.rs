//! The rules over a window: what each counts, and when it trips.
//!
//! A rule of a new kind is a constructor and its check in `trip`, its meaning in here, and a `Reason` in `status`.

use crate::{
    Reason,
    observation::{Grade, Observation},
    policy::{WHOLE, Window},
    snapshot::WindowStatus,
};

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
