//! Where batches end: any `Service<Batch>`; two are built in.

mod forward;
mod sqlite;

pub use self::{
    forward::{ForwardError, forward},
    sqlite::{Database, StoreError, sqlite},
};

use super::batch::Batch;
use forebay::{core::BoxError, queue::Panicked};
use futures_util::{FutureExt, future::BoxFuture};
use std::{fmt, panic::AssertUnwindSafe, time::Duration};
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, service_fn},
};

/// Stores a batch; when it answers, the batch is where it belongs.
pub type SinkService = BoxCloneSyncService<Batch, (), BoxError>;

/// A sink, and how it is closed.
pub struct Sink {
    /// Takes the batches.
    pub service: SinkService,
    close: Option<Close>,
}

type Close = Box<dyn FnOnce(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

// === impl Sink ===

impl Sink {
    /// A sink that needs no closing.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Batch, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { service: BoxCloneSyncService::new(service), close: None }
    }

    /// A sink that is an asynchronous function.
    pub fn of_fn<F, R>(function: F) -> Self
    where
        F: FnMut(Batch) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self::new(service_fn(function))
    }

    /// What is to be done in the end, within the time it is given.
    #[must_use]
    pub fn on_close<F, R>(mut self, close: F) -> Self
    where
        F: FnOnce(Duration) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.close = Some(Box::new(|deadline| close(deadline).boxed()));
        self
    }

    /// The service, and what closes it.
    pub(super) fn split(self) -> (SinkService, impl FnOnce(Duration) -> BoxFuture<'static, ()> + Send) {
        let close = self.close;
        let end = move |deadline| match close {
            Some(close) => close(deadline),
            None => async {}.boxed(),
        };
        (self.service, end)
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

/// Gives `batch` to `sink`; a panic of it is an error like others, and says [`Panicked`].
pub(super) async fn store(sink: SinkService, batch: Batch) -> Result<(), BoxError> {
    // What a panic leaves half done is the sink's own state: SQLite rolls back, the batch is a clone.
    let stored = AssertUnwindSafe(async { sink.oneshot(batch).await }).catch_unwind().await;
    stored.unwrap_or_else(|_reported_by_the_hook| Err(Panicked::new().into()))
}
