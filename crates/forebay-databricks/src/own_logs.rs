//! The logs of one connection that have no fate so far.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// Counts the logs of one connection, from their making until they are dropped, which is after their fate was counted.
#[derive(Debug, Default)]
pub(crate) struct OwnLogs {
    alive: AtomicUsize,
    /// Notified when the last one is dropped.
    settled: Notify,
}

/// Belongs to one log, and is dropped with it.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<OwnLogs>);

// === impl OwnLogs ===

impl OwnLogs {
    pub(crate) fn ticket(self: &Arc<Self>) -> Ticket {
        self.alive.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(self))
    }

    /// Waits until every log that was made so far has a fate.
    ///
    /// # Cancellation
    /// Nothing is left behind.
    pub(crate) async fn settled(&self) {
        loop {
            let mut notified = pin!(self.settled.notified());
            // CORRECTNESS: it listens before it looks, so a log that is dropped in between wakes it.
            notified.as_mut().enable();
            if self.alive.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

// === impl Ticket ===

impl Clone for Ticket {
    fn clone(&self) -> Self {
        self.0.ticket()
    }
}

/// Two logs are equal by what they say.
impl PartialEq for Ticket {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // CORRECTNESS: a reader of zero also sees the fate, which was counted before the log was dropped.
        if self.0.alive.fetch_sub(1, Ordering::Release) == 1 {
            self.0.settled.notify_waiters();
        }
    }
}
