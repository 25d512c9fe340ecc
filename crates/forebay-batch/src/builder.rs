use crate::{
    BatchLayer, Batching, ByValue, Fates, Kept, Pack, Scattered, ScatteredBy, Shared,
    delivery::{Delivery, Knobs, Parking},
    describe::{FlushWhen, PartitionOf, Sort, Sorting, by_key},
    lot::Partition,
};
use forebay_core::{ByFootprint, ConfigError, KeyOf, Priority, SettleByVerdict, Unkeyed, Weigh};
use forebay_intake::{AllNormal, Description, Limits, Overflow, PriorityOf};
use std::{fmt, sync::Arc, time::Duration};

/// Builds a [`BatchLayer`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`limits`](Self::limits) | 65,536 items, 64 MiB, soft limit 0.9: see [`Limits`] | |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | |
/// | [`batching`](Self::batching) | 512 items, 4 MiB, 5 s, one in flight: see [`Batching`] | |
/// | [`weigh`](Self::weigh) | [`ByFootprint`]: what the item says that it holds | |
/// | [`priority`](Self::priority) | all normal | |
/// | [`flush_when`](Self::flush_when) | never | |
/// | [`partition_by`](Self::partition_by) | one batch for all; 128 open at a time | 1 and more |
/// | [`fair_share_key`](Self::fair_share_key) | none | |
/// | [`expire_after`](Self::expire_after) | never | above zero |
/// | [`settle`](Self::settle) | [`SettleByVerdict`]: `Ok` is delivered | |
/// | [`pack`](Self::pack) | [`ByValue`]: the inner service takes `Vec<T>` | |
/// | [`answer`](Self::answer) | [`Shared`]: a clone of the response for each | |
/// | [`park`](Self::park) | off | |
/// | [`max_hint`](Self::max_hint) | 60 s | zero and more |
/// | [`split_budget`](Self::split_budget) | 0: never split | |
/// | [`ready_timeout`](Self::ready_timeout) | 30 s | above zero |
/// | [`run_cancelled`](Self::run_cancelled) | false | |
#[must_use = "a builder does nothing until it is built"]
pub struct BatchBuilder<
    T,
    W = ByFootprint,
    Pr = AllNormal,
    K = Unkeyed,
    Se = SettleByVerdict,
    P = ByValue,
    An = Shared,
    B = Vec<Duration>,
> {
    limits: Limits,
    overflow: Overflow,
    batching: Batching,
    description: Description<W, Pr, K>,
    partition: Option<Arc<PartitionOf<T>>>,
    max_partitions: usize,
    flush_when: Option<Arc<FlushWhen<T>>>,
    expire_after: Option<Duration>,
    delivery: Delivery<Se, P, An, B>,
}

// === impl BatchBuilder ===

impl<T> BatchBuilder<T> {
    pub(crate) fn new() -> Self {
        let delivery = Delivery {
            settle: SettleByVerdict,
            pack: ByValue,
            answer: Shared,
            park: None,
            knobs: Knobs {
                split_budget: 0,
                ready_timeout: Duration::from_secs(30),
                max_hint: Duration::from_secs(60),
                run_cancelled: false,
            },
        };
        Self {
            limits: Limits::new(),
            overflow: Overflow::Refuse,
            batching: Batching::new(),
            description: Description::new(),
            partition: None,
            max_partitions: 128,
            flush_when: None,
            expire_after: None,
            delivery,
        }
    }
}

impl<T, W, Pr, K, Se, P, An, B> BatchBuilder<T, W, Pr, K, Se, P, An, B> {
    /// How much may be held: open, closed, in flight and parked together.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What happens to an item for which there is no room.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// When a batch closes, and how many are under way.
    pub fn batching(mut self, batching: Batching) -> Self {
        self.batching = batching;
        self
    }

    /// How many bytes an item is charged for: any `Fn(&T) -> usize`.
    pub fn weigh<W2: Weigh<T>>(self, weigh: W2) -> BatchBuilder<T, W2, Pr, K, Se, P, An, B> {
        self.describe(|description| description.weigh(weigh))
    }

    /// Which lane an item takes. A batch goes in the lane of its most important item.
    pub fn priority<P2: Fn(&T) -> Priority>(self, priority: P2) -> BatchBuilder<T, W, P2, K, Se, P, An, B> {
        self.describe(|description| description.priority(priority))
    }

