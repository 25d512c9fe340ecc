//! The future returned by [`Limit`](crate::Limit).

use crate::{LimitReached, gate::Permit};
use forebay_core::{BoxError, Classify};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// Response future of [`Limit`](crate::Limit).
    ///
    /// # Cancellation
    ///
    /// Dropping it before it ends drops the inner future and gives its permit back. The limiter learns nothing of it.
    pub struct ResponseFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, C> {
        Running { #[pin] future: F, permit: Option<Permit>, classify: C },
        Refused { error: Option<Box<LimitReached>> },
    }
}

// === impl ResponseFuture ===

impl<F, C> ResponseFuture<F, C> {
    pub(crate) fn running(future: F, permit: Permit, classify: C) -> Self {
        Self { state: State::Running { future, permit: Some(permit), classify } }
    }

    pub(crate) fn refused(error: LimitReached) -> Self {
        Self { state: State::Refused { error: Some(Box::new(error)) } }
    }
}

impl<F, C, Res, Err> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
    Err: Into<BoxError>,
{
    type Output = Result<Res, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Running { future, permit, classify } => {
                let result = ready!(future.poll(cx));
                // CANCEL: a classifier that panics leaves the permit where it is, and it is given back with the future.
                let outcome = classify.classify(&result);
                if let Some(permit) = permit.take() {
                    permit.end(outcome);
                }
                Poll::Ready(result.map_err(Into::into))
            }
            StateProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                // Polled again after its end, which is not allowed; it has nothing to give and must not panic.
                None => Poll::Pending,
            },
        }
    }
}

impl<F: fmt::Debug, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Running { future, .. } => f.debug_struct("Running").field("future", future).finish_non_exhaustive(),
            State::Refused { error } => f.debug_struct("Refused").field("error", error).finish(),
        }
    }
}
