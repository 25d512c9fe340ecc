//! What could not be delivered goes to disk.

use crate::Event;
use bytes::{BufMut, Bytes, BytesMut};
use forebay::{
    batch::{Items, SpoolFuture, SpoolItems},
    core::{DropReason, Fate, Priority, Settlement},
};
use forebay_spool::{DiskSpool, Group, NewRecord, Record, Spool};

/// Puts the batches of one run of the program into a spool.
#[derive(Clone, Debug)]
pub(crate) struct Overflow {
    pub(crate) spool: DiskSpool,
    /// Distinguishes the records of this run from those that an earlier one has left.
    pub(crate) run: u64,
}

// === impl Overflow ===

impl Overflow {
    /// The event of a record, and whether this run has spooled it. `None` if another program has written the record.
    pub(crate) fn event(&self, record: &Record) -> Option<(Event, bool)> {
        let (run, id) = record.key.split_first_chunk::<8>()?;
        let id = u64::from_be_bytes(id.try_into().ok()?);
        Some((Event { id, value: record.payload.clone() }, u64::from_be_bytes(*run) == self.run))
    }

    fn key(&self, event: &Event) -> Bytes {
        let mut key = BytesMut::with_capacity(16);
        key.put_u64(self.run);
        key.put_u64(event.id);
        key.freeze()
    }
}

impl SpoolItems<Event> for Overflow {
    fn spool(&self, events: Items<Event>, priority: Priority) -> SpoolFuture {
        let record = |event: &Event| NewRecord::new(event.value.clone()).key(self.key(event));
        let group = Group::new(events.iter().map(record).collect::<Vec<_>>()).priority(priority);
        let spool = self.spool.clone();
        Box::pin(async move {
            match spool.append(group).await {
                Ok(_) => Settlement::All(Fate::Spooled),
                // Nothing else is left to try: the ledger counts the batch as dropped.
                Err(_not_kept) => Settlement::Retry { after: None, otherwise: DropReason::Failed },
            }
        })
    }
}
