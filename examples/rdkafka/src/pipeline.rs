//! The stack: a bounded batcher, a circuit, Kafka, and a spool on disk beside them.

use crate::{Attempts, Event, Kafka, overflow::Overflow, replay::replay};
use forebay::{
    batch::{Batch, BatchHandle, BatchLayer, Batching, Limits},
    breaker::{BreakerLayer, Trip},
    core::{BoxError, Fate, ItemFate, Settlement, Totals},
    retry::Backoff,
};
use forebay_spool::{DiskSpool, Durability, Overflow as Overfull, Spool, replay::ReplayPolicy};
use rdkafka::ClientConfig;
use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::ServiceBuilder;

/// The name under which the spool keeps what is for Kafka.
pub(crate) const DESTINATION: &str = "kafka";

/// Where events go, and within which bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// `bootstrap.servers` of librdkafka.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The directory of the spool.
    pub spool: PathBuf,
    /// How long librdkafka tries to deliver a record: its `message.timeout.ms`.
    pub delivery_timeout: Duration,
    /// Events in memory, at most.
    pub max_items: usize,
}

/// Takes events, and delivers them to Kafka, now or when it is back.
#[derive(Debug)]
pub struct Pipeline {
    batch: Batch<Event, Fate>,
    kafka: Kafka,
    spool: DiskSpool,
    replay: JoinHandle<()>,
}

/// What a pipeline leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// The fates of all events of this run.
    pub totals: Totals,
    /// What became of single records.
    pub attempts: Attempts,
    /// Records in the spool, which the next run sends.
    pub spooled: u64,
}

// === impl Pipeline ===

impl Pipeline {
    /// Opens the spool, and starts the batcher and the replay on the runtime of the caller.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, or with the directory of the spool.
    pub fn start(config: &Config) -> Result<Self, BoxError> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.brokers)
            .set("message.timeout.ms", config.delivery_timeout.as_millis().to_string())
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            // More than the batcher and the replay have in flight, so that this queue is never the one that refuses.
            .set("queue.buffering.max.messages", "200000");
        let kafka = Kafka::new(client, &config.topic)?;
        let spool = DiskSpool::builder(&config.spool)
            .destination(DESTINATION, format!("kafka topic {}", config.topic))
            .durability(Durability::DISK)
            .max_bytes(4 << 30)
            // A spool that drops its oldest records does so behind the back of the ledger.
            .overflow(Overfull::Refuse)
            .open()?;
        let overflow = Overflow { spool: spool.clone(), run: RandomState::new().hash_one(0) };

        // One batch in which nothing was delivered has waited for `message.timeout.ms` already.
        let breaker = BreakerLayer::builder().trip(Trip::consecutive(2)).open_for(Duration::from_secs(1)).build()?;
        let stack = ServiceBuilder::new().layer(breaker).service(kafka.clone());
        let layer = BatchLayer::builder()
            .limits(Limits::new().items(config.max_items).bytes(64 << 20))
            .batching(Batching::new().max_items(1_000).max_delay(Duration::from_millis(20)).max_in_flight(8))
            // Kept, so that a batch can be sent again, or spooled.
            .retain_items()
            .settle(settle)
            .park_backoff(Backoff::exponential(Duration::from_millis(200)).cap(Duration::from_secs(2)))
            // Beyond that an event waits on the disk, and no longer in memory.
            .max_age(config.delivery_timeout * 2)
            .spool(overflow.clone())
            .respond_fates()
            .build()?;
        let batch: Batch<Event, Fate> = tower::Layer::layer(&layer, stack.clone());
        // What is spooled shares the circuit with what is new.
        let policy = ReplayPolicy::default().max_records_per_second(50_000);
        let replay = tokio::spawn(replay(overflow, stack, batch.handle(), policy));
        Ok(Self { batch, kafka, spool, replay })
    }

    /// Takes an event, and waits for room while there is none: a disk that is slower than the program slows it down.
    ///
    /// # Errors
    ///
    /// The pipeline is closed, or the event alone is too large.
    pub async fn send(&self, event: Event) -> Result<(), BoxError> {
        self.batch.emit_or_wait(event).await?;
        Ok(())
    }

    /// Reads the ledger.
    #[must_use]
    pub fn handle(&self) -> BatchHandle<Event> {
        self.batch.handle()
    }

    /// What became of single records so far.
    #[must_use]
    pub fn attempts(&self) -> Attempts {
        self.kafka.attempts()
    }

    /// Ends: waits until everything is delivered, for `wait` at most, then leaves the rest in the spool.
    ///
    /// # Errors
    ///
    /// The spool could not be closed.
    pub async fn end(self, wait: Duration) -> Result<Rest, BoxError> {
        let (handle, begin) = (self.batch.handle(), Instant::now());
        while begin.elapsed() < wait {
            let totals = handle.totals();
            if totals.pending == 0 && totals.spooled == 0 && self.spool.stats().await?.records == 0 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        handle.spool_rest();
        let report = handle.drain(Duration::from_secs(30)).await;
        // CANCEL: what the replay has in flight is given back, and sent once more by the next run.
        self.replay.abort();
        let spooled = self.spool.stats().await?.records;
        self.spool.close().await?;
        Ok(Rest { totals: report.totals, attempts: self.kafka.attempts(), spooled })
    }
}

/// Each event has a fate of its own, unless nothing of the batch was delivered.
fn settle(result: &Result<Vec<ItemFate>, BoxError>, _: usize) -> Settlement {
    match result {
        Ok(fates) => Settlement::Each(fates.clone()),
        Err(error) => Settlement::of_error(error),
    }
}
