//! Why there is no client, and how a close ended.

use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict, cause_ref, panic::Panic};
use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

/// There is no client for this key.
///
/// Nothing was sent, so whatever the client was wanted for can be tried again without doubling it. Its source is a
/// [`Verdict`], whose source is what the maker of clients said.
#[derive(Clone, Debug)]
pub struct AcquireError {
    kind: AcquireErrorKind,
    /// What a panic said, or the path of a circle.
    detail: Arc<str>,
    verdict: Verdict,
}

/// What an [`AcquireError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcquireErrorKind {
    /// The maker failed. A retry is sensible, unless the maker's own error carries a [`Verdict`] that says otherwise.
    Failed,
    /// The maker failed a moment ago with the same configuration, and was not asked again (`negative_ttl`).
    FailedBefore {
        /// When the maker will be asked again.
        retry_in: Duration,
    },
    /// The maker panicked.
    Panicked,
    /// The maker waits for its own client, by way of others perhaps; the error names the keys by their `Debug`.
    ///
    /// A circle is seen where makers wait for each other in one task or on one thread. One that leads through a task that a
    /// maker spawned is not seen: it is a wait without an end, for a timeout to cut off.
    Circular,
    /// The maker returned [`Declined`]: with this configuration there shall be no client.
    Declined,
    /// The registry holds as many keys as it may (`max_entries`), and none of them was idle.
    Full,
    /// `close_all` has closed the registry.
    Closed,
}

/// What a maker returns when no client is wanted: it is switched off, or there are no credentials.
///
/// The refusal goes to the callers whose configuration it was made with. It is not kept: the next caller asks again.
///
/// ```
/// use forebay_core::BoxError;
/// use forebay_registry::{AcquireErrorKind, Declined, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let registry = Registry::builder_with(|host: String, enabled: bool| async move {
///     if !enabled {
///         return Err(BoxError::from(Declined::because("telemetry is switched off")));
///     }
///     Ok(host)
/// })
/// .build()?;
/// let refused = registry.acquire_with("a.example", &false).await.unwrap_err();
/// assert_eq!(refused.kind(), AcquireErrorKind::Declined);
/// assert!(registry.acquire_with("a.example", &true).await.is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    why: Cow<'static, str>,
}

/// How the closing of one client ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CloseEnd {
    /// The hook ran to its end; without a hook, the client was dropped.
    Done,
    /// The hook returned an error.
    Failed(Arc<dyn Error + Send + Sync>),
    /// The hook was not done by its deadline, and was dropped.
    TimedOut,
    /// The hook, or the drop of the client, panicked.
    Panicked(Panic),
    /// The runtime ended before the hook did, or before it began; the client was dropped.
    Aborted,
}

/// What a close hook may return: nothing, or a result.
#[diagnostic::on_unimplemented(
    message = "a close hook cannot return `{Self}`",
    note = "return nothing, or a `Result<(), E>` whose error converts into a `BoxError`"
)]
pub trait CloseOutput {
    /// The result of the hook.
    ///
    /// # Errors
    ///
    /// What the hook failed with.
    fn into_result(self) -> Result<(), BoxError>;
}

// === impl AcquireError ===

impl AcquireError {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> AcquireErrorKind {
        self.kind
    }

    /// Whether sending was tried (never), and whether a retry is sensible.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    fn new(kind: AcquireErrorKind, detail: &str, reason: DropReason, advice: Advice) -> Self {
        Self { kind, detail: detail.into(), verdict: Verdict::new(reason, Seen::No, advice) }
    }

    fn caused_by(self, cause: impl Into<BoxError>) -> Self {
        Self { verdict: self.verdict.caused_by(cause), ..self }
    }

    pub(crate) fn closed() -> Self {
        Self::new(AcquireErrorKind::Closed, "", DropReason::Shutdown, Advice::Never)
    }

    pub(crate) fn full() -> Self {
        Self::new(AcquireErrorKind::Full, "", DropReason::Full, Advice::Retry)
    }

    pub(crate) fn panicked(panic: &Panic) -> Self {
        Self::new(AcquireErrorKind::Panicked, panic.message(), DropReason::Panicked, Advice::Never)
    }

    /// The maker waits for itself, along `path`.
    pub(crate) fn circular(path: &str) -> Self {
        Self::new(AcquireErrorKind::Circular, path, DropReason::Failed, Advice::Never)
    }

    /// What the maker said.
    pub(crate) fn made(cause: BoxError) -> Self {
        let verdict = Verdict::of(&*cause).map(|verdict| (verdict.reason(), verdict.advice()));
        let (kind, (reason, advice)) = if cause_ref::<Declined>(&*cause).is_some() {
            (AcquireErrorKind::Declined, (DropReason::Disabled, Advice::Never))
        } else {
            (AcquireErrorKind::Failed, verdict.unwrap_or((DropReason::Failed, Advice::Retry)))
        };
        Self::new(kind, "", reason, advice).caused_by(cause)
    }

    /// The same failure, for a caller that comes later.
    pub(crate) fn again(&self, retry_in: Duration) -> Self {
        let kind = AcquireErrorKind::FailedBefore { retry_in };
        Self::new(kind, "", self.verdict.reason(), Advice::RetryAfter(retry_in)).caused_by(self.clone())
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AcquireErrorKind::Failed => f.write_str("the client could not be made"),
            AcquireErrorKind::FailedBefore { .. } => f.write_str("the client could not be made a moment ago"),
            AcquireErrorKind::Panicked => write!(f, "making the client panicked: {}", self.detail),
            AcquireErrorKind::Circular => write!(f, "the client is made of itself: {}", self.detail),
            AcquireErrorKind::Declined => f.write_str("no client is wanted here"),
            AcquireErrorKind::Full => f.write_str("the registry holds as many keys as it may"),
            AcquireErrorKind::Closed => f.write_str("the registry is closed"),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl Declined ===

impl Declined {
    /// No client is wanted, for this reason.
    #[must_use]
    pub fn because(why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into() }
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for Declined {}

// === impl CloseEnd ===

impl CloseEnd {
    /// Whether the client was closed as it should be.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl fmt::Display for CloseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("closed"),
            Self::Failed(error) => write!(f, "the close hook failed: {error}"),
            Self::TimedOut => f.write_str("the close hook was not done by its deadline"),
            Self::Panicked(panic) => write!(f, "the close hook {panic}"),
            Self::Aborted => f.write_str("no runtime was left to run the close hook"),
        }
    }
}

// === impl CloseOutput ===

impl CloseOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> CloseOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}
