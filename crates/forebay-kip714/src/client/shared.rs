use crate::{
    labels::ClientLabels,
    session::{Stopped, Subscription},
    state::State,
    wire::InstanceId,
};
use forebay_core::{DropReason, Fate, Ledger, Totals};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::{sync::watch, time::Instant};

/// What the handles of a client and its task know together.
#[derive(Debug)]
pub(super) struct Shared {
    ledger: Mutex<Ledger>,
    labels: Mutex<Option<ClientLabels>>,
    /// The deadline by which the client has to end, once it is closing.
    closing: watch::Sender<Option<Instant>>,
    status: watch::Sender<Status>,
}

/// Where a client stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Where the exchange with the brokers stands.
    pub state: State,
    /// The client's id; nil until a broker has given one.
    pub instance_id: InstanceId,
    /// What the broker wants, if it wants anything.
    pub subscription: Option<Subscription>,
    /// Why telemetry is off for good, if it is so for a reason other than the end of the client.
    pub stopped: Option<Stopped>,
    /// What has been done so far.
    pub counters: Counters,
    /// Whether the client's task has ended; nothing will be sent any more.
    pub ended: bool,
}

/// What a client has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests for a subscription that succeeded.
    pub subscriptions: u64,
    /// Pushes that were taken.
    pub pushes: u64,
    /// Bytes of those, after compression.
    pub pushed_bytes: u64,
    /// Responses with an error code.
    pub refusals: u64,
    /// Requests without a response.
    pub failures: u64,
    /// Sources that panicked.
    pub panicked_sources: u64,
    /// Whether a terminating push was sent.
    pub terminating_pushes: u64,
}

/// How a client ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What became of every series of every push; the equation holds.
    pub totals: Totals,
    /// Where it stood in the end.
    pub status: Status,
}

/// Series of a push that is under way. Whatever happens to it, they meet one fate.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    shared: &'a Shared,
    series: u64,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            ledger: Mutex::default(),
            labels: Mutex::default(),
            closing: watch::Sender::new(None),
            status: watch::Sender::default(),
        }
    }

    /// The client has to end by `deadline`; the earliest one counts.
    pub(super) fn close(&self, deadline: Instant) {
        self.closing.send_if_modified(|closing| {
            let sooner = closing.is_none_or(|before| deadline < before);
            if sooner {
                *closing = Some(deadline);
            }
            sooner
        });
    }

    pub(super) fn closing(&self) -> watch::Receiver<Option<Instant>> {
        self.closing.subscribe()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    pub(super) fn set_labels(&self, labels: ClientLabels) {
        *lock(&self.labels) = Some(labels);
    }

    pub(super) fn new_labels(&self) -> Option<ClientLabels> {
        lock(&self.labels).take()
    }

    pub(super) fn totals(&self) -> Totals {
        lock(&self.ledger).totals()
    }

    /// Series that were wanted and could not be sent.
    pub(super) fn refuse(&self, reason: DropReason, series: u64) {
        if series > 0 {
            lock(&self.ledger).refuse(reason, series);
        }
    }

    /// Series that are being sent.
    pub(super) fn accept(&self, series: u64) -> Pending<'_> {
        lock(&self.ledger).accept(series);
        Pending { shared: self, series }
    }
}

// === impl Pending ===

impl Pending<'_> {
    pub(super) fn settle(mut self, fate: Fate) {
        let series = std::mem::take(&mut self.series);
        lock(&self.shared.ledger).settle(fate, series);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // CANCEL: the client ended, or its runtime did, before the push had a response.
        if self.series > 0 {
            lock(&self.shared.ledger).settle(Fate::Dropped(DropReason::Shutdown), self.series);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole after each step; a panic elsewhere is no reason to stop counting.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
