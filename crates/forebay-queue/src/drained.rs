use crate::{
    fifo::{Leaving, Swapped},
    shared::Shared,
};
use forebay_core::{DropReason, Fate, Priority};
use forebay_intake::{Charge, LaneScheduler};
use std::{fmt, vec};

/// Items that left a queue together and hold their slots together.
///
/// It is an iterator over the items; [`settle`](Self::settle) gives one fate to all of them.
///
/// # Cancellation
///
/// Items of a `Drained` that is dropped without `settle` count as [`DropReason::Panicked`] during a panic, else as
/// [`DropReason::Failed`].
#[must_use = "items that are not settled count as failed"]
pub struct Drained<'a, T> {
    high: Leaving<'a, T>,
    normal: Leaving<'a, T>,
    ordered: vec::Drain<'a, T>,
    scheduler: LaneScheduler,
    slots: SlotsGuard<'a, T>,
}

/// The slots of the items, until they are settled.
struct SlotsGuard<'a, T> {
    shared: &'a Shared<T>,
    charges: &'a mut Vec<Charge>,
    keys: &'a mut Vec<u64>,
}

/// The buffers of a [`Drained`], kept by its receiver.
#[derive(Debug)]
pub(crate) struct DrainBuf<T> {
    /// Lanes that were swapped out whole: their items are interleaved as they leave.
    pub(crate) high: Swapped<T>,
    pub(crate) normal: Swapped<T>,
    pub(crate) scheduler: LaneScheduler,
    /// Items that were taken one by one.
    pub(crate) ordered: Vec<T>,
    /// What all of the items hold, by epoch.
    pub(crate) charges: Vec<Charge>,
    /// The fair-share keys of the items that have one.
    pub(crate) keys: Vec<u64>,
}

/// The fate of what is dropped without having been settled.
pub(crate) fn unsettled() -> Fate {
    Fate::Dropped(if std::thread::panicking() { DropReason::Panicked } else { DropReason::Failed })
}

// === impl DrainBuf ===

impl<T> DrainBuf<T> {
    /// Drops the items that a leaked [`Drained`] left behind.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.high.clear();
        self.normal.clear();
    }

    pub(crate) fn add(&mut self, charge: Charge) {
        match self.charges.last_mut() {
            Some(last) if last.epoch == charge.epoch => {
                last.items += charge.items;
                last.bytes += charge.bytes;
            }
            _ => self.charges.push(charge),
        }
    }
}

impl<T> Default for DrainBuf<T> {
    fn default() -> Self {
        Self {
            high: Swapped::default(),
            normal: Swapped::default(),
            scheduler: LaneScheduler::default(),
            ordered: Vec::new(),
            charges: Vec::new(),
            keys: Vec::new(),
        }
    }
}

// === impl Drained ===

impl<'a, T> Drained<'a, T> {
    #[inline]
    pub(crate) fn new(shared: &'a Shared<T>, buf: &'a mut DrainBuf<T>) -> Self {
        let DrainBuf { high, normal, scheduler, ordered, charges, keys } = buf;
        Self {
            high: high.leave(),
            normal: normal.leave(),
            ordered: ordered.drain(..),
            scheduler: *scheduler,
            slots: SlotsGuard { shared, charges, keys },
        }
    }

    /// The work is done: all slots are free, and all items have `fate`, also those that were not iterated over.
    #[inline]
    pub fn settle(mut self, fate: Fate) {
        self.slots.settle(fate);
    }
}

impl<T> Iterator for Drained<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self.scheduler.take(self.high.len() > 0, self.normal.len() > 0) {
            Some(Priority::Normal) => self.normal.next(),
            Some(Priority::High) => self.high.next(),
            None => self.ordered.next(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.high.len() + self.normal.len() + self.ordered.len();
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Drained<'_, T> {}

impl<T> fmt::Debug for Drained<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drained").field("left", &self.len()).finish_non_exhaustive()
    }
}

// === impl SlotsGuard ===

impl<T> SlotsGuard<'_, T> {
    fn settle(&mut self, fate: Fate) {
        self.shared.settle_all(self.charges, self.keys, fate);
        self.charges.clear();
        self.keys.clear();
    }
}

impl<T> Drop for SlotsGuard<'_, T> {
    fn drop(&mut self) {
        // CANCEL: as for a single item: what was not settled is free again, and counted as lost.
        if !self.charges.is_empty() {
            self.settle(unsettled());
        }
    }
}
