//! Reads a whole topic, and counts.

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
    message::Message,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// What a topic holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All records.
    pub records: u64,
    /// Different ids.
    pub distinct: u64,
    /// Ids from 0 to the number that was expected of which there is no record.
    pub missing: u64,
    /// Records whose id was there already.
    pub duplicates: u64,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Reads what the topic holds now; the ids from 0 to `expected` should be there. It blocks.
///
/// # Errors
///
/// What librdkafka says.
pub fn count(brokers: &str, topic: &str, expected: u64) -> KafkaResult<Counted> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "count").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
    let (mut all, mut ends) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        if low < high {
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
            ends.insert(partition, high);
        }
    }
    consumer.assign(&all)?;
    let (mut seen, mut until) = (HashMap::<u64, u64>::new(), Instant::now() + PATIENCE);
    while !ends.is_empty() && Instant::now() < until {
        // A broker that is away for a moment is no end: the client connects again by itself.
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        until = Instant::now() + PATIENCE;
        let end = ends.get(&record.partition()).copied().unwrap_or_default();
        if record.offset() < end
            && let Some(id) = record.key().and_then(|key| key.try_into().ok())
        {
            *seen.entry(u64::from_be_bytes(id)).or_default() += 1;
        }
        if record.offset() + 1 >= end {
            ends.remove(&record.partition());
        }
    }
    let (records, distinct) = (seen.values().sum(), seen.len() as u64);
    let missing = (0..expected).filter(|id| !seen.contains_key(id)).count() as u64;
    Ok(Counted { records, distinct, missing, duplicates: records - distinct })
}
