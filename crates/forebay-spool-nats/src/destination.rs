use crate::{builder::Settings, error, streams::subject};
use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    stream::Stream,
};
use forebay_core::{BoxError, ConfigError, Priority, time::saturating_add};
use forebay_spool::{SpoolError, Want};
use futures_util::StreamExt;
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, timeout_at};

/// A destination: for each lane a durable consumer, which keeps its progress.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) identity: String,
    lanes: [(Priority, Consumer<pull::Config>); 2],
}

/// The key under which a consumer carries the identity of its destination.
const IDENTITY: &str = "forebay-identity";

// === impl Destination ===

impl Destination {
    pub(crate) async fn open(
        stream: &Stream,
        settings: &Settings,
        name: &str,
        identity: &str,
    ) -> Result<Self, BoxError> {
        let high = open_lane(stream, settings, name, identity, Priority::High).await?;
        let normal = open_lane(stream, settings, name, identity, Priority::Normal).await?;
        let lanes = [(Priority::High, high), (Priority::Normal, normal)];
        Ok(Self { name: name.to_owned(), identity: identity.to_owned(), lanes })
    }

    /// The next messages, of the high lane if it has any.
    pub(crate) async fn fetch(&self, want: Want, timeout: Duration) -> Result<(Priority, Vec<Message>), SpoolError> {
        for (lane, consumer) in &self.lanes {
            // One message is leased whatever its size, which a request with a limit of bytes does not give.
            let mut messages = fetch(consumer, want.records.max(1), Some(want.bytes), timeout).await?;
            if messages.is_empty() {
                messages = fetch(consumer, 1, None, timeout).await?;
            }
            if !messages.is_empty() {
                return Ok((*lane, messages));
            }
        }
        Ok((Priority::Normal, Vec::new()))
    }

    /// How many records wait, those that are leased included.
    pub(crate) async fn pending(&self) -> Result<u64, SpoolError> {
        let mut pending = 0_u64;
        for (_, consumer) in &self.lanes {
            let info = consumer.get_info().await.map_err(error::unclear)?;
            pending = pending.saturating_add(info.num_pending).saturating_add(info.num_ack_pending as u64);
        }
        Ok(pending)
    }
}

async fn open_lane(
    stream: &Stream,
    settings: &Settings,
    name: &str,
    identity: &str,
    lane: Priority,
) -> Result<Consumer<pull::Config>, BoxError> {
    let label = match lane {
        Priority::High => "high",
        Priority::Normal => "normal",
    };
    let durable = format!("{name}-{label}-{:08x}", crc32fast::hash(identity.as_bytes()));
    let config = pull::Config {
        durable_name: Some(durable),
        // A destination that comes later gets what is appended from then on.
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.lease_for,
        max_ack_pending: i64::from(settings.max_in_flight),
        filter_subjects: vec![subject(&settings.stream, lane, None), subject(&settings.stream, lane, Some(name))],
        metadata: HashMap::from([(IDENTITY.to_owned(), identity.to_owned())]),
        ..pull::Config::default()
    };
    let durable = config.durable_name.clone().unwrap_or_default();
    if let Ok(info) = stream.consumer_info(&durable).await
        && info.config.metadata.get(IDENTITY).is_none_or(|found| found != identity)
    {
        return Err(ConfigError::new("destination", durable, "a consumer of this destination's identity").into());
    }
    Ok(stream.create_consumer(config).await?)
}

async fn fetch(
    consumer: &Consumer<pull::Config>,
    records: usize,
    bytes: Option<usize>,
    timeout: Duration,
) -> Result<Vec<Message>, SpoolError> {
    let request = consumer.fetch().max_messages(records);
    let request = match bytes {
        Some(bytes) => request.max_bytes(bytes.max(1)),
        None => request,
    };
    let mut fetched = request.messages().await.map_err(error::unclear)?;
    let mut messages = Vec::new();
    // A server that is gone says nothing: neither that there are no more, nor that it has ended.
    let deadline = Instant::from_std(saturating_add(Instant::now().into_std(), timeout));
    loop {
        let next = match timeout_at(deadline, fetched.next()).await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(_) if !messages.is_empty() => break,
            Err(elapsed) => return Err(error::unclear(elapsed)),
        };
        match next {
            Ok(message) => messages.push(message),
            // What came before is leased all the same.
            Err(_) if !messages.is_empty() => break,
            // The first message is larger than the limit.
            Err(_) if bytes.is_some() => break,
            Err(error) => return Err(error::unclear(error)),
        }
    }
    Ok(messages)
}
