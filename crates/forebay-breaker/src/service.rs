use crate::{
    BreakerHandle,
    call::{Call, Local},
    core::Core,
    future::{ResponseFuture, boxed},
    key::KeySource,
    refusal::Refusal,
};
use forebay_core::{BoxError, Classify};
use std::{
    fmt,
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Stops calling what keeps failing; made by a [`BreakerLayer`](crate::BreakerLayer).
///
/// See the [crate documentation](crate) for when a call is let through and what clones share.
///
/// With keys `call` decides, for the key is not known before: `poll_ready` is the inner service's, and a rejected call keeps the
/// readiness of the inner service for the next one. Without keys `poll_ready` decides first: while the circuit is open it is ready
/// at once, without polling the inner service, and the call is rejected.
// The compiler shows this line where it says that the bounds of `ready` are not satisfied (E0599), and does not say which.
#[rustfmt::skip]
pub struct Breaker<S, K, F, C> { // No `Service`? `ServiceExt::ready(&mut service)` says why.
    inner: S,
    /// Takes the key from a request.
    keys: F,
    /// Also in `local`: one hop less on the way to the state.
    core: Arc<Core<K>>,
    local: Arc<Local<K, C>>,
    /// Set by a `poll_ready` that did not ask the inner service: the next call must not reach it.
    refused: Option<Refusal>,
}

// === impl Breaker ===

impl<S, K, F, C> Breaker<S, K, F, C> {
    pub(crate) fn new(inner: S, keys: F, core: Arc<Core<K>>, classify: C) -> Self {
        let local = Arc::new(Local { core: Arc::clone(&core), classify });
        Self { inner, keys, core, local, refused: None }
    }

    /// A handle that observes and controls the breaker, also after the service was boxed or moved away.
    #[must_use]
    pub fn handle(&self) -> BreakerHandle<K> {
        BreakerHandle::new(Arc::clone(&self.core))
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service. Calls made through it are not seen by the breaker.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without the breaker.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, F, C, Req> Service<Req> for Breaker<S, K, F, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    F: KeySource<Req>,
    F::Key: ToOwned<Owned = K>,
    K: Hash + Eq + std::borrow::Borrow<F::Key>,
    C: Classify<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, K, C>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !F::KEYED && !self.core.is_closed() && self.refuses_now() {
            return Poll::Ready(Ok(()));
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                // Looked at first: a call that goes through is not to write what stands there already.
                if !F::KEYED && self.refused.is_some() {
                    self.refused = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(boxed(error))),
            // CORRECTNESS: readiness, once given, is not taken back. If the inner service is not ready, the call that
            // follows is rejected, as `poll_ready` decided before.
            Poll::Pending if !F::KEYED && self.refused.is_some() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        let core = &*self.core;
        if let Some(refusal) = self.refused {
            self.refused = None;
            let error = core.reject_unkeyed(refusal);
            return ResponseFuture::refused(error.within(self.keys.deadline_of(&request)));
        }
        let tried = if F::KEYED {
            core.try_fast_path_for(self.keys.key_of(&request))
        } else {
            core.try_fast_path().ok_or(None)
        };
        let admitted = match tried {
            Ok(admitted) => admitted,
            Err(place) => {
                let asked =
                    if F::KEYED { core.admit_for(place, self.keys.key_of(&request), F::label) } else { core.admit() };
                match asked {
                    Ok(admitted) => admitted,
                    // The readiness of the inner service stays where it is, for the next call.
                    Err(error) => return ResponseFuture::refused(error.within(self.keys.deadline_of(&request))),
                }
            }
        };
        // CORRECTNESS: the guard stands before the call: an inner service that panics in it gives the permit back.
        let call = Call::new(Arc::clone(&self.local), admitted);
        // CORRECTNESS: the instance that was made ready is the one that is called.
        ResponseFuture::running(self.inner.call(request), call)
    }
}

impl<S, K, F, C> Breaker<S, K, F, C> {
    /// Whether a call would be refused now. Then it is: the inner service is not asked whether it is ready.
    #[cold]
    #[inline(never)]
    fn refuses_now(&mut self) -> bool {
        let refusal = self.core.refusal();
        // An earlier promise stays, for it may still be needed.
        self.refused = refusal.or(self.refused);
        refusal.is_some()
    }
}

/// A clone shares the state, never a promise: it is not ready, and holds no right to be a probe.
impl<S: Clone, K, F: Clone, C: Clone> Clone for Breaker<S, K, F, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.keys.clone(), Arc::clone(&self.core), self.local.classify.clone())
    }
}

impl<S: fmt::Debug, K, F, C> fmt::Debug for Breaker<S, K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("inner", &self.inner).field("core", &self.core).finish_non_exhaustive()
    }
}
