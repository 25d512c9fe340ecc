//! What the in-flight limit of the exporter learns from: each attempt, and no export with its retries.

use forebay_core::{
    BoxError, Boxed, ByError, Classify,
    adaptive::{Attempt, SharedLimiter},
};
use forebay_intake::now;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Reports each attempt to the limiter. It holds none back: that is what the batcher does.
#[derive(Clone, Debug)]
pub(crate) struct Sampled<S> {
    inner: S,
    limiter: SharedLimiter,
}

pin_project! {
    /// An attempt in flight.
    ///
    /// CANCEL: when it is dropped, the limiter forgets it.
    pub(crate) struct SampledFuture<F> {
        #[pin]
        future: F,
        // `None` once it has ended.
        attempt: Option<Attempt>,
    }
}

// === impl Sampled ===

impl<S> Sampled<S> {
    pub(crate) fn new(inner: S, limiter: SharedLimiter) -> Self {
        Self { inner, limiter }
    }
}

impl<S, Req> Service<Req> for Sampled<S>
where
    S: Service<Req, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = SampledFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let attempt = Some(self.limiter.start(now()));
        SampledFuture { future: self.inner.call(request), attempt }
    }
}

// === impl SampledFuture ===

impl<F, Res> Future for SampledFuture<F>
where
    F: Future<Output = Result<Res, BoxError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        if let Some(attempt) = this.attempt.take() {
            attempt.end(now(), ByError::<Boxed>::new().classify(&result));
        }
        Poll::Ready(result)
    }
}
