use crate::{
    Batch, BatchBuilder, IntoRequest, Owned, Respond, SharedResponse, SpoolItems, Worker, WrapInner,
    batch_queue::BatchQueue, knobs::Knobs, limit::InFlightLimit, router::Router, scheduler::Scheduler, settle::Settler,
    shared::Shared, spooling::Spooling,
};
#[cfg(not(loom))]
use forebay_core::BoxError;
use forebay_core::{Settle, SettleByVerdict};
use forebay_intake::{Admission, Intake};
use std::{fmt, sync::Arc};
#[cfg(not(loom))]
use tower_layer::Layer;
use tower_service::Service;

/// Puts a [`Batch`] in front of a service.
///
/// Each service the layer makes has its own batches, and its own worker: a batch goes to one inner service, so services share
/// none. Where one batcher serves several callers, make one [`Batch`] and clone it; a layer that a router applies to each of its
/// routes has no use here, since a route takes single requests.
pub struct BatchLayer<T, Se = SettleByVerdict, P = Owned, R = SharedResponse> {
    pub(crate) knobs: Knobs,
    /// Whether each key has a batch of its own.
    pub(crate) is_partitioned: bool,
    pub(crate) router: Router<T>,
    pub(crate) settle: Se,
    pub(crate) into_request: P,
    pub(crate) respond: R,
    pub(crate) spool: Option<Arc<dyn SpoolItems<T>>>,
}

/// A batcher and its worker.
type Pair<T, S, Se, P, R, Reply> = (Batch<T, Reply>, Worker<T, S, Se, P, R>);

// === impl BatchLayer ===

impl<T> BatchLayer<T> {
    /// Starts with the defaults of [`BatchBuilder`].
    pub fn builder() -> BatchBuilder<T> {
        BatchBuilder::new()
    }
}

impl<T, Se, P, R> BatchLayer<T, Se, P, R> {
    /// A batcher and its worker, which is not spawned yet: nothing is sent until the worker is polled.
    pub fn pair<S>(&self, inner: S) -> Pair<T, R::Service, Se, P, R, R::Reply>
    where
        R: WrapInner<S> + Respond<<R::Service as Service<P::Request>>::Response> + Clone,
        R::Service: Service<P::Request>,
        Se: Settle<<R::Service as Service<P::Request>>::Response> + Clone,
        P: IntoRequest<T> + Clone,
    {
        let Knobs { limits, overflow, batching, defaults, max_open_partitions, max_age, .. } = self.knobs;
        #[expect(clippy::expect_used, reason = "checked by `build`")]
        let mut admission = Admission::new(&limits).expect("limits that were checked");
        if let Some(budget) = &self.knobs.byte_budget {
            admission = admission.byte_budget(budget);
        }
        let max_partitions = self.is_partitioned.then_some(max_open_partitions);
        let (intake, spools) = (Intake::new(admission, overflow), self.spool.is_some());
        let queue = BatchQueue::new(intake, (batching, defaults), overflow, max_partitions, max_age, spools);
        let shared = Arc::new(Shared::new(queue));
        let inner = self.respond.wrap_inner(inner);
        let settler = Settler::new(Arc::clone(&shared), self.settle.clone(), self.respond.clone(), spools);
        let scheduler = Scheduler::new(&self.knobs, !self.is_partitioned).deadline(self.router.deadline());
        let limit = InFlightLimit::new(self.knobs.sampled_below.clone());
        let (into_request, spooling) = (self.into_request.clone(), Spooling::new(self.spool.clone()));
        let worker = Worker::new(inner, into_request, settler, scheduler, limit, spooling, self.knobs.ready_timeout);
        (Batch::new(shared, self.router.clone(), overflow), worker)
    }
}

// The model checker has no runtime to spawn on.
#[cfg(not(loom))]
impl<T, S, Se, P, R> Layer<S> for BatchLayer<T, Se, P, R>
where
    T: Send + Sync + 'static,
    R: WrapInner<S> + Respond<<R::Service as Service<P::Request>>::Response> + Clone + Send + 'static,
    R::Service: Service<P::Request, Response: Send, Error: Into<BoxError>, Future: Send> + Send + 'static,
    R::Reply: Send,
    Se: Settle<<R::Service as Service<P::Request>>::Response> + Clone + Send + 'static,
    P: IntoRequest<T> + Clone + Send + 'static,
{
    type Service = Batch<T, R::Reply>;

    /// # Panics
    ///
    /// Outside of a tokio runtime, which is to run the worker: use [`pair`](BatchLayer::pair) there.
    fn layer(&self, inner: S) -> Self::Service {
        let (batch, worker) = self.pair(inner);
        // The worker ends by itself when the last batcher is dropped, and counts what it holds when it is aborted.
        drop(tokio::spawn(worker));
        batch
    }
}

impl<T, Se: Clone, P: Clone, R: Clone> Clone for BatchLayer<T, Se, P, R> {
    fn clone(&self) -> Self {
        Self {
            knobs: self.knobs.clone(),
            is_partitioned: self.is_partitioned,
            router: self.router.clone(),
            settle: self.settle.clone(),
            into_request: self.into_request.clone(),
            respond: self.respond.clone(),
            spool: self.spool.clone(),
        }
    }
}

impl<T, Se, P, R> fmt::Debug for BatchLayer<T, Se, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer").field("knobs", &self.knobs).finish_non_exhaustive()
    }
}
