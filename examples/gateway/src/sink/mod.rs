//! Where batches end: any `Service<Batch>`; two are built in.

mod forward;
mod sqlite;

pub(crate) use self::sqlite::sqlite_in_groups;
pub use self::{
    forward::{Forward, ForwardError, forward},
    sqlite::{Database, Removed, Retention, StoreError, sqlite, sqlite_with_retention},
};

use super::batch::Batch;
use forebay::{core::BoxError, queue::Panicked};
use futures_util::{FutureExt, future::BoxFuture};
use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tower::{
    Service, ServiceExt,
    util::{BoxCloneSyncService, service_fn},
};

/// Stores a batch; with its response, the batch is where it belongs.
pub type SinkService = BoxCloneSyncService<Batch, (), BoxError>;

/// A sink, how it is closed, and its own numbers.
pub struct Sink {
    /// Takes the batches.
    pub service: SinkService,
    close: Option<Close>,
    numbers: Option<Numbers>,
}

/// A number of a sink, as `/metrics` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its name behind `forebay_gateway_`.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Its value now.
    pub value: u64,
}

/// The parts of a [`Sink`].
pub(super) struct Parts {
    pub(super) service: SinkService,
    pub(super) close: Close,
    pub(super) numbers: Numbers,
}

pub(super) type Numbers = Arc<dyn Fn() -> Vec<Number> + Send + Sync>;

pub(super) type Close = Box<dyn FnOnce(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

// === impl Sink ===

impl Sink {
    /// A sink that needs no closing.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Batch, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { service: BoxCloneSyncService::new(service), close: None, numbers: None }
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

    /// The same sink with each batch going through `change`; how it is closed, and its numbers, stay.
    #[must_use]
    pub fn map<S>(self, change: impl FnOnce(SinkService) -> S) -> Self
    where
        S: Service<Batch, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { service: BoxCloneSyncService::new(change(self.service)), ..self }
    }

    /// Numbers for `/metrics`, read when they are asked for.
    #[must_use]
    pub fn numbers(mut self, numbers: impl Fn() -> Vec<Number> + Send + Sync + 'static) -> Self {
        self.numbers = Some(Arc::new(numbers));
        self
    }

    pub(super) fn split(self) -> Parts {
        let Self { service, close, numbers } = self;
        Parts {
            service,
            close: close.unwrap_or_else(|| Box::new(|_| async {}.boxed())),
            numbers: numbers.unwrap_or_else(|| Arc::new(Vec::new)),
        }
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
