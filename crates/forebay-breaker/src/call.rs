//! An admitted call, from its start to the moment that its result is taken in.

use crate::{admitted::Admitted, core::Core, env::micros, future::boxed, observation::Grade};
use forebay_core::{BoxError, Classify, Outcome};
use std::{sync::Arc, task::Poll};

/// What each clone of a service has of its own, so that its futures share no reference count with those of other clones.
#[derive(Debug)]
pub(crate) struct Local<K, C> {
    /// What all services of the layer share.
    pub(crate) core: Arc<Core<K>>,
    /// Says what a result means.
    pub(crate) classify: C,
}

/// An admitted call. Dropped before its end, it settles itself.
pub(crate) struct Call<K, C> {
    /// Shared with the futures of one service instance only.
    local: Arc<Local<K, C>>,
    /// What the settlement needs of the admission.
    admitted: Admitted,
    /// What has happened to the call; `Drop` settles by it.
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Never polled: nothing can be said about the server.
    Fresh,
    Pending,
    /// The inner future or the classifier has panicked.
    Panicked,
    Settled,
}

/// A call while the inner future or the classifier runs. If it is dropped before that is over, one of them has panicked.
///
/// It is a local variable that is optimized away where a call succeeds at once.
pub(crate) struct Polling<'a, K, C> {
    call: &'a mut Call<K, C>,
    /// Whether the inner future and the classifier have returned.
    over: bool,
}

// === impl Polling ===

impl<'a, K, C> Polling<'a, K, C> {
    #[inline(always)]
    pub(crate) fn new(call: &'a mut Call<K, C>) -> Self {
        Self { call, over: false }
    }

    #[inline(always)]
    pub(crate) fn pending<T>(mut self) -> Poll<T> {
        self.over = true;
        self.call.stage = Stage::Pending;
        Poll::Pending
    }

    #[inline(always)]
    pub(crate) fn settle<Res, Err>(mut self, result: Result<Res, Err>) -> Result<Res, Err>
    where
        C: Classify<Res, Err>,
    {
        let call = &mut *self.call;
        let outcome = call.local.classify.classify(&result);
        // CORRECTNESS: set after the classifier has returned: one that panics leaves it unset, and the call counts as panicked.
        self.over = true;
        call.stage = Stage::Settled;
        let core = &call.local.core;
        match outcome {
            Outcome::Success => core.settle_success(&call.admitted),
            Outcome::Retryable { after } => core.settle(&call.admitted, Grade::Failure, after.map(micros), None),
            Outcome::Terminal => core.settle(&call.admitted, core.policy.terminal, None, None),
            Outcome::Ignored => core.settle(&call.admitted, Grade::Ignored, None, None),
        }
        result
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn settle_error<Res, Err>(self, error: Err) -> Result<Res, BoxError>
    where
        C: Classify<Res, Err>,
        Err: Into<BoxError>,
    {
        self.settle(Err(error)).map_err(boxed)
    }
}

impl<K, C> Drop for Polling<'_, K, C> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.over {
            self.call.stage = Stage::Panicked;
        }
    }
}

// === impl Call ===

impl<K, C> Call<K, C> {
    /// A call that the inner service does not have yet.
    #[inline(always)]
    pub(crate) fn new(local: Arc<Local<K, C>>, admitted: Admitted) -> Self {
        Self { local, admitted, stage: Stage::Fresh }
    }

    /// Settles a call that was dropped before its end.
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        let core = &self.local.core;
        // CANCEL: the permit of a probe is given back here, whatever the call counts as.
        let grade = match self.stage {
            Stage::Settled => return,
            Stage::Fresh => Grade::Ignored,
            Stage::Pending => core.policy.cancelled,
            Stage::Panicked => Grade::Failure,
        };
        core.settle(&self.admitted, grade, None, None);
    }
}

impl<K, C> Drop for Call<K, C> {
    #[inline(always)]
    fn drop(&mut self) {
        // CANCEL: a call that is dropped unsettled settles itself, so that no permit is lost.
        if self.stage != Stage::Settled {
            self.abandon();
        }
    }
}
