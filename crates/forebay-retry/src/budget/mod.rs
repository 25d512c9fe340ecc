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
/// Each call earns [`ratio`](BudgetBuilder::ratio) of a retry when it is made, not when it is answered; each retry
/// costs one, or what [`RetryLayer::cost`](crate::RetryLayer::cost) says. When calls are rare, time earns a
/// [floor](BudgetBuilder::floor_per_second). Up to [`reserve`](BudgetBuilder::reserve) is kept for a burst.
///
/// With every call failing, `n` calls in `t` whole seconds are followed by at most
/// `reserve + max(ratio · n, floor · t)` retries, where the maximum is taken second by second. With the defaults, once
/// the reserve is used up, a client that makes 10 calls per second or more sends at most 1.1 requests per call.
///
/// A handle: clones share one budget, and so do all services of a [`RetryLayer`](crate::RetryLayer) that holds it. Give
/// the same budget to several layers where they lead to the same far side.
///
/// # Cost
///
/// While the budget is full, a call reads one word that nobody writes. Until it is full again, a call is one relaxed
/// atomic write. Only a retry takes the lock.
///
/// ```
/// use forebay_retry::Budget;
///
/// let budget = Budget::builder().ratio(0.2).reserve(10.0).build()?;
/// assert_eq!(budget.available(), 10.0);
/// # Ok::<(), forebay_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    /// How many more calls fill the budget. Zero: full, and calls need not be counted.
    room: AtomicU64,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    state: BudgetState,
    /// What `room` was set to; the difference is the calls since.
    room: u64,
}

/// A retry that is paid for, and not sent yet.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Budget,
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

    /// A call is being made.
    #[inline]
    pub(crate) fn deposit(&self) {
        // CORRECTNESS: a call that is missed here, because a withdrawal sets `room` at this moment, earns nothing. The
        // budget may come out a call short, never over.
        if self.0.room.load(Relaxed) != 0 {
            self.0.count();
        }
    }

    /// Takes one retry at `cost` (1.0 is the plain one), or `None` if there is not enough.
    pub(crate) fn withdraw(&self, cost: f64) -> Option<Hold> {
        // A cost that is no number is the plain one, not a free one.
        let cost = if cost.is_nan() { ONE } else { millionths(cost) };
        let paid = self.settled(|state| state.withdraw(cost));
        paid.then(|| Hold { budget: self.clone(), cost })
    }

    /// Reads or changes the state after all calls so far and the time have been taken into account.
    fn settled<T>(&self, change: impl FnOnce(&mut BudgetState) -> T) -> T {
        let now = Instant::now();
        let mut ledger = self.0.ledger();
        let calls = ledger.room - self.0.room.swap(0, Relaxed);
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
        // Saturating: whoever finds it full in the meantime leaves it so.
        let _full = self.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(1));
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
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

// === impl Hold ===

impl Hold {
    /// The retry is on its way: what it cost is gone.
    pub(crate) fn spend(mut self) {
        self.cost = 0;
    }
}

/// CANCEL: a retry that is dropped before it is sent has cost nothing.
impl Drop for Hold {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.budget.settled(|state| state.refund(self.cost));
        }
    }
}
