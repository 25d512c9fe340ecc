use crate::{
    Policy,
    future::{ResponseFuture, boxed},
    policy::{Cloned, Gate},
    rules::Rules,
};
use forebay_core::{BoxError, Classify};
use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Sends a request again when its failure may pass.
///
/// See the [crate documentation](crate) for what clones share, and which errors it adds.
// The compiler shows this line where it says that the bounds of `ready` are not satisfied (E0599), and does not say which.
#[rustfmt::skip]
pub struct Retry<S, C, P = Cloned, K = ()> { // No `Service`? `ServiceExt::ready(&mut service)` says why.
    inner: S,
    rules: Arc<Rules<C, P, K>>,
}

// === impl Retry ===

impl<S, C, P, K> Retry<S, C, P, K> {
    pub(crate) fn new(inner: S, rules: Arc<Rules<C, P, K>>) -> Self {
        Self { inner, rules }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside. To use up its readiness is a mistake.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the retry.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req, C, P, K> Service<Req> for Retry<S, C, P, K>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error>,
    P: Policy<Req, S::Response, S::Error>,
    K: Gate<Req>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, S, Req, Rules<C, P, K>>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(boxed)
    }

    #[inline(always)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let rules = &self.rules;
        rules.policy.begin(&mut request);
        let key = rules.gate.key(&request);
        if rules.gate.held(key, true).is_some() {
            return self.hold(request, key);
        }

        // CORRECTNESS: a call that panics was not made: what it has earned is taken back as this is dropped.
        let earned = rules.deposit();

        // The future is built where it will be returned, field by field: to build it from parts would move the copy of
        // the request and the inner future once more each, which costs more than all the rest.
        let copy = rules.copy(&request, 1);
        let mut response = ResponseFuture::new(Arc::clone(rules), key, copy);
        if response.can_repeat() {
            // CORRECTNESS: the instance that was made ready is the one that is called, now and on each further attempt.
            // The clone that takes its place here is born without readiness.
            let clone = self.inner.clone();
            let mut ready = mem::replace(&mut self.inner, clone);
            response.begin(ready.call(request), Some(ready));
        } else {
            // Without a copy there is no second attempt, and no need for a service to make it with.
            response.begin(self.inner.call(request), None);
        }
        if let Some(earned) = earned {
            earned.keep();
        }
        response
    }
}

impl<S: Clone, C, P, K> Retry<S, C, P, K> {
    /// The throttle holds the first attempt back: the call waits, and keeps no readiness meanwhile.
    #[cold]
    #[inline(never)]
    fn hold<F, Req>(&mut self, request: Req, key: u64) -> ResponseFuture<F, S, Req, Rules<C, P, K>> {
        // CANCEL: the instance that was made ready is dropped here, which gives its readiness back.
        let service = self.inner.clone();
        self.inner = service.clone();
        let mut response = ResponseFuture::new(Arc::clone(&self.rules), key, Some(request));
        response.hold(service);
        response
    }
}

/// A clone shares the budget, the throttle and the numbering of delays, never readiness.
impl<S: Clone, C, P, K> Clone for Retry<S, C, P, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.rules))
    }
}

impl<S: fmt::Debug, C, P, K> fmt::Debug for Retry<S, C, P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("inner", &self.inner).field("rules", &self.rules).finish()
    }
}
