use crate::{
    BatchLayer, Batching, IntoRequest, ItemFates, MaxInFlight, Owned, PerItem, PerKey, Retained, SharedResponse,
    SpoolItems,
    knobs::Knobs,
    router::{Router, Rules, by_key},
    waits::MakeWaits,
};
use forebay_core::{ConfigError, DeadlineOf, KeyOf, Priority, SettleByVerdict, Weigh, adaptive::SharedLimiter};
use forebay_intake::{ByteBudget, DeadlineRule, Description, Limits, Overflow, PriorityOf};
use std::{fmt, hash::Hash, sync::Arc, time::Duration};

/// Builds a [`BatchLayer`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`limits`](Self::limits) | 65,536 items, 64 MiB, soft limit 0.9: see [`Limits`] | |
/// | [`byte_budget`](Self::byte_budget) | none | any [`ByteBudget`] |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | |
/// | [`batching`](Self::batching) | 512 items, 4 MiB, 5 s (or zero), one in flight: see [`Batching`] | |
/// | [`weigh`](Self::weigh) | [`ByFootprint`](crate::ByFootprint): what the item says that it holds | |
/// | [`priority`](Self::priority) | all normal | |
/// | [`fair_share_key`](Self::fair_share_key) | none | |
/// | [`flush_when`](Self::flush_when) | never | |
/// | [`partition_by`](Self::partition_by) | one batch for all | |
/// | [`max_open_partitions`](Self::max_open_partitions) | 128 | 1 and more |
/// | [`max_age`](Self::max_age) | none | above zero |
/// | [`deadline`](Self::deadline) | none | |
/// | [`settle`](Self::settle) | [`SettleByVerdict`]: `Ok` is delivered | |
/// | [`into_request`](Self::into_request) | [`Owned`]: the inner service takes `Vec<T>` | |
/// | [`respond`](Self::respond) | [`SharedResponse`]: a clone of the response for each | |
/// | [`park_backoff`](Self::park_backoff) | off: what came back retryable is dropped | |
/// | [`park_bytes`](Self::park_bytes) | as many as the limits allow | |
/// | [`max_hint`](Self::max_hint) | 60 s | zero and more |
/// | [`split_budget`](Self::split_budget) | 0: never split | |
/// | [`ready_timeout`](Self::ready_timeout) | 30 s | above zero |
/// | [`run_cancelled`](Self::run_cancelled) | false | |
/// | [`spool`](Self::spool) | none: what could not be delivered is dropped | |
///
/// `D` is what an item is described by where it is handed over ([`Description`]), `Se` settles, `P` makes the request, and `R`
/// the replies.
#[must_use = "a builder does nothing until it is built"]
pub struct BatchBuilder<T, D = Description, Se = SettleByVerdict, P = Owned, R = SharedResponse> {
    knobs: Knobs,
    rules: Rules<T>,
    description: D,
    settle: Se,
    into_request: P,
    respond: R,
    spool: Option<Arc<dyn SpoolItems<T>>>,
}

// === impl BatchBuilder ===

impl<T> BatchBuilder<T> {
    pub(crate) fn new() -> Self {
        Self {
            knobs: Knobs::new(),
            rules: Rules::NONE,
            description: Description::new(),
            settle: SettleByVerdict,
            into_request: Owned,
            respond: SharedResponse,
            spool: None,
        }
    }
}

impl<T, W, Pr, K, Se, P, R> BatchBuilder<T, Description<W, Pr, K>, Se, P, R> {
    /// How many bytes an item is charged for: any `Fn(&T) -> usize`.
    pub fn weigh<W2: Weigh<T>>(self, weigh: W2) -> BatchBuilder<T, Description<W2, Pr, K>, Se, P, R> {
        self.describe(|description| description.weigh(weigh))
    }

    /// Which lane an item takes. A batch takes the lane of the item with the highest priority.
    pub fn priority<P2>(self, priority: P2) -> BatchBuilder<T, Description<W, P2, K>, Se, P, R>
    where
        P2: Fn(&T) -> Priority,
    {
        self.describe(|description| description.priority(priority))
    }

    /// As [`priority`](Self::priority), for a type that has a name.
    pub fn priority_of<P2: PriorityOf<T>>(self, priority: P2) -> BatchBuilder<T, Description<W, P2, K>, Se, P, R> {
        self.describe(|description| description.priority(priority))
    }