    /// As [`priority`](Self::priority), for a type that is told by its name.
    pub fn priority_of<P2: PriorityOf<T>>(self, priority: P2) -> BatchBuilder<T, W, P2, K, Se, P, An, B> {
        self.describe(|description| description.priority(priority))
    }

    /// Whose [fair share](Limits::fair_share) an item of normal priority is.
    pub fn fair_share_key<Key: ?Sized, K2>(self, key: K2) -> BatchBuilder<T, W, Pr, K2, Se, P, An, B>
    where
        K2: for<'r> Fn(&'r T) -> &'r Key,
    {
        self.describe(|description| description.key(key))
    }

    /// Which items close their batch at once: a terminal error, the last record of a session.
    pub fn flush_when(mut self, flush: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.flush_when = Some(Arc::new(flush));
        self
    }

    /// A batch of its own for the items of each key, of which at most `open` are filled at a time.
    ///
    /// When one more would be needed, the one that was opened first closes. The keys themselves are not kept.
    pub fn partition_by<Key, K2>(mut self, open: usize, key: K2) -> Self
    where
        Key: ?Sized,
        K2: for<'r> Fn(&'r T) -> &'r Key + KeyOf<T, Key = Key> + Send + Sync + 'static,
        T: 'static,
    {
        self.max_partitions = open;
        self.partition = Some(Arc::new(by_key(key)));
        self
    }

    /// How old a batch may grow before it is dropped instead of sent, counted from its first item.
    ///
    /// It is looked at before each attempt and while it is parked; what is with the inner service is left there. A batch
    /// that is open closes no later than that, whatever [`max_age`](Batching::max_age) says.
    pub fn expire_after(mut self, age: Duration) -> Self {
        self.expire_after = Some(age);
        self
    }

    /// How long the inner service may keep one batch waiting for its readiness.
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.delivery.knobs.ready_timeout = timeout;
        self
    }

    /// How many requests may be spent on a batch that is refused for what is in it (HTTP 400, 413), the first included;
    /// needs [`keep_items`](Self::keep_items).
    ///
    /// The batch is cut in halves until what is at fault is found; the rest is delivered. One bad item in a batch of `n`
    /// takes at most 2·log2(n) + 2 requests.
    pub fn split_budget(mut self, requests: u32) -> Self {
        self.delivery.knobs.split_budget = requests;
        self
    }

    /// Turns the result of the inner service into the fates of the items.
    pub fn settle<Se2>(self, settle: Se2) -> BatchBuilder<T, W, Pr, K, Se2, P, An, B> {
        self.deliver(|Delivery { pack, answer, park, knobs, .. }| Delivery { settle, pack, answer, park, knobs })
    }

    /// Makes the request of the inner service from the items.
    pub fn pack<P2: Pack<T>>(self, pack: P2) -> BatchBuilder<T, W, Pr, K, Se, P2, An, B> {
        self.deliver(|Delivery { settle, answer, park, knobs, .. }| Delivery { settle, pack, answer, park, knobs })
    }

    /// The inner service takes [`Items<T>`](crate::Items), and the batch can be sent again, split and handed back.
    pub fn keep_items(self) -> BatchBuilder<T, W, Pr, K, Se, Kept, An, B> {
        self.pack(Kept)
    }

    /// What a caller hears of its batch.
    pub fn answer<An2>(self, answer: An2) -> BatchBuilder<T, W, Pr, K, Se, P, An2, B> {
        self.deliver(|Delivery { settle, pack, park, knobs, .. }| Delivery { settle, pack, answer, park, knobs })
    }

    /// Each caller gets its own element of the response, which must have one per item, in the order of the items.
    ///
    /// A response with another number of elements fails every caller with [`Misaligned`](crate::Misaligned). A server that
    /// leaves out what it does not have needs [`scatter_by`](Self::scatter_by).
    pub fn scatter(self) -> BatchBuilder<T, W, Pr, K, Se, P, Scattered, B> {
        self.answer(Scattered)
    }

    /// Each caller gets the element of the response that has the key of its item, or `None` if there is none.
    ///
    /// Items with equal keys are one lookup: the inner service gets the first of them, and each caller gets a clone of the
    /// element. So an item is what its key says, and an element is cheap to clone (an `Arc` is). With
    /// [`keep_items`](Self::keep_items) items are `Clone` too. The elements may come in any order.
    ///
    /// An element whose key no item has, and a second element with the same key, fail every caller with
    /// [`Unmatched`](crate::Unmatched). [`settle`](Self::settle) sees a `Vec` with one `Option` per item. It does not go
    /// together with a [`pack`](Self::pack) of your own: convert the request in a layer below.
    ///
    /// ```
    /// use forebay_batch::{BatchLayer, Batching};
    /// use tower::{BoxError, Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// // `select id, name from users where id = any($1)`: in any order, and without the rows that are not there.
    /// let store = service_fn(|ids: Vec<u32>| async move {
    ///     Ok::<_, BoxError>(ids.into_iter().rev().filter(|id| *id < 100).map(|id| (id, format!("user {id}"))))
    /// });
    /// let users = BatchLayer::builder()
    ///     .batching(Batching::new().max_items(2))
    ///     .scatter_by(|id: &u32| *id, |(id, _): &(u32, String)| *id)
    ///     .build()?
    ///     .layer(store);
    ///
    /// let (one, none) = tokio::join!(users.clone().oneshot(1), users.clone().oneshot(700));
    /// assert_eq!((one?, none?), (Some((1, "user 1".to_owned())), None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn scatter_by<E, Key, KI, KE>(
        self,
        item_key: KI,
        element_key: KE,
    ) -> BatchBuilder<T, W, Pr, K, Se, P, ScatteredBy<KI, KE>, B>
    where
        KI: Fn(&T) -> Key + Clone,
        KE: Fn(&E) -> Key + Clone,
        Key: std::hash::Hash + Eq,
    {
        self.answer(ScatteredBy::new(item_key, element_key))
    }

    /// Each caller gets the fate of its item.
    pub fn answer_fates(self) -> BatchBuilder<T, W, Pr, K, Se, P, Fates, B> {
        self.answer(Fates)
    }

    /// Lets a batch that came back retryable wait for another attempt; needs [`keep_items`](Self::keep_items).
    ///
    /// It waits beside the others without being in flight, first for as long as `backoff` says (or longer, if the server asked
    /// for it, at most for [`max_hint`](Self::max_hint)), until `backoff` ends or the batch [expires](Self::expire_after). Meanwhile nothing else is sent to
    /// the same partition; the others go on at full rate. When the wait is over one batch goes as a probe; when it is
    /// taken, two, then four. At most `max_bytes` wait; beyond that the oldest batch is dropped as evicted.
    ///
    /// Batches that pile up behind it and were never sent are joined before they are sent, up to
    /// [`max_items`](Batching::max_items) and [`max_bytes`](Batching::max_bytes) of one batch: those of one partition, one
    /// lane and one flush, whose ages differ by at most a tenth of [`expire_after`](Self::expire_after), since they expire
    /// with the oldest. A batch that was sent is never joined to another: the server may have seen it, and gets the same
    /// items again on every attempt.
    pub fn park<B2>(self, backoff: B2, max_bytes: usize) -> BatchBuilder<T, W, Pr, K, Se, P, An, B2>
    where
        B2: IntoIterator<Item = Duration> + Clone,
    {
        self.deliver(|Delivery { settle, pack, answer, knobs, .. }| Delivery {
            settle,
            pack,
            answer,
            park: Some(Parking { backoff, max_bytes }),
            knobs,
        })
    }

    /// The longest that a server's hint (`Retry-After`) may hold a partition; a longer one counts as this long.
    ///
    /// However long the hint, nothing is held beyond the end of the batch that it was the response to: when that has
    /// [expired](Self::expire_after), the next batch goes as the probe. Zero ignores hints.
    pub fn max_hint(mut self, most: Duration) -> Self {
        self.delivery.knobs.max_hint = most;
        self
    }

    /// Whether the inner service also gets an item whose caller is gone, since it has dropped the future of its `call`.
    ///
    /// By default it does not: when its batch is about to be sent for the first time, the item is dropped as
    /// [cancelled](forebay_core::DropReason::Cancelled), and a batch without any other item is not sent. A batch that was sent
    /// before is sent again as it was, since the server may have seen its items. An item of [`emit`](crate::Batch::emit), for
    /// which no caller waits, is always sent.
    ///
    /// Set it where handing an item over is a promise to send it, whatever becomes of the caller.
    pub fn run_cancelled(mut self, run: bool) -> Self {
        self.delivery.knobs.run_cancelled = run;
        self
    }

    /// Takes [`park`](Self::park) back: what came back retryable is dropped.
    pub fn without_parking(mut self) -> Self {
        self.delivery.park = None;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range, or asks for something that another one makes impossible.
    pub fn build(self) -> Result<BatchLayer<T, Se, P, An, B>, ConfigError>
    where
        T: 'static,
        W: Weigh<T> + Send + Sync + 'static,
        Pr: PriorityOf<T> + Send + Sync + 'static,
        K: KeyOf<T> + Send + Sync + 'static,
        P: Pack<T>,
    {
        let Self { limits, overflow, batching, description, partition, flush_when, expire_after, delivery, .. } = self;
        limits.validate()?;
        batching.validate()?;
        if partition.is_some() && self.max_partitions == 0 {
            return Err(ConfigError::new("partition_by", 0, "1 and more open at a time"));
        }
        if expire_after.is_some_and(|age| age.is_zero()) {
            return Err(ConfigError::new("expire_after", "0s", "above zero"));
        }
        if delivery.knobs.ready_timeout.is_zero() {
            return Err(ConfigError::new("ready_timeout", "0s", "above zero"));
        }
        if delivery.park.is_some() && !P::KEEPS {
            return Err(ConfigError::new("park", "on", "with `keep_items`: a batch whose items are gone cannot wait"));
        }
        if delivery.knobs.split_budget > 0 && !P::KEEPS {
            let allowed = "0, or with `keep_items`: a batch whose items are gone cannot be cut";
            return Err(ConfigError::new("split_budget", delivery.knobs.split_budget, allowed));
        }
        let max_partitions = partition.is_some().then_some(self.max_partitions);
        let sort: Option<Arc<Sort<T>>> = match (partition, flush_when) {
            (None, None) => None,
            (Some(partition), None) => {
                Some(Arc::new(move |item, panics| (panics.catch(|| partition(item), Partition::default()), false)))
            }
            (None, Some(flush)) => {
                Some(Arc::new(move |item, panics| (Partition::default(), panics.catch(|| flush(item), false))))
            }
            (Some(partition), Some(flush)) => Some(Arc::new(move |item, panics| {
                let partition = panics.catch(|| partition(item), Partition::default());
                (partition, panics.catch(|| flush(item), false))
            })),
        };
        let sorting = Sorting::new(description.describe(), sort);
        Ok(BatchLayer { limits, overflow, batching, max_partitions, max_wait: expire_after, sorting, delivery })
    }

    fn describe<W2, P2, K2>(
        self,
        with: impl FnOnce(Description<W, Pr, K>) -> Description<W2, P2, K2>,
    ) -> BatchBuilder<T, W2, P2, K2, Se, P, An, B> {
        let Self { limits, overflow, batching, description, partition, max_partitions, flush_when, .. } = self;
        BatchBuilder {
            limits,
            overflow,
            batching,
            description: with(description),
            partition,
            max_partitions,
            flush_when,
            expire_after: self.expire_after,
            delivery: self.delivery,
        }
    }

    fn deliver<Se2, P2, An2, B2>(
        self,
        with: impl FnOnce(Delivery<Se, P, An, B>) -> Delivery<Se2, P2, An2, B2>,
    ) -> BatchBuilder<T, W, Pr, K, Se2, P2, An2, B2> {
        let Self { limits, overflow, batching, description, partition, max_partitions, flush_when, .. } = self;
        BatchBuilder {
            limits,
            overflow,
            batching,
            description,
            partition,
            max_partitions,
            flush_when,
            expire_after: self.expire_after,
            delivery: with(self.delivery),
        }
    }
}

impl<T, W, Pr, K, Se, P, An, B> fmt::Debug for BatchBuilder<T, W, Pr, K, Se, P, An, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("limits", &self.limits)
            .field("overflow", &self.overflow)
            .field("batching", &self.batching)
            .finish_non_exhaustive()
    }
}
