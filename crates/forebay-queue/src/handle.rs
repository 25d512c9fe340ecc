use crate::{Epoch, Limits, shared::Shared, state::State, sync::Arc, wait::Ticket};
use forebay_core::{ConfigError, Totals};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Reads and changes a queue from outside; any number of them, and none keeps the queue open.
pub struct QueueHandle<T> {
    shared: Arc<Shared<T>>,
}

/// What [`QueueHandle::drain`] left behind.
#[derive(Debug)]
#[non_exhaustive]
pub struct DrainReport<T> {
    /// The ledger when the drain ended.
    pub totals: Totals,
    /// The items that were still queued; they count as dropped by shutdown.
    pub unsent: Vec<T>,
}

/// The future of [`QueueHandle::flush`]; dropping it changes nothing.
#[must_use = "futures do nothing unless polled"]
pub struct Flush<T> {
    shared: Arc<Shared<T>>,
    epoch: Epoch,
    ticket: Option<Ticket>,
}

/// How long a drain waits, after its deadline, for work in flight to be let go.
const LET_GO: Duration = Duration::from_millis(20);

// === impl QueueHandle ===

impl<T> QueueHandle<T> {
    pub(crate) const fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// What became of every item so far; the counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// Items that wait. Those in flight are not among them.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.with(|state| state.queued())
    }

    /// Bytes held, queued and in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shared.with(|state| state.admission.bytes())
    }

    /// How full the queue is: the larger of the shares of items and of bytes, in flight included.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        self.shared.with(|state| state.admission.fullness())
    }

    /// Changes the limits. Nothing that is held is lost; above lower limits nothing enters until it has drained.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range; nothing was changed then.
    pub fn set_limits(&self, limits: Limits) -> Result<(), ConfigError> {
        let wakes = self.shared.with(|state| {
            state.admission.set_limits(&limits)?;
            Ok(state.wake_senders())
        })?;
        wakes.wake();
        Ok(())
    }

    /// Changes the age limit, also for items that are queued already.
    ///
    /// # Errors
    ///
    /// When the queue was built without one: it has not noted when its items came.
    pub fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.shared.set_max_age(age)
    }

    /// From now on every offer is refused. What is queued is worked off.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Waits until every item that entered before this call has a fate.
    pub fn flush(&self) -> Flush<T> {
        let epoch = self.shared.with(State::flush);
        Flush { shared: Arc::clone(&self.shared), epoch, ticket: None }
    }

    /// Closes the queue and waits until it is worked off, for `deadline` at most.
    ///
    /// What is still queued then is returned, and counts as dropped by shutdown. What is in flight then is let go: a
    /// [`Queue`](crate::Queue)'s workers drop it and count it the same way; for a plain channel it stays pending in the
    /// hands of whoever received it. Returns no later than 20 ms after the deadline.
    ///
    /// # Cancellation
    ///
    /// A dropped drain leaves the queue closed; what is in it goes on being worked off.
    pub async fn drain(&self, deadline: Duration) -> DrainReport<T> {
        self.close();
        let mut unsent = Vec::new();
        if tokio::time::timeout(deadline, self.flush()).await.is_err() {
            unsent = self.shared.abandon();
            // Whether or not it is let go in time, the totals say what is still pending.
            let _late = tokio::time::timeout(LET_GO, self.flush()).await;
        }
        DrainReport { totals: self.totals(), unsent }
    }
}

impl<T> Clone for QueueHandle<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for QueueHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle").field("totals", &self.totals()).finish_non_exhaustive()
    }
}

// === impl Flush ===

impl<T> Future for Flush<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let (epoch, ticket) = (this.epoch, &mut this.ticket);
        if this.shared.with(|state| state.flushed_or_wait(epoch, ticket, cx.waker())) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl<T> Drop for Flush<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.with(|state| state.stop_flushing(ticket));
        }
    }
}

impl<T> fmt::Debug for Flush<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
