use crate::{Counters, ExportError, ExporterBuilder, ExporterHandle, Report, control::Control};
use forebay_batch::Batch;
use forebay_core::{BoxError, DropReason, Fate, Totals, Verdict, panic};
use forebay_intake::{Offer, Rejected};
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

/// Sends items in batches to one endpoint, or to one of several, and reports the fate of each.
///
/// It is cheap to clone; all clones are one exporter. When the last one is dropped, the items that are held are sent at once:
/// for as long as the runtime lives, and no longer than [`max_age`](ExporterBuilder::max_age). Call
/// [`shutdown`](Self::shutdown) to wait for them.
///
/// `emit` neither waits nor fails, on any thread, in a `Drop` or a panic hook. As a `Service` an exporter responds to each
/// item with its fate, and never with an error.
pub struct Exporter<T> {
    /// The door of the stack. The worker ends with the last clone of it.
    batch: Batch<T, Fate>,
    /// The kill switch, without a detour through the handle.
    control: Arc<Control>,
    handle: ExporterHandle<T>,
}

pin_project! {
    /// The fate of one item. Dropping it does not take the item back.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<T> {
        // `None` where the exporter is switched off.
        #[pin]
        inner: Option<forebay_batch::ResponseFuture<T, Fate>>,
    }
}

/// The future of [`Exporter::emit_or_wait`].
#[must_use = "futures do nothing unless polled"]
pub struct EmitOrWait<'a, T> {
    waiting: Waiting<'a, T>,
}

enum Waiting<'a, T> {
    /// The item waits for room.
    ForRoom(forebay_batch::EmitOrWait<'a, T, Fate>),
    /// The exporter is switched off; `None` once the item was returned.
    Off(Option<T>),
}

// === impl Exporter ===

impl<T> Exporter<T> {
    /// A builder with the defaults of [`ExporterBuilder`].
    pub fn builder() -> ExporterBuilder<T> {
        ExporterBuilder::new()
    }
}

impl<T: Send + Sync + 'static> Exporter<T> {
    pub(crate) fn new(batch: Batch<T, Fate>, control: Arc<Control>, handle: ExporterHandle<T>) -> Self {
        Self { batch, control, handle }
    }

    /// Hands an item over. It never waits; an item that finds no room is dropped, and counted.
    ///
    /// The item is passed as it is, or as an [`Offer`] with its weight or its lane, which then take precedence over the
    /// closures of the builder.
    ///
    /// ```
    /// # use forebay_export::{Exporter, Offer, Priority};
    /// # fn hand_over(exporter: &Exporter<String>, line: String, alert: String) {
    /// exporter.emit(line);
    /// exporter.emit(Offer::new(alert).priority(Priority::High));
    /// # }
    /// ```
    #[inline]
    pub fn emit(&self, offer: impl Into<Offer<T>>) {
        // The switch is read before the offer is made, so that a switched-off exporter costs one load.
        if !self.control.is_on() {
            return;
        }
        if let Err(refused) = self.batch.emit(offer) {
            self.refused(refused);
        }
    }

    /// Drops a refused item. The refusal is in the ledger; neither it nor a panic of the item's `Drop` may harm the host. The
    /// worker is woken, because it may have to report the loss.
    #[cold]
    #[inline(never)]
    fn refused(&self, refused: Rejected<T>) {
        self.handle.telemetry().bell.ring();
        panic::discard(refused);
    }

    /// Hands an item over, and waits while there is no room for it. A host that can wait, such as a shipper of files, loses
    /// nothing that way.
    ///
    /// # Errors
    ///
    /// Returns the item when it is too large, or the exporter is shut down, which is in the ledger; or when the exporter is
    /// switched off, which is not.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped while it waits drops its item, and nothing is offered.
    #[inline]
    pub fn emit_or_wait(&self, offer: impl Into<Offer<T>>) -> EmitOrWait<'_, T> {
        let waiting = match self.control.is_on() {
            true => Waiting::ForRoom(self.batch.emit_or_wait(offer)),
            false => Waiting::Off(Some(offer.into().item)),
        };
        EmitOrWait { waiting }
    }

    /// Sends what is held now, and waits until every item that was handed over before has a fate.
    ///
    /// While the server cannot be reached that may take as long as [`max_age`](ExporterBuilder::max_age).
    ///
    /// # Cancellation
    ///
    /// A dropped flush changes nothing; the items are sent all the same.
    pub async fn flush(&self) {
        self.handle.flush().await;
    }

    /// Admits no more items, sends what is held, and ends no later than 20 ms after `deadline`, whatever the network does.
    ///
    /// Several calls at the same time wait for the same end.
    ///
    /// # Cancellation
    ///
    /// A dropped shutdown leaves the exporter closed; its items are sent all the same.
    pub async fn shutdown(&self, deadline: Duration) -> Report<T> {
        // CANCEL: the drain has closed the exporter when this future is dropped; nothing reopens it.
        let report = self.handle.drain(deadline).await;
        // The worker may have ended before the last fates, so the metrics are updated once more.
        self.handle.refresh_metrics();
        Report {
            totals: report.totals,
            counters: self.counters(),
            unsent: report.unsent,
            last_error: self.last_error(),
        }
    }

    /// The fate of every item so far. The counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.handle.totals()
    }

    /// Requests, retries, and how often the circuit opened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// The last export that failed, if any has.
    #[must_use]
    pub fn last_error(&self) -> Option<ExportError> {
        self.handle.last_error()
    }

    /// A handle that reads and changes the exporter, and does not keep it open: limits, batching, endpoint, headers, circuit,
    /// and the kill switch.
    #[must_use]
    pub fn handle(&self) -> ExporterHandle<T> {
        self.handle.clone()
    }
}

