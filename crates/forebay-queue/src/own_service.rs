use crate::routed::Routed;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// The inner service of the workers of a shared queue: each request goes to the service that came with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToItsOwn;

pin_project! {
    /// The future of [`ToItsOwn`].
    #[project = RoutedProj]
    pub(crate) enum RoutedFuture<T, S>
    where
        S: Service<T>,
    {
        /// Waits for the service of the request to be ready. `None` while that is called.
        Readying { routed: Option<Routed<T, S>> },
        /// The service works on the request.
        Running { #[pin] future: S::Future },
    }
}

// === impl ToItsOwn ===

impl<T, S: Service<T>> Service<Routed<T, S>> for ToItsOwn {
    type Response = S::Response;
    type Error = S::Error;
    type Future = RoutedFuture<T, S>;

    /// Always ready: which service has to be is known with the request.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed<T, S>) -> Self::Future {
        RoutedFuture::Readying { routed: Some(routed) }
    }
}

impl<T, S: Service<T>> Future for RoutedFuture<T, S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                RoutedProj::Running { future } => return future.poll(cx),
                // ## Readying => (Readying | Running | ended)
                RoutedProj::Readying { routed } => {
                    if let Some(Routed { service, .. }) = routed {
                        ready!(service.poll_ready(cx))?;
                    }
                    let Some(Routed { request, mut service }) = routed.take() else {
                        debug_assert!(false, "polled after it was ready");
                        return Poll::Pending;
                    };
                    // CORRECTNESS: the instance that was polled ready is the one called; nothing awaits between the two.
                    service.call(request)
                }
            };
            self.set(Self::Running { future });
        }
    }
}
