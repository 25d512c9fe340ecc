//! Dead letters: a stream of their own, with a subject for each destination.

use crate::{
    connection::Connection,
    error, message,
    streams::{Streams, dead_subject, subject},
};
use async_nats::{
    HeaderMap,
    jetstream::{
        message::StreamMessage,
        stream::{DirectGetErrorKind, Stream},
    },
};
use bytes::Bytes;
use forebay_core::Priority;
use forebay_spool::{DeadLetter, SpoolError};

pub(crate) async fn bury(
    connection: &Connection,
    stream: &str,
    destination: &str,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<(), SpoolError> {
    connection.publish(dead_subject(stream, destination), headers, payload).await
}

/// The dead letters of a destination, the oldest first, `limit` at most. What is no record of a spool is passed over.
pub(crate) async fn letters(
    streams: &Streams,
    stream: &str,
    destination: &str,
    limit: usize,
) -> Result<Vec<DeadLetter>, SpoolError> {
    let (mut letters, mut after) = (Vec::new(), 0);
    while letters.len() < limit {
        let Some(message) = next(&streams.dead, &dead_subject(stream, destination), after).await? else { break };
        after = message.sequence;
        let reason = message::reason(&message.headers);
        if let Ok(record) = message::record(Some(&message.headers), message.payload, Priority::Normal) {
            letters.push(DeadLetter::new(destination, reason, record));
        }
    }
    Ok(letters)
}

/// Makes dead letters pending again for their destination; how many.
pub(crate) async fn requeue(
    connection: &Connection,
    streams: &Streams,
    stream: &str,
    destination: &str,
    ids: Option<&[u64]>,
) -> Result<u64, SpoolError> {
    let (mut requeued, mut after) = (0_u64, 0);
    while let Some(letter) = next(&streams.dead, &dead_subject(stream, destination), after).await? {
        after = letter.sequence;
        let Ok(mut record) = message::record(Some(&letter.headers), letter.payload, Priority::Normal) else { continue };
        if ids.is_some_and(|ids| !ids.contains(&record.id)) {
            continue;
        }
        record.attempts = 0;
        // A second requeue of the same letter, by a process that died before it was removed, is known as a duplicate.
        let id = format!("{}-{destination}-requeued-{after}", record.id);
        let subject = subject(stream, Priority::Normal, Some(destination));
        connection.publish(subject, message::headers(&record, &id), record.payload).await?;
        streams.dead.delete_message(after).await.map_err(error::unclear)?;
        requeued = requeued.saturating_add(1);
    }
    Ok(requeued)
}

/// The first message of a subject behind a sequence.
pub(crate) async fn next(stream: &Stream, subject: &str, after: u64) -> Result<Option<StreamMessage>, SpoolError> {
    match stream.direct_get_next_for_subject(subject, Some(after.saturating_add(1))).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error::unclear(error)),
    }
}
