use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict, panic::Panic};
use std::{error::Error, fmt, time::Duration};

/// The configuration could not be fetched.
///
/// | failure | consequence |
/// | --- | --- |
/// | a status 401, 403 or 404 | the server refuses this client: the configuration is disabled, and fetched again at the interval |
/// | any other status, such as 408, 429 and 5xx | the current configuration is kept |
/// | a response that cannot be read | kept |
/// | no response | kept |
#[derive(Clone, Debug)]
pub struct FetchError {
    kind: FetchErrorKind,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FetchErrorKind {
    Status(u16),
    Unreadable(String),
    NoResponse,
    TimedOut(Duration),
    Panicked(String),
}

// === impl FetchError ===

impl FetchError {
    /// The error of a response with this status, which is no success.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let advice = if matches!(status, 401 | 403 | 404) { Advice::Never } else { Advice::Retry };
        Self::of(FetchErrorKind::Status(status), DropReason::Rejected, Seen::Yes, advice)
    }

    /// Sets the wait that the server asked for. The next fetch waits that long, up to the longest interval.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        if self.verdict.advice() != Advice::Never {
            self.verdict = Verdict::new(self.verdict.reason(), self.verdict.seen(), Advice::RetryAfter(wait));
        }
        self
    }

    /// The error of a response that is no configuration.
    #[must_use]
    pub fn unreadable(why: impl fmt::Display) -> Self {
        Self::of(FetchErrorKind::Unreadable(why.to_string()), DropReason::Failed, Seen::Yes, Advice::Retry)
    }

    /// The error of a request without a response.
    #[must_use]
    pub fn no_response(cause: impl Into<BoxError>) -> Self {
        let cause = cause.into();
        let error = Self::of(FetchErrorKind::NoResponse, DropReason::Failed, Seen::of(&*cause), Advice::Retry);
        Self { verdict: error.verdict.caused_by(cause), ..error }
    }

    pub(super) fn timed_out(after: Duration) -> Self {
        Self::of(FetchErrorKind::TimedOut(after), DropReason::Failed, Seen::Maybe, Advice::Retry)
    }

    pub(super) fn panicked(panic: &Panic) -> Self {
        Self::of(FetchErrorKind::Panicked(panic.message().to_owned()), DropReason::Panicked, Seen::Maybe, Advice::Retry)
    }

    /// Whether the server refuses this client.
    #[must_use]
    pub fn disables(&self) -> bool {
        matches!(self.kind, FetchErrorKind::Status(401 | 403 | 404))
    }

    pub(super) fn wait(&self) -> Option<Duration> {
        match self.verdict.advice() {
            Advice::RetryAfter(wait) => Some(wait),
            Advice::Never | Advice::Retry => None,
        }
    }

    fn of(kind: FetchErrorKind, reason: DropReason, seen: Seen, advice: Advice) -> Self {
        Self { kind, verdict: Verdict::new(reason, seen, advice) }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FetchErrorKind::Status(status) => write!(f, "the response to the fetch has the status {status}"),
            FetchErrorKind::Unreadable(why) => write!(f, "the response is no configuration: {why}"),
            FetchErrorKind::NoResponse => f.write_str("there was no response with a configuration"),
            FetchErrorKind::TimedOut(after) => write!(f, "there was no response with a configuration within {after:?}"),
            FetchErrorKind::Panicked(text) => write!(f, "fetching the configuration panicked: {text}"),
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
