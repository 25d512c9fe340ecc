use crate::{Appended, Disposition, Group, Lease, Settled, SpoolError, Stats, Verified, Want};
use std::{fmt, future::Future, pin::Pin};

/// A future behind a pointer: a call of a spool costs a disk or a network access, beside which an allocation is nothing.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A durable queue of records for one or several destinations.
///
/// A record that is appended waits for every destination that the spool was opened with. Each destination leases, settles and
/// progresses by itself. Delivery is at least once: what was leased when a process died is leased again.
///
/// [`DiskSpool`](crate::DiskSpool) is the embedded one. The trait is as wide as what a stream broker can do as well: an id for
/// each record, a lease that is given back when it is not settled, an acknowledgement that is durable when it resolves.
pub trait Spool: fmt::Debug + Send + Sync + 'static {
    /// Appends a group, all of it or nothing. When the future resolves, the group is as durable as the durability of the
    /// spool says.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: no room, too large, closed, or the storage failed. Its verdict says whether the group may be kept all the
    /// same.
    ///
    /// # Cancellation
    ///
    /// The group is handed over by the call, not by the first poll. Dropping the future loses the result only.
    fn append(&self, group: Group) -> BoxFuture<'_, Result<Appended, SpoolError>>;

    /// Leases the next records for `destination`; `None` while there are none. It does not wait for any.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: no such destination, too many open leases, closed.
    ///
    /// # Cancellation
    ///
    /// A lease whose future is dropped is given back.
    fn lease<'a>(&'a self, destination: &'a str, want: Want) -> BoxFuture<'a, Result<Option<Lease>, SpoolError>>;

    /// Settles a lease with one disposition for each of its records, in their order; missing ones are given back.
    ///
    /// When the future resolves, the outcome is as durable as an append.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: the outcome could not be made durable. It holds until the process ends; after that, records may be leased
    /// once more.
    ///
    /// # Cancellation
    ///
    /// The lease is settled by the call. Dropping the future loses the result only.
    fn settle(&self, lease: Lease, dispositions: Vec<Disposition>) -> BoxFuture<'_, Result<Settled, SpoolError>>;

    /// What the spool holds and has done.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: closed.
    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>>;

    /// Reads all that is pending and checks it.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: closed.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, SpoolError>>;

    /// The destination has all records of the lease.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    fn acknowledge(&self, lease: Lease) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        self.settle_all(lease, &Disposition::Delivered)
    }

    /// The records of the lease were not tried, or the destination was not there: nothing counts against them.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    fn give_back(&self, lease: Lease) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        self.settle_all(lease, &Disposition::GiveBack)
    }

    /// No record of the lease will ever be taken: all of them become dead letters.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    fn quarantine(&self, lease: Lease, reason: &str) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        self.settle_all(lease, &Disposition::Quarantine(reason.to_owned()))
    }

    /// Settles all records of a lease alike.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    fn settle_all(&self, lease: Lease, disposition: &Disposition) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        let dispositions = vec![disposition.clone(); lease.records().len()];
        self.settle(lease, dispositions)
    }
}
