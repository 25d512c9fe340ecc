//! Why there is no value.

use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict, panic::Panic};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// There is no value, or no newer one.
///
/// Its source is a [`Verdict`], whose source is what the fetch failed with.
#[derive(Clone, Debug)]
pub struct RefreshError {
    kind: RefreshErrorKind,
    /// What a panic said, or the path of a circle.
    detail: Arc<str>,
    verdict: Verdict,
}

/// What a [`RefreshError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshErrorKind {
    /// The fetch failed.
    Failed,
    /// The fetch failed a moment ago, and was not tried again (`negative_ttl`).
    FailedBefore {
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// The fetch was not done in time (`fetch_timeout`).
    TimedOut,
    /// The fetch panicked.
    Panicked,
    /// The fetch waits for the value that it is to fetch, by way of others perhaps; the error names the types of the values.
    ///
    /// A circle is seen where fetches wait for each other in one task or on one thread. One that leads through a task that a
    /// fetch spawned is not seen: it is a wait that `fetch_timeout` ends.
    Circular,
}

// === impl RefreshError ===

impl RefreshError {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> RefreshErrorKind {
        self.kind
    }

    fn new(kind: RefreshErrorKind, detail: &str, reason: DropReason, seen: Seen, advice: Advice) -> Self {
        Self { kind, detail: detail.into(), verdict: Verdict::new(reason, seen, advice) }
    }

    fn caused_by(self, cause: impl Into<BoxError>) -> Self {
        Self { verdict: self.verdict.caused_by(cause), ..self }
    }

    pub(crate) fn failed(cause: BoxError) -> Self {
        let (reason, seen, advice) = Verdict::of(&*cause)
            .map_or((DropReason::Failed, Seen::Maybe, Advice::Retry), |it| (it.reason(), it.seen(), it.advice()));
        Self::new(RefreshErrorKind::Failed, "", reason, seen, advice).caused_by(cause)
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(RefreshErrorKind::TimedOut, "", DropReason::Failed, Seen::Maybe, Advice::Retry)
    }

    pub(crate) fn panicked(panic: &Panic) -> Self {
        Self::new(RefreshErrorKind::Panicked, panic.message(), DropReason::Panicked, Seen::Maybe, Advice::Never)
    }

    /// The fetch waits for itself, along `path`.
    pub(crate) fn circular(path: &str) -> Self {
        Self::new(RefreshErrorKind::Circular, path, DropReason::Failed, Seen::No, Advice::Never)
    }

    /// The same failure, for a caller that comes later.
    pub(crate) fn again(&self, retry_in: Duration) -> Self {
        let kind = RefreshErrorKind::FailedBefore { retry_in };
        let advice = Advice::RetryAfter(retry_in);
        Self::new(kind, "", self.verdict.reason(), self.verdict.seen(), advice).caused_by(self.clone())
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RefreshErrorKind::Failed => f.write_str("the value could not be fetched"),
            RefreshErrorKind::FailedBefore { .. } => f.write_str("the value could not be fetched a moment ago"),
            RefreshErrorKind::TimedOut => f.write_str("fetching the value took too long"),
            RefreshErrorKind::Circular => write!(f, "the value is fetched by itself: {}", self.detail),
            RefreshErrorKind::Panicked => write!(f, "fetching the value panicked: {}", self.detail),
        }
    }
}

impl Error for RefreshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
