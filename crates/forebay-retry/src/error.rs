use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, time::Duration};

/// A request failed in a way that may pass, and no other attempt is made.
///
/// Its [`source`](Error::source) is a [`Verdict`] whose own source is the error of the last attempt. The verdict says
/// whether any attempt may have been seen, and that a retry is not sensible: a layer above does not multiply the attempts.
#[derive(Clone, Debug)]
pub struct RetriesExhausted {
    gave_up: GaveUp,
    verdict: Verdict,
}

/// How the attempts of a request ended.
///
/// Inside [`RetriesExhausted`] for an error. A response that was given up on is returned as it is, with this among its
/// extensions for HTTP (feature `http`); for other responses see [`Policy::give_up`](crate::Policy::give_up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveUp {
    attempts: u32,
    reason: StopReason,
    hint: Option<Duration>,
}

/// Why no other attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// All attempts that `max_retries` allows were made.
    Attempts,
    /// The next attempt could only have begun after `max_elapsed`.
    Elapsed,
    /// The next attempt could only have begun after the [`Deadline`](crate::Deadline) of the request.
    Deadline,
    /// A retry would have gone over the [`Budget`](crate::Budget).
    Budget,
    /// The request cannot be sent twice: its policy gave no copy.
    BodyNotReplayable,
    /// The request is not idempotent, and the server may have processed it.
    NotIdempotent,
    /// The [`Throttle`](crate::Throttle) would have held the retry back for longer than its patience.
    Throttled,
    /// The inner service failed while it was made ready for the next attempt.
    NotReady,
}

/// The request was not sent: the server has asked its clients for a pause that is longer than this call could wait.
///
/// The inner service has not seen it. Its [`source`](Error::source) is a [`Verdict`] that says so, and that a retry is
/// sensible after [`retry_in`](Self::retry_in); or that none is, where the deadline of the request passes before.
#[derive(Clone, Debug)]
pub struct Throttled {
    retry_in: Duration,
    verdict: Verdict,
}

/// A request failed in a way that may pass, and its next attempt goes to another server: it waits for no backoff.
///
/// A layer inside, which knows several servers, wraps the error of the one that has failed. The attempt counts like any other, for
/// the limits and for the budget. Its [`source`](Error::source) is a [`Verdict`] that says that a retry is sensible, whose own source
/// is that error.
#[derive(Clone, Debug)]
pub struct AnotherServer {
    verdict: Verdict,
}

// === impl RetriesExhausted ===

impl RetriesExhausted {
    pub(crate) fn new(gave_up: GaveUp, seen: Seen, last: Option<BoxError>) -> Self {
        let reason = match gave_up.reason {
            StopReason::Budget => DropReason::Budget,
            // Time has run out, not the attempts: a server that waits for this responds with 504.
            StopReason::Deadline => DropReason::Expired,
            _ => DropReason::RetriesExhausted,
        };
        let verdict = Verdict::new(reason, seen, Advice::Never);
        let verdict = match last {
            Some(error) => verdict.caused_by(error),
            None => verdict,
        };
        Self { gave_up, verdict }
    }

    /// The error of the last attempt, by value.
    ///
    /// ```
    /// use forebay_retry::{BoxError, RetriesExhausted, RetryLayer};
    /// use std::io;
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let broken = service_fn(|_: u32| async { Err::<u32, _>(io::Error::from(io::ErrorKind::BrokenPipe)) });
    /// let error: BoxError = RetryLayer::default().layer(broken).oneshot(7).await.unwrap_err();
    /// let last = error.downcast::<RetriesExhausted>().unwrap().downcast::<io::Error>().unwrap();
    /// assert_eq!(last.kind(), io::ErrorKind::BrokenPipe);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// This error as it was, where the last error is not kept (the last attempt was not made ready after a response), or where
    /// a clone of this error still needs it.
    pub fn into_source(self) -> Result<BoxError, Self> {
        let Self { gave_up, verdict } = self;
        verdict.into_cause().map_err(|verdict| Self { gave_up, verdict })
    }

    /// The error of the last attempt, by value, where it is an `E`: see [`into_source`](Self::into_source).
    ///
    /// # Errors
    ///
    /// This error as it was, where [`into_source`](Self::into_source) returns it, or where the last error is not an `E`.
    pub fn downcast<E: Error + Send + Sync + 'static>(self) -> Result<E, Self> {
        let Self { gave_up, verdict } = self;
        let plain = Verdict::new(verdict.reason(), verdict.seen(), verdict.advice());
        let cause = verdict.into_cause().map_err(|verdict| Self { gave_up, verdict })?;
        cause.downcast().map(|error| *error).map_err(|cause| Self { gave_up, verdict: plain.caused_by(cause) })
    }

    /// How many attempts were made.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.gave_up.attempts
    }

    /// Why no other attempt was made.
    #[must_use]
    pub const fn stop_reason(&self) -> StopReason {
        self.gave_up.reason
    }

    /// The wait that the server asked for with its last response, uncapped.
    #[must_use]
    pub const fn hint(&self) -> Option<Duration> {
        self.gave_up.hint
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
    pub(crate) const fn new(attempts: u32, reason: StopReason, hint: Option<Duration>) -> Self {
        Self { attempts, reason, hint }
    }

    /// How many attempts were made.
    #[must_use]
    pub const fn attempts(self) -> u32 {
        self.attempts
    }

    /// Why no other attempt was made.
    #[must_use]
    pub const fn stop_reason(self) -> StopReason {
        self.reason
    }

    /// The wait that the server asked for with its last response, uncapped.
    #[must_use]
    pub const fn hint(self) -> Option<Duration> {
        self.hint
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
        match self.reason {
            StopReason::Attempts => Ok(()),
            reason => write!(f, ": {reason}"),
        }
    }
}

// === impl StopReason ===

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "all attempts were made",
            Self::Elapsed => "the time for retries is over",
            Self::Deadline => "the deadline of the request would pass first",
            Self::Budget => "the retry budget is used up",
            Self::BodyNotReplayable => "the request cannot be sent twice",
            Self::NotIdempotent => "the request is not idempotent and may have been processed",
            Self::Throttled => "the server has asked for a longer pause",
            Self::NotReady => "the inner service did not become ready again",
        })
    }
}

// === impl AnotherServer ===

impl AnotherServer {
    /// One server has failed with `error`, and the next attempt goes to another one.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        let (reason, seen) = match Verdict::of(&*error) {
            Some(verdict) => (verdict.reason(), verdict.seen()),
            None => (DropReason::Failed, Seen::of(&*error)),
        };
        Self { verdict: Verdict::new(reason, seen, Advice::Retry).caused_by(error) }
    }
}

impl fmt::Display for AnotherServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the next attempt would go to another server")
    }
}

impl Error for AnotherServer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl Throttled ===

impl Throttled {
    pub(crate) fn new(retry_in: Duration, reason: StopReason) -> Self {
        let advice = if reason == StopReason::Deadline { Advice::Never } else { Advice::RetryAfter(retry_in) };
        Self { retry_in, verdict: Verdict::new(DropReason::RetriesExhausted, Seen::No, advice) }
    }

    /// How long until the call could be sent.
    #[must_use]
    pub const fn retry_in(&self) -> Duration {
        self.retry_in
    }
}

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held back: the server has asked for a pause")
    }
}

impl Error for Throttled {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
