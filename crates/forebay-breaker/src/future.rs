//! The future returned by [`Breaker`](crate::Breaker).

use crate::{
    CircuitOpen,
    clock::micros,
    core::{Admitted, Core},
    state::Mark,
};
use forebay_core::{BoxError, Classify, Outcome};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

pin_project! {
    /// Response future of [`Breaker`](crate::Breaker).
    ///
    /// # Cancellation
    ///
    /// Dropping it before it ends drops the inner future and gives back the right to be a probe at once. Whether the
    /// call counts as a failure is for [`BreakerBuilder::cancelled`](crate::BreakerBuilder::cancelled) to say; one
    /// that was never polled does not count.
    pub struct ResponseFuture<F, K, C> {
        #[pin]
        state: State<F, K, C>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, K, C> {
        Running { #[pin] future: F, call: Call<K, C> },
        Refused { error: Option<Box<CircuitOpen>> },
    }
}

/// What each clone of a service has of its own, so that its futures touch no reference count that others touch.
#[derive(Debug)]
pub(crate) struct Local<K, C> {
    pub(crate) core: Arc<Core<K>>,
    pub(crate) classify: C,
}

/// An admitted call. Dropped before its end, it settles itself.
pub(crate) struct Call<K, C> {
    local: Arc<Local<K, C>>,
    admitted: Admitted,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Never polled: nothing can be said about the far side.
    Fresh,
    Pending,
    /// The inner future or the classifier has panicked.
    Panicked,
    Settled,
}

/// A call in the hands of the inner future or the classifier. Dropped before that is over, one of them has panicked.
///
/// It stands on the stack, and what becomes of it is known where it is written: a call that succeeds at once writes none
/// of it.
struct Polling<'a, K, C> {
    call: &'a mut Call<K, C>,
    over: bool,
}

// === impl ResponseFuture ===

impl<F, K, C> ResponseFuture<F, K, C> {
    #[inline(always)]
    pub(crate) fn running(future: F, call: Call<K, C>) -> Self {
        Self { state: State::Running { future, call } }
    }

    pub(crate) fn refused(error: Box<CircuitOpen>) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }
}

impl<F, K, C, Res, Err> Future for ResponseFuture<F, K, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
    Err: Into<BoxError>,
{
    type Output = Result<Res, BoxError>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Running { future, call } => {
                let polling = Polling { call, over: false };
                let Poll::Ready(result) = future.poll(cx) else {
                    polling.pending();
                    return Poll::Pending;
                };
                // Taken apart here: a response that no error can take the place of need not be laid into memory for a
                // classifier that looks into errors.
                Poll::Ready(match result {
                    Ok(response) => polling.settle(Ok(response)),
                    Err(error) => polling.settle_error(error),
                })
            }
            StateProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                // Polled again after its end, which is not allowed; it has nothing to give and must not panic.
                None => Poll::Pending,
            },
        }
    }
}

impl<F: fmt::Debug, K, C> fmt::Debug for ResponseFuture<F, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Running { future, call } => {
                f.debug_struct("Running").field("future", future).field("stage", &call.stage).finish_non_exhaustive()
            }
            State::Refused { error } => f.debug_struct("Refused").field("error", error).finish(),
        }
    }
}

/// Out of the way of what succeeds: what makes a box is a good deal of code, and it is written into every caller.
#[cold]
#[inline(never)]
pub(crate) fn boxed(error: impl Into<BoxError>) -> BoxError {
    error.into()
}

// === impl Polling ===

impl<K, C> Polling<'_, K, C> {
    #[inline(always)]
    fn pending(mut self) {
        self.over = true;
        self.call.stage = Stage::Pending;
    }

    #[inline(always)]
    fn settle<Res, Err>(mut self, result: Result<Res, Err>) -> Result<Res, BoxError>
    where
        C: Classify<Res, Err>,
        Err: Into<BoxError>,
    {
        let call = &mut *self.call;
        let outcome = call.local.classify.classify(&result);
        self.over = true;
        call.stage = Stage::Settled;
        let core = &call.local.core;
        match outcome {
            Outcome::Success => core.settle_success(&call.admitted),
            Outcome::Retryable { after } => core.settle(&call.admitted, Mark::Failure, after.map(micros), None),
            Outcome::Terminal => core.settle(&call.admitted, Mark::Failure, None, None),
            Outcome::Ignored => core.settle(&call.admitted, Mark::Ignored, None, None),
        }
        result.map_err(boxed)
    }

    #[cold]
    #[inline(never)]
    fn settle_error<Res, Err>(self, error: Err) -> Result<Res, BoxError>
    where
        C: Classify<Res, Err>,
        Err: Into<BoxError>,
    {
        self.settle(Err(error))
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
        // CANCEL: the permit of a probe goes back here, whatever the call counts as.
        let mark = match self.stage {
            Stage::Settled => return,
            Stage::Fresh => Mark::Ignored,
            Stage::Pending => core.policy.cancelled,
            Stage::Panicked => Mark::Failure,
        };
        core.settle(&self.admitted, mark, None, None);
    }
}

impl<K, C> Drop for Call<K, C> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.stage != Stage::Settled {
            self.abandon();
        }
    }
}
