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

/// Sends items in batches to one endpoint, and can say of each what became of it.
///
/// Cheap to clone; all clones are one exporter. When the last one is dropped, what is left is sent at once: for as long as
/// the runtime lives, and no longer than [`give_up_after`](ExporterBuilder::give_up_after). Call
/// [`shutdown`](Self::shutdown) to wait for it.
///
/// `emit` neither waits nor fails, on any thread, in a `Drop` or a panic hook. As a `Service` an exporter answers each item
/// with its fate, and never with an error.
pub struct Exporter<T> {
    batch: Batch<T, Fate>,
    control: Arc<Control>,
    handle: ExporterHandle<T>,
}

pin_project! {
    /// The fate of one item. Dropping it does not take the item back.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<T> {
        // `None`: the exporter is switched off.
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
    InLine(forebay_batch::EmitOrWait<'a, T, Fate>),
    /// The exporter is switched off; `None` once the item was handed back.
    Off(Option<T>),
}

// === impl Exporter ===

impl<T> Exporter<T> {
    /// Starts with the defaults of [`ExporterBuilder`].
    pub fn builder() -> ExporterBuilder<T> {
        ExporterBuilder::new()
    }
}

impl<T: Send + Sync + 'static> Exporter<T> {
    pub(crate) fn new(batch: Batch<T, Fate>, control: Arc<Control>, handle: ExporterHandle<T>) -> Self {
        Self { batch, control, handle }
    }

    /// Hands an item over. It never waits; an item for which there is no room is dropped, and counted.
    ///
    /// An item goes as it is, or as an [`Offer`] that says its weight or its lane: what an offer says is not asked again.
    ///
    /// ```
    /// # use forebay_core::Priority;
    /// # use forebay_export::{Exporter, Offer};
    /// # fn hand_over(exporter: &Exporter<String>, line: String, alert: String) {
    /// exporter.emit(line);
    /// exporter.emit(Offer::new(alert).priority(Priority::High));
    /// # }
    /// ```
    #[inline]
    pub fn emit(&self, offer: impl Into<Offer<T>>) {
        if !self.control.is_on() {
            return;
        }
        if let Err(refused) = self.batch.emit(offer) {
            self.refused(refused);
        }
    }

    /// The refusal is in the ledger; telemetry that does not fit must not become the host's problem, and a panic of the item's
    /// own `Drop` as little. The worker is told, which may have to say that something was lost.
    #[cold]
    #[inline(never)]
    fn refused(&self, refused: Rejected<T>) {
        self.handle.journal().bell.ring();
        panic::discard(refused);
    }

    /// Hands an item over, and waits in line while there is no room for it: for a host that can wait, such as a shipper
    /// of files.
    ///
    /// # Errors
    ///
    /// Hands the item back when it is too large, or the exporter is shut down, which is in the ledger; or when it is switched
    /// off, which is not.
    ///
    /// # Cancellation
    ///
    /// Dropped while it waits, the item goes with it, and nothing was offered.
    #[inline]
    pub fn emit_or_wait(&self, offer: impl Into<Offer<T>>) -> EmitOrWait<'_, T> {
        let waiting = match self.control.is_on() {
            true => Waiting::InLine(self.batch.emit_or_wait(offer)),
            false => Waiting::Off(Some(offer.into().item)),
        };
        EmitOrWait { waiting }
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
        self.handle.refresh_metrics();
        Report {
            totals: report.totals,
            counters: self.counters(),
            unsent: report.unsent,
            last_error: self.last_error(),
        }
    }

    /// What became of every item so far; the counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.batch.handle().totals()
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

    /// A handle that reads and changes the exporter, and does not keep it open: limits, batches, endpoint, headers, circuit,
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
        if !self.control.is_on() {
            return Poll::Ready(Ok(()));
        }
        // A batcher is ready or waits for room; it has no error of its own to give here.
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
        let Some(inner) = self.project().inner.as_pin_mut() else {
            return Poll::Ready(Ok(Fate::Dropped(DropReason::Disabled)));
        };
        let answer = ready!(inner.poll(cx));
        Poll::Ready(Ok(answer.unwrap_or_else(|error| fate_of(&error))))
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
            Waiting::InLine(emit) => Pin::new(emit).poll(cx),
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

/// An item that was refused at the door, or let go at the end.
fn fate_of(error: &BoxError) -> Fate {
    Fate::Dropped(Verdict::of(&**error).map_or(DropReason::Failed, Verdict::reason))
}
