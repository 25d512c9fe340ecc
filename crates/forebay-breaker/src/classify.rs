use forebay_core::{Classify, Outcome};
use std::fmt;

/// A classifier that ignores what a predicate names; see [`BreakerBuilder::excluding`](crate::BreakerBuilder::excluding).
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Excluding<C, P> {
    pub(crate) inner: C,
    pub(crate) excluded: P,
}

/// What a call counts as when its response future is dropped before it ends.
///
/// An outer timeout drops the future of a call that hangs: were it not counted, the breaker would never see it.
/// A future that was never polled counts as [`Ignored`](Self::Ignored) in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cancelled {
    /// It failed (the default).
    #[default]
    Failure,
    /// It counts as neither a success nor a failure.
    Ignored,
    /// It was slow to the rules about slow calls, and is ignored by all others. A probe that is dropped has failed.
    Slow,
}

// === impl Excluding ===

impl<Res, Err, C, P> Classify<Res, Err> for Excluding<C, P>
where
    C: Classify<Res, Err>,
    P: Fn(&Result<Res, Err>) -> bool,
{
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        if (self.excluded)(result) { Outcome::Ignored } else { self.inner.classify(result) }
    }
}

impl<C: fmt::Debug, P> fmt::Debug for Excluding<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Excluding").field("inner", &self.inner).finish_non_exhaustive()
    }
}
