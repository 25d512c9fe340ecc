use crate::{
    ByteBudget, Limits, Overflow, Queue, SharedQueueLayer, Worker, Workers,
    parked::Parking,
    receive::Orders,
    replies::ReplyTable,
    shared::{Setup, Shared},
};
use forebay_core::{
    BoxError, ByFootprint, ConfigError, DeadlineOf, KeyOf, Priority, Settle, SettleByVerdict, Unkeyed, Weigh,
};
use forebay_intake::{AllNormal, DeadlineRule, Describe, Description, PriorityOf};
use std::{fmt, sync::Arc, time::Duration};
#[cfg(not(loom))]
use tower_layer::Layer;
use tower_service::Service;

/// Puts a [`Queue`] in front of a service.
///
/// Each service that the layer makes has its own queue, and its own workers. Where a layer makes several services of one
/// program, as `axum::Router::layer` does, use [`QueueBuilder::shared`].
pub struct QueueLayer<T, Se = SettleByVerdict> {
    knobs: Knobs<T>,
    describe: Describe<T>,
    settle: Se,
}

/// Builds a [`QueueLayer`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`limits`](Self::limits) | 65,536 items, 64 MiB, soft limit 0.9 | see [`Limits`] |
/// | [`byte_budget`](Self::byte_budget) | none | any [`ByteBudget`] |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | any |
/// | [`workers`](Self::workers) | 8 | 1 and more, or [`Adaptive`](crate::Adaptive) |
/// | [`max_age`](Self::max_age) | none | any |
/// | [`deadline`](Self::deadline) | none | any [`DeadlineOf`] |
/// | [`weigh`](Self::weigh) | [`ByFootprint`]: the size that the item states, in bytes | any [`Weigh`] |
/// | [`priority`](Self::priority) | [`Priority::Normal`] for all | any [`PriorityOf`] |
/// | [`fair_share_key`](Self::fair_share_key) | none | any |
/// | [`settle`](Self::settle) | [`SettleByVerdict`]: `Ok` is delivered | any [`Settle`] |
/// | [`park_backoff`](Self::park_backoff) | none: items are not parked | any |
/// | [`park_bytes`](Self::park_bytes) | as the limits | 1 and more |
/// | [`max_hint`](Self::max_hint) | 60 s | any |
/// | [`run_cancelled`](Self::run_cancelled) | `false` | any |
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct QueueBuilder<T, W = ByFootprint, P = AllNormal, K = Unkeyed, Se = SettleByVerdict> {
    knobs: Knobs<T>,
    description: Description<W, P, K>,
    settle: Se,
}

/// The knobs without a type of their own.
#[derive(Debug)]
pub(crate) struct Knobs<T> {
    pub(crate) setup: Setup,
    pub(crate) workers: Workers,
    /// `None` where items are not parked.
    pub(crate) parking: Option<Parking<T>>,
    park_bytes: Option<usize>,
    max_hint: Option<Duration>,
    pub(crate) run_cancelled: bool,
    /// Where an item keeps its deadline; `None` where items have none.
    pub(crate) deadline: Option<DeadlineRule<T>>,
}

/// The default number of workers: as many requests at a time as one database takes well.
const WORKERS: usize = 8;

// === impl QueueLayer ===

impl<T> QueueLayer<T> {
    /// Starts with the defaults of [`QueueBuilder`].
    pub fn builder() -> QueueBuilder<T> {
        let knobs = Knobs {
            setup: Setup::default(),
            workers: Workers::Fixed(WORKERS),
            parking: None,
            park_bytes: None,
            max_hint: None,
            run_cancelled: false,
            deadline: None,
        };
        QueueBuilder { knobs, description: Description::new(), settle: SettleByVerdict }
    }
}

impl<T, Se> QueueLayer<T, Se> {
    /// A queue and its one worker, which is not spawned yet: no item is processed before the worker is polled.
    ///
    /// The only form that does not need a `Clone` service; a number of [`workers`](QueueBuilder::workers) has no effect on it. An
    /// [`Adaptive`](crate::Adaptive) one holds for the worker and its clones together.
    pub fn pair<S>(&self, inner: S) -> (Queue<T, S::Response>, Worker<T, S, Se>)
    where
        S: Service<T>,
        S::Error: Into<BoxError>,
        Se: Settle<S::Response> + Clone,
    {
        let Knobs { setup, workers, parking, run_cancelled, deadline, .. } = &self.knobs;
        let shared = Arc::new(Shared::checked(setup.clone(), ReplyTable::new()));
        let orders = Orders {
            gate: workers.gate(),
            parking: parking.clone(),
            run_cancelled: *run_cancelled,
            deadline: deadline.clone(),
        };
        let worker = Worker::new(inner, Arc::clone(&shared), self.settle.clone(), orders);
        (Queue::new(shared, self.describe.clone(), setup.overflow), worker)
    }

