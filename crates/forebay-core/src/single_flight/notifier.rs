//! The wakers of those that wait for one piece of work.

use crate::{panic, support::lock::Mutex};
use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    task::{Wake, Waker},
};

/// One waiter: its place among the wakers of a [`Notifier`], from its first registration until it is dropped.
#[derive(Debug, Default)]
pub struct WaiterId(Option<(Arc<Notifier>, u64)>);

/// Wakes all waiters. As the waker of a piece of work it wakes those that wait for it, and the first to be polled polls it.
#[derive(Debug)]
pub struct Notifier(Mutex<Waiters>);

#[derive(Debug)]
struct Waiters {
    /// The id of the latest waiter.
    last: u64,
    /// The waker of each waiter that is not woken yet.
    wakers: BTreeMap<u64, Waker>,
}

// === impl Notifier ===

impl Notifier {
    /// Without waiters.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Waiters { last: 0, wakers: BTreeMap::new() })))
    }

    /// Stores the waker of a waiter, in the place of an older one.
    pub fn register(self: &Arc<Self>, waiter: &mut WaiterId, waker: &Waker) {
        // CORRECTNESS: a waker is code of its executor, which may come back here. It is cloned before the lock is taken, and
        // the old one is dropped after the lock is released.
        let waker = waker.clone();
        let _old = {
            let mut waiters = self.0.lock();
            let (_, id) = waiter.0.get_or_insert_with(|| {
                waiters.last += 1;
                (Arc::clone(self), waiters.last)
            });
            waiters.wakers.insert(*id, waker)
        };
    }

    /// Wakes all waiters; each of them registers again if it still waits.
    pub fn notify_all(&self) {
        let wakers = { mem::take(&mut self.0.lock().wakers) };
        for waker in wakers.into_values() {
            // A waker that panics has been reported by the panic hook; the others are woken all the same.
            let _woken = panic::catch(|| waker.wake());
        }
    }
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.notify_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify_all();
    }
}

// === impl WaiterId ===

/// CANCEL: the waker is dropped, and a later wake-up does not reach a task that waits no more. Every wake-up goes to all waiters, so
/// that none has to be woken in its place.
impl Drop for WaiterId {
    fn drop(&mut self) {
        if let Some((notifier, id)) = self.0.take() {
            let _old = { notifier.0.lock().wakers.remove(&id) };
        }
    }
}
