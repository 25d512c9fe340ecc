use crate::{
    Attempt, Backoff, Budget, GaveUp, RetryEvent,
    attempts::{Attempts, Failure, Limits, Next},
    budget::{Earned, Withdrawal},
    trace,
};
use forebay_core::Observe;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Everything that the calls of one layer have in common.
pub struct Rules<C, P, K> {
    pub(crate) classifier: C,
    pub(crate) policy: P,
    pub(crate) gate: K,
    pub(crate) observer: Option<Arc<dyn Observe<RetryEvent> + Send + Sync>>,
    pub(crate) limits: Limits,
    pub(crate) backoff: Backoff,
    pub(crate) budget: Option<Budget>,
    pub(crate) streams: Streams,
}

/// Numbers the requests that have to wait, so that no two of them draw the same delays.
#[derive(Debug)]
pub(crate) struct Streams {
    /// What the delays of all requests are drawn from.
    seed: u64,
    /// The number of the next request that waits.
    next: AtomicU64,
}

// === impl Rules ===

impl<C, P, K> Rules<C, P, K> {
    /// One more request that has to wait; `begun` of its attempts were begun, the first at `started`.
    pub(crate) fn attempts(&self, begun: u32, started: Instant) -> Attempts {
        // Relaxed: each request gets a number of its own, in whatever order.
        let stream = self.streams.next.fetch_add(1, Relaxed);
        let delays = self.backoff.delays_from(self.backoff.fixed_seed().unwrap_or(self.streams.seed), stream);
        Attempts::new(begun, started, delays)
    }

    /// A call is being made: it earns its share of a retry, once it was made.
    #[inline(always)]
    pub(crate) fn deposit(&self) -> Option<Earned<'_>> {
        self.budget.as_ref().map(Budget::deposit)
    }

    /// Asks the machine what follows a failed attempt, and reports it. What the next attempt costs is in `hold`.
    pub(crate) fn decide(
        &self,
        now: Instant,
        attempts: &mut Attempts,
        failure: &Failure,
        cost: f64,
        hold: &mut Option<Withdrawal>,
        cause: &'static str,
    ) -> Result<Duration, GaveUp> {
        // CANCEL: what is paid is in `hold`, which refunds it when the request is dropped before the attempt is sent.
        let next = attempts.failed(now, &self.limits, failure, || match &self.budget {
            Some(budget) => {
                *hold = budget.withdraw(cost);
                hold.is_some()
            }
            None => true,
        });
        match next {
            Next::Wait(wait) => {
                let hint = failure.hint;
                trace::retrying(attempts.begun(), wait, hint, cause);
                self.emit_event(|| RetryEvent::Retrying { attempt: Attempt::new(attempts.begun()), wait, hint });
                Ok(wait)
            }
            Next::GiveUp(reason) => {
                let gave_up = GaveUp::new(attempts.begun(), reason, failure.hint);
                self.gave_up(gave_up);
                Err(gave_up)
            }
        }
    }

    /// The end of the attempts is reported.
    pub(crate) fn gave_up(&self, gave_up: GaveUp) {
        trace::gave_up(gave_up);
        self.emit_event(|| RetryEvent::GaveUp(gave_up));
    }

    #[inline]
    pub(crate) fn emit_event(&self, event: impl FnOnce() -> RetryEvent) {
        // No lock is held here: an observer is user code, which may call the layer again.
        if let Some(observer) = self.observer.as_ref().filter(|observer| observer.enabled()) {
            observer.observe(&event());
        }
    }
}

impl<C, P, K> fmt::Debug for Rules<C, P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("limits", &self.limits)
            .field("backoff", &self.backoff)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

// === impl Streams ===

impl Streams {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }
}
