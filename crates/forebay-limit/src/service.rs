use crate::{
    LimitHandle, LimitReached,
    future::ResponseFuture,
    gate::{Asked, Gate, Permit, Place},
};
use forebay_core::{BoxError, Classify};
use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Holds the number of requests in flight to what the server takes; made by a [`LimitLayer`](crate::LimitLayer).
///
/// See the [crate documentation](crate) for when a permit is taken and what clones share.
///
/// `poll_ready` takes the permit, in the order in which callers asked, and then asks the inner service. If as many callers wait
/// as may, it is ready at once, and the call is refused with [`LimitReached`].
pub struct Limit<S, C> {
    inner: S,
    gate: Arc<Gate>,
    classify: C,
    turn: Turn,
}

/// What this service has been promised. A clone starts without.
#[derive(Debug)]
enum Turn {
    None,
    Waits(Place),
    Has(Permit),
    /// Ready, but the call must not reach the inner service.
    Refused,
}

// === impl Limit ===

impl<S, C> Limit<S, C> {
    pub(crate) const fn new(inner: S, gate: Arc<Gate>, classify: C) -> Self {
        Self { inner, gate, classify, turn: Turn::None }
    }

    /// A handle that observes the limit, also after the service was boxed or moved away.
    #[must_use]
    pub fn handle(&self) -> LimitHandle {
        LimitHandle::new(Arc::clone(&self.gate))
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service. Calls made through it are not counted.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without the limit.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, Req> Service<Req> for Limit<S, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.turn = match mem::replace(&mut self.turn, Turn::None) {
            Turn::None => match self.gate.try_take() {
                Some(permit) => Turn::Has(permit),
                None => match self.gate.ask(cx.waker().clone()) {
                    Asked::Granted(permit) => Turn::Has(permit),
                    Asked::Waits(place) => Turn::Waits(place),
                    Asked::Refused => Turn::Refused,
                },
            },
            Turn::Waits(place) => match place.poll(cx.waker()) {
                Ok(permit) => Turn::Has(permit),
                Err(place) => Turn::Waits(place),
            },
            // CORRECTNESS: readiness, once given, is not taken back.
            turn @ (Turn::Has(_) | Turn::Refused) => turn,
        };
        match &self.turn {
            Turn::Has(_) => {}
            Turn::Refused => return Poll::Ready(Ok(())),
            Turn::None | Turn::Waits(_) => return Poll::Pending,
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if ready.is_err() {
            // A service that is broken holds nobody up.
            self.turn = Turn::None;
        }
        Poll::Ready(ready.map_err(Into::into))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // A call without readiness, which is not allowed, is refused as one without room is.
        let Turn::Has(mut permit) = mem::replace(&mut self.turn, Turn::None) else {
            return ResponseFuture::refused(LimitReached::new(self.gate.seen()));
        };
        // CORRECTNESS: the permit is held before the call: an inner service that panics in it gives the permit back.
        permit.start();
        // CORRECTNESS: the instance that was made ready is the one that is called.
        let future = self.inner.call(request);
        ResponseFuture::running(future, permit, self.classify.clone())
    }
}

/// A clone shares the permits, never one of its own: it is not ready, and has no place in the line.
impl<S: Clone, C: Clone> Clone for Limit<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.gate), self.classify.clone())
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Limit<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("inner", &self.inner)
            .field("gate", &self.gate)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
