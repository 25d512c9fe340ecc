use crate::{Attempt, GaveUp};
use std::time::Duration;

/// What an observer of a retry layer sees.
///
/// Nothing is reported for a call that succeeds, or fails for good, with its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt failed in a way that may pass, and there will be another.
    Retrying {
        /// The attempt that failed.
        attempt: Attempt,
        /// How long until the next one.
        wait: Duration,
        /// What the far side asked for.
        hint: Option<Duration>,
    },
    /// An attempt is held back, because the far side has asked other calls to wait.
    Held {
        /// The attempt that waits.
        attempt: Attempt,
        /// For how long.
        wait: Duration,
    },
    /// A retry has settled the request: it succeeded, or failed for good.
    Settled {
        /// The attempt that settled it, 2 or later.
        attempt: Attempt,
    },
    /// The last attempt failed in a way that may pass, and there will be no other.
    GaveUp(GaveUp),
    /// The call was refused without an attempt, with [`Throttled`](crate::Throttled).
    Refused {
        /// When it would have been let go.
        retry_in: Duration,
    },
}
