use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, sync::Arc};

/// The batch that the item was in has failed; the source is the error of the inner service, which all its callers share.
#[derive(Clone, Debug)]
pub struct BatchFailed {
    source: Arc<dyn Error + Send + Sync>,
}

/// The response has another number of elements than the batch had items, so that no element can be matched to an item.
///
/// The server has seen the items, and a retry is not sensible: the same response is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misaligned {
    /// The items of the batch.
    pub items: usize,
    /// The elements of the response; at most 65,536 more than `items` are counted.
    pub elements: usize,
}

/// The response of a [keyed batch](crate::BatchBuilder::respond_per_key) has elements that belong to no item: no item has their
/// key, or an element before them has it as well.
///
/// The server has seen the items, and a retry is not sensible: the same response is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unmatched {
    /// The elements that belong to no item; at most 65,536 are counted.
    pub elements: usize,
}

/// The inner service was not ready for the batch within the time allowed; it has not seen it.
#[derive(Clone, Debug)]
pub struct NotReady {
    verdict: Verdict,
}

/// The item was dropped on demand, with all that the batcher held: [`BatchHandle::discard`](crate::BatchHandle::discard).
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

// === impl Misaligned ===

/// The server has responded, and would respond with the same again.
static SEEN_AND_FAILED: Verdict = Verdict::new(DropReason::Failed, Seen::Yes, Advice::Never);

impl Misaligned {
    pub(crate) const fn new(items: usize, elements: usize) -> Self {
        Self { items, elements }
    }
}

impl fmt::Display for Misaligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { items, elements } = self;
        write!(f, "the response has {elements} elements for {items} items")
    }
}

impl Error for Misaligned {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&SEEN_AND_FAILED)
    }
}

// === impl Unmatched ===

impl Unmatched {
    pub(crate) const fn new(elements: usize) -> Self {
        Self { elements }
    }
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements of the response belong to no item of the batch", self.elements)
    }
}

impl Error for Unmatched {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&SEEN_AND_FAILED)
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
        laws::error_chain_has_one_link_per_sentence(&Misaligned::new(3, 2));
        laws::error_chain_has_one_link_per_sentence(&Unmatched::new(2));
        laws::error_chain_has_one_link_per_sentence(&Discarded::new(DropReason::Disabled, Seen::No));
        let failed = BatchFailed::new(NotReady::new());
        assert_eq!(Verdict::of(&failed).unwrap().seen(), Seen::No);
    }
}
