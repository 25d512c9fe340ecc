use crate::{
    QueueHandle, QueueLayer, SharedResponseFuture, Workers,
    caller::Caller,
    layer::Knobs,
    receive::Orders,
    replies::ReplyTable,
    routed::{Routed, RoutedControl, for_routed},
    shared::Shared,
};
#[cfg(not(loom))]
use crate::{own_service::ToItsOwn, worker::Worker};
#[cfg(not(loom))]
use forebay_core::Settle;
use forebay_core::{BoxError, SettleByVerdict};
use forebay_intake::{Describe, Offer};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
#[cfg(not(loom))]
use tower_layer::Layer;
use tower_service::Service;

/// Puts one queue in front of all services that it is applied to, `S` each; see [`QueueBuilder::shared`].
///
/// Limits, lanes, workers, ledger and [handle](Self::handle) are one for the layer, its clones, and all [`SharedQueue`]s that
/// they make. The queue closes when the last of them is dropped; the items in it are still processed.
///
/// [`QueueBuilder::shared`]: crate::QueueBuilder::shared
pub struct SharedQueueLayer<T, S, Se = SettleByVerdict>
where
    S: Service<T>,
{
    /// Keeps the queue open while there is no service yet, or none any more.
    caller: Caller<Routed<T, S>, S::Response>,
    describe: Describe<T>,
    settle: Se,
    workers: Workers,
    orders: Orders<Routed<T, S>>,
    /// Set once the workers are spawned.
    started: Arc<OnceLock<()>>,
}

/// A service in front of which stands the queue of a [`SharedQueueLayer`].
///
/// A request takes its slot in the one queue, and is processed by a clone of the service that this one was put in front of.
pub struct SharedQueue<T, S>
where
    S: Service<T>,
{
    caller: Caller<Routed<T, S>, S::Response>,
    describe: Describe<T>,
    inner: S,
}

// === impl SharedQueueLayer ===

impl<T, S, Se> SharedQueueLayer<T, S, Se>
where
    S: Service<T>,
{
    /// The limits of `layer` were checked.
    pub(crate) fn new(layer: QueueLayer<T, Se>) -> Self
    where
        T: 'static,
        S: Clone + 'static,
    {
        let (Knobs { setup, workers, parking, run_cancelled, deadline, .. }, describe, settle) = layer.into_parts();
        let overflow = setup.overflow;
        let shared = Arc::new(Shared::checked(setup, ReplyTable::new()));
        let deadline = deadline.map(for_routed);
        let parking = parking.map(|parking| parking.for_routed());
        let orders = Orders { gate: workers.gate(), parking, run_cancelled, deadline };
        let caller = Caller::new(shared, overflow);
        Self { caller, describe, settle, workers, orders, started: Arc::default() }
    }

    /// A handle that reads and changes the queue, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<T>
    where
        T: Send + 'static,
        S: Send + 'static,
        S::Response: Send + 'static,
    {
        let control = RoutedControl(Arc::clone(&self.caller.shared));
        QueueHandle::new(Arc::new(control)).with_panics(self.describe.panics())
    }

    #[cfg(not(loom))]
    fn spawn_workers(&self)
    where
        T: Send + 'static,
        S: Clone + Send + 'static,
        S::Response: Send,
        S::Error: Into<BoxError>,
        S::Future: Send,
        Se: Settle<S::Response> + Clone + Send + 'static,
    {
        // The queue has counted this one.
        let shared = Arc::clone(&self.caller.shared);
        let worker = Worker::new(ToItsOwn, shared, self.settle.clone(), self.orders.clone());
        worker.spawn(self.workers.most());
    }
}

#[cfg(not(loom))]
impl<T, S, Se> Layer<S> for SharedQueueLayer<T, S, Se>
where
    T: Send + 'static,
    S: Service<T> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Se: Settle<S::Response> + Clone + Send + 'static,
{
    type Service = SharedQueue<T, S>;

    /// The first call spawns the workers, which serve all later ones: when the runtime of the first call ends, every request is
    /// refused.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, where it is the first call.
    fn layer(&self, inner: S) -> Self::Service {
        self.started.get_or_init(|| self.spawn_workers());
        SharedQueue { caller: self.caller.clone(), describe: self.describe.clone(), inner }
    }
}

impl<T, S, Se> Clone for SharedQueueLayer<T, S, Se>
where
    S: Service<T>,
    Se: Clone,
{
    fn clone(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            describe: self.describe.clone(),
            settle: self.settle.clone(),
            workers: self.workers,
            orders: self.orders.clone(),
            started: Arc::clone(&self.started),
        }
    }
}

impl<T, S, Se> fmt::Debug for SharedQueueLayer<T, S, Se>
where
    S: Service<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedQueueLayer")
            .field("caller", &self.caller)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

// === impl SharedQueue ===

impl<T, S> Service<T> for SharedQueue<T, S>
where
    T: Send + 'static,
    S: Service<T> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = SharedResponseFuture<T, S>;

    /// As that of a [`Queue`](crate::Queue): of the inner service no readiness is asked, since a worker does that later, for the
    /// clone that it calls.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.caller.poll_ready(cx).map(Ok)
    }

    /// Takes the slot, or refuses: the future then ends with a [`Rejected`](crate::Rejected) that hands the request back.
    ///
    /// CANCEL: as for a [`Queue`](crate::Queue). A request that waits for the readiness of its own service counts as begun.
    fn call(&mut self, request: T) -> Self::Future {
        let offer = Offer::new(request);
        let meta = self.describe.meta(&offer);
        let routed = Routed { request: offer.item, service: self.inner.clone() };
        SharedResponseFuture::new(self.caller.call(routed, meta, Routed::rejected))
    }
}

/// A clone shares the queue, and never the readiness.
impl<T, S> Clone for SharedQueue<T, S>
where
    S: Service<T> + Clone,
{
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), describe: self.describe.clone(), inner: self.inner.clone() }
    }
}

impl<T, S> fmt::Debug for SharedQueue<T, S>
where
    S: Service<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedQueue").field("caller", &self.caller).finish_non_exhaustive()
    }
}
