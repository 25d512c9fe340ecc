//! Batches of events as records of a topic: the inner service of the layers.

use crate::{Event, verdict};
use forebay::{
    batch::Items,
    core::{Advice, BoxError, Fate, ItemFate, Seen, Verdict},
};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, KafkaResult},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer},
};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tower::Service;

/// Produces each batch to one topic, and responds with the fate of each event once librdkafka has reported all of them.
///
/// A batch of which nothing was delivered is an error, whose [`Verdict`] is that of its most ambiguous record. So a breaker and
/// a batcher above see that Kafka is away. Clones share the producer.
#[derive(Clone)]
pub struct Kafka {
    shared: Arc<Shared>,
}

/// What became of the records that were handed to librdkafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Records that the broker has acknowledged.
    pub delivered: u64,
    /// Records that were not stored.
    pub unsent: u64,
    /// Records that failed in a way that does not say whether they were stored. Each may arrive once more than it should.
    pub ambiguous: u64,
}

struct Shared {
    config: ClientConfig,
    topic: String,
    /// Replaced after a fatal error, which a producer with idempotence does not recover from.
    producer: Mutex<FutureProducer>,
    delivered: AtomicU64,
    unsent: AtomicU64,
    ambiguous: AtomicU64,
}

/// A record that librdkafka has taken, or has refused to queue.
type Queued = Result<DeliveryFuture, KafkaError>;

// === impl Kafka ===

impl Kafka {
    /// A producer with `acks=all` and idempotence, and all else as `config` says.
    ///
    /// # Errors
    ///
    /// What librdkafka says of the configuration.
    pub fn new(mut config: ClientConfig, topic: impl Into<String>) -> KafkaResult<Self> {
        config.set("acks", "all").set("enable.idempotence", "true");
        let producer = Mutex::new(config.create()?);
        let (delivered, unsent, ambiguous) = Default::default();
        let shared = Shared { config, topic: topic.into(), producer, delivered, unsent, ambiguous };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What became of the records so far, those that were sent again included.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        let Shared { delivered, unsent, ambiguous, .. } = &*self.shared;
        Attempts {
            delivered: delivered.load(Relaxed),
            unsent: unsent.load(Relaxed),
            ambiguous: ambiguous.load(Relaxed),
        }
    }
}

impl Service<Items<Event>> for Kafka {
    type Response = Vec<ItemFate>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Vec<ItemFate>, BoxError>> + Send>>;

    // The queue of librdkafka is larger than what the layers above have in flight.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    // CANCEL: librdkafka goes on with what it has taken, so that sending it again may double it.
    fn call(&mut self, events: Items<Event>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let queued = shared.producer().map(|producer| shared.queue(&producer, &events));
        Box::pin(async move {
            let mut reports = Vec::with_capacity(events.len());
            for queued in queued.map_err(|error| verdict(&error))? {
                let report = match queued {
                    // The channel of a report closes only with its producer.
                    Ok(report) => match report.await {
                        Ok(report) => report.map(drop).map_err(|(error, _)| error),
                        Err(_closed) => Err(KafkaError::Canceled),
                    },
                    Err(error) => Err(error),
                };
                reports.push(report.map_err(|error| verdict(&error)));
            }
            shared.settle(&reports)
        })
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("topic", &self.shared.topic)
            .field("attempts", &self.attempts())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// The producer, or another one where a fatal error has ended it.
    fn producer(&self) -> KafkaResult<FutureProducer> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if producer.client().fatal_error().is_some() {
            *producer = self.config.create()?;
        }
        Ok(producer.clone())
    }

    /// Hands all events to librdkafka, in their order.
    fn queue(&self, producer: &FutureProducer, events: &[Event]) -> Vec<Queued> {
        let send = |event: &Event| {
            let key = event.id.to_be_bytes();
            let record = FutureRecord::to(&self.topic).key(&key).payload(&event.value[..]);
            producer.send_result(record).map_err(|(error, _)| error)
        };
        events.iter().map(send).collect()
    }

    fn settle(&self, reports: &[Result<(), Verdict>]) -> Result<Vec<ItemFate>, BoxError> {
        for report in reports {
            let count = match report {
                Ok(()) => &self.delivered,
                Err(verdict) if verdict.seen() == Seen::Maybe => &self.ambiguous,
                Err(_) => &self.unsent,
            };
            count.fetch_add(1, Relaxed);
        }
        let failures = || reports.iter().filter_map(|report| report.as_ref().err());
        let is_away =
            failures().count() == reports.len() && failures().all(|verdict| verdict.advice() == Advice::Retry);
        if is_away && let Some(worst) = failures().max_by_key(|verdict| verdict.seen() == Seen::Maybe) {
            return Err(worst.clone().into());
        }
        let fate = |report: &Result<(), Verdict>| match report {
            Ok(()) => ItemFate::Final(Fate::Delivered),
            Err(verdict) if verdict.advice() == Advice::Never => ItemFate::Final(Fate::Dropped(verdict.reason())),
            Err(verdict) => ItemFate::Retry(verdict.reason()),
        };
        Ok(reports.iter().map(fate).collect())
    }
}
