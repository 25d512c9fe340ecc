//! A retry budget: retries are a share of the calls, whatever the calls come to.

mod builder;
mod state;

pub use self::builder::BudgetBuilder;

use self::{
    builder::millionths,
    state::{BudgetState, ONE},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::time::Instant;

/// Keeps retries to a share of the calls: a token bucket that calls fill and retries empty.
///
/// Each call earns [`ratio`](BudgetBuilder::ratio) of a retry when it is made, not when its response arrives; each retry
/// costs one, or what [`RetryBuilder::cost`](crate::RetryBuilder::cost) says. When calls are rare, time earns a
/// [floor](BudgetBuilder::floor_per_second). Up to [`reserve`](BudgetBuilder::reserve) is kept for a burst.
///
/// With every call failing, `n` calls in `t` whole seconds are followed by at most
/// `reserve + max(ratio · n, floor · t)` retries, where the maximum is taken second by second. With the defaults, once
/// the reserve is used up, a client that makes 10 calls per second or more sends at most 1.1 requests per call.
///
/// A handle: clones share one budget, and so do all services of a [`RetryLayer`](crate::RetryLayer) that holds it. Several
/// layers that lead to the same server share one.
///
/// # Cost
///
/// While the budget is full, a call reads one word that no call writes. Until it is full again, a call is one relaxed
/// atomic write. Only a retry takes the lock.
///
/// ```
/// use forebay_retry::Budget;
///
/// let budget = Budget::builder().ratio(0.2).reserve(10.0).build()?;
/// assert_eq!(budget.available(), 10.0);
/// # Ok::<(), forebay_retry::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    /// How many more calls fill the budget. Zero: full, and calls need not be counted.
    room: AtomicU64,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    /// What was earned and what is left.
    state: BudgetState,
    /// What `room` was set to; the difference is the calls since.
    room: u64,
}

/// What a call earns while it is being made.
///
/// It stands before the call, not after it: code that follows an inlined call and may unwind keeps the response future in
/// memory, to drop it there.
pub(crate) struct Earned<'b> {
    budget: &'b Budget,
    /// Whether the call was counted: a budget that is full counts none.
    counted: bool,
}

/// A retry that is paid for, and not sent yet; made by [`Budget::withdraw`].
///
/// CANCEL: dropping it refunds the cost, unless it was [spent](Self::spend).
#[must_use = "a withdrawal that is dropped is refunded"]
#[derive(Debug)]
pub struct Withdrawal {
    /// Where the cost is refunded to.
    budget: Budget,
    /// In millionths of a retry; zero once the retry is sent.
    cost: u64,
}

// === impl Budget ===

impl Budget {
    /// A budget with other terms than the default.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder::DEFAULT
    }

    fn of(state: BudgetState) -> Self {
        let room = state.room();
        Self(Arc::new(Shared { room: AtomicU64::new(room), ledger: Mutex::new(Ledger { state, room }) }))
    }

    /// How many retries could be sent now.
    #[must_use]
    pub fn available(&self) -> f64 {
        let tokens = self.settled(|state| state.tokens());
        tokens as f64 / ONE as f64
    }

    /// A call is made outside of a retry layer: it earns its share.
    ///
    /// A layer of another library that sends requests once more, such as a hedge, draws from the same budget as a retry, so
    /// that both together stay within it. Exactly one layer lets each call earn: a [`RetryLayer`](crate::RetryLayer) with this
    /// budget does so by itself, and then no other layer calls this.
    pub fn earn(&self) {
        self.deposit().keep();
    }

    /// A call is being made: it earns its share, unless what this returns is dropped before [`Earned::keep`].
    #[inline(always)]
    pub(crate) fn deposit(&self) -> Earned<'_> {
        // CORRECTNESS: a call that is missed here, because a withdrawal sets `room` at this moment, earns nothing. The
        // budget may come out a call short, never over.
        let counted = self.0.room.load(Relaxed) != 0;
        if counted {
            self.0.count();
        }
        Earned { budget: self, counted }
    }

    /// Takes one more request at `cost` (1.0 is that of a plain retry), or `None` if there is not enough.
    ///
    /// ```
    /// use forebay_retry::{Budget, Withdrawal};
    ///
    /// // What `can_retry` of a policy of tower's hedge returns, say.
    /// fn can_send_once_more(budget: &Budget) -> bool {
    ///     budget.withdraw(1.0).map(Withdrawal::spend).is_some()
    /// }
    ///
    /// let budget = Budget::builder().floor_per_second(0.0).reserve(1.0).build()?;
    /// assert!(can_send_once_more(&budget));
    /// assert!(!can_send_once_more(&budget));
    /// # Ok::<(), forebay_retry::ConfigError>(())
    /// ```
    #[must_use = "a withdrawal that is dropped is refunded"]
    pub fn withdraw(&self, cost: f64) -> Option<Withdrawal> {
        // A cost that is no number is the plain one, not a free one.
        let cost = if cost.is_nan() { ONE } else { millionths(cost) };
        let paid = self.settled(|state| state.withdraw(cost));
        paid.then(|| Withdrawal { budget: self.clone(), cost })
    }

    /// Reads or changes the state after all calls so far and the time have been taken into account.
    fn settled<T>(&self, change: impl FnOnce(&mut BudgetState) -> T) -> T {
        let now = Instant::now();
        let mut ledger = self.0.ledger();
        // Saturating: a call that was taken back after it had been settled has left more room than there was.
        let calls = ledger.room.saturating_sub(self.0.room.swap(0, Relaxed));
        ledger.state.settle(now, calls);
        let result = change(&mut ledger.state);
        ledger.room = ledger.state.room();
        self.0.room.store(ledger.room, Relaxed);
        result
    }
}

