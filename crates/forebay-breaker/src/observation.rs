//! The result of one call, as the rules see it.

use crate::policy::Policy;

/// The result of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) grade: Grade,
    /// How many microseconds the call took, where the policy asks.
    pub(crate) took: Option<u64>,
    /// How many microseconds the server asks its clients to wait.
    pub(crate) hint: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    Success,
    Failure,
    /// The call was given up: slow, and neither a success nor a failure.
    Slow,
    Ignored,
}

// === impl Observation ===

impl Observation {
    /// Failures in a row after this result; `None` where the number does not matter.
    pub(crate) fn streak_after(&self, streak: u16, policy: &Policy) -> Option<u16> {
        match self.grade {
            _ if policy.streak == 0 => None,
            Grade::Success => Some(0),
            Grade::Failure => Some(streak.saturating_add(1).min(policy.streak)),
            Grade::Slow | Grade::Ignored => None,
        }
    }
}
