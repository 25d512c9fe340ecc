use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, time::Duration};

/// A request failed in a way that may pass, and no more attempt is made.
///
/// Its [`source`](Error::source) is a [`Verdict`] whose own source is the error of the last attempt. The verdict says
/// whether any attempt may have been seen, and that a retry is not sensible: whoever stands above does not multiply
/// the attempts.
#[derive(Clone, Debug)]
pub struct RetriesExhausted {
    gave_up: GaveUp,
    verdict: Verdict,
}

/// How a retry layer came to its end.
///
/// Inside [`RetriesExhausted`] for an error. A response that was given up on is returned as it is, with this among its
/// extensions for HTTP (feature `http`); for other responses see [`Policy::give_up`](crate::Policy::give_up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveUp {
    attempts: u32,
    why: Why,
}

/// Why no more attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// All attempts that `max_retries` allows were made.
    Attempts,
    /// The next attempt could only have begun after `max_elapsed`.
    Elapsed,
    /// The next attempt could only have begun after the [`Deadline`](crate::Deadline) of the request.
    Deadline,
    /// The far side asked for a wait above `max_retry_after`.
    RetryAfter(Duration),
    /// A retry would have gone over the [`Budget`](crate::Budget).
    Budget,
    /// The request cannot be sent twice: its policy gave no copy.
    BodyNotReplayable,
    /// The [`Throttle`](crate::Throttle) would have held the retry back for longer than its patience.
    Throttled,
    /// The inner service failed while it was made ready for the next attempt.
    NotReady,
}

/// The request was not sent: the far side has asked for a pause that is longer than this call could wait.
///
/// The inner service has not seen it. Its [`source`](Error::source) is a [`Verdict`] that says so, and advises to
/// come back after [`retry_in`](Self::retry_in).
#[derive(Clone, Debug)]
pub struct Throttled {
    retry_in: Duration,
    verdict: Verdict,
}

// === impl RetriesExhausted ===

impl RetriesExhausted {
    pub(crate) fn new(gave_up: GaveUp, seen: Seen, last: Option<BoxError>) -> Self {
        let reason = match gave_up.why {
            Why::Budget => DropReason::Budget,
            Why::Attempts
            | Why::Elapsed
            | Why::Deadline
            | Why::RetryAfter(_)
            | Why::BodyNotReplayable
            | Why::Throttled
            | Why::NotReady => DropReason::RetriesExhausted,
        };
        let verdict = Verdict::new(reason, seen, Advice::Never);
        let verdict = match last {
            Some(error) => verdict.caused_by(error),
            None => verdict,
        };
        Self { gave_up, verdict }
    }

    /// How many attempts were made.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.gave_up.attempts
    }

    /// Why no more is made.
    #[must_use]
    pub const fn why(&self) -> Why {
        self.gave_up.why
    }
}

impl fmt::Display for RetriesExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.gave_up, f)
    }
}

impl Error for RetriesExhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl GaveUp ===

impl GaveUp {
    pub(crate) const fn new(attempts: u32, why: Why) -> Self {
        Self { attempts, why }
    }

    /// How many attempts were made.
    #[must_use]
    pub const fn attempts(self) -> u32 {
        self.attempts
    }

    /// Why no more is made.
    #[must_use]
    pub const fn why(self) -> Why {
        self.why
    }

    /// The mark on a response with these extensions, if it was given up on.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.attempts;
        let plural = if attempts == 1 { "" } else { "s" };
        write!(f, "gave up after {attempts} attempt{plural}")?;
        match self.why {
            Why::Attempts => Ok(()),
            why => write!(f, ": {why}"),
        }
    }
}

// === impl Why ===

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempts => f.write_str("all attempts were made"),
            Self::Elapsed => f.write_str("the time for retries is over"),
            Self::Deadline => f.write_str("the deadline of the request would pass first"),
            Self::RetryAfter(wait) => write!(f, "the far side asked for a wait of {wait:?}"),
            Self::Budget => f.write_str("the retry budget is used up"),
            Self::BodyNotReplayable => f.write_str("the request cannot be sent twice"),
            Self::Throttled => f.write_str("the far side is being left alone"),
            Self::NotReady => f.write_str("the inner service did not become ready again"),
        }
    }
}

// === impl Throttled ===

impl Throttled {
    pub(crate) fn new(retry_in: Duration) -> Self {
        let advice = Advice::RetryAfter(retry_in);
        Self { retry_in, verdict: Verdict::new(DropReason::RetriesExhausted, Seen::No, advice) }
    }

    /// When the call would have been let go.
    #[must_use]
    pub const fn retry_in(&self) -> Duration {
        self.retry_in
    }
}

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held back: the far side has asked for a pause")
    }
}

impl Error for Throttled {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
