use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, sync::Arc};

/// The batch that the item was in failed; the source is what the inner service said, shared by all its callers.
#[derive(Clone, Debug)]
pub struct BatchFailed {
    source: Arc<dyn Error + Send + Sync>,
}

/// The inner service answered the batch, but not this item: its response has fewer elements than the batch had items.
///
/// The far side has seen the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unanswered;

/// The inner service was not ready for the batch within the time allowed; it has not seen it.
#[derive(Clone, Debug)]
pub struct NotReady {
    verdict: Verdict,
}

/// The item was dropped on demand, with all that was there: [`BatchHandle::discard`](crate::BatchHandle::discard).
#[derive(Clone, Debug)]
pub struct Discarded {
    verdict: Verdict,
}

// === impl BatchFailed ===

impl BatchFailed {
    pub(crate) fn new(source: impl Into<BoxError>) -> Self {
        Self { source: Arc::from(source.into()) }
    }
}

impl fmt::Display for BatchFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch failed")
    }
}

impl Error for BatchFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

// === impl Discarded ===

impl Discarded {
    pub(crate) const fn new(reason: DropReason, seen: Seen) -> Self {
        Self { verdict: Verdict::new(reason, seen, Advice::Never) }
    }
}

impl fmt::Display for Discarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "discarded: {}", self.verdict.reason())
    }
}

impl Error for Discarded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl Unanswered ===

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch was answered, this item was not")
    }
}

impl Error for Unanswered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        static VERDICT: Verdict = Verdict::new(DropReason::Failed, Seen::Yes, Advice::Never);
        Some(&VERDICT)
    }
}

// === impl NotReady ===

impl NotReady {
    pub(crate) const fn new() -> Self {
        Self { verdict: Verdict::new(DropReason::Failed, Seen::No, Advice::Retry) }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inner service was not ready in time")
    }
}

impl Error for NotReady {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_testkit::laws;

    #[test]
    fn each_error_says_its_own_sentence_once() {
        laws::error_chain_has_one_link_per_sentence(&BatchFailed::new(NotReady::new()));
        laws::error_chain_has_one_link_per_sentence(&Unanswered);
        laws::error_chain_has_one_link_per_sentence(&Discarded::new(DropReason::Disabled, Seen::No));
        let failed = BatchFailed::new(NotReady::new());
        assert_eq!(Verdict::of(&failed).unwrap().seen(), Seen::No);
    }
}
