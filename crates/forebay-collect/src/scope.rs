//! Marks the thread on which a sink runs, so that telemetry does not feed itself.

use std::{
    cell::RefCell,
    marker::PhantomData,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The identity of an aggregator that must not feed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AggregatorId(usize);

/// A guard: while it exists, its [`AggregatorId`] is active on this thread.
#[derive(Debug)]
pub(crate) struct Entered {
    entered: bool,
    // Not `Send`: the guard is dropped on the thread that made it.
    here: PhantomData<*const ()>,
}

thread_local! {
    static AT_WORK: RefCell<Vec<AggregatorId>> = const { RefCell::new(Vec::new()) };
}

// === impl AggregatorId ===

impl AggregatorId {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn enter(self) -> Entered {
        // At the end of a thread its locals are dropped, and nothing is marked.
        let entered = AT_WORK.try_with(|ids| ids.try_borrow_mut().map(|mut ids| ids.push(self)).is_ok());
        Entered { entered: entered.unwrap_or(false), here: PhantomData }
    }

    pub(crate) fn is_at_work(self) -> bool {
        AT_WORK.try_with(|ids| ids.try_borrow().is_ok_and(|ids| ids.contains(&self))).unwrap_or(false)
    }
}

// === impl Entered ===

impl Drop for Entered {
    fn drop(&mut self) {
        if self.entered {
            drop(AT_WORK.try_with(|ids| ids.try_borrow_mut().map(|mut ids| ids.pop())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_end() {
        let (a, b) = (AggregatorId::new(), AggregatorId::new());
        assert!(!a.is_at_work());
        {
            let _a = a.enter();
            assert!(a.is_at_work() && !b.is_at_work());
            let _b = b.enter();
            assert!(a.is_at_work() && b.is_at_work());
        }
        assert!(!a.is_at_work() && !b.is_at_work());
    }
}
