use crate::{
    Batching,
    pending::{Join, PendingBatch},
};
use forebay_core::DropReason;
use std::time::{Duration, Instant};

/// What the worker sees in one look: the time, and what may be changed while the batcher runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) now: Instant,
    pub(crate) batching: Batching,
    /// How many batches may be in flight now.
    pub(crate) in_flight: usize,
    /// How old a batch may get before it is dropped.
    pub(crate) max_age: Option<Duration>,
}

/// What the worker does next.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made for each look, and a box would be an allocation for each batch"
)]
pub(crate) enum Next<T, A> {
    /// It gives this batch to the inner service.
    Send(PendingBatch<T, A>),
    /// It sends nothing now.
    Rest(Rest),
}

/// Why the worker sends nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// There is nothing to do before this instant, or before the worker is woken.
    Wait(Option<Instant>),
    /// Nothing enters any more: the worker ends once nothing is in flight.
    End,
    /// The worker gives up everything, and ends.
    Abort,
    /// The worker drops everything that it has for this reason, and goes on.
    Discard(DropReason),
}

/// The sealed batches that no worker has taken: a queue under its lock, or a list in a test.
pub(crate) trait Source<T, A> {
    /// The next batch to send.
    fn next(&mut self, now: Instant) -> Next<T, A>;

    /// The batch behind `batch`, if the two may be sent as one.
    fn next_to_join(&mut self, batch: &PendingBatch<T, A>, join: &Join, now: Instant) -> Option<PendingBatch<T, A>>;

    /// Only watches the ages of the batches, while none may be sent.
    fn watch(&mut self, now: Instant) -> Rest;

    /// Takes out the batches that have outlived the age limit.
    fn expired(&mut self, now: Instant) -> Vec<PendingBatch<T, A>>;
}

/// The earlier of two instants, of which each may be missing.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