impl<T: Send + 'static> Service<T> for Exporter<T> {
    type Response = Fate;
    type Error = Infallible;
    type Future = ResponseFuture<T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A switched-off exporter drops every item, and needs no room for it.
        if !self.control.is_on() {
            return Poll::Ready(Ok(()));
        }
        // A batcher is ready or waits for room; it has no error here.
        self.batch.poll_ready(cx).map(|_ready| Ok(()))
    }

    fn call(&mut self, item: T) -> Self::Future {
        ResponseFuture { inner: self.control.is_on().then(|| self.batch.call(item)) }
    }
}

impl<T> Clone for Exporter<T> {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone(), control: Arc::clone(&self.control), handle: self.handle.clone() }
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
        // CANCEL: a dropped future does not take its item back; the ledger has its fate.
        let Some(inner) = self.project().inner.as_pin_mut() else {
            return Poll::Ready(Ok(Fate::Dropped(DropReason::Disabled)));
        };
        let fate = ready!(inner.poll(cx));
        Poll::Ready(Ok(fate.unwrap_or_else(|error| fate_of(&error))))
    }
}

impl<T> fmt::Debug for ResponseFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("inner", &self.inner).finish()
    }
}

// === impl EmitOrWait ===

impl<T: Send + 'static> Future for EmitOrWait<'_, T> {
    type Output = Result<(), Rejected<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().waiting {
            Waiting::ForRoom(emit) => Pin::new(emit).poll(cx),
            Waiting::Off(item) => match item.take() {
                Some(item) => Poll::Ready(Err(Rejected::new(item, DropReason::Disabled))),
                None => Poll::Pending,
            },
        }
    }
}

// The item is never pinned.
impl<T> Unpin for EmitOrWait<'_, T> {}

impl<T> fmt::Debug for EmitOrWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitOrWait").finish_non_exhaustive()
    }
}

/// The fate of an item that was refused, or dropped by the shutdown.
fn fate_of(error: &BoxError) -> Fate {
    Fate::Dropped(Verdict::of(&**error).map_or(DropReason::Failed, Verdict::reason))
}
