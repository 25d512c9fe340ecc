use crate::pending::Partition;
use forebay_core::{KeyOf, time::saturating_add};
use forebay_intake::{ClosurePanics, DeadlineRule, Describe, Offer, OfferMeta, now};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
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
    pub(crate) deadline: Option<DeadlineRule<T>>,
}

/// All that the queue needs to know of an item, without the item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// What admission needs to know.
    pub(crate) meta: OfferMeta,
    pub(crate) partition: Partition,
    /// Whether the item closes its batch.
    pub(crate) flush: bool,
    /// Until when it is worth anything, if that is not for ever.
    pub(crate) due: Option<Due>,
}

/// Until when an item is worth anything, and its batch may stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) deadline: Instant,
    /// When its batch closes at the latest: half of the time that the item has is left for sending it.
    pub(crate) close_by: Instant,
}

type PartitionOf<T> = dyn Fn(&T) -> Partition + Send + Sync;

type FlushWhen<T> = dyn Fn(&T) -> bool + Send + Sync;

// === impl Router ===

impl<T> Router<T> {
    pub(crate) fn new(describe: Describe<T>, rules: Rules<T>) -> Self {
        let has_rules = rules.partition.is_some() || rules.flush.is_some() || rules.deadline.is_some();
        Self { describe, rules: has_rules.then(|| Arc::new(rules)) }
    }

    /// The route of an offer for which no function of the user has to run.
    #[inline(always)]
    pub(crate) fn known(&self, offer: &Offer<T>) -> Option<Route> {
        if self.rules.is_some() {
            return None;
        }
        let meta = self.describe.known(offer)?;
        Some(Route { meta, partition: Partition::default(), flush: false, due: None })
    }

    /// How often the functions of the user have panicked.
    pub(crate) fn panics(&self) -> &ClosurePanics {
        self.describe.panics()
    }

    /// The route of an offer. Runs functions of the user: call it without a lock.
    #[inline]
    pub(crate) fn route(&self, offer: &Offer<T>) -> Route {
        let (partition, flush, due) = match &self.rules {
            None => (Partition::default(), false, None),
            Some(rules) => rules.apply(&offer.item, self.panics()),
        };
        Route { meta: self.describe.meta(offer), partition, flush, due }
    }

    /// Where an item keeps its deadline, if items have one.
    pub(crate) fn deadline(&self) -> Option<DeadlineRule<T>> {
        self.rules.as_ref()?.deadline.clone()
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
    pub(crate) const NONE: Self = Self { partition: None, flush: None, deadline: None };

    /// An item whose function panics goes into the common batch, does not close it, and has no deadline.
    fn apply(&self, item: &T, panics: &ClosurePanics) -> (Partition, bool, Option<Due>) {
        let partition = self.partition.as_ref().map(|of| panics.catch(|| of(item), Partition::default()));
        let flush = self.flush.as_ref().is_some_and(|when| panics.catch(|| when(item), false));
        let deadline = self.deadline.as_ref().and_then(|rule| panics.catch(|| rule.ask(item), None));
        (partition.unwrap_or_default(), flush, deadline.map(|deadline| Due::new(deadline.instant(), now())))
    }
}

// === impl Due ===

impl Due {
    fn new(deadline: Instant, now: Instant) -> Self {
        let left = deadline.saturating_duration_since(now);
        Self { deadline, close_by: saturating_add(now, left.checked_div(2).unwrap_or_default()) }
    }

    /// That of a batch with both items.
    pub(crate) fn earlier(self, other: Self) -> Self {
        Self { deadline: self.deadline.min(other.deadline), close_by: self.close_by.min(other.close_by) }
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
