//! Batches on their way into a spool: what would be dropped because it could not be delivered.

use crate::{Items, pending::PendingBatch, scheduler::Dropped};
use forebay_core::{DropReason, Priority, Settlement, panic};
use forebay_intake::Charge;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{
    collections::VecDeque,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Keeps the items of batches that could not be delivered, so that they are not dropped.
///
/// A batcher asks it for a batch that is too old, that no attempt is left for, that is evicted from those that wait, for which
/// there is no room any more, or that is left over at a shutdown: never for one that the server refused, and for none that was
/// cancelled or discarded.
pub trait SpoolItems<T>: Send + Sync {
    /// Keeps `items`, which have the lane `priority`. They count as pending until the future ends, and then as it says.
    ///
    /// [`Settlement::Retry`] and [`Settlement::Split`] say that nothing was kept: the items are dropped for the reason for
    /// which they were to be spooled, as they are after a panic.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the batcher is aborted. The items then count as dropped by shutdown, and may be kept all the
    /// same.
    fn spool(&self, items: Items<T>, priority: Priority) -> SpoolFuture;
}

/// The future of [`SpoolItems::spool`]: a call costs a disk access, beside which an allocation is nothing.
pub type SpoolFuture = Pin<Box<dyn Future<Output = Settlement> + Send>>;

/// The batches that the worker has given to the spool, and those that wait for their turn.
pub(crate) struct Spooling<T, A> {
    /// `None` where what could not be delivered is dropped.
    spool: Option<Arc<dyn SpoolItems<T>>>,
    waiting: VecDeque<Dropped<T, A>>,
    writing: FuturesUnordered<Writing<T, A>>,
    /// What all of them hold.
    held: Charge,
    /// Whether a future was added that was not polled yet.
    has_new: bool,
}

/// A batch that the spool writes.
struct Writing<T, A> {
    /// `None` once it has ended or was dropped.
    future: Option<SpoolFuture>,
    /// `None` once it was handed on.
    dropped: Option<Dropped<T, A>>,
}

/// A batch that the spool has kept, or has not: then the reason for which it is dropped counts.
pub(crate) struct Spooled<T, A> {
    pub(crate) dropped: Dropped<T, A>,
    /// `None` where nothing was kept.
    pub(crate) settlement: Option<Settlement>,
}

/// How many batches are written at the same time: enough for a spool that commits several groups at once.
const AT_ONCE: usize = 4;

// === impl Spooling ===

impl<T, A> Spooling<T, A> {
    pub(crate) fn new(spool: Option<Arc<dyn SpoolItems<T>>>) -> Self {
        let held = Charge::default();
        Self { spool, waiting: VecDeque::new(), writing: FuturesUnordered::new(), held, has_new: false }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.spool.is_some()
    }

    /// Whether another batch would be written at once.
    pub(crate) fn has_room(&self) -> bool {
        self.is_on() && self.waiting.is_empty() && self.writing.len() < AT_ONCE
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_empty()
    }

    /// Whether it has to be polled before the worker rests.
    pub(crate) fn has_new(&self) -> bool {
        self.has_new
    }

    /// What the batches in here hold.
    pub(crate) fn held(&self) -> Charge {
        self.held
    }

    /// Takes over those batches that are to be spooled, and returns the others.
    pub(crate) fn take(&mut self, mut dropped: Vec<Dropped<T, A>>) -> Vec<Dropped<T, A>> {
        if self.is_on() && dropped.iter().any(Dropped::is_spooled) {
            let (spooled, others): (Vec<_>, _) = dropped.into_iter().partition(Dropped::is_spooled);
            spooled.into_iter().for_each(|batch| self.push(batch));
            dropped = others;
        }
        dropped
    }

    /// Gives a batch to the spool, after those that wait already.
    pub(crate) fn push(&mut self, dropped: Dropped<T, A>) {
        self.held.items += dropped.batch.charge.items;
        self.held.bytes += dropped.batch.charge.bytes;
        self.waiting.push_back(dropped);
        self.start();
    }

    fn start(&mut self) {
        let Some(spool) = &self.spool else { return };
        while self.writing.len() < AT_ONCE
            && let Some(dropped) = self.waiting.pop_front()
        {
            let priority = dropped.batch.priority;
            let items = dropped.batch.items.clone();
            // A spool that panics has kept nothing, and a batch has its items wherever a spool is allowed.
            let future = items.and_then(|items| panic::catch(|| spool.spool(items, priority)).ok());
            self.writing.push(Writing { future, dropped: Some(dropped) });
            self.has_new = true;
        }
    }

    /// The next batch that was written.
    ///
    /// CORRECTNESS: called until it is pending or empty, so that each write has registered the task.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Spooled<T, A>>> {
        self.has_new = false;
        match self.writing.poll_next_unpin(cx) {
            Poll::Ready(Some(Some(spooled))) => {
                let Charge { items, bytes, .. } = spooled.dropped.batch.charge;
                self.held.items = self.held.items.saturating_sub(items);
                self.held.bytes = self.held.bytes.saturating_sub(bytes);
                self.start();
                Poll::Ready(Some(spooled))
            }
            Poll::Ready(Some(None) | None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Every batch in here. The futures are dropped first: they may still read the items.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, A>> {
        self.held = Charge::default();
        let written = mem::take(&mut self.writing).into_iter().filter_map(|mut writing| {
            panic::discard(writing.future.take());
            writing.dropped.take()
        });
        written.chain(mem::take(&mut self.waiting)).map(|dropped| dropped.batch).collect()
    }
}

// === impl Writing ===

impl<T, A> Future for Writing<T, A> {
    type Output = Option<Spooled<T, A>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.future.is_none() {
            return Poll::Ready(this.dropped.take().map(|dropped| Spooled { dropped, settlement: None }));
        }
        let settlement = match panic::catch_poll(Pin::new(&mut this.future), cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Settlement::Retry { .. } | Settlement::Split { .. }) | Err(_)) => None,
            Poll::Ready(Ok(settlement)) => Some(settlement),
        };
        Poll::Ready(this.dropped.take().map(|dropped| Spooled { dropped, settlement }))
    }
}

// The future is behind a pointer of its own.
impl<T, A> Unpin for Writing<T, A> {}

impl<T, A> Dropped<T, A> {
    /// Whether a spool takes it: it could not be delivered, and nothing says that it never can be.
    fn is_spooled(&self) -> bool {
        self.undelivered && self.batch.items.is_some() && self.reason != DropReason::Disabled
    }
}
