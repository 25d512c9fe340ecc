use crate::{Batching, shared::Shared};
use forebay_core::{ConfigError, DropReason};
use forebay_intake::{ClosurePanics, IntakeHandle};
use std::{fmt, ops::Deref, sync::Arc};

/// Reads and changes a batcher from outside; any number of them, and none keeps it open.
///
/// It is an [`IntakeHandle`] as well: totals, limits, panics of closures, flush, drain.
pub struct BatchHandle<T> {
    queue: IntakeHandle<T>,
    control: Arc<dyn Reconfigure>,
}

/// What only a batcher has.
trait Reconfigure: Send + Sync {
    fn batching(&self) -> Batching;
    fn set_batching(&self, batching: Batching) -> Result<(), ConfigError>;
    fn discard(&self, reason: DropReason);
}

// === impl BatchHandle ===

impl<T: Send + Sync + 'static> BatchHandle<T> {
    pub(crate) fn new<A: Send + 'static>(shared: &Arc<Shared<T, A>>, panics: &ClosurePanics) -> Self {
        let queue = IntakeHandle::new(Arc::clone(shared) as _).with_panics(panics);
        Self { queue, control: Arc::clone(shared) as _ }
    }

    /// When batches close, and how many are under way.
    #[must_use]
    pub fn batching(&self) -> Batching {
        self.control.batching()
    }

    /// Changes when batches close, and how many are under way; nothing is lost. A batch that is open obeys at its next
    /// item, or when its age ends.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range; nothing was changed then.
    pub fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        self.control.set_batching(batching)
    }

    /// Drops, for `reason`, all that is queued, waits for another attempt, or is in flight; the batcher goes on with what
    /// comes later.
    ///
    /// What is queued has its fate when this returns; the rest when the worker is polled next. A batch in flight may have
    /// reached the far side already.
    pub fn discard(&self, reason: DropReason) {
        self.control.discard(reason);
    }
}

impl<T> Deref for BatchHandle<T> {
    type Target = IntakeHandle<T>;

    fn deref(&self) -> &IntakeHandle<T> {
        &self.queue
    }
}

impl<T> Clone for BatchHandle<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), control: Arc::clone(&self.control) }
    }
}

impl<T> fmt::Debug for BatchHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchHandle").field("totals", &self.queue.totals()).finish_non_exhaustive()
    }
}

// === impl Reconfigure ===

impl<T: Send + Sync, A: Send> Reconfigure for Shared<T, A> {
    fn batching(&self) -> Batching {
        self.batching()
    }

    fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        self.set_batching(batching)
    }

    fn discard(&self, reason: DropReason) {
        self.discard(reason);
    }
}
