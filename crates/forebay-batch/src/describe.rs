use crate::lot::Partition;
use forebay_core::KeyOf;
use forebay_intake::{ClosurePanics, Describe, Offer, OfferMeta};
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

    /// The label of an offer for which no function of the user has to run.
    #[inline(always)]
    pub(crate) fn known(&self, offer: &Offer<T>) -> Option<Label> {
        if self.sort.is_some() {
            return None;
        }
        let candidate = self.describe.known(offer)?;
        Some(Label { candidate, partition: Partition::default(), flush: false })
    }

    /// How often the functions of the user have panicked.
    pub(crate) fn panics(&self) -> &ClosurePanics {
        self.describe.panics()
    }

    /// Runs functions of the user; call it without a lock.
    #[inline]
    pub(crate) fn label(&self, offer: &Offer<T>) -> Label {
        let (partition, flush) = match &self.sort {
            None => (Partition::default(), false),
            Some(sort) => sort(&offer.item, self.panics()),
        };
        Label { candidate: self.describe.meta(offer), partition, flush }
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
