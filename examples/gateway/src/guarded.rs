use super::{
    batch::{Batch, Job},
    ledgers::Entry,
    meters::Meters,
    sink::{SinkService, store},
    spool::BatchSpool,
};
use forebay::{
    core::{BoxError, DropReason, Fate, Settlement, Verdict, is_caused_by},
    queue::Panicked,
};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tower::Service;

/// The sink as the queue's workers see it: it says of each batch what became of it, and puts aside what it did not take.
#[derive(Clone, Debug)]
pub(super) struct Guarded {
    sink: SinkService,
    spool: Option<BatchSpool>,
    meters: Arc<Meters>,
    left: Left,
}

/// Where a batch is.
#[derive(Debug)]
pub(super) enum Stored {
    /// Where it belongs.
    InSink,
    /// In the spool.
    PutAside,
    /// Nowhere: the sink did not take it, and it could not be put aside.
    Lost {
        /// Under which reason it is counted.
        reason: DropReason,
        /// What the sink said.
        error: BoxError,
    },
}

/// Batches that were in the hands of the sink when the time to drain was over.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Arc<Mutex<Vec<Job>>>);

/// A batch in the hands of the sink.
struct InHands {
    job: Option<Job>,
    left: Left,
}

// === impl Guarded ===

impl Guarded {
    /// Guards `sink`.
    #[must_use]
    pub(super) fn new(sink: SinkService, spool: Option<BatchSpool>, meters: Arc<Meters>, left: Left) -> Self {
        Self { sink, spool, meters, left }
    }

    async fn handle(self, job: Job) -> Stored {
        let batch = job.batch.clone();
        let mut hands = InHands { job: Some(job), left: self.left };
        // CANCEL: the workers are let go when the time to drain is over; the batch is left then, and put aside.
        let stored = store(self.sink, batch).await;
        let Some(Job { batch, entry, .. }) = hands.job.take() else {
            // Only the drop of the hands takes it before.
            return Stored::Lost { reason: DropReason::Failed, error: "the batch was let go".into() };
        };
        match stored {
            Ok(()) => {
                entry.settle(Fate::Delivered);
                Stored::InSink
            }
            Err(error) => put_aside(self.spool.as_ref(), &self.meters, batch, entry, error).await,
        }
    }
}

/// What the sink did not take.
async fn put_aside(spool: Option<&BatchSpool>, meters: &Meters, batch: Batch, entry: Entry, error: BoxError) -> Stored {
    if is_caused_by::<Panicked>(&*error) {
        meters.panicked();
    }
    let reason = Verdict::of(&*error).map_or(DropReason::Failed, Verdict::reason);
    let Some(spool) = spool else {
        meters.dead_letter(batch.signal, "no_sink");
        entry.settle(Fate::Dropped(reason));
        return Stored::Lost { reason, error };
    };
    match spool.keep(batch, entry, Some(reason)).await {
        Ok(()) => Stored::PutAside,
        Err(_counted) => Stored::Lost { reason, error },
    }
}

impl Service<Job> for Guarded {
    type Response = Stored;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Stored, Infallible>>;

    /// Always ready: the sink is made ready with the batch in hand, so that the batch is put aside if it never is.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        self.clone().handle(job).map(Ok).boxed()
    }
}

/// The fate of a batch in the queue's own ledger.
pub(super) fn settle(result: &Result<Stored, BoxError>, _: usize) -> Settlement {
    Settlement::All(match result {
        Ok(Stored::InSink) => Fate::Delivered,
        Ok(Stored::PutAside) => Fate::Spooled,
        Ok(Stored::Lost { reason, .. }) => Fate::Dropped(*reason),
        // `Infallible`.
        Err(_) => Fate::Dropped(DropReason::Failed),
    })
}

// === impl Left ===

impl Left {
    /// What was left until now.
    #[must_use]
    pub(super) fn take(&self) -> Vec<Job> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for InHands {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.left.0.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        }
    }
}
