use crate::connection::Connection;
use async_nats::{Subject, jetstream::AckKind};
use forebay_core::Priority;
use forebay_spool::{Limit, SpoolError, SpoolErrorKind};
use futures_util::{StreamExt, stream};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many acknowledgements are waited for at once.
pub(crate) const ACKS_AT_ONCE: usize = 256;

/// The leases of this process: what the server has to be told of each record when it is settled.
pub(crate) struct Leases {
    open: Mutex<Open>,
    max: usize,
}

#[derive(Default)]
struct Open {
    next: u64,
    leases: HashMap<u64, Leased>,
    /// Leases that are being fetched: they count against the limit already.
    fetching: usize,
}

/// An open lease.
pub(crate) struct Leased {
    pub(crate) destination: String,
    pub(crate) lane: Priority,
    /// Where the server is told of each record, in their order.
    pub(crate) replies: Vec<Subject>,
}

/// A place among the leases while one is fetched; given back when it is dropped.
pub(crate) struct Place<'a>(&'a Leases);

// === impl Leases ===

impl Leases {
    pub(crate) fn new(max: usize) -> Self {
        Self { open: Mutex::default(), max }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // CORRECTNESS: no user code runs under this lock, and every step under it is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a lease that is fetched next.
    pub(crate) fn place(&self) -> Result<Place<'_>, SpoolError> {
        let mut open = self.open();
        if open.leases.len().saturating_add(open.fetching) >= self.max {
            return Err(SpoolError::new(SpoolErrorKind::Full { limit: Limit::Leases }));
        }
        open.fetching = open.fetching.saturating_add(1);
        Ok(Place(self))
    }

    /// Takes a lease out, to settle it or to give it back.
    pub(crate) fn take(&self, id: u64) -> Option<Leased> {
        self.open().leases.remove(&id)
    }

    /// Takes all of them out.
    pub(crate) fn take_all(&self) -> Vec<Leased> {
        self.open().leases.drain().map(|(_, leased)| leased).collect()
    }

    /// Tells the server that all of them are still worked on.
    pub(crate) async fn renew(&self, connection: &Connection) {
        let leased: Vec<_> = self.open().leases.values().flat_map(|leased| leased.replies.iter().cloned()).collect();
        each(connection, leased, AckKind::Progress).await;
    }
}

// === impl Leased ===

impl Leased {
    pub(crate) async fn give_back(self, connection: &Connection) {
        each(connection, self.replies, AckKind::Nak(None)).await;
    }
}

/// Tells the server the same of each message, without waiting for a response: where it is not heard, the time of the lease says it.
async fn each(connection: &Connection, replies: Vec<Subject>, kind: AckKind) {
    stream::iter(replies)
        .for_each_concurrent(ACKS_AT_ONCE, |reply| async move {
            // CANCEL: a message that the server was not told of is delivered again when its lease has ended.
            let _untold = connection.tell(&reply, kind).await;
        })
        .await;
}

// === impl Place ===

impl Place<'_> {
    /// Opens the lease; its number.
    pub(crate) fn open(self, leased: Leased) -> u64 {
        let mut open = self.0.open();
        let id = open.next;
        open.next = id.wrapping_add(1);
        open.leases.insert(id, leased);
        id
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open();
        open.fetching = open.fetching.saturating_sub(1);
    }
}
