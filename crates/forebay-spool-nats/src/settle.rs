use crate::{
    connection::Connection,
    dead,
    leases::{ACKS_AT_ONCE, Leased},
    message,
    streams::subject,
};
use async_nats::{Subject, jetstream::AckKind};
use forebay_core::Priority;
use forebay_spool::{Disposition, Record, Settled, SpoolError, SpoolErrorKind};
use futures_util::{StreamExt, stream};

/// What is done with the records of a lease.
#[derive(Debug)]
pub(crate) struct Settle<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) stream: &'a str,
    pub(crate) max_attempts: u32,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Delivered,
    GivenBack,
    Dead,
}

// === impl Settle ===

impl Settle<'_> {
    /// Does it for all of them, and says what was done; beside it the first error, after which a record may be leased once more.
    pub(crate) async fn all(
        &self,
        leased: Leased,
        records: Vec<Record>,
        dispositions: Vec<Disposition>,
    ) -> (Settled, Option<SpoolError>) {
        let Leased { destination, lane, replies } = leased;
        let (destination, missing) = (destination.as_str(), std::iter::repeat(Disposition::GiveBack));
        let each = replies.into_iter().zip(records).zip(dispositions.into_iter().chain(missing));
        let mut ends = stream::iter(each)
            .map(|((reply, record), disposition)| async move {
                self.one(destination, lane, &reply, record, disposition).await
            })
            .buffer_unordered(ACKS_AT_ONCE);
        let (mut settled, mut failed) = (Settled::default(), None);
        while let Some(end) = ends.next().await {
            let count = match end {
                Ok(End::Delivered) => &mut settled.delivered,
                Ok(End::GivenBack) => &mut settled.given_back,
                Ok(End::Dead) => &mut settled.dead,
                Err(error) => {
                    failed.get_or_insert(error);
                    // The server leases it again when the time of the lease has ended.
                    &mut settled.given_back
                }
            };
            *count = count.saturating_add(1);
        }
        (settled, failed)
    }

    async fn one(
        &self,
        destination: &str,
        lane: Priority,
        reply: &Subject,
        mut record: Record,
        disposition: Disposition,
    ) -> Result<End, SpoolError> {
        match disposition {
            Disposition::Delivered => {
                self.connection.acknowledge(reply).await?;
                Ok(End::Delivered)
            }
            Disposition::GiveBack => {
                self.connection.tell(reply, AckKind::Nak(None)).await?;
                Ok(End::GivenBack)
            }
            Disposition::Failed if record.attempts.saturating_add(1) < self.max_attempts => {
                // How often it has failed is written with the record, which goes to the end of its lane: the others pass it.
                record.attempts = record.attempts.saturating_add(1);
                let id = format!("{}-{destination}-{}", record.id, record.attempts);
                let subject = subject(self.stream, lane, Some(destination));
                let headers = message::headers(&record, &id);
                match self.connection.publish(subject, headers, record.payload).await {
                    Ok(()) => self.connection.acknowledge(reply).await?,
                    // There is no room for it beside itself: it stays where it is, and this failure is not counted.
                    Err(full) if matches!(full.kind(), SpoolErrorKind::Full { .. }) => {
                        self.connection.tell(reply, AckKind::Nak(None)).await?;
                    }
                    Err(error) => return Err(error),
                }
                Ok(End::GivenBack)
            }
            Disposition::Failed => {
                record.attempts = record.attempts.saturating_add(1);
                self.bury(destination, reply, record, "attempts").await
            }
            Disposition::Quarantine(reason) => self.bury(destination, reply, record, &reason).await,
        }
    }

    /// The record is a dead letter before it leaves the stream: a process that dies between has it twice, and never not at all.
    async fn bury(&self, destination: &str, reply: &Subject, record: Record, reason: &str) -> Result<End, SpoolError> {
        let id = format!("{}-{destination}-dead", record.id);
        let mut headers = message::headers(&record, &id);
        message::note_reason(&mut headers, reason);
        dead::bury(self.connection, self.stream, destination, headers, record.payload).await?;
        self.connection.acknowledge(reply).await?;
        Ok(End::Dead)
    }
}
