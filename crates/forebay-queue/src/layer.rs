use crate::{
    Limits, Overflow, Queue, Worker,
    answers::Answers,
    describe::{AllNormal, Describe, Description, PriorityOf},
    hands::Orders,
    parked::Parking,
    shared::{Setup, Shared},
};
use forebay_core::{BoxError, ByFootprint, ConfigError, KeyOf, Priority, Settle, SettleByVerdict, Unkeyed, Weigh};
use std::{fmt, marker::PhantomData, num::NonZeroUsize, sync::Arc, time::Duration};
#[cfg(not(loom))]
use tower_layer::Layer;
use tower_service::Service;

/// Puts a [`Queue`] in front of a service.
///
/// Each service the layer makes has its own queue, and its own workers.
pub struct QueueLayer<T, Se = SettleByVerdict> {
    setup: Setup,
    workers: NonZeroUsize,
    describe: Describe<T>,
    settle: Se,
    parking: Option<Parking<T>>,
}

/// Builds a [`QueueLayer`].
///
/// | knob | default |
/// | --- | --- |
/// | [`limits`](Self::limits) | 65,536 items, 64 MiB, soft limit 0.9: see [`Limits`] |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] |
/// | [`workers`](Self::workers) | 8 |
/// | [`max_age`](Self::max_age) | none |
/// | [`weigh`](Self::weigh) | [`ByFootprint`]: what the item says that it holds |
/// | [`priority`](Self::priority) | all normal |
/// | [`fair_share_key`](Self::fair_share_key) | none |
/// | [`settle`](Self::settle) | [`SettleByVerdict`]: `Ok` is delivered |
/// | [`park`](Self::park) | off |
/// | [`max_hint`](Self::max_hint) | 60 s |
/// | [`run_cancelled`](Self::run_cancelled) | false |
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct QueueBuilder<T, W = ByFootprint, P = AllNormal, K = Unkeyed, Se = SettleByVerdict> {
    setup: Setup,
    workers: NonZeroUsize,
    description: Description<W, P, K>,
    settle: Se,
    parking: Option<Parking<T>>,
    item: PhantomData<fn(T)>,
}

/// Of the ingest pipeline this queue replaces: as many requests at a time as one database takes well.
const WORKERS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

// === impl QueueLayer ===

impl<T> QueueLayer<T> {
    /// Starts with the defaults of [`QueueBuilder`].
    pub fn builder() -> QueueBuilder<T> {
        QueueBuilder {
            setup: Setup::default(),
            workers: WORKERS,
            description: Description::new(),
            settle: SettleByVerdict,
            parking: None,
            item: PhantomData,
        }
    }
}

impl<T, Se> QueueLayer<T, Se> {
    /// A queue and its one worker, which is not spawned yet: nothing is worked off until somebody polls it.
    ///
    /// The only form that does not need a `Clone` service; [`workers`](QueueBuilder::workers) has no effect on it.
    pub fn pair<S>(&self, inner: S) -> (Queue<T, S::Response>, Worker<T, S, Se>)
    where
        S: Service<T>,
        S::Error: Into<BoxError>,
        Se: Settle<S::Response> + Clone,
    {
        // The limits were checked when the layer was built.
        #[expect(clippy::expect_used, reason = "checked by `build`")]
        let shared = Arc::new(Shared::new(self.setup, Answers::new()).expect("limits that were checked"));
        let orders = Orders { parking: self.parking.clone(), run_cancelled: self.setup.run_cancelled };
        let worker = Worker::new(inner, Arc::clone(&shared), self.settle.clone(), orders);
        (Queue::new(shared, self.describe.clone(), self.setup.overflow), worker)
    }
}

#[cfg(not(loom))]
impl<T, S, Se> Layer<S> for QueueLayer<T, Se>
where
    T: Send + 'static,
    S: Service<T> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Se: Settle<S::Response> + Clone + Send + 'static,
{
    type Service = Queue<T, S::Response>;

    /// # Panics
    ///
    /// Outside of a tokio runtime, which is to run the workers: use [`pair`](QueueLayer::pair) there.
    fn layer(&self, inner: S) -> Self::Service {
        let (queue, worker) = self.pair(inner);
        for _ in 1..self.workers.get() {
            // They end by themselves when the last queue is dropped, and settle what they hold when they are aborted.
            drop(tokio::spawn(worker.clone()));
        }
        drop(tokio::spawn(worker));
        queue
    }
}

impl<T, Se: Clone> Clone for QueueLayer<T, Se> {
    fn clone(&self) -> Self {
        let Self { setup, workers, describe, settle, parking } = self;
        let (describe, settle, parking) = (describe.clone(), settle.clone(), parking.clone());
        Self { setup: *setup, workers: *workers, describe, settle, parking }
    }
}

