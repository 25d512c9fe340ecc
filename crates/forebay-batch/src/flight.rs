use crate::lot::Lot;
use forebay_core::{BoxError, DropReason, panic};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// A lot that is with the inner service.
    pub(crate) struct Flight<F, T, A> {
        #[pin]
        future: Option<F>,
        lot: Option<Lot<T, A>>,
        generation: u64,
    }
}

/// A lot that has come back.
pub(crate) struct Landed<Res, T, A> {
    pub(crate) lot: Lot<T, A>,
    pub(crate) generation: u64,
    pub(crate) result: Result<Result<Res, BoxError>, DropReason>,
}

// === impl Flight ===

impl<F, T, A> Flight<F, T, A> {
    pub(crate) fn new(future: F, lot: Lot<T, A>, generation: u64) -> Self {
        Self { future: Some(future), lot: Some(lot), generation }
    }

    /// The lot, until it has come back, and the generation that it belongs to.
    pub(crate) fn lot(self: Pin<&Self>) -> Option<(&Lot<T, A>, u64)> {
        let generation = self.generation;
        self.project_ref().lot.as_ref().map(|lot| (lot, generation))
    }

    /// Drops the future, which may still read the items, and returns the lot.
    pub(crate) fn let_go(self: Pin<&mut Self>) -> Option<Lot<T, A>> {
        let this = self.project();
        panic::discard_pinned(this.future);
        this.lot.take()
    }
}

impl<F, Res, Err, T, A> Future for Flight<F, T, A>
where
    F: Future<Output = Result<Res, Err>>,
    Err: Into<BoxError>,
{
    type Output = Option<Landed<Res, T, A>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(panic::catch_poll(this.future, cx));
        let result = result.and_then(|result| panic::catch(|| result.map_err(Into::into)));
        let generation = *this.generation;
        // `None` only if it was polled after it had landed, which the set of flights does not do.
        let result = result.map_err(|_reported| DropReason::Panicked);
        Poll::Ready(this.lot.take().map(|lot| Landed { lot, generation, result }))
    }
}