    /// The key whose [fair share](Limits::fair_share) an item of normal priority counts towards.
    pub fn fair_share_key<Key: ?Sized, K2>(self, key: K2) -> BatchBuilder<T, Description<W, Pr, K2>, Se, P, R>
    where
        K2: for<'r> Fn(&'r T) -> &'r Key,
    {
        self.describe(|description| description.key(key))
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range, or asks for something that another one makes impossible.
    pub fn build(self) -> Result<BatchLayer<T, Se, P, R>, ConfigError>
    where
        T: 'static,
        W: Weigh<T> + Send + Sync + 'static,
        Pr: PriorityOf<T> + Send + Sync + 'static,
        K: KeyOf<T> + Send + Sync + 'static,
        P: IntoRequest<T>,
    {
        let Self { knobs, rules, description, settle, into_request, respond, spool } = self;
        knobs.validate(P::RETAINS)?;
        if spool.is_some() && !P::RETAINS {
            let allowed = "with `retain_items`: a batch that has no items any more cannot be spooled";
            return Err(ConfigError::new("spool", "on", allowed));
        }
        let is_partitioned = rules.partition.is_some();
        let router = Router::new(description.describe(), rules);
        Ok(BatchLayer { knobs, is_partitioned, router, settle, into_request, respond, spool })
    }
}

