//! The seam between an exporter and a durable spool: what an exporter asks of one, and what it gives to one.

use crate::{ExporterHandle, Skipped, encoding::with_skipped, replay::Replay};
use forebay_batch::{Items, SpoolFuture, SpoolItems};
use forebay_core::{BoxError, DropReason, Fate, Priority, Settlement};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};
use tower_service::Service;

/// Keeps items durably, and sends them again: what an exporter asks of a spool.
///
/// `forebay-spool` implements it (feature `export`). The exporter knows neither files nor records, so that it does not share
/// the spool's needs, such as its newer Rust.
pub trait ExportSpool<T>: Send + Sync + 'static {
    /// Keeps `items`, all of them or none, except those that cannot be put into a record. When the future resolves, they are
    /// as durable as the spool promises.
    ///
    /// # Errors
    ///
    /// Nothing was kept, or it is not known whether.
    ///
    /// # Cancellation
    ///
    /// A dropped future says nothing: the items may be kept or not.
    fn append(&self, items: Items<T>, priority: Priority) -> SpoolTask<Result<Skipped, BoxError>>;

    /// Sends what is kept through `replayer`, for as long as the future is polled. The exporter polls it on its own task, and
    /// drops it at its end.
    ///
    /// # Cancellation
    ///
    /// What was in flight is kept, and sent once more by the next process.
    fn replay(self: Arc<Self>, replayer: Replayer<T>) -> SpoolTask<()>;
}

/// A future of an [`ExportSpool`].
pub type SpoolTask<Output> = Pin<Box<dyn Future<Output = Output> + Send>>;

/// Sends items out of a spool through the encoder, the circuit and the retries of an exporter, and counts what becomes of them.
///
/// A clone sends through the same circuit.
pub struct Replayer<T> {
    send: Box<dyn SendAgain<T>>,
    handle: ExporterHandle<T>,
}

/// What became of the items of one [`Replayer::send`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// One for each item, in their order.
    pub fates: Vec<ReplayFate>,
    /// Whether the server was not there, or asked for a pause, so that the rest was not sent.
    pub is_away: bool,
    /// How long the server asked to wait, as far as such a hint counts.
    pub after: Option<std::time::Duration>,
}

/// What became of one item out of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFate {
    /// The server has it.
    Delivered,
    /// It was not tried, or the server was not there: nothing is counted against the item.
    GivenBack,
    /// The server was there and did not take the request that it was in, and nothing more could be spent to find out why.
    Failed,
    /// The server refused it, or it cannot be encoded.
    Refused(DropReason),
}

/// Where an item comes from that a spool has kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This exporter has spooled it, and its ledger counts it as spooled.
    Own,
    /// An earlier process, or another part of this one, has: it was never offered to this exporter.
    Recovered,
}

/// One call of a [`Replayer`], whose stack has no name outside of the exporter.
trait SendAgain<T>: Send {
    fn send(&self, items: Vec<T>) -> SpoolTask<Replayed>;
    fn boxed_clone(&self) -> Box<dyn SendAgain<T>>;
}

/// Puts the batches of an exporter into its spool where they could not be delivered.
pub(crate) struct Overflowing<T> {
    pub(crate) spool: Arc<dyn ExportSpool<T>>,
}

/// Puts each batch into the spool before it is sent: the inner service of a batcher that writes ahead.
pub(crate) struct WriteAhead<T> {
    pub(crate) spool: Arc<dyn ExportSpool<T>>,
}

// === impl Replayer ===

impl<T: Send + Sync + 'static> Replayer<T> {
    pub(crate) fn new<S>(send: Replay<S>, handle: ExporterHandle<T>) -> Self
    where
        S: Service<Items<T>, Response = Settlement, Error = BoxError> + Clone + Send + 'static,
        S::Future: Send,
    {
        Self { send: Box::new(send), handle }
    }

    /// Sends `items`, in parts where the server refuses them for what is in them.
    ///
    /// # Cancellation
    ///
    /// A dropped future says nothing about what was in flight; the server may have it.
    #[must_use]
    pub fn send(&self, items: Vec<T>) -> SpoolTask<Replayed> {
        self.send.send(items)
    }

    /// Whether fresh items wait for the same server, more than go into one batch: they are sent first.
    #[must_use]
    pub fn live_waits(&self) -> bool {
        self.handle.batch().is_behind()
    }
}

