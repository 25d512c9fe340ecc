use crate::{Attempt, GaveUp};
use std::time::Duration;

/// What an observer of a retry layer sees.
///
/// Nothing is reported for a call that succeeds, or fails for good, with its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEvent {
    /// An attempt failed in a way that may pass, and there will be another.
    Retrying {
        /// The attempt that failed.
        attempt: Attempt,
        /// How long until the next one.
        wait: Duration,
        /// The wait that the server asked for, uncapped.
        hint: Option<Duration>,
    },
    /// The throttle holds an attempt back.
    Held {
        /// The attempt that waits.
        attempt: Attempt,
        /// How long it waits.
        wait: Duration,
    },
    /// A later attempt has brought the result: a success, or an error that is final.
    Finished {
        /// The attempt that brought it, 2 or later.
        attempt: Attempt,
    },
    /// The last attempt failed in a way that may pass, and there will be no other.
    GaveUp(GaveUp),
    /// The call was refused without an attempt, with [`Throttled`](crate::Throttled).
    Refused {
        /// How long until the call could be sent.
        retry_in: Duration,
    },
}
