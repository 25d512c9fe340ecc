use crate::lot::Lot;
use forebay_core::{BoxError, DropReason};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// A lot that is with the inner service.
    pub(crate) struct Flight<F, T, A> {
        #[pin]
        future: F,
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
        Self { future, lot: Some(lot), generation }
    }

    /// The lot, taken back from a flight that is let go.
    pub(crate) fn let_go(self: Pin<&mut Self>) -> Option<Lot<T, A>> {
        self.project().lot.take()
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
        let future = this.future;
        let result = ready!(isolate(|| future.poll(cx).map(|result| Ok(result.map_err(Into::into)))));
        let generation = *this.generation;
        // `None` only if it was polled after it had landed, which nobody does.
        Poll::Ready(this.lot.take().map(|lot| Landed { lot, generation, result }))
    }
}

/// Runs code of the user or the inner service; a panic in it stays with the lot.
#[inline]
pub(crate) fn isolate<R>(run: impl FnOnce() -> Poll<Result<R, DropReason>>) -> Poll<Result<R, DropReason>> {
    // What a panic leaves half done is the inner service's own state, and that of the lot, which is gone. The panic itself
    // was reported by the panic hook.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Poll::Ready(Err(DropReason::Panicked)))
}
