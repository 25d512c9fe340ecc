use crate::{
    connection::Connection,
    error,
    message::{self, MAX_HEADERS, MAX_KEY},
    streams::subject,
};
use async_nats::{
    HeaderMap,
    header::{NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE},
};
use bytes::Bytes;
use forebay_spool::{Group, SpoolError, SpoolErrorKind};
use std::time::SystemTime;

/// The records of a batch that the server takes at most.
const MAX_GROUP: usize = 1000;
/// An append whose response is lost is repeated: the server knows the records of an attempt that it has stored.
const ATTEMPTS: usize = 3;

/// A group as the messages that it becomes: all of them are stored, or none.
#[derive(Debug)]
pub(crate) struct Append {
    subject: String,
    messages: Vec<(HeaderMap, Bytes)>,
}

// === impl Append ===

impl Append {
    /// Checks the group. Its records are numbered from `first_id` on.
    pub(crate) fn new(
        stream: &str,
        group: Group,
        first_id: u64,
        max_payload: usize,
        now: SystemTime,
    ) -> Result<Self, SpoolError> {
        let refused = |kind| Err(SpoolError::new(kind));
        if group.mark.is_some() {
            return refused(SpoolErrorKind::Unsupported { what: "mark" });
        }
        if group.records.len() > MAX_GROUP {
            return refused(SpoolErrorKind::Unsupported { what: "group of more than 1,000 records" });
        }
        let max = max_payload.saturating_sub(MAX_HEADERS);
        for record in &group.records {
            if record.key.len() > MAX_KEY {
                return refused(SpoolErrorKind::TooLarge { bytes: record.key.len(), max: MAX_KEY });
            }
            if record.payload.len() > max {
                return refused(SpoolErrorKind::TooLarge { bytes: record.payload.len(), max });
            }
        }
        let subject = subject(stream, group.priority, group.destination.as_deref());
        let messages = (0..).zip(group.records);
        let messages = messages.map(|(at, record)| message::first(first_id.wrapping_add(at), record, now)).collect();
        Ok(Self { subject, messages })
    }

    /// Sends it until the server says what became of it.
    pub(crate) async fn send(self, connection: &Connection) -> Result<(), SpoolError> {
        let mut result = Ok(());
        for attempt in 0..ATTEMPTS {
            result = self.attempt(connection, attempt).await;
            match &result {
                Err(error) if *error.kind() == SpoolErrorKind::Io => {}
                _ => break,
            }
        }
        result
    }

    async fn attempt(&self, connection: &Connection, attempt: usize) -> Result<(), SpoolError> {
        let Some(((last_headers, last_payload), others)) = self.messages.split_last() else { return Ok(()) };
        let (mut headers, payload) = (last_headers.clone(), last_payload.clone());
        if !others.is_empty() {
            // The id of a batch is that of its first record, and no two attempts share one: the server may hold a part of the first.
            let id = format!("{}-{attempt}", message::id(&self.messages[0].0));
            for (sequence, (headers, payload)) in (1_usize..).zip(others) {
                let headers = in_batch(headers.clone(), &id, sequence);
                let sent = connection.client.publish_with_headers(self.subject.clone(), headers, payload.clone());
                tokio::time::timeout(connection.timeout, sent)
                    .await
                    .map_err(error::unclear)?
                    .map_err(error::unclear)?;
            }
            headers = in_batch(headers, &id, self.messages.len());
            headers.insert(NATS_BATCH_COMMIT, "1");
        }
        connection.publish(self.subject.clone(), headers, payload).await
    }
}

fn in_batch(mut headers: HeaderMap, id: &str, sequence: usize) -> HeaderMap {
    headers.insert(NATS_BATCH_ID, id);
    headers.insert(NATS_BATCH_SEQUENCE, sequence.to_string());
    headers
}