impl<T, D, Se, P, R> BatchBuilder<T, D, Se, P, R> {
    /// How much may be held: open, sealed, in flight and parked together.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.knobs.limits = limits;
        self
    }

    /// Bytes that the batcher shares with others: each item needs room in there too, until its fate.
    pub fn byte_budget(mut self, budget: &ByteBudget) -> Self {
        self.knobs.byte_budget = Some(budget.clone());
        self
    }

    /// What happens to an item for which there is no room.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.knobs.overflow = overflow;
        self
    }

    /// When a batch closes, and how many are in flight.
    pub fn batching(mut self, batching: Batching) -> Self {
        self.knobs.batching = batching;
        self
    }

    /// Which items close their batch at once: a terminal error, the last record of a session.
    pub fn flush_when(mut self, flush: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.rules.flush = Some(Box::new(flush));
        self
    }

    /// A batch of its own for the items of each key, of which [`max_open_partitions`](Self::max_open_partitions) are open at a
    /// time. The keys themselves are not kept.
    pub fn partition_by<Key, K2>(mut self, key: K2) -> Self
    where
        Key: ?Sized,
        K2: for<'r> Fn(&'r T) -> &'r Key + KeyOf<T, Key = Key> + Send + Sync + 'static,
        T: 'static,
    {
        self.rules.partition = Some(Box::new(by_key(key)));
        self
    }

    /// How many batches of different [keys](Self::partition_by) are open at a time. If one more is needed, the one that was
    /// opened first closes.
    pub fn max_open_partitions(mut self, most: usize) -> Self {
        self.knobs.max_open_partitions = most;
        self
    }

    /// How old a batch may get before it is dropped instead of sent, counted from its first item.
    ///
    /// The age is checked before each attempt and while the batch is parked; what is with the inner service is left there. A
    /// batch that is open closes no later than that, whatever [`max_delay`](Batching::max_delay) says.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.knobs.max_age = Some(age);
        self
    }

    /// Where an item keeps its [`Deadline`]: any `Fn(&T) -> Option<Deadline>`.
    ///
    /// A batch closes in time: when half of the time has passed that the item in it with the earliest deadline had when it was
    /// handed over, whatever [`max_delay`](Batching::max_delay) says. An item whose deadline has passed before its batch is sent for
    /// the first time is dropped as [expired](forebay_core::DropReason::Expired), and the others are sent. A batch that was
    /// sent is sent again as it was, since the server may have seen its items, unless it is too late for all of them. What is
    /// with the inner service is left there. A function that panics gives no deadline.
    ///
    /// ```
    /// use forebay_batch::{BatchLayer, Deadline};
    ///
    /// struct Query { id: u64, until: Option<Deadline> }
    /// let builder = BatchLayer::<Query>::builder().deadline(|query: &Query| query.until);
    /// # drop(builder);
    /// ```
    ///
    /// [`Deadline`]: forebay_core::Deadline
    pub fn deadline(mut self, deadline: impl DeadlineOf<T> + Send + Sync + 'static) -> Self {
        self.rules.deadline = Some(DeadlineRule::new(deadline));
        self
    }

    /// How long the inner service may keep one batch waiting for its readiness.
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.knobs.ready_timeout = timeout;
        self
    }

    /// How many requests may be spent on a batch that is refused for what is in it (HTTP 400, 413), the first included;
    /// needs [`retain_items`](Self::retain_items).
    ///
    /// The batch is sent in halves until what is at fault is found; the rest is delivered. One bad item in a batch of `n`
    /// takes at most 2·log2(n) + 2 requests.
    pub fn split_budget(mut self, requests: u32) -> Self {
        self.knobs.split_budget = requests;
        self
    }

    /// Lets a batch that came back retryable wait for another attempt; needs [`retain_items`](Self::retain_items).
    ///
    /// It waits beside the others without being in flight, each time for the next wait of its own `backoff`, until that ends or
    /// the batch is [too old](Self::max_age). Meanwhile the others are sent. At most [`park_bytes`](Self::park_bytes) wait.
    ///
    /// Its whole partition is held, while other partitions go on at full rate,
    ///
    /// - when the response has a hint (`Retry-After`, the time that a circuit stays open), for that long, at most for
    ///   [`max_hint`](Self::max_hint);
    /// - when everything fails: 32 requests of it in a row, or as many as may be [in flight](Batching::max_in_flight) if that is
    ///   more;
    /// - at each failure where one batch may be in flight, so that no batch overtakes the one that has failed.
    ///
    /// Then the waits are those of a `backoff` of the partition. When one is over, one batch is sent as a probe; when it is
    /// taken, two, then four.
    ///
    /// Batches that pile up behind it and were never sent are joined before they are sent, up to
    /// [`max_items`](Batching::max_items) and [`max_bytes`](Batching::max_bytes) of one batch: those of one partition, one
    /// lane and one flush, whose ages differ by at most a tenth of [`max_age`](Self::max_age), since they expire with the
    /// oldest. Once the server responds again, they are joined whatever their ages. A batch that was sent is never joined to another: the server may have seen it, and gets the same items again on
    /// every attempt.
    ///
    /// Each batch that waits, and each partition that is held, gets a clone of `backoff`. A backoff that panics has ended.
    pub fn park_backoff<B>(mut self, backoff: B) -> Self
    where
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        self.knobs.park.backoff = Some(MakeWaits::new(backoff));
        self
    }

    /// The most bytes of batches that [wait for another attempt](Self::park_backoff); beyond that the oldest is dropped as
    /// evicted. They count towards the [limits](Self::limits) as well.
    pub fn park_bytes(mut self, bytes: usize) -> Self {
        self.knobs.park.max_bytes = bytes;
        self
    }

    /// The longest that a server's hint (`Retry-After`) may hold a partition; a longer one counts as this long.
    ///
    /// However long the hint, nothing is held beyond the end of the batch that it was the response to: when that is
    /// [too old](Self::max_age), the next batch is sent as the probe. Zero ignores hints.
    pub fn max_hint(mut self, most: Duration) -> Self {
        self.knobs.park.max_hint = most;
        self
    }

    /// Whether the inner service also gets an item whose caller has dropped the future of its `call`.
    ///
    /// By default it does not: when its batch is about to be sent for the first time, the item is dropped as
    /// [cancelled](forebay_core::DropReason::Cancelled), and a batch without any other item is not sent. A batch that was sent
    /// before is sent again as it was, since the server may have seen its items. An item of [`emit`](crate::Batch::emit), for
    /// which no caller waits, is always sent.
    ///
    /// Set it where handing an item over is a promise to send it, whatever becomes of the caller.
    pub fn run_cancelled(mut self, run: bool) -> Self {
        self.knobs.run_cancelled = run;
        self
    }

    /// How many batches are in flight where the [`batching`](Self::batching) does not say it.
    #[doc(hidden)]
    pub fn max_in_flight_by_default(mut self, batches: impl Into<MaxInFlight>) -> Self {
        self.knobs.defaults.in_flight = batches.into();
        self
    }

    /// The limiter of an [`Adaptive`](crate::Adaptive) limit, where a layer below samples it: a batch may take several attempts
    /// there.
    #[doc(hidden)]
    pub fn sampled_below(mut self, limiter: SharedLimiter) -> Self {
        self.knobs.sampled_below = Some(limiter);
        self
    }

    /// Keeps what could not be delivered, so that it is not dropped; needs [`retain_items`](Self::retain_items).
    ///
    /// A batch goes there when it is [too old](Self::max_age), when no attempt is left for it, when it is evicted from those
    /// that [wait](Self::park_bytes), and at a shutdown that asks for it
    /// ([`BatchHandle::spool_rest`](crate::BatchHandle::spool_rest)). When the items held come near their limits (above three
    /// quarters of the soft limit), the oldest batch that waits goes there as well, so that new items find room.
    pub fn spool(mut self, spool: impl SpoolItems<T> + 'static) -> Self {
        self.spool = Some(Arc::new(spool));
        self
    }

    /// Turns the result of the inner service into the fates of the items.
    pub fn settle<Se2>(self, settle: Se2) -> BatchBuilder<T, D, Se2, P, R> {
        let Self { knobs, rules, description, into_request, respond, spool, .. } = self;
        BatchBuilder { knobs, rules, description, settle, into_request, respond, spool }
    }

    /// Makes the request of the inner service from the items.
    pub fn into_request<P2: IntoRequest<T>>(self, into_request: P2) -> BatchBuilder<T, D, Se, P2, R> {
        let Self { knobs, rules, description, settle, respond, spool, .. } = self;
        BatchBuilder { knobs, rules, description, settle, into_request, respond, spool }
    }

    /// The inner service takes [`Items<T>`](crate::Items), and the batch can be sent again, split and handed back.
    pub fn retain_items(self) -> BatchBuilder<T, D, Se, Retained, R> {
        self.into_request(Retained)
    }

    /// What a caller gets from its batch.
    pub fn respond<R2>(self, respond: R2) -> BatchBuilder<T, D, Se, P, R2> {
        let Self { mut knobs, rules, description, settle, into_request, spool, .. } = self;
        knobs.defaults.delay = Knobs::DELAY;
        BatchBuilder { knobs, rules, description, settle, into_request, respond, spool }
    }

    /// Each caller gets the fate of its item.
    pub fn respond_fates(self) -> BatchBuilder<T, D, Se, P, ItemFates> {
        self.respond(ItemFates)
    }

    /// Each caller gets its own element of the response, which must have one per item, in the order of the items.
    ///
    /// A response with another number of elements fails every caller with [`Misaligned`](crate::Misaligned). A server that
    /// leaves out what it does not have needs [`respond_per_key`](Self::respond_per_key). The default of
    /// [`max_delay`](Batching::max_delay) is zero here.
    pub fn respond_per_item(self) -> BatchBuilder<T, D, Se, P, PerItem> {
        self.respond(PerItem).for_callers()
    }

    /// Each caller gets the element of the response that has the key of its item, or `None` if there is none.
    ///
    /// Items with equal keys are one lookup: the inner service gets the first of them, and each caller gets a clone of the
    /// element. So an item is what its key says, and an element is cheap to clone (an `Arc` is). With
    /// [`retain_items`](Self::retain_items) items are `Clone` too. The elements may be in any order.
    ///
    /// An element whose key no item has, and a second element with the same key, fail every caller with
    /// [`Unmatched`](crate::Unmatched). The default of [`max_delay`](Batching::max_delay) is zero here.
    /// [`settle`](Self::settle) sees a `Vec` with one `Option` per item. It does not work with an
    /// [`into_request`](Self::into_request) of your own: convert the request in a layer below.
    ///
    /// ```
    /// use forebay_batch::BatchLayer;
    /// use tower::{BoxError, Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// // `select id, name from users where id = any($1)`: in any order, without the rows that do not exist.
    /// let store = service_fn(|ids: Vec<u32>| async move {
    ///     Ok::<_, BoxError>(ids.into_iter().rev().filter(|id| *id < 100).map(|id| (id, format!("user {id}"))))
    /// });
    /// let users = BatchLayer::builder()
    ///     .respond_per_key(|id: &u32| *id, |(id, _): &(u32, String)| *id)
    ///     .build()?
    ///     .layer(store);
    ///
    /// let (one, none) = tokio::join!(users.clone().oneshot(1), users.clone().oneshot(700));
    /// assert_eq!((one?, none?), (Some((1, "user 1".to_owned())), None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn respond_per_key<E, Key, KI, KE>(
        self,
        item_key: KI,
        element_key: KE,
    ) -> BatchBuilder<T, D, Se, P, PerKey<KI, KE>>
    where
        KI: Fn(&T) -> Key + Clone,
        KE: Fn(&E) -> Key + Clone,
        Key: Hash + Eq,
    {
        self.respond(PerKey::new(item_key, element_key)).for_callers()
    }

    /// Each item has a caller that waits: by default it waits for no other item.
    fn for_callers(mut self) -> Self {
        self.knobs.defaults.delay = Duration::ZERO;
        self
    }

    fn describe<D2>(self, with: impl FnOnce(D) -> D2) -> BatchBuilder<T, D2, Se, P, R> {
        let Self { knobs, rules, description, settle, into_request, respond, spool } = self;
        let description = with(description);
        BatchBuilder { knobs, rules, description, settle, into_request, respond, spool }
    }
}

impl<T, D, Se, P, R> fmt::Debug for BatchBuilder<T, D, Se, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder").field("knobs", &self.knobs).finish_non_exhaustive()
    }
}
