use crate::{
    Backoff, Budget, RetryEvent, RetryLayer, Throttle,
    attempts::Limits,
    policy::{Cloned, Keyed, Narrowing, Priced},
    rules::{Rules, Streams},
};
use forebay_core::{ConfigError, Observe, Unkeyed, chance::entropy};
use std::{fmt, sync::Arc, time::Duration};

/// Builds a [`RetryLayer`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`new`](Self::new) | | the classifier: which results may pass |
/// | [`max_retries`](Self::max_retries) | 3, which is four attempts | 0 and more |
/// | [`max_elapsed`](Self::max_elapsed) | none | any |
/// | [`backoff`](Self::backoff) | 100 ms, doubling to 10 s, full jitter | see [`Backoff::check`] |
/// | [`max_hint`](Self::max_hint) | 60 s | any |
/// | [`budget`](Self::budget) | 0.1 retries per call, at least 1 per second, 100 kept | see [`Budget::builder`] |
/// | [`throttle`](Self::throttle) | none; per host for `http` | see [`Throttle::builder`] |
/// | [`policy`](Self::policy) | requests are cloned | see [`Policy`](crate::Policy) |
/// | [`narrow`](Self::narrow) | all of the request is sent again | |
/// | [`cost`](Self::cost) | 1.0 | any number |
/// | [`observe`](Self::observe) | none | |
///
/// Nothing is checked before [`build`](Self::build). `RetryBuilder::http` (feature `http`) and `RetryBuilder::grpc` (feature
/// `grpc`) begin with the settings of the presets.
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBuilder<C, P = Cloned, K = ()> {
    rules: Rules<C, P, K>,
}

// === impl RetryBuilder ===

impl<C> RetryBuilder<C> {
    /// Retries what `classifier` finds [retryable](forebay_core::Outcome::Retryable), of requests that are `Clone`.
    pub fn new(classifier: C) -> Self {
        let limits = Limits { max_retries: 3, max_elapsed: None, max_hint: Duration::from_secs(60) };
        let rules = Rules {
            classifier,
            policy: Cloned,
            gate: (),
            observer: None,
            limits,
            backoff: Backoff::default(),
            budget: Some(Budget::default()),
            streams: Streams::new(entropy()),
        };
        Self { rules }
    }
}

impl<C, P, K> RetryBuilder<C, P, K> {
    /// How often a request is sent again. 0 switches the layer off: one attempt, no copy, and its result unchanged.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.rules.limits.max_retries = retries;
        self
    }

    /// No attempt begins later than this after the first one did.
    ///
    /// It is measured from when the first attempt had to wait for the first time. An attempt that is under way is
    /// not cut off: a timeout inside limits one attempt, a timeout outside limits all.
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.rules.limits.max_elapsed = Some(elapsed);
        self
    }

    /// How long to wait between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = backoff;
        self
    }

    /// The longest wait that a server can ask for. A hint above it counts as this long, for the throttle too, and then the
    /// attempt is made; one within it is obeyed, even where it is above the cap of the backoff.
    pub fn max_hint(mut self, wait: Duration) -> Self {
        self.rules.limits.max_hint = wait;
        self
    }

    /// Shares `budget`, instead of one that this layer has for itself.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.rules.budget = Some(budget);
        self
    }

    /// No bound on the retries of all requests together: in an outage each call is sent `max_retries` + 1 times.
    pub fn without_budget(mut self) -> Self {
        self.rules.budget = None;
        self
    }

    /// How requests are sent again: a [`Policy`](crate::Policy), or a function `Fn(&Req) -> Option<Req>` that copies them.
    pub fn policy<P2>(self, policy: P2) -> RetryBuilder<C, P2, K> {
        self.change(|_, gate| (policy, gate))
    }

    /// Cuts a request down to what its last, retryable result has not settled, before it is sent again.
    ///
    /// `false` means that nothing is left; that result is then returned. Only the response to the last attempt is returned:
    /// a caller that needs the sum of them keeps it in the request. See [`Policy::narrow`](crate::Policy::narrow).
    pub fn narrow<Req, Res, Err, F>(self, narrow: F) -> RetryBuilder<C, Narrowing<P, F>, K>
    where
        F: Fn(&mut Req, &Result<Res, Err>) -> bool,
    {
        self.change(|policy, gate| (Narrowing { policy, narrow }, gate))
    }

    /// What a retry after a result costs the budget, where 1.0 is the plain price.
    ///
    /// A timeout may have cost the server more than a refusal: AWS's clients charge 10 for one and 5 for the other.
    pub fn cost<Res, Err, F>(self, cost: F) -> RetryBuilder<C, Priced<P, F>, K>
    where
        F: Fn(&Result<Res, Err>) -> f64,
    {
        self.change(|policy, gate| (Priced { policy, cost }, gate))
    }

    /// A hint to one call holds back all calls.
    pub fn throttle(self, throttle: Throttle) -> RetryBuilder<C, P, Keyed<Unkeyed>> {
        self.gate(Keyed::new(throttle, Unkeyed))
    }

    /// A hint to one call holds back all calls with the same key.
    pub fn throttle_by<Req, Key, F>(self, throttle: Throttle, key: F) -> RetryBuilder<C, P, Keyed<F>>
    where
        Req: ?Sized,
        Key: ?Sized,
        F: for<'r> Fn(&'r Req) -> &'r Key,
    {
        self.gate(Keyed::new(throttle, key))
    }

    /// A hint holds back only the call that received it.
    pub fn without_throttle(self) -> RetryBuilder<C, P, ()> {
        self.gate(())
    }

    pub(crate) fn gate<K2>(self, gate: K2) -> RetryBuilder<C, P, K2> {
        self.change(|policy, _| (policy, gate))
    }

    /// The same settings with another policy and another gate.
    pub(crate) fn change<P2, K2>(self, change: impl FnOnce(P, K) -> (P2, K2)) -> RetryBuilder<C, P2, K2> {
        let Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } = self.rules;
        let (policy, gate) = change(policy, gate);
        RetryBuilder { rules: Rules { classifier, policy, gate, observer, limits, backoff, budget, streams } }
    }

    #[cfg(feature = "http")]
    pub(crate) fn policy_mut(&mut self) -> &mut P {
        &mut self.rules.policy
    }

    /// `observer` sees the decisions: any `Fn(&RetryEvent)`.
    pub fn observe(mut self, observer: impl Observe<RetryEvent> + Send + Sync + 'static) -> Self {
        self.rules.observer = Some(Arc::new(observer));
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// When the backoff has a factor or a share of jitter that [is not allowed](Backoff::check).
    pub fn build(self) -> Result<RetryLayer<C, P, K>, ConfigError> {
        self.rules.backoff.check()?;
        Ok(self.checked())
    }

    /// The layer of settings that are known to be allowed.
    pub(crate) fn checked(self) -> RetryLayer<C, P, K> {
        RetryLayer { rules: Arc::new(self.rules) }
    }
}

impl<C, P, K> fmt::Debug for RetryBuilder<C, P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.rules, f)
    }
}
