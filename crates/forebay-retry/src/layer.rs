use crate::{
    Backoff, Budget, Cloned, Keyed, Narrowing, Priced, Retry, Throttle,
    limits::Limits,
    rules::{Rules, Streams},
};
use forebay_core::{Unkeyed, chance::entropy};
use std::{fmt, sync::Arc, time::Duration};
use tower_layer::Layer;

/// Applies a [`Retry`]: sends a request again when its failure may pass.
///
/// | knob | default | meaning |
/// | --- | --- | --- |
/// | [`new`](Self::new) | | which results may pass |
/// | [`max_retries`](Self::max_retries) | 3, which is four attempts | retries of one request |
/// | [`max_elapsed`](Self::max_elapsed) | none | no attempt begins later |
/// | [`backoff`](Self::backoff) | 100 ms, doubling to 10 s, full jitter | waits between attempts |
/// | [`max_retry_after`](Self::max_retry_after) | 60 s | a longer hint ends the retry |
/// | [`budget`](Self::budget) | 0.1 retries per call, at least 1 per second, 100 kept | retries of all requests |
/// | [`throttle`](Self::throttle) | none; per host for `http` | whom a hint holds back |
/// | [`policy`](Self::policy) | [`Cloned`] | how a request is sent again, and its deadline |
/// | [`narrow`](Self::narrow) | sends all | what of a request is sent again |
/// | [`cost`](Self::cost) | 1.0 | what a retry costs the budget |
/// | [`observe`](Self::observe) | nobody | sees the decisions |
///
/// All services made by one layer and its clones share the budget, the throttle, and the numbering that keeps their
/// jitter apart.
///
/// ```
/// use forebay_core::ByError;
/// use forebay_retry::RetryLayer;
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// let service = ServiceBuilder::new()
///     .layer(RetryLayer::new(ByError::new()).max_retries(2))
///     .service(service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) }));
/// assert_eq!(service.oneshot(1).await?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RetryLayer<C, P = Cloned, K = (), O = ()> {
    rules: Rules<C, P, K, O>,
}

// === impl RetryLayer ===

impl<C> RetryLayer<C> {
    /// Retries what `classifier` finds [retryable](forebay_core::Outcome::Retryable), of requests that are `Clone`.
    #[must_use]
    pub fn new(classifier: C) -> Self {
        let limits = Limits { max_retries: 3, max_elapsed: None, max_retry_after: Duration::from_secs(60) };
        let rules = Rules {
            classifier,
            policy: Cloned,
            gate: (),
            observer: (),
            limits,
            backoff: Backoff::default(),
            budget: Some(Budget::default()),
            streams: Arc::new(Streams::new(entropy())),
        };
        Self { rules }
    }
}

impl<C, P, K, O> RetryLayer<C, P, K, O> {
    /// How often a request is sent again. 0 switches the layer off: one attempt, no copy, and its result unchanged.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.rules.limits.max_retries = retries;
        self
    }

    /// No attempt begins later than this after the first one did.
    ///
    /// It is measured from when the first attempt had to wait for the first time. An attempt that is on its way is
    /// not cut off: that is for a timeout inside, per attempt, or outside, in all.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.rules.limits.max_elapsed = Some(elapsed);
        self
    }

    /// How long to wait between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = backoff;
        self
    }

    /// The longest wait that the far side can ask for. A hint above it ends the retry; one within it is obeyed, even
    /// where it is above the cap of the backoff.
    #[must_use]
    pub fn max_retry_after(mut self, wait: Duration) -> Self {
        self.rules.limits.max_retry_after = wait;
        self
    }

    /// Shares `budget`, instead of one that this layer has for itself.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.rules.budget = Some(budget);
        self
    }

    /// No bound on the retries of all requests together: in an outage each call is sent `max_retries` + 1 times.
    #[must_use]
    pub fn without_budget(mut self) -> Self {
        self.rules.budget = None;
        self
    }

    /// Says how requests are sent again: a [`Policy`](crate::Policy), or a function `Fn(&Req) -> Option<Req>` that
    /// copies them.
    #[must_use]
    pub fn policy<P2>(self, policy: P2) -> RetryLayer<C, P2, K, O> {
        let Rules { classifier, policy: _, gate, observer, limits, backoff, budget, streams } = self.rules;
        RetryLayer { rules: Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } }
    }

    /// Cuts a request down to what its last, retryable result has not settled, before it is sent again.
    ///
    /// `false` means that nothing is left; that result is then returned. Only the answer to the last attempt is
    /// returned: who needs the sum of them keeps it in the request. See [`Policy::narrow`](crate::Policy::narrow).
    #[must_use]
    pub fn narrow<Req, Res, Err, F>(self, narrow: F) -> RetryLayer<C, Narrowing<P, F>, K, O>
    where
        F: Fn(&mut Req, &Result<Res, Err>) -> bool,
    {
        let Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } = self.rules;
        let policy = Narrowing::new(policy, narrow);
        RetryLayer { rules: Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } }
    }

    /// What a retry after a result costs the budget, where 1.0 is the plain price.
    ///
    /// A timeout may have cost the far side more than a refusal: AWS's clients charge 10 for one and 5 for the other.
    #[must_use]
    pub fn cost<Res, Err, F>(self, cost: F) -> RetryLayer<C, Priced<P, F>, K, O>
    where
        F: Fn(&Result<Res, Err>) -> f64,
    {
        let Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } = self.rules;
        let policy = Priced::new(policy, cost);
        RetryLayer { rules: Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } }
    }

    /// A hint to one call holds back all calls.
    #[must_use]
    pub fn throttle(self, throttle: Throttle) -> RetryLayer<C, P, Keyed<Unkeyed>, O> {
        self.gate(Keyed::new(throttle, Unkeyed))
    }

    /// A hint to one call holds back all calls with the same key.
    #[must_use]
    pub fn throttle_by<Req, Key, F>(self, throttle: Throttle, key: F) -> RetryLayer<C, P, Keyed<F>, O>
    where
        Req: ?Sized,
        Key: ?Sized,
        F: for<'r> Fn(&'r Req) -> &'r Key,
    {
        self.gate(Keyed::new(throttle, key))
    }

    /// A hint holds back nobody but the call that received it.
    #[must_use]
    pub fn without_throttle(self) -> RetryLayer<C, P, (), O> {
        self.gate(())
    }

    pub(crate) fn gate<K2>(self, gate: K2) -> RetryLayer<C, P, K2, O> {
        let Rules { classifier, policy, gate: _, observer, limits, backoff, budget, streams } = self.rules;
        RetryLayer { rules: Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } }
    }

    #[cfg(feature = "http")]
    pub(crate) fn policy_mut(&mut self) -> &mut P {
        &mut self.rules.policy
    }

    /// Lets `observer` see the decisions: any `Fn(&Event)`.
    #[must_use]
    pub fn observe<O2>(self, observer: O2) -> RetryLayer<C, P, K, O2> {
        let Rules { classifier, policy, gate, observer: _, limits, backoff, budget, streams } = self.rules;
        RetryLayer { rules: Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } }
    }
}

impl<S, C, P, K, O> Layer<S> for RetryLayer<C, P, K, O>
where
    C: Clone,
    P: Clone,
    K: Clone,
    O: Clone,
{
    type Service = Retry<S, C, P, K, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::new(self.rules.clone()))
    }
}

impl<C, P, K, O> fmt::Debug for RetryLayer<C, P, K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.rules, f)
    }
}
