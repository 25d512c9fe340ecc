use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tower_service::Service;

/// The work of an exporter so far, apart from the fates of its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that the client received, retries included.
    pub requests: u64,
    /// The requests among them that repeated a failed one.
    pub retries: u64,
    /// How often the circuit opened.
    pub breaker_opens: u64,
    /// Responses that accepted the request, and whose body could not be read: it broke off, was too long, too late, or could
    /// not be decoded. Their items count as delivered.
    pub unreadable_responses: u64,
    /// Panics of closures that describe an item where it is handed over (its weight, priority, partition, or whether it closes
    /// its batch). The item gets the default: see [`IntakeHandle::closure_panics`](forebay_intake::IntakeHandle::closure_panics).
    pub closure_panics: u64,
}

/// The counts of [`Counters`], except those of the batcher. Each is written once per request, not per item.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) breaker_opens: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

/// Counts the requests that pass to the client.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    client: S,
    counting: Arc<Counting>,
}

// === impl Counting ===

impl Counting {
    pub(crate) fn read(&self, closure_panics: u64) -> Counters {
        Counters {
            closure_panics,
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            breaker_opens: self.breaker_opens.load(Relaxed),
            unreadable_responses: self.unreadable.load(Relaxed),
        }
    }
}

// === impl Counted ===

impl<S> Counted<S> {
    pub(crate) fn new(client: S, counting: Arc<Counting>) -> Self {
        Self { client, counting }
    }
}

impl<S: Service<Req>, Req> Service<Req> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        // Relaxed: the counts order nothing.
        self.counting.requests.fetch_add(1, Relaxed);
        self.client.call(request)
    }
}
