use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// There is no value, or no newer one.
///
/// Its source is a [`Verdict`], whose source is what the fetch failed with.
#[derive(Clone, Debug)]
pub struct RefreshError {
    kind: RefreshErrorKind,
    panic: Option<Arc<str>>,
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
    /// The fetch waits for the value that it is to fetch, by way of others perhaps.
    ///
    /// As [`AcquireErrorKind::Circular`](crate::AcquireErrorKind::Circular), with the type of the value for its name.
    Circular,
}

// === impl RefreshError ===

impl RefreshError {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> RefreshErrorKind {
        self.kind
    }

    fn of(kind: RefreshErrorKind, reason: DropReason, seen: Seen, advice: Advice) -> Self {
        Self { kind, panic: None, verdict: Verdict::new(reason, seen, advice) }
    }

    pub(crate) fn failed(cause: BoxError) -> Self {
        let (reason, seen, advice) = Verdict::of(&*cause)
            .map_or((DropReason::Failed, Seen::Maybe, Advice::Retry), |it| (it.reason(), it.seen(), it.advice()));
        let error = Self::of(RefreshErrorKind::Failed, reason, seen, advice);
        Self { verdict: error.verdict.caused_by(cause), ..error }
    }

    pub(crate) fn timed_out() -> Self {
        Self::of(RefreshErrorKind::TimedOut, DropReason::Failed, Seen::Maybe, Advice::Retry)
    }

    pub(crate) fn panicked(text: Arc<str>) -> Self {
        let error = Self::of(RefreshErrorKind::Panicked, DropReason::Panicked, Seen::Maybe, Advice::Never);
        Self { panic: Some(text), ..error }
    }

    /// The fetch waits for itself, along `path`.
    pub(crate) fn circular(path: Arc<str>) -> Self {
        let error = Self::of(RefreshErrorKind::Circular, DropReason::Failed, Seen::No, Advice::Never);
        Self { panic: Some(path), ..error }
    }

    /// The same failure, told to somebody who came later.
    pub(super) fn again(&self, retry_in: Duration) -> Self {
        let kind = RefreshErrorKind::FailedBefore { retry_in };
        let error = Self::of(kind, self.verdict.reason(), self.verdict.seen(), Advice::RetryAfter(retry_in));
        Self { verdict: error.verdict.caused_by(self.clone()), ..error }
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RefreshErrorKind::Failed => f.write_str("the value could not be fetched"),
            RefreshErrorKind::FailedBefore { .. } => f.write_str("the value could not be fetched a moment ago"),
            RefreshErrorKind::TimedOut => f.write_str("fetching the value took too long"),
            RefreshErrorKind::Circular => {
                write!(f, "the value is fetched by itself: {}", self.panic.as_deref().unwrap_or_default())
            }
            RefreshErrorKind::Panicked => {
                write!(f, "fetching the value panicked: {}", self.panic.as_deref().unwrap_or_default())
            }
        }
    }
}

impl Error for RefreshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
