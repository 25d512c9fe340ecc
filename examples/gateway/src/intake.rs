use super::{
    batch::{Batch, BatchId, Facts, Job},
    books::Books,
    config::{Config, SoftRefusal},
    dead_letters::DeadLetters,
    guarded::Stored,
    inspect::Look,
    meters::Meters,
};
use bytes::Bytes;
use forebay::{
    core::{DropReason, Fate},
    otlp::Signal,
    queue::{Queue, QueueHandle, Rejected},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use tower::ServiceExt;

/// What both protocols hand their requests to.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) queue: Queue<Job, Stored>,
    pub(super) handle: QueueHandle<Job>,
    pub(super) books: Arc<Books>,
    pub(super) meters: Arc<Meters>,
    pub(super) letters: Option<DeadLetters>,
    pub(super) config: Config,
    pub(super) synchronous: AtomicBool,
    pub(super) draining: AtomicBool,
    pub(super) ids: Ids,
}

/// Gives each batch its id.
#[derive(Debug)]
pub(super) struct Ids {
    /// When the gateway was started.
    start: u64,
    next: AtomicU64,
}

/// What the sender is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// Taken.
    Accepted,
    /// Taken, with some or all of its records rejected for good.
    Partial {
        /// How many.
        rejected: u64,
        /// Why.
        why: String,
    },
    /// Not taken.
    Refused(Rejected<()>),
    /// The sink did not take it, and it could not be put aside: only when answers are synchronous.
    NotStored(String),
}

// === impl Intake ===

impl Intake {
    /// Takes a request in, or says why not. Waits for nothing but, when answers are synchronous, the sink.
    ///
    /// # Cancellation
    ///
    /// What was taken in stays in.
    pub(super) async fn take(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        body: Bytes,
        facts: Facts,
        received: u64,
    ) -> Answer {
        if facts.records == 0 {
            // Nothing is to be stored, so nothing needs a slot.
            return Answer::Accepted;
        }
        if self.unwritable().await.is_some() {
            // The sink has failed too: what is taken now may be lost, and its sender still has it.
            return Answer::Refused(Rejected::new((), DropReason::Disabled));
        }
        let batch = Batch { id: self.ids.next(), signal, tenant, body, facts, received };
        let entry = self.books.open(signal, facts.records);
        let job = Job { share: batch.share_key(), batch, entry };
        if self.synchronous.load(Relaxed) {
            return match self.queue.clone().oneshot(job).await {
                Ok(Stored::InSink | Stored::PutAside) => Answer::Accepted,
                Ok(Stored::Lost { error, .. }) => Answer::NotStored(error.to_string()),
                Err(error) => match error.downcast::<Rejected<Job>>() {
                    Ok(rejected) => self.refused(*rejected),
                    Err(error) => Answer::NotStored(error.to_string()),
                },
            };
        }
        match self.queue.emit(job) {
            Ok(()) => Answer::Accepted,
            Err(rejected) => self.refused(rejected),
        }
    }

    fn refused(&self, rejected: Rejected<Job>) -> Answer {
        let reason = rejected.reason;
        let Job { batch, entry, .. } = rejected.into_item();
        entry.settle(Fate::Dropped(reason));
        let refused = Rejected::new((), reason);
        match (reason, self.config.soft_refusal) {
            (DropReason::SoftLimit | DropReason::FairShare, SoftRefusal::Success) => Answer::Accepted,
            (DropReason::SoftLimit | DropReason::FairShare, SoftRefusal::Partial) => {
                Answer::Partial { rejected: batch.facts.records, why: refused.to_string() }
            }
            _ => Answer::Refused(refused),
        }
    }

    /// How requests are looked into.
    pub(super) fn look(&self) -> Look {
        let Config { slow, max_decoded, .. } = self.config;
        Look { slow, max_decoded }
    }

    /// How near the gateway is to taking nothing more: the larger of the shares of queue and dead-letter folder.
    #[must_use]
    pub(super) fn fullness(&self) -> f64 {
        let letters = self.letters.as_ref().map_or(0.0, |letters| letters.level().fullness);
        self.handle.fullness().max(letters)
    }

    /// Why dead letters cannot be written now, if there is a folder and they cannot.
    pub(super) async fn unwritable(&self) -> Option<String> {
        match &self.letters {
            Some(letters) => letters.broken().await,
            None => None,
        }
    }

    /// Whether senders should be led here.
    #[must_use]
    pub(super) fn is_ready(&self) -> bool {
        /// As the pipeline this replaces has it.
        const NEARLY_FULL: f64 = 0.95;
        let writable = !self.letters.as_ref().is_some_and(DeadLetters::is_broken);
        writable && !self.draining.load(Relaxed) && self.fullness() < NEARLY_FULL
    }
}

// === impl Answer ===

impl Answer {
    /// The same, with `refused` more records rejected that could not be read.
    pub(super) fn without(self, refused: u64, why: &str) -> Self {
        match self {
            Self::Accepted if refused > 0 => {
                Self::Partial { rejected: refused, why: format!("{refused} records could not be read: {why}") }
            }
            Self::Partial { rejected, why: other } if refused > 0 => {
                let why = format!("{other}; {refused} records could not be read: {why}");
                Self::Partial { rejected: rejected.saturating_add(refused), why }
            }
            // A request that is refused as a whole comes again as a whole.
            other => other,
        }
    }
}

// === impl Ids ===

impl Ids {
    /// Ids of a gateway that was started `start` nanoseconds after 1970.
    #[must_use]
    pub(super) fn new(start: u64) -> Self {
        Self { start, next: AtomicU64::new(0) }
    }

    fn next(&self) -> BatchId {
        BatchId(u128::from(self.start) << 64 | u128::from(self.next.fetch_add(1, Relaxed)))
    }
}