    pub(crate) fn into_parts(self) -> (Knobs<T>, Describe<T>, Se) {
        (self.knobs, self.describe, self.settle)
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
    /// Outside of a tokio runtime, on which the workers are spawned: use [`pair`](QueueLayer::pair) there.
    fn layer(&self, inner: S) -> Self::Service {
        let (queue, worker) = self.pair(inner);
        worker.spawn(self.knobs.workers.most());
        queue
    }
}

impl<T, Se: Clone> Clone for QueueLayer<T, Se> {
    fn clone(&self) -> Self {
        Self { knobs: self.knobs.clone(), describe: self.describe.clone(), settle: self.settle.clone() }
    }
}

impl<T, Se> fmt::Debug for QueueLayer<T, Se> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueLayer")
            .field("setup", &self.knobs.setup)
            .field("workers", &self.knobs.workers)
            .finish_non_exhaustive()
    }
}

// === impl QueueBuilder ===

impl<T, W, P, K, Se> QueueBuilder<T, W, P, K, Se> {
    /// How many items and bytes the queue may hold, in flight included.
    ///
    /// Default: 65,536 items, 64 MiB, and a soft limit of 0.9.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.knobs.setup.limits = limits;
        self
    }

    /// Bytes that the queue shares with others: each item needs room in there too, until its fate.
    ///
    /// Default: none, so that the [limits](Self::limits) are the only ones.
    pub fn byte_budget(mut self, budget: &ByteBudget) -> Self {
        self.knobs.setup.byte_budget = Some(budget.clone());
        self
    }

    /// What happens to an item for which there is no room.
    ///
    /// Default: [`Overflow::Refuse`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.knobs.setup.overflow = overflow;
        self
    }

    /// How many items are processed at a time, 1 and more; each worker is a task with a clone of the inner service.
    ///
    /// [`Adaptive`](crate::Adaptive) finds the number: it grows while more at a time brings more throughput, and shrinks with the
    /// first result that is settled as retryable (a 429, a 503, a timeout). There are as many tasks as its ceiling then, and those
    /// above the limit take no item, so that what waits does so in the queue, where a high priority overtakes. Each call of the inner
    /// service is a sample: a retry belongs above the queue, or into [`park_backoff`](Self::park_backoff), as its waits would pass
    /// for a slow server.
    ///
    /// Default: 8.
    pub fn workers(mut self, workers: impl Into<Workers>) -> Self {
        self.knobs.workers = workers.into();
        self
    }

    /// How long an item may wait; one that is older when its turn comes is dropped, and the inner service does not see it.
    ///
    /// Default: none. Costs a clock read per item, and 32 bytes beside the weight of each that waits.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.knobs.setup.max_age = Some(age);
        self
    }

    /// Where an item keeps its [`Deadline`]: any `Fn(&T) -> Option<Deadline>`, and for HTTP `http::ByExtension` of `forebay-core`.
    ///
    /// Default: none. What cannot meet its deadline is not worked on: an item whose deadline has passed when its turn comes, or
    /// before the inner service is ready for it, is dropped as [expired](forebay_core::DropReason::Expired), and its caller gets
    /// [`Expired`](crate::Expired). An item is not [parked](Self::park_backoff) for an attempt that could only begin later. An item
    /// that the inner service has begun runs to its end. A function that panics gives no deadline.
    ///
    /// [`Deadline`]: forebay_core::Deadline
    pub fn deadline(mut self, deadline: impl DeadlineOf<T> + Send + Sync + 'static) -> Self {
        self.knobs.deadline = Some(DeadlineRule::new(deadline));
        self
    }

    /// How many bytes an item is charged for: any `Fn(&T) -> usize`.
    ///
    /// Default: the [footprint](forebay_core::Footprint) of the item.
    pub fn weigh<W2: Weigh<T>>(self, weigh: W2) -> QueueBuilder<T, W2, P, K, Se> {
        let Self { knobs, description, settle } = self;
        QueueBuilder { knobs, description: description.weigh(weigh), settle }
    }

    /// Which lane an item takes.
    ///
    /// Default: the normal lane.
    pub fn priority<P2: Fn(&T) -> Priority>(self, priority: P2) -> QueueBuilder<T, W, P2, K, Se> {
        let Self { knobs, description, settle } = self;
        QueueBuilder { knobs, description: description.priority(priority), settle }
    }

    /// The key whose [fair share](Limits::fair_share) an item of normal priority takes.
    ///
    /// Default: none, so that no shares are kept. Costs 32 bytes beside the weight of each item that waits (together with
    /// [`max_age`](Self::max_age)).
    pub fn fair_share_key<Key: ?Sized, K2>(self, key: K2) -> QueueBuilder<T, W, P, K2, Se>
    where
        K2: for<'r> Fn(&'r T) -> &'r Key,
    {
        let Self { knobs, description, settle } = self;
        QueueBuilder { knobs, description: description.key(key), settle }
    }

    /// Turns the result of the inner service into the fate of the item.
    ///
    /// Default: [`SettleByVerdict`]. A result that a batch would split is final here, and so is a retryable one unless the item
    /// [parks](Self::park_backoff): the item is dropped for the reason given.
    pub fn settle<Se2>(self, settle: Se2) -> QueueBuilder<T, W, P, K, Se2> {
        let Self { knobs, description, .. } = self;
        QueueBuilder { knobs, description, settle }
    }

    /// Parks an item that came back retryable until its next attempt, for each wait of `backoff` in turn; a clone of each
    /// request is kept for it.
    ///
    /// Default: none, so that a retryable result is final. A parked item keeps its slot and holds no worker, so the other items
    /// go on. A server may ask for a longer wait, of [`max_hint`](Self::max_hint) at most. When the waits of `backoff` end, the
    /// result is final. When a wait is over, one item goes as a probe; after it is taken two may go, then four.
    pub fn park_backoff<B>(mut self, backoff: B) -> Self
    where
        T: Clone + 'static,
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        self.knobs.parking = Some(Parking::new(backoff));
        self
    }

    /// The most bytes of [parked](Self::park_backoff) items, 1 and more; beyond it the oldest is dropped as evicted.
    ///
    /// Default: as many as the [limits](Self::limits) allow. Without a backoff it has no effect.
    pub fn park_bytes(mut self, bytes: usize) -> Self {
        self.knobs.park_bytes = Some(bytes);
        self
    }

    /// The longest wait of a [parked](Self::park_backoff) item that a server's hint (`Retry-After`) may ask for; a longer one
    /// counts as this long, and none is longer than [`max_age`](Self::max_age).
    ///
    /// Default: 60 s. Zero ignores hints.
    pub fn max_hint(mut self, most: Duration) -> Self {
        self.knobs.max_hint = Some(most);
        self
    }

    /// Whether the inner service also gets an item whose caller has dropped the future of its `call`.
    ///
    /// Default: `false`. When the turn of such an item comes, it is dropped as [cancelled](forebay_core::DropReason::Cancelled)
    /// and its slot is free, and so is one that is [parked](Self::park_backoff). An item that the inner service has already
    /// begun runs to its end either way, and so does every item of [`Queue::emit`], which has no caller.
    ///
    /// Set it where handing an item over is a promise to process it, whatever becomes of the caller.
    pub fn run_cancelled(mut self, run: bool) -> Self {
        self.knobs.run_cancelled = run;
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range.
    pub fn build(self) -> Result<QueueLayer<T, Se>, ConfigError>
    where
        W: Weigh<T> + Send + Sync + 'static,
        P: PriorityOf<T> + Send + Sync + 'static,
        K: KeyOf<T> + Send + Sync + 'static,
    {
        let Self { mut knobs, description, settle } = self;
        knobs.setup.limits.validate()?;
        knobs.setup.overflow.validate()?;
        // An `Adaptive` was checked when it was built.
        for (knob, value) in [("workers", Some(knobs.workers.most())), ("park_bytes", knobs.park_bytes)] {
            if value == Some(0) {
                return Err(ConfigError::new(knob, 0, "1 and more"));
            }
        }
        if let Some(parking) = &mut knobs.parking {
            parking.max_bytes = knobs.park_bytes.unwrap_or(parking.max_bytes);
            parking.max_hint = knobs.max_hint.unwrap_or(parking.max_hint);
        }
        knobs.setup.fair_shares = description.is_keyed();
        Ok(QueueLayer { knobs, describe: description.describe(), settle })
    }

    /// A layer with one queue, one set of workers and one ledger for all services that it is applied to.
    ///
    /// `axum::Router::layer` applies a layer to each route, and for each connection again: a layer of [`build`](Self::build)
    /// then makes a queue for each of them, none of which ever fills. Each request is processed by the service that it was
    /// called on, so a request to a route reaches that route. All of the services are of one type `S`; an axum router's are.
    ///
    /// The layer itself keeps the queue open, and has its [handle](SharedQueueLayer::handle).
    ///
    /// # Errors
    ///
    /// When a knob is out of its range.
    pub fn shared<S>(self) -> Result<SharedQueueLayer<T, S, Se>, ConfigError>
    where
        T: 'static,
        S: Service<T> + Clone + 'static,
        W: Weigh<T> + Send + Sync + 'static,
        P: PriorityOf<T> + Send + Sync + 'static,
        K: KeyOf<T> + Send + Sync + 'static,
    {
        self.build().map(SharedQueueLayer::new)
    }
}

// === impl Knobs ===

impl<T> Clone for Knobs<T> {
    fn clone(&self) -> Self {
        let Self { setup, parking, deadline, .. } = self;
        Self { setup: setup.clone(), parking: parking.clone(), deadline: deadline.clone(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q12_a_knob_of_zero_is_refused_by_name() {
        let knob = |builder: QueueBuilder<u32>| builder.build().unwrap_err().knob();
        assert_eq!(knob(QueueLayer::builder().workers(0)), "workers");
        assert_eq!(knob(QueueLayer::builder().park_bytes(0)), "park_bytes");
        assert_eq!(knob(QueueLayer::builder().limits(Limits::new().items(0))), "items");
        let (none, some) = (Duration::ZERO, Duration::from_millis(1));
        let sheds = |target, interval| QueueLayer::builder().overflow(Overflow::ShedByDelay { target, interval });
        assert_eq!((knob(sheds(none, some)), knob(sheds(some, none))), ("target", "interval"));
    }
}
