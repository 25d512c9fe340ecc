use crate::pending::PendingBatch;
use forebay_core::{BoxError, DropReason, adaptive::Attempt, panic};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// A batch that is with the inner service.
    pub(crate) struct InFlight<F, T, A> {
        // `None` once it has ended or was dropped.
        #[pin]
        future: Option<F>,
        // `None` once it was handed on, with the result or without.
        batch: Option<PendingBatch<T, A>>,
        // What the limit learns from, where it tunes itself.
        attempt: Option<Attempt>,
    }
}

/// A batch that has come back from the inner service.
pub(crate) struct Completed<Res, T, A> {
    pub(crate) batch: PendingBatch<T, A>,
    /// What the inner service returned, or why it returned nothing.
    pub(crate) result: Result<Result<Res, BoxError>, DropReason>,
    /// What the limit learns from, where it tunes itself.
    pub(crate) attempt: Option<Attempt>,
}

// === impl InFlight ===

impl<F, T, A> InFlight<F, T, A> {
    pub(crate) fn new(future: F, batch: PendingBatch<T, A>, attempt: Option<Attempt>) -> Self {
        Self { future: Some(future), batch: Some(batch), attempt }
    }

    /// The batch, until it has come back.
    pub(crate) fn batch(self: Pin<&Self>) -> Option<&PendingBatch<T, A>> {
        self.project_ref().batch.as_ref()
    }

    /// Drops the future, which may still read the items, and returns the batch.
    pub(crate) fn cancel(self: Pin<&mut Self>) -> Option<PendingBatch<T, A>> {
        let this = self.project();
        panic::discard_pinned(this.future);
        // The server's part in an attempt that is cancelled is not known.
        *this.attempt = None;
        this.batch.take()
    }
}

impl<F, Res, Err, T, A> Future for InFlight<F, T, A>
where
    F: Future<Output = Result<Res, Err>>,
    Err: Into<BoxError>,
{
    type Output = Option<Completed<Res, T, A>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(panic::catch_poll(this.future, cx));
        let result = result.and_then(|result| panic::catch(|| result.map_err(Into::into)));
        let result = result.map_err(|_reported| DropReason::Panicked);
        // `None` only if it is polled after it was ready, which a set of futures does not do.
        let attempt = this.attempt.take();
        Poll::Ready(this.batch.take().map(|batch| Completed { batch, result, attempt }))
    }
}
