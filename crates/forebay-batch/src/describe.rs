use crate::pending::Partition;
use forebay_core::{KeyOf, Priority};
use forebay_intake::{ClosurePanics, Describe, OfferMeta};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// What a batcher must know of an item before it takes the lock.
pub(crate) struct Sorting<T> {
    describe: Describe<T>,
    /// Which batch an item goes into, and whether it closes it; behind one call, and `None` for most.
    sort: Option<Arc<Sort<T>>>,
}

/// An item on its way in, without the item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) candidate: OfferMeta,
    pub(crate) partition: Partition,
    /// It closes its batch.
    pub(crate) flush: bool,
}

/// Which batch an item goes into, and whether it closes it.
pub(crate) type Sort<T> = dyn Fn(&T, &ClosurePanics) -> (Partition, bool) + Send + Sync;

/// Which batch an item goes into.
pub(crate) type PartitionOf<T> = dyn Fn(&T) -> Partition + Send + Sync;

/// Whether an item closes its batch.
pub(crate) type FlushWhen<T> = dyn Fn(&T) -> bool + Send + Sync;

// === impl Sorting ===

impl<T> Sorting<T> {
    pub(crate) fn new(describe: Describe<T>, sort: Option<Arc<Sort<T>>>) -> Self {
        Self { describe, sort }
    }

    /// Whether all items have the same [label](Label::plain), which is so where nobody has said otherwise.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.sort.is_none() && self.describe.is_plain()
    }

    /// Whether the label of an item tells no more than its weight.
    #[inline]
    pub(crate) fn is_by_weight(&self) -> bool {
        self.sort.is_none() && self.describe.is_by_weight()
    }

    /// How often the functions of the user have panicked.
    pub(crate) fn panics(&self) -> &ClosurePanics {
        self.describe.panics()
    }

    /// Runs functions of the user; call it without a lock.
    #[inline]
    pub(crate) fn label(&self, item: &T) -> Label {
        let (partition, flush) = match &self.sort {
            None => (Partition::default(), false),
            Some(sort) => sort(item, self.panics()),
        };
        Label { candidate: self.describe.candidate(item), partition, flush }
    }
}

/// A function from items to partitions, by a hash of their key.
pub(crate) fn by_key<T, K>(key: K) -> impl Fn(&T) -> Partition + Send + Sync
where
    K: KeyOf<T> + Send + Sync + 'static,
{
    // Two hashes with keys of their own: whoever chooses the keys cannot make two of them meet.
    let hashers = [RandomState::new(), RandomState::new()];
    move |item| {
        let key = key.key_of(item);
        let [high, low] = [&hashers[0], &hashers[1]].map(|hasher| u128::from(hasher.hash_one(key)));
        Partition((high << 64) | low)
    }
}

impl<T> Clone for Sorting<T> {
    fn clone(&self) -> Self {
        Self { describe: self.describe.clone(), sort: self.sort.clone() }
    }
}

impl<T> fmt::Debug for Sorting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sorting").field("describe", &self.describe).finish_non_exhaustive()
    }
}

// === impl Label ===

impl Label {
    /// Normal priority, its own size, one batch for all.
    #[inline]
    pub(crate) fn plain<T>() -> Self {
        Self::weighing(size_of::<T>())
    }

    /// Normal priority, so many bytes, one batch for all.
    #[inline]
    pub(crate) fn weighing(bytes: usize) -> Self {
        Self { candidate: OfferMeta::weighing(bytes), partition: Partition::default(), flush: false }
    }

    /// Weighing `bytes`, whatever the item itself says.
    pub(crate) const fn bytes(mut self, bytes: usize) -> Self {
        self.candidate.bytes = bytes;
        self
    }

    /// In the lane of `priority`, whatever the item itself says.
    pub(crate) const fn priority(mut self, priority: Priority) -> Self {
        self.candidate.priority = priority;
        self
    }
}