impl<T, Se> fmt::Debug for QueueLayer<T, Se> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueLayer").field("setup", &self.setup).field("workers", &self.workers).finish_non_exhaustive()
    }
}

// === impl QueueBuilder ===

impl<T, W, P, K, Se> QueueBuilder<T, W, P, K, Se> {
    /// How much the queue may hold, in flight included.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// What happens to an item for which there is no room.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.setup.overflow = overflow;
        self
    }

    /// How many items are worked on at a time; each worker is a task with a clone of the inner service.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// How long an item may wait before it is dropped, unseen, when its turn comes. Costs a clock read per item, and 32 bytes
    /// beside the weight of each that waits.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.setup.max_age = Some(age);
        self
    }

    /// How many bytes an item is charged for: any `Fn(&T) -> usize`.
    pub fn weigh<W2: Weigh<T>>(self, weigh: W2) -> QueueBuilder<T, W2, P, K, Se> {
        let Self { setup, workers, description, settle, parking, item } = self;
        QueueBuilder { setup, workers, description: description.weigh(weigh), settle, parking, item }
    }

    /// Which lane an item takes.
    pub fn priority<P2: Fn(&T) -> Priority>(self, priority: P2) -> QueueBuilder<T, W, P2, K, Se> {
        let Self { setup, workers, description, settle, parking, item } = self;
        QueueBuilder { setup, workers, description: description.priority(priority), settle, parking, item }
    }

    /// Whose [fair share](Limits::fair_share) an item of normal priority is. Costs 32 bytes beside the weight of each that
    /// waits (together with [`max_age`](Self::max_age)).
    pub fn fair_share_key<Key: ?Sized, K2>(self, key: K2) -> QueueBuilder<T, W, P, K2, Se>
    where
        K2: for<'r> Fn(&'r T) -> &'r Key,
    {
        let Self { setup, workers, description, settle, parking, item } = self;
        QueueBuilder { setup, workers, description: description.key(key), settle, parking, item }
    }

    /// Turns the result of the inner service into the fate of the item.
    ///
    /// What would be split by a batch is final here, and so is what may be sent again unless it [parks](Self::park): it is
    /// dropped for the reason given.
    pub fn settle<Se2>(self, settle: Se2) -> QueueBuilder<T, W, P, K, Se2> {
        let Self { setup, workers, description, parking, item, .. } = self;
        QueueBuilder { setup, workers, description, settle, parking, item }
    }

    /// Lets an item that came back retryable wait for another attempt; a clone of each request is kept for it.
    ///
    /// It waits aside, with its slot and without a worker, for as long as `backoff` says (or longer, if the server asked for
    /// it, at most for [`max_hint`](Self::max_hint)), until `backoff` ends: then its result is final. Meanwhile the workers go on with the other items. When the
    /// wait is over one item goes as a probe; when it is taken, two, then four. At most `max_bytes` wait; beyond that the
    /// oldest is dropped as evicted.
    pub fn park<B>(mut self, backoff: B, max_bytes: usize) -> Self
    where
        T: Clone,
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        self.parking = Some(Parking::new(backoff, max_bytes));
        self
    }

    /// The longest that a server's hint (`Retry-After`) may let a [parked](Self::park) item wait; a longer one counts as this
    /// long, and none is longer than [`max_age`](Self::max_age). Zero ignores hints.
    pub fn max_hint(mut self, most: Duration) -> Self {
        self.setup.max_hint = Some(most);
        self
    }

    /// Whether the inner service also gets an item whose caller is gone, since it has dropped the future of its `call`.
    ///
    /// By default it does not: when the item's turn comes, it is dropped as [cancelled](forebay_core::DropReason::Cancelled)
    /// and its slot is free, and so is one that [waits](Self::park) for another attempt. An item that the inner service has
    /// already begun runs to its end either way, and so does every item of [`Queue::offer`], for which nobody waits.
    ///
    /// Set it where handing an item over is a promise to process it, whatever becomes of the caller.
    pub fn run_cancelled(mut self, run: bool) -> Self {
        self.setup.run_cancelled = run;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// When a knob of the limits is out of its range.
    pub fn build(self) -> Result<QueueLayer<T, Se>, ConfigError>
    where
        W: Weigh<T> + Send + Sync + 'static,
        P: PriorityOf<T> + Send + Sync + 'static,
        K: KeyOf<T> + Send + Sync + 'static,
    {
        let Self { mut setup, workers, description, settle, mut parking, .. } = self;
        if let (Some(parking), Some(most)) = (&mut parking, setup.max_hint) {
            parking.max_hint = most;
        }
        setup.limits.validate()?;
        setup.fair_shares = description.is_keyed();
        Ok(QueueLayer { setup, workers, describe: description.describe(), settle, parking })
    }
}
