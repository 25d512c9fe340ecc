//! Names as the Java client spells them, so that one dashboard serves all clients.

/// The standard metrics of KIP-714, by the names that brokers see.
///
/// ```
/// use forebay_kip714::names;
///
/// let name = names::metric("producer-metrics", "connection-creation-rate");
/// assert_eq!(name, names::producer::CONNECTION_CREATION_RATE);
/// assert_eq!(names::tag("client-id"), "client_id");
/// ```
pub mod producer {
    /// Connections opened per second.
    pub const CONNECTION_CREATION_RATE: &str = "org.apache.kafka.producer.connection.creation.rate";
    /// Connections opened so far.
    pub const CONNECTION_CREATION_TOTAL: &str = "org.apache.kafka.producer.connection.creation.total";
    /// Mean time of a request to one broker, in milliseconds; label `node_id`.
    pub const NODE_REQUEST_LATENCY_AVG: &str = "org.apache.kafka.producer.node.request.latency.avg";
    /// Longest time of a request to one broker, in milliseconds; label `node_id`.
    pub const NODE_REQUEST_LATENCY_MAX: &str = "org.apache.kafka.producer.node.request.latency.max";
    /// Mean time for which brokers throttled a request, in milliseconds.
    pub const PRODUCE_THROTTLE_TIME_AVG: &str = "org.apache.kafka.producer.produce.throttle.time.avg";
    /// Longest time for which brokers throttled a request, in milliseconds.
    pub const PRODUCE_THROTTLE_TIME_MAX: &str = "org.apache.kafka.producer.produce.throttle.time.max";
    /// Mean time of a batch in the send buffer, in milliseconds.
    pub const RECORD_QUEUE_TIME_AVG: &str = "org.apache.kafka.producer.record.queue.time.avg";
    /// Longest time of a batch in the send buffer, in milliseconds.
    pub const RECORD_QUEUE_TIME_MAX: &str = "org.apache.kafka.producer.record.queue.time.max";

    /// All of them.
    pub const ALL: [&str; 8] = [
        CONNECTION_CREATION_RATE,
        CONNECTION_CREATION_TOTAL,
        NODE_REQUEST_LATENCY_AVG,
        NODE_REQUEST_LATENCY_MAX,
        PRODUCE_THROTTLE_TIME_AVG,
        PRODUCE_THROTTLE_TIME_MAX,
        RECORD_QUEUE_TIME_AVG,
        RECORD_QUEUE_TIME_MAX,
    ];
}

/// The standard metrics of a consumer.
pub mod consumer {
    /// Connections opened per second.
    pub const CONNECTION_CREATION_RATE: &str = "org.apache.kafka.consumer.connection.creation.rate";
    /// Connections opened so far.
    pub const CONNECTION_CREATION_TOTAL: &str = "org.apache.kafka.consumer.connection.creation.total";
    /// Mean time of a request to one broker, in milliseconds; label `node_id`.
    pub const NODE_REQUEST_LATENCY_AVG: &str = "org.apache.kafka.consumer.node.request.latency.avg";
    /// Longest time of a request to one broker, in milliseconds; label `node_id`.
    pub const NODE_REQUEST_LATENCY_MAX: &str = "org.apache.kafka.consumer.node.request.latency.max";
    /// Mean share of the time that polls spend idle.
    pub const POLL_IDLE_RATIO_AVG: &str = "org.apache.kafka.consumer.poll.idle.ratio.avg";
    /// Mean time of a commit, in milliseconds.
    pub const COMMIT_LATENCY_AVG: &str = "org.apache.kafka.consumer.coordinator.commit.latency.avg";
    /// Longest time of a commit, in milliseconds.
    pub const COMMIT_LATENCY_MAX: &str = "org.apache.kafka.consumer.coordinator.commit.latency.max";
    /// Partitions assigned to this consumer.
    pub const ASSIGNED_PARTITIONS: &str = "org.apache.kafka.consumer.coordinator.assigned.partitions";
    /// Mean time of a rebalance, in milliseconds.
    pub const REBALANCE_LATENCY_AVG: &str = "org.apache.kafka.consumer.coordinator.rebalance.latency.avg";
    /// Longest time of a rebalance, in milliseconds.
    pub const REBALANCE_LATENCY_MAX: &str = "org.apache.kafka.consumer.coordinator.rebalance.latency.max";
    /// Time spent in rebalances so far, in milliseconds.
    pub const REBALANCE_LATENCY_TOTAL: &str = "org.apache.kafka.consumer.coordinator.rebalance.latency.total";
    /// Mean time of a fetch, in milliseconds.
    pub const FETCH_LATENCY_AVG: &str = "org.apache.kafka.consumer.fetch.manager.fetch.latency.avg";
    /// Longest time of a fetch, in milliseconds.
    pub const FETCH_LATENCY_MAX: &str = "org.apache.kafka.consumer.fetch.manager.fetch.latency.max";

    /// All of them.
    pub const ALL: [&str; 13] = [
        CONNECTION_CREATION_RATE,
        CONNECTION_CREATION_TOTAL,
        NODE_REQUEST_LATENCY_AVG,
        NODE_REQUEST_LATENCY_MAX,
        POLL_IDLE_RATIO_AVG,
        COMMIT_LATENCY_AVG,
        COMMIT_LATENCY_MAX,
        ASSIGNED_PARTITIONS,
        REBALANCE_LATENCY_AVG,
        REBALANCE_LATENCY_MAX,
        REBALANCE_LATENCY_TOTAL,
        FETCH_LATENCY_AVG,
        FETCH_LATENCY_MAX,
    ];
}

const PREFIX: &str = "org.apache.kafka.";

/// The name of a metric from its group and its own name in Kafka's way: lower case, dots for dashes, `-metrics` left out
/// of the group.
#[must_use]
pub fn metric(group: &str, name: &str) -> String {
    let group = group.to_lowercase().replace('-', ".").replace(".metrics", "");
    let name = name.to_lowercase().replace('-', ".");
    format!("{PREFIX}{group}.{name}")
}

/// The name of a label from a tag in Kafka's way: lower case, underscores for dashes and dots.
#[must_use]
pub fn tag(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// Whether a name is one of the standard metrics.
#[must_use]
pub fn is_standard(name: &str) -> bool {
    name.starts_with(PREFIX) && (producer::ALL.contains(&name) || consumer::ALL.contains(&name))
}
