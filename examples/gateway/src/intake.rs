use super::{
    batch::{Batch, BatchId, Facts, Job},
    config::{Config, SoftRefusal},
    guarded::Stored,
    inspect::Look,
    ledgers::{Entry, Ledgers},
    meters::Meters,
    sink::Numbers,
    spool::{BatchSpool, NotKept},
};
use bytes::Bytes;
use forebay::{
    core::{DropReason, Fate, Priority},
    otlp::Signal,
    queue::{Queue, QueueHandle, Rejected},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use tower::ServiceExt;

/// What both protocols hand their requests to.
pub(super) struct Intake {
    pub(super) queue: Queue<Job, Stored>,
    pub(super) handle: QueueHandle<Job>,
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) meters: Arc<Meters>,
    pub(super) spool: Option<BatchSpool>,
    pub(super) config: Config,
    pub(super) synchronous: AtomicBool,
    pub(super) draining: AtomicBool,
    pub(super) ids: Ids,
    /// What the sink says about itself.
    pub(super) sink_numbers: Numbers,
}

/// Gives each batch its id.
#[derive(Debug)]
pub(super) struct Ids {
    /// When the gateway was started.
    start: u64,
    next: AtomicU64,
}

/// What becomes of a request, as its sender learns it.
#[derive(Debug)]
pub(super) enum Admission {
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
    /// It is nowhere: the sink did not take it, or the spool is broken.
    NotStored(String),
}

// === impl Intake ===

impl Intake {
    /// Takes a request in, or says why not. Waits for nothing but the sink, when responses are synchronous, or the spool, when the
    /// intake is durable.
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
    ) -> Admission {
        if facts.records == 0 {
            // Nothing is to be stored, so nothing needs a slot.
            return Admission::Accepted;
        }
        if self.unwritable().await.is_some() {
            // The sink has failed too: what is taken now may be lost, and its sender still has it.
            return Admission::Refused(Rejected::new((), DropReason::Disabled));
        }
        let batch = Batch { id: self.ids.next(), signal, tenant, body, facts, received };
        let entry = self.ledgers.open(signal, facts.records);
        let is_synchronous = self.synchronous.load(Relaxed);
        if let (Some(spool), Some(_), false) = (&self.spool, self.config.durability, is_synchronous) {
            return self.take_durably(spool, batch, entry).await;
        }
        let job = Job { share: batch.share_key(), batch, entry };
        if is_synchronous {
            return match self.queue.clone().oneshot(job).await {
                Ok(Stored::InSink | Stored::PutAside) => Admission::Accepted,
                Ok(Stored::Lost { error, .. }) => Admission::NotStored(error.to_string()),
                Err(error) => match error.downcast::<Rejected<Job>>() {
                    Ok(rejected) => self.refused(*rejected),
                    Err(error) => Admission::NotStored(error.to_string()),
                },
            };
        }
        match self.queue.emit(job) {
            Ok(()) => Admission::Accepted,
            Err(rejected) => self.refused(rejected),
        }
    }

    /// Puts a batch into the spool, from where it is stored. The spool bounds what is taken in, in place of the queue.
    async fn take_durably(&self, spool: &BatchSpool, batch: Batch, entry: Entry) -> Admission {
        /// Above this share only errors and slow spans enter, as with the queue's soft limit.
        const URGENT_ONLY: f64 = 0.9;
        let records = batch.facts.records;
        let is_full = || batch.priority() == Priority::Normal && spool.level().fullness >= URGENT_ONLY;
        if is_full() {
            // It may have been looked at some time ago.
            spool.refresh().await;
            if is_full() {
                entry.settle(Fate::Dropped(DropReason::SoftLimit));
                return self.refuse(DropReason::SoftLimit, records);
            }
        }
        match spool.keep(batch, entry, None).await {
            Ok(()) => Admission::Accepted,
            Err(error) => match NotKept::refusal(&error) {
                Some(reason) => self.refuse(reason, records),
                None => Admission::NotStored(error.to_string()),
            },
        }
    }

    fn refused(&self, rejected: Rejected<Job>) -> Admission {
        let reason = rejected.reason;
        let Job { batch, entry, .. } = rejected.into_item();
        entry.settle(Fate::Dropped(reason));
        self.refuse(reason, batch.facts.records)
    }

    /// What a sender learns whose batch of so many records was dropped for `reason`.
    fn refuse(&self, reason: DropReason, records: u64) -> Admission {
        let refused = Rejected::new((), reason);
        match (reason, self.config.soft_refusal) {
            (DropReason::SoftLimit | DropReason::FairShare, SoftRefusal::Success) => Admission::Accepted,
            (DropReason::SoftLimit | DropReason::FairShare, SoftRefusal::Partial) => {
                Admission::Partial { rejected: records, why: refused.to_string() }
            }
            _ => Admission::Refused(refused),
        }
    }

    /// How requests are looked into.
    pub(super) fn look(&self) -> Look {
        let Config { slow, max_decoded, .. } = self.config;
        Look { slow, max_decoded }
    }

    /// How near the gateway is to taking nothing more: the larger of the shares of queue and spool.
    #[must_use]
    pub(super) fn fullness(&self) -> f64 {
        let spool = self.spool.as_ref().map_or(0.0, |spool| spool.level().fullness);
        self.handle.fullness().max(spool)
    }

    /// Why the spool cannot be written to now, if there is one and it cannot.
    pub(super) async fn unwritable(&self) -> Option<String> {
        match &self.spool {
            Some(spool) => spool.broken().await,
            None => None,
        }
    }

    /// Whether senders should be led here.
    #[must_use]
    pub(super) fn is_ready(&self) -> bool {
        /// As the pipeline this replaces has it.
        const NEARLY_FULL: f64 = 0.95;
        let writable = !self.spool.as_ref().is_some_and(BatchSpool::is_broken);
        writable && !self.draining.load(Relaxed) && self.fullness() < NEARLY_FULL
    }
}

// === impl Admission ===

impl Admission {
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
