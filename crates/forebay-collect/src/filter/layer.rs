use super::LiveFilter;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Passes the requests whose names a [`LiveFilter`] wants.
///
/// The response to any other request is `None`, and the inner service never sees it.
#[derive(Clone)]
pub struct FilterLayer<N> {
    filter: LiveFilter,
    name: N,
}

/// The service of [`FilterLayer`].
#[derive(Clone)]
pub struct Filtering<S, N> {
    inner: S,
    filter: LiveFilter,
    name: N,
}

pin_project! {
    /// The future of [`Filtering`].
    #[must_use = "futures do nothing unless polled"]
    pub struct FilteringFuture<F> {
        #[pin]
        inner: Option<F>,
    }
}

// === impl FilterLayer ===

impl<N> FilterLayer<N> {
    /// A layer with this filter, and a closure that gives the name of a request.
    #[must_use]
    pub fn new<Req>(filter: impl Into<LiveFilter>, name: N) -> Self
    where
        N: Fn(&Req) -> &str,
    {
        Self { filter: filter.into(), name }
    }
}

impl<S, N: Clone> Layer<S> for FilterLayer<N> {
    type Service = Filtering<S, N>;

    fn layer(&self, inner: S) -> Self::Service {
        Filtering { inner, filter: self.filter.clone(), name: self.name.clone() }
    }
}

impl<N> fmt::Debug for FilterLayer<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterLayer").field("filter", &self.filter).finish_non_exhaustive()
    }
}

// === impl Filtering ===

impl<Req, S, N> Service<Req> for Filtering<S, N>
where
    S: Service<Req>,
    N: Fn(&Req) -> &str,
{
    type Response = Option<S::Response>;
    type Error = S::Error;
    type Future = FilteringFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let wanted = self.filter.wants((self.name)(&request));
        // CORRECTNESS: a request that is not wanted does not use the readiness of the inner service, so the next one may.
        FilteringFuture { inner: wanted.then(|| self.inner.call(request)) }
    }
}

impl<S: fmt::Debug, N> fmt::Debug for Filtering<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filtering").field("inner", &self.inner).field("filter", &self.filter).finish_non_exhaustive()
    }
}

// === impl FilteringFuture ===

impl<F, Res, Err> Future for FilteringFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
{
    type Output = Result<Option<Res>, Err>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.as_pin_mut() {
            Some(inner) => Poll::Ready(ready!(inner.poll(cx)).map(Some)),
            None => Poll::Ready(Ok(None)),
        }
    }
}

impl<F> fmt::Debug for FilteringFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilteringFuture").field("wanted", &self.inner.is_some()).finish_non_exhaustive()
    }
}
