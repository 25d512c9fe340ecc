//! The future returned by [`Breaker`](crate::Breaker).

use crate::{
    CircuitOpen,
    call::{Call, Polling},
};
use forebay_core::{BoxError, Classify};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
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
                let polling = Polling::new(call);
                // Taken apart here: a response that no error can take the place of need not be laid into memory for a
                // classifier that looks into errors.
                match future.poll(cx) {
                    Poll::Ready(Ok(response)) => Poll::Ready(polling.settle(Ok(response)).map_err(boxed)),
                    Poll::Ready(Err(error)) => Poll::Ready(polling.settle_error(error)),
                    Poll::Pending => polling.pending(),
                }
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
        let mut debug = f.debug_struct("ResponseFuture");
        match &self.state {
            State::Running { future, .. } => debug.field("future", future),
            State::Refused { error } => debug.field("error", error),
        };
        debug.finish_non_exhaustive()
    }
}

/// Out of the way of what succeeds: what makes a box is a good deal of code, and it is written into every caller.
#[cold]
#[inline(never)]
pub(crate) fn boxed(error: impl Into<BoxError>) -> BoxError {
    error.into()
}
