use crate::{builder::Settings, connection::Connection, destination::Destination};
use async_nats::jetstream::{
    self, ErrorCode,
    context::{GetStreamError, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};
use forebay_core::{BoxError, ConfigError, Priority};
use forebay_spool::SpoolError;
use std::time::Duration;

/// The streams of a spool, and its destinations.
#[derive(Debug)]
pub(crate) struct Streams {
    /// What is pending: kept until every destination that it is for has acknowledged it.
    pub(crate) pending: Stream,
    /// Dead letters: kept until they are requeued.
    pub(crate) dead: Stream,
    pub(crate) destinations: Vec<Destination>,
}

// === impl Streams ===

impl Streams {
    pub(crate) async fn open(connection: &Connection, settings: &Settings) -> Result<Self, BoxError> {
        let name = &settings.stream;
        let lanes = [Priority::High, Priority::Normal];
        let pending = Config {
            name: name.clone(),
            subjects: lanes.map(|lane| format!("{}.>", lane_of(name, lane))).into(),
            retention: RetentionPolicy::Interest,
            // Duplicates of an append whose acknowledgement was lost come within its own few attempts.
            duplicate_window: Duration::from_secs(120).max(settings.timeout.saturating_mul(4)),
            allow_atomic_publish: true,
            ..common(settings)
        };
        let dead = Config {
            name: format!("{name}-dead"),
            subjects: vec![format!("{name}.dead.*")],
            retention: RetentionPolicy::Limits,
            ..common(settings)
        };
        let pending = made_or_checked(&connection.jetstream, pending).await?;
        let dead = made_or_checked(&connection.jetstream, dead).await?;
        let mut destinations = Vec::new();
        for (destination, identity) in &settings.destinations {
            destinations.push(Destination::open(&pending, settings, destination, identity).await?);
        }
        Ok(Self { pending, dead, destinations })
    }

    /// The records that the destination with the most of them waits for.
    pub(crate) async fn pending(&self) -> Result<u64, SpoolError> {
        let mut most = 0;
        for destination in &self.destinations {
            most = destination.pending().await?.max(most);
        }
        Ok(most)
    }

    pub(crate) fn destination(&self, name: &str) -> Option<&Destination> {
        self.destinations.iter().find(|destination| destination.name == name)
    }
}

/// What both streams have: bounds, and no record that is dropped without being counted.
fn common(settings: &Settings) -> Config {
    let max = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    Config {
        max_bytes: max(settings.max_bytes),
        max_messages: settings.max_records.map_or(-1, max),
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        allow_direct: true,
        ..Config::default()
    }
}

async fn made_or_checked(jetstream: &jetstream::Context, config: Config) -> Result<Stream, BoxError> {
    let stream = match jetstream.get_stream(&config.name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error) => return Ok(jetstream.create_stream(config).await?),
        Err(error) => return Err(error.into()),
    };
    let found = &stream.cached_info().config;
    let faults = [
        (
            found.retention != config.retention,
            "retention",
            "as a spool makes it: by interest, or for dead letters by limits",
        ),
        (found.discard != config.discard, "discard", "new: a stream that drops what is old does not say so"),
        (!found.max_age.is_zero(), "max_age", "none: a stream that forgets records does not say so"),
        (found.no_ack, "no_ack", "off: without acknowledgements nothing is known to be kept"),
        (config.allow_atomic_publish && !found.allow_atomic_publish, "allow_atomic", "on: a group is all or nothing"),
        (!config.subjects.iter().all(|subject| found.subjects.contains(subject)), "subjects", "those of the spool"),
        (!found.allow_direct, "allow_direct", "on: dead letters are read by it"),
    ];
    match faults.into_iter().find(|(is_fault, ..)| *is_fault) {
        Some((_, setting, allowed)) => {
            Err(ConfigError::new("stream", format!("{}, whose {setting} is another", config.name), allowed).into())
        }
        None => Ok(stream),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// The subjects of a lane, without what says for whom a record is.
pub(crate) fn lane_of(stream: &str, lane: Priority) -> String {
    match lane {
        Priority::High => format!("{stream}.high"),
        Priority::Normal => format!("{stream}.normal"),
    }
}

/// The subject of records for one destination, or for all.
pub(crate) fn subject(stream: &str, lane: Priority, destination: Option<&str>) -> String {
    let lane = lane_of(stream, lane);
    destination.map_or_else(|| format!("{lane}.all"), |name| format!("{lane}.to.{name}"))
}

/// The subject of the dead letters of one destination.
pub(crate) fn dead_subject(stream: &str, destination: &str) -> String {
    format!("{stream}.dead.{destination}")
}
