//! A lease of a service, as a service.

use crate::Lease;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// A clone of a shared service, and the lease that keeps it open.
///
/// From [`Lease::into_service`] or a [`RegistryMake`](crate::RegistryMake). The lease ends when the service and the
/// futures of all its calls have been dropped, so the close hook never runs beside a request. It adds no error, and
/// its readiness is that of its own clone of the service.
pub struct LeasedService<S> {
    service: S,
    /// One count for each instance, shared with its futures only: calls of different clones write nothing in common.
    lease: Arc<Lease<S>>,
}

pin_project! {
    /// Response future of [`LeasedService`]; keeps the lease until it is dropped.
    pub struct LeasedFuture<F, S> {
        #[pin]
        future: F,
        // After the future, which may still need the client while it is dropped.
        lease: Arc<Lease<S>>,
    }
}

// === impl LeasedService ===

impl<S: Clone> Lease<S> {
    /// A clone of the shared service, which stays open for it.
    #[must_use]
    pub fn into_service(self) -> LeasedService<S> {
        LeasedService { service: S::clone(&self), lease: Arc::new(self) }
    }
}

impl<S, Req> Service<Req> for LeasedService<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LeasedFuture<S::Future, S>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        // CANCEL: the future holds the lease, so the close hook waits for a call that outlives this service, and for its drop.
        LeasedFuture { future: self.service.call(request), lease: Arc::clone(&self.lease) }
    }
}

/// Another lease, and a clone of this service, without its readiness.
impl<S: Clone> Clone for LeasedService<S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), lease: Arc::new(Lease::clone(&self.lease)) }
    }
}

impl<S> fmt::Debug for LeasedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedService").field("generation", &Lease::generation(&self.lease)).finish_non_exhaustive()
    }
}

// === impl LeasedFuture ===

impl<F: Future, S> Future for LeasedFuture<F, S> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<F: fmt::Debug, S> fmt::Debug for LeasedFuture<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedFuture").field("future", &self.future).finish_non_exhaustive()
    }
}
