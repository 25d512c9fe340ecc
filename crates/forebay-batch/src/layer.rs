use crate::{
    Answer, Around, Batch, BatchBuilder, Batching, Pack, Worker, delivery::Delivery, describe::Sorting,
    shared::Shared as Locked, state::State,
};
#[cfg(not(loom))]
use forebay_core::BoxError;
use forebay_core::Settle;
use forebay_intake::{Admission, Intake, Limits, Overflow};
use std::{fmt, sync::Arc, time::Duration};
#[cfg(not(loom))]
use tower_layer::Layer;
use tower_service::Service;

/// Puts a [`Batch`] in front of a service.
///
/// Each service the layer makes has its own batches, and its own worker.
pub struct BatchLayer<T, Se = forebay_core::SettleByVerdict, P = crate::ByValue, An = crate::Shared, B = Vec<Duration>>
{
    pub(crate) limits: Limits,
    pub(crate) overflow: Overflow,
    pub(crate) batching: Batching,
    pub(crate) max_partitions: Option<usize>,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) sorting: Sorting<T>,
    pub(crate) delivery: Delivery<Se, P, An, B>,
}

/// A batcher and its worker.
type Pair<T, S, Se, P, An, B, A> = (Batch<T, A>, Worker<T, S, Se, P, An, B>);

// === impl BatchLayer ===

impl<T> BatchLayer<T> {
    /// Starts with the defaults of [`BatchBuilder`].
    pub fn builder() -> BatchBuilder<T> {
        BatchBuilder::new()
    }
}

impl<T, Se, P, An, B> BatchLayer<T, Se, P, An, B> {
    /// A batcher and its worker, which is not spawned yet: nothing is sent until somebody polls it.
    pub fn pair<S>(&self, inner: S) -> Pair<T, An::Service, Se, P, An, B, An::Answer>
    where
        An: Around<S> + Answer<<An::Service as Service<P::Request>>::Response> + Clone,
        An::Service: Service<P::Request>,
        Se: Settle<<An::Service as Service<P::Request>>::Response> + Clone,
        P: Pack<T> + Clone,
        B: IntoIterator<Item = Duration> + Clone,
    {
        // The limits were checked when the layer was built.
        #[expect(clippy::expect_used, reason = "checked by `build`")]
        let admission = Admission::new(&self.limits).expect("limits that were checked");
        let intake = Intake::new(admission, self.overflow);
        let state = State::new(intake, self.batching, self.overflow, self.max_partitions, self.max_wait);
        let shared = Arc::new(Locked::new(state));
        let inner = self.delivery.answer.around(inner);
        let worker = Worker::new(inner, Arc::clone(&shared), self.delivery.clone(), self.max_partitions.is_none());
        (Batch::new(shared, self.sorting.clone(), self.overflow), worker)
    }
}

// Nobody spawns under the model checker.
#[cfg(not(loom))]
impl<T, S, Se, P, An, B> Layer<S> for BatchLayer<T, Se, P, An, B>
where
    T: Send + Sync + 'static,
    An: Around<S> + Answer<<An::Service as Service<P::Request>>::Response> + Clone + Send + 'static,
    An::Service: Service<P::Request, Response: Send, Error: Into<BoxError>, Future: Send> + Send + 'static,
    An::Answer: Send,
    Se: Settle<<An::Service as Service<P::Request>>::Response> + Clone + Send + 'static,
    P: Pack<T> + Clone + Send + 'static,
    B: IntoIterator<Item = Duration> + Clone + Send + 'static,
    B::IntoIter: Send,
{
    type Service = Batch<T, An::Answer>;

    /// # Panics
    ///
    /// Outside of a tokio runtime, which is to run the worker: use [`pair`](BatchLayer::pair) there.
    fn layer(&self, inner: S) -> Self::Service {
        let (batch, worker) = self.pair(inner);
        // It ends by itself when the last batcher is dropped, and counts what it holds when it is aborted.
        drop(tokio::spawn(worker));
        batch
    }
}

impl<T, Se: Clone, P: Clone, An: Clone, B: Clone> Clone for BatchLayer<T, Se, P, An, B> {
    fn clone(&self) -> Self {
        Self { sorting: self.sorting.clone(), delivery: self.delivery.clone(), ..*self }
    }
}

impl<T, Se, P, An, B> fmt::Debug for BatchLayer<T, Se, P, An, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer")
            .field("limits", &self.limits)
            .field("overflow", &self.overflow)
            .field("batching", &self.batching)
            .field("max_partitions", &self.max_partitions)
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}
