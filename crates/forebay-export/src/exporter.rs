use crate::{Counters, ExporterBuilder, Report, counters::Counting};
use forebay_batch::{Batch, BatchHandle, Emit};
use forebay_core::{BoxError, DropReason, Fate, Priority, Totals, Verdict};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_service::Service;

/// Sends items in batches to one endpoint, and can say of each what became of it.
///
/// Cheap to clone; all clones are one exporter. When the last one is dropped, what is left is sent, as long as the runtime
/// lives: call [`shutdown`](Self::shutdown) to wait for it.
///
/// `emit` neither waits nor fails, on any thread, in a `Drop` or a panic hook. As a `Service` an exporter answers each item
/// with its fate, and never with an error.
pub struct Exporter<T> {
    batch: Batch<T, Fate>,
    counting: Arc<Counting>,
}

pin_project! {
    /// The fate of one item. Dropping it does not take the item back.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<T> {
        #[pin]
        inner: forebay_batch::ResponseFuture<T, Fate>,
    }
}

// === impl Exporter ===

impl<T> Exporter<T> {
    /// Starts with the defaults of [`ExporterBuilder`].
    pub fn builder() -> ExporterBuilder<T> {
        ExporterBuilder::new()
    }
}

impl<T: Send + Sync + 'static> Exporter<T> {
    pub(crate) fn new(batch: Batch<T, Fate>, counting: Arc<Counting>) -> Self {
        Self { batch, counting }
    }

    /// Hands an item over. It never waits; an item for which there is no room is dropped, and counted.
    #[inline]
    pub fn emit(&self, item: T) {
        // The refusal is in the ledger; telemetry that does not fit must not become the host's problem.
        drop(self.batch.emit(item));
    }

    /// As [`emit`](Self::emit), in the lane of `priority`, whatever the item itself says.
    #[inline]
    pub fn emit_with(&self, priority: Priority, item: T) {
        // As above.
        drop(self.batch.emit_with(priority, item));
    }

    /// Hands an item over, and waits in line while there is no room for it: for a host that can wait, such as a shipper
    /// of files.
    ///
    /// # Errors
    ///
    /// Hands the item back when it is too large, or the exporter is shut down; the refusal is in the ledger.
    ///
    /// # Cancellation
    ///
    /// Dropped while it waits, the item goes with it, and nothing was offered.
    pub fn emit_or_wait(&self, item: T) -> Emit<'_, T, Fate> {
        self.batch.emit_or_wait(item)
    }

    /// Sends what is here now, and waits until every item that was handed over before has a fate.
    ///
    /// While the far side is away that may be as long as [`give_up_after`](ExporterBuilder::give_up_after).
    pub async fn flush(&self) {
        self.batch.handle().flush().await;
    }

    /// Takes nothing new, sends what is here, and ends no later than 20 ms after `deadline`, whatever the network does.
    ///
    /// Others that shut down at the same time wait for the same end.
    ///
    /// # Cancellation
    ///
    /// A dropped shutdown leaves the exporter closed; what is in it goes on being sent.
    pub async fn shutdown(&self, deadline: Duration) -> Report<T> {
        let report = self.batch.handle().drain(deadline).await;
        Report { totals: report.totals, counters: self.counters(), unsent: report.unsent }
    }

    /// What became of every item so far; the counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.batch.handle().totals()
    }

    /// Requests, retries, and how often the circuit opened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counting.read()
    }

    /// A handle that reads and changes the exporter's queue and batches, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> BatchHandle<T> {
        self.batch.handle()
    }
}

impl<T: Send + 'static> Service<T> for Exporter<T> {
    type Response = Fate;
    type Error = Infallible;
    type Future = ResponseFuture<T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A batcher is ready or waits for room; it has no error of its own to give here.
        self.batch.poll_ready(cx).map(|_ready| Ok(()))
    }

    fn call(&mut self, item: T) -> Self::Future {
        ResponseFuture { inner: self.batch.call(item) }
    }
}

impl<T> Clone for Exporter<T> {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone(), counting: Arc::clone(&self.counting) }
    }
}

impl<T> fmt::Debug for Exporter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("batch", &self.batch).finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl<T: Send + 'static> Future for ResponseFuture<T> {
    type Output = Result<Fate, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.project().inner.poll(cx));
        Poll::Ready(Ok(answer.unwrap_or_else(|error| fate_of(&error))))
    }
}

impl<T> fmt::Debug for ResponseFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("inner", &self.inner).finish()
    }
}

/// An item that was refused at the door, or let go at the end.
fn fate_of(error: &BoxError) -> Fate {
    Fate::Dropped(Verdict::of(&**error).map_or(DropReason::Failed, Verdict::reason))
}
