use crate::pending::Partition;
use forebay_core::KeyOf;
use forebay_intake::{ClosurePanics, Describe, Offer, OfferMeta};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// Says of an item, before the lock is taken, what it is charged for and which batch it goes into.
pub(crate) struct Router<T> {
    describe: Describe<T>,
    /// `None` for most: all items go into one batch, and none closes it. One check on the way in for both rules.
    rules: Option<Arc<Rules<T>>>,
}

/// Which batch an item goes into, and whether it closes it.
pub(crate) struct Rules<T> {
    pub(crate) partition: Option<Box<PartitionOf<T>>>,
    pub(crate) flush: Option<Box<FlushWhen<T>>>,
}

/// All that the queue needs to know of an item, without the item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// What admission needs to know.
    pub(crate) meta: OfferMeta,
    pub(crate) partition: Partition,
    /// Whether the item closes its batch.
    pub(crate) flush: bool,
}

type PartitionOf<T> = dyn Fn(&T) -> Partition + Send + Sync;

type FlushWhen<T> = dyn Fn(&T) -> bool + Send + Sync;

// === impl Router ===

impl<T> Router<T> {
    pub(crate) fn new(describe: Describe<T>, rules: Rules<T>) -> Self {
        let has_rules = rules.partition.is_some() || rules.flush.is_some();
        Self { describe, rules: has_rules.then(|| Arc::new(rules)) }
    }

    /// The route of an offer for which no function of the user has to run.
    #[inline(always)]
    pub(crate) fn known(&self, offer: &Offer<T>) -> Option<Route> {
        if self.rules.is_some() {
            return None;
        }
        let meta = self.describe.known(offer)?;
        Some(Route { meta, partition: Partition::default(), flush: false })
    }

    /// How often the functions of the user have panicked.
    pub(crate) fn panics(&self) -> &ClosurePanics {
        self.describe.panics()
    }

    /// The route of an offer. Runs functions of the user: call it without a lock.
    #[inline]
    pub(crate) fn route(&self, offer: &Offer<T>) -> Route {
        let (partition, flush) = match &self.rules {
            None => (Partition::default(), false),
            Some(rules) => rules.apply(&offer.item, self.panics()),
        };
        Route { meta: self.describe.meta(offer), partition, flush }
    }
}

impl<T> Clone for Router<T> {
    fn clone(&self) -> Self {
        Self { describe: self.describe.clone(), rules: self.rules.clone() }
    }
}

impl<T> fmt::Debug for Router<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("describe", &self.describe).finish_non_exhaustive()
    }
}

// === impl Rules ===

impl<T> Rules<T> {
    pub(crate) const NONE: Self = Self { partition: None, flush: None };

    /// An item whose function panics goes into the common batch, and does not close it.
    fn apply(&self, item: &T, panics: &ClosurePanics) -> (Partition, bool) {
        let partition = self.partition.as_ref().map(|of| panics.catch(|| of(item), Partition::default()));
        let flush = self.flush.as_ref().is_some_and(|when| panics.catch(|| when(item), false));
        (partition.unwrap_or_default(), flush)
    }
}

/// A function from items to partitions, by a hash of their key.
pub(crate) fn by_key<T, K>(key: K) -> impl Fn(&T) -> Partition + Send + Sync
where
    K: KeyOf<T> + Send + Sync + 'static,
{
    // Two hashes with random keys of their own: a peer that chooses the keys cannot make two of them meet.
    let hashers = [RandomState::new(), RandomState::new()];
    move |item| {
        let key = key.key_of(item);
        let [high, low] = [&hashers[0], &hashers[1]].map(|hasher| u128::from(hasher.hash_one(key)));
        Partition((high << 64) | low)
    }
}
