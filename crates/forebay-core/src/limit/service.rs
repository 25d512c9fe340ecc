use crate::{
    ByError, Classify,
    adaptive::{Adaptive, Attempt, Gate, Place},
    support::clock::now,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// The service of a [`LimitLayer`](super::LimitLayer).
pub struct Limit<S, C = ByError> {
    inner: S,
    classify: C,
    /// Inside while this service is ready and not called.
    place: Place,
}

pin_project! {
    /// The future of a [`Limit`].
    ///
    /// CANCEL: when it is dropped, its place is free, and the limiter learns nothing.
    pub struct ResponseFuture<F, C> {
        #[pin]
        future: F,
        classify: C,
        // `None` once it has ended. The attempt is first: it ends before the place is free.
        in_flight: Option<(Attempt, Place)>,
    }
}

// === impl Limit ===

impl<S, C> Limit<S, C> {
    pub(super) fn new(inner: S, adaptive: &Adaptive, classify: C) -> Self {
        Self { inner, classify, place: Gate::new(adaptive, now()).place() }
    }

    /// How many requests may be in flight now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.place.gate().limit()
    }
}

impl<S, C, Req> Service<Req> for Limit<S, C>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    /// Ready when one more request may be in flight, and the inner service is ready. Waits in line until then.
    ///
    /// CANCEL: a service that is dropped leaves the line, or frees its place.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.place.poll_enter(cx));
        let readied = ready!(self.inner.poll_ready(cx));
        if readied.is_err() {
            self.place.leave();
        }
        Poll::Ready(readied)
    }

    /// Calls the inner service. Without readiness before, the request is in flight all the same, and counted.
    fn call(&mut self, request: Req) -> Self::Future {
        let gate = self.place.gate();
        let (free, began) = (gate.place(), now());
        let mut place = std::mem::replace(&mut self.place, free);
        if !place.is_inside() {
            place.enter_anyway();
        }
        let attempt = place.gate().start(began);
        let future = self.inner.call(request);
        ResponseFuture { future, classify: self.classify.clone(), in_flight: Some((attempt, place)) }
    }
}

/// A clone shares the limit, and never the readiness.
impl<S: Clone, C: Clone> Clone for Limit<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), classify: self.classify.clone(), place: self.place.gate().place() }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Limit<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("inner", &self.inner).field("limit", &self.limit()).finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl<F, C, Res, Err> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        if let Some((attempt, place)) = this.in_flight.take() {
            attempt.end(now(), this.classify.classify(&result));
            // The limit may have moved: who waits sees it now.
            drop(place);
        }
        Poll::Ready(result)
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("in_flight", &self.in_flight.is_some()).finish_non_exhaustive()
    }
}
