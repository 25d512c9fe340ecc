use crate::{
    Cloned, Gate, Policy,
    future::{ResponseFuture, boxed},
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
pub struct Retry<S, C, P = Cloned, K = (), O = ()> {
    inner: S,
    rules: Arc<Rules<C, P, K, O>>,
}

// === impl Retry ===

impl<S, C, P, K, O> Retry<S, C, P, K, O> {
    pub(crate) fn new(inner: S, rules: Arc<Rules<C, P, K, O>>) -> Self {
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

impl<S, Req, C, P, K, O> Service<Req> for Retry<S, C, P, K, O>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error>,
    P: Policy<Req, S::Response, S::Error>,
    K: Gate<Req>,
    O: forebay_core::Observe<crate::Event>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, S, Req, Rules<C, P, K, O>>;

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
        if let Some(budget) = &rules.budget {
            budget.deposit();
        }

        // The future is built where it will be returned, field by field: to build it from parts would move the copy of
        // the request and the inner future once more each, which costs more than all the rest.
        let copy = if rules.limits.allows_after(1) { rules.policy.copy(&request) } else { None };
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
        response
    }
}

impl<S: Clone, C, P, K, O> Retry<S, C, P, K, O> {
    /// The far side has asked for a pause: the call waits, and does not sit on readiness meanwhile.
    #[cold]
    #[inline(never)]
    fn hold<F, Req>(&mut self, request: Req, key: u64) -> ResponseFuture<F, S, Req, Rules<C, P, K, O>> {
        // CANCEL: the instance that was made ready is dropped here, which gives its readiness back.
        let service = self.inner.clone();
        self.inner = service.clone();
        let mut response = ResponseFuture::new(Arc::clone(&self.rules), key, Some(request));
        response.hold(service);
        response
    }
}

/// A clone shares the budget, the throttle and the numbering of delays, never readiness.
impl<S: Clone, C, P, K, O> Clone for Retry<S, C, P, K, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.rules))
    }
}

impl<S: fmt::Debug, C, P, K, O> fmt::Debug for Retry<S, C, P, K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("inner", &self.inner).field("rules", &self.rules).finish()
    }
}