impl Shared {
    #[cold]
    fn count(&self) {
        // Saturating: a call that finds it full leaves it so.
        let _full = self.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(1));
    }

    /// One call less was made.
    #[cold]
    fn uncount(&self) {
        // Relaxed: the count guards no other memory. A settlement in between makes the room one call too large, which
        // `settled` takes into account.
        self.room.fetch_add(1, Relaxed);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // CORRECTNESS: no user code runs under this lock: what is done to the state is arithmetic of this module.
        // Nothing under the lock panics half-way through a change.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 0.1 retries per call, at least 1 per second, 100 kept.
impl Default for Budget {
    fn default() -> Self {
        BudgetBuilder::DEFAULT.checked()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("state", &self.0.ledger().state).finish_non_exhaustive()
    }
}

// === impl Earned ===

impl Earned<'_> {
    /// The call was made.
    #[inline(always)]
    pub(crate) fn keep(mut self) {
        self.counted = false;
    }
}

/// A call that panics was not made, and has earned nothing.
impl Drop for Earned<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.counted {
            self.budget.0.uncount();
        }
    }
}

// === impl Withdrawal ===

impl Withdrawal {
    /// The request was sent: what it cost is spent.
    pub fn spend(mut self) {
        self.cost = 0;
    }
}

/// CANCEL: a retry that is dropped before it is sent has cost nothing.
impl Drop for Withdrawal {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.budget.settled(|state| state.refund(self.cost));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicUsize, time::Duration};

    fn budget(ratio: f64, floor: f64, reserve: f64) -> Budget {
        Budget::builder().ratio(ratio).floor_per_second(floor).reserve(reserve).build().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_budget_counts_no_calls_and_one_that_is_not_counts_to_full() {
        let budget = budget(0.5, 0.0, 2.0);
        budget.deposit().keep();
        assert_eq!(budget.0.room.load(Relaxed), 0, "full: nothing is written");
        budget.withdraw(2.0).unwrap().spend();
        assert_eq!(budget.0.room.load(Relaxed), 4);
        (0..3).for_each(|_| budget.deposit().keep());
        assert!((budget.available() - 1.5).abs() < 1e-9);
        budget.deposit().keep();
        assert_eq!(budget.0.room.load(Relaxed), 0, "full again, without a look at the lock");
        budget.deposit().keep();
        assert!((budget.available() - 2.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_is_dropped_is_refunded_and_one_that_is_spent_is_not() {
        let budget = budget(0.0, 0.0, 3.0);
        let hold = budget.withdraw(1.0).unwrap();
        assert!((budget.available() - 2.0).abs() < 1e-9);
        drop(hold);
        assert!((budget.available() - 3.0).abs() < 1e-9);
        budget.withdraw(1.0).unwrap().spend();
        assert!((budget.available() - 2.0).abs() < 1e-9);
        assert!(budget.withdraw(2.5).is_none());
        assert!(budget.withdraw(f64::INFINITY).is_none());
        budget.withdraw(f64::NAN).unwrap().spend();
        budget.withdraw(-1.0).unwrap().spend();
        assert!((budget.available() - 1.0).abs() < 1e-9, "no number costs one, less than nothing costs nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn time_earns_the_floor() {
        let budget = budget(0.1, 2.0, 10.0);
        budget.withdraw(10.0).unwrap().spend();
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(budget.withdraw(1.0).is_none());
        tokio::time::advance(Duration::from_millis(1)).await;
        budget.withdraw(2.0).unwrap().spend();
        assert!(budget.withdraw(0.5).is_none());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!((budget.available() - 10.0).abs() < 1e-9, "never above the reserve");
    }

    #[tokio::test(start_paused = true)]
    async fn f19_what_a_call_has_earned_is_taken_back_if_the_call_is_not_made() {
        let budget = budget(0.5, 0.0, 2.0);
        drop(budget.deposit());
        assert!((budget.available() - 2.0).abs() < 1e-9, "full stays full");
        budget.withdraw(2.0).unwrap().spend();
        drop(budget.deposit());
        assert!(budget.available() < 1e-9);
        budget.deposit().keep();
        assert!((budget.available() - 0.5).abs() < 1e-9);
        // The one that fills it, and one that was settled before it was taken back: the next call pays for it.
        budget.deposit().keep();
        budget.deposit().keep();
        drop(budget.deposit());
        assert!((budget.available() - 1.5).abs() < 1e-9);
        let settled = budget.deposit();
        assert!((budget.available() - 2.0).abs() < 1e-9);
        drop(settled);
        assert!((budget.available() - 2.0).abs() < 1e-9, "never over, and never below what there was");
    }

    /// tower's budget checks first and takes later; between the two, others check as well.
    #[test]
    fn r16_threads_together_never_take_more_than_there_is() {
        let budget = budget(0.1, 0.0, 50.0);
        let granted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        budget.deposit().keep();
                        if let Some(hold) = budget.withdraw(1.0) {
                            hold.spend();
                            granted.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        let granted = granted.into_inner();
        assert!((50..=50 + 400).contains(&granted), "{granted} of at most 450");
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for (ratio, floor, reserve, knob) in [
            (f64::NAN, 1.0, 1.0, "ratio"),
            (-0.1, 1.0, 1.0, "ratio"),
            (0.1, f64::INFINITY, 1.0, "floor_per_second"),
            (0.1, 1.0, 0.5, "reserve"),
        ] {
            let error = Budget::builder().ratio(ratio).floor_per_second(floor).reserve(reserve).build().unwrap_err();
            assert_eq!(error.knob(), knob);
        }
    }
}