impl<T> Replayer<T> {
    /// Whether the exporter is switched on; nothing is sent while it is not.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.handle.is_on()
    }

    /// The spool holds `items` that were not offered to this exporter: an earlier process has spooled them.
    pub fn recovered(&self, items: u64) {
        self.handle.counting().recovered.fetch_add(items, Relaxed);
        self.changed();
    }

    /// The server has `items` out of the spool.
    pub fn delivered(&self, items: u64, origin: Origin) {
        self.handle.counting().replayed.fetch_add(items, Relaxed);
        self.settle(items, origin, Fate::Delivered);
    }

    /// The server does not take `items` out of the spool, which are dead letters now.
    pub fn quarantined(&self, items: u64, origin: Origin) {
        self.handle.counting().quarantined.fetch_add(items, Relaxed);
        self.settle(items, origin, Fate::Dropped(DropReason::Rejected));
    }

    /// The spool holds `items` less: it had no room for them, they were too old, or were damaged.
    pub fn evicted(&self, items: u64, origin: Origin) {
        self.handle.counting().evicted.fetch_add(items, Relaxed);
        self.settle(items, origin, Fate::Dropped(DropReason::Evicted));
    }

    /// Items that this exporter has spooled, and that are spooled still.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        self.handle.totals().spooled
    }

    fn settle(&self, items: u64, origin: Origin, fate: Fate) {
        if origin == Origin::Own {
            // Requeued dead letters have their fate in the ledger already, so that fewer may be moved.
            let _moved = self.handle.batch().settle_spooled(fate, items);
        }
        self.changed();
    }

    fn changed(&self) {
        self.handle.telemetry().meters.have_changed();
    }
}

impl<T> Clone for Replayer<T> {
    fn clone(&self) -> Self {
        Self { send: self.send.boxed_clone(), handle: self.handle.clone() }
    }
}

impl<T> fmt::Debug for Replayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer").field("exporter", &self.handle.name()).finish_non_exhaustive()
    }
}

impl<T, S> SendAgain<T> for Replay<S>
where
    T: Send + Sync + 'static,
    S: Service<Items<T>, Response = Settlement, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    fn send(&self, items: Vec<T>) -> SpoolTask<Replayed> {
        Box::pin(self.clone().run(items))
    }

    fn boxed_clone(&self) -> Box<dyn SendAgain<T>> {
        Box::new(self.clone())
    }
}

// === impl Overflowing ===

impl<T: Send + Sync + 'static> SpoolItems<T> for Overflowing<T> {
    fn spool(&self, items: Items<T>, priority: Priority) -> SpoolFuture {
        let count = items.len();
        let append = self.spool.append(items, priority);
        Box::pin(async move {
            match append.await {
                Ok(skipped) => spooled(count, &skipped),
                // The batch is dropped, for the reason for which it was to be spooled.
                Err(_not_kept) => Settlement::Retry { after: None, otherwise: DropReason::Failed },
            }
        })
    }
}

// === impl WriteAhead ===

impl<T: Send + Sync + 'static> Service<Items<T>> for WriteAhead<T> {
    type Response = Settlement;
    type Error = BoxError;
    type Future = SpoolTask<Result<Settlement, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, items: Items<T>) -> Self::Future {
        let (count, priority) = (items.len(), items.priority());
        let append = self.spool.append(items, priority);
        // What is not kept waits beside the queue for another attempt, as after a failed export.
        Box::pin(async move { append.await.map(|skipped| spooled(count, &skipped)) })
    }
}

/// The settlement of `count` items that were spooled, but for those that were left out.
fn spooled(count: usize, skipped: &Skipped) -> Settlement {
    with_skipped(Settlement::All(Fate::Spooled), count.saturating_sub(skipped.0.len()), skipped)
}
