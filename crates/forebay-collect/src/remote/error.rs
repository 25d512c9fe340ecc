use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, time::Duration};

/// The configuration could not be fetched.
///
/// | what it is | what follows |
/// | --- | --- |
/// | a status 401, 403 or 404 | the server does not want this client: disabled, and asked again at the interval |
/// | a status 408, 429 or 5xx, and any other | the configuration in use is kept |
/// | an answer that cannot be read | kept |
/// | no answer | kept |
#[derive(Clone, Debug)]
pub struct FetchError {
    kind: Kind,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Status(u16),
    Unreadable(String),
    NoAnswer,
    TimedOut(Duration),
    Panicked(String),
}

// === impl FetchError ===

impl FetchError {
    /// The server answered with this status, which is no success.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let advice = if matches!(status, 401 | 403 | 404) { Advice::Never } else { Advice::Retry };
        Self::of(Kind::Status(status), DropReason::Rejected, Seen::Yes, advice)
    }

    /// The server wants to be left alone for so long; nothing is asked before that, up to the longest interval.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        if self.verdict.advice() != Advice::Never {
            self.verdict = Verdict::new(self.verdict.reason(), self.verdict.seen(), Advice::RetryAfter(wait));
        }
        self
    }

    /// The server answered with something that is no configuration.
    #[must_use]
    pub fn unreadable(why: impl fmt::Display) -> Self {
        Self::of(Kind::Unreadable(why.to_string()), DropReason::Failed, Seen::Yes, Advice::Retry)
    }

    /// There was no answer.
    #[must_use]
    pub fn no_answer(cause: impl Into<BoxError>) -> Self {
        let cause = cause.into();
        let error = Self::of(Kind::NoAnswer, DropReason::Failed, Seen::of(&*cause), Advice::Retry);
        Self { verdict: error.verdict.caused_by(cause), ..error }
    }

    pub(super) fn timed_out(after: Duration) -> Self {
        Self::of(Kind::TimedOut(after), DropReason::Failed, Seen::Maybe, Advice::Retry)
    }

    pub(super) fn panicked(text: String) -> Self {
        Self::of(Kind::Panicked(text), DropReason::Panicked, Seen::Maybe, Advice::Retry)
    }

    /// Whether the server does not want this client.
    #[must_use]
    pub fn disables(&self) -> bool {
        matches!(self.kind, Kind::Status(401 | 403 | 404))
    }

    pub(super) fn wait(&self) -> Option<Duration> {
        match self.verdict.advice() {
            Advice::RetryAfter(wait) => Some(wait),
            Advice::Never | Advice::Retry => None,
        }
    }

    fn of(kind: Kind, reason: DropReason, seen: Seen, advice: Advice) -> Self {
        Self { kind, verdict: Verdict::new(reason, seen, advice) }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Status(status) => write!(f, "the configuration was answered with status {status}"),
            Kind::Unreadable(why) => write!(f, "the answer is no configuration: {why}"),
            Kind::NoAnswer => f.write_str("there was no answer with a configuration"),
            Kind::TimedOut(after) => write!(f, "there was no answer with a configuration within {after:?}"),
            Kind::Panicked(text) => write!(f, "fetching the configuration panicked: {text}"),
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
