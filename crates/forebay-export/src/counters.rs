use forebay_breaker::BreakerEvent;
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
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
    /// How often the circuit of the exporter opened. With several endpoints it counts exports that none of them has taken.
    pub breaker_opens: u64,
    /// How often the circuit of one of several endpoints opened, all of them together;
    /// [`EndpointStatus::opens`](crate::EndpointStatus::opens) has those of each.
    pub endpoint_opens: u64,
    /// Responses that accepted the request, and whose body could not be read: it broke off, was too long, too late, or could
    /// not be decoded. Their items count as delivered.
    pub unreadable_responses: u64,
    /// Panics of closures that describe an item where it is handed over (its weight, priority, partition, or whether it closes
    /// its batch). The item gets the default: see [`IntakeHandle::closure_panics`](forebay_intake::IntakeHandle::closure_panics).
    pub closure_panics: u64,
    /// Items that the spool held of an earlier process, or that were put there beside this exporter. They were not offered to
    /// it, and its [`Totals`](crate::Totals) never count them.
    pub recovered: u64,
    /// Items that were delivered out of the spool, recovered ones included.
    pub replayed: u64,
    /// Items that the spool holds no more, although they were not delivered: it had no room for them, they were too old, or
    /// were damaged. Recovered ones are included.
    pub evicted: u64,
    /// Items out of the spool that the server did not take, which are dead letters now. Recovered ones are included.
    pub quarantined: u64,
}

/// The counts of [`Counters`], except those of the batcher. Each is written once per request, not per item.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) breaker_opens: AtomicU64,
    pub(crate) endpoint_opens: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    /// Sees the events of the circuit, where its openings are counted too.
    pub(crate) breaker_observer: OnceLock<Box<BreakerObserver>>,
}

/// Sees the events of an exporter's circuit.
pub(crate) type BreakerObserver = dyn Fn(&BreakerEvent) + Send + Sync;

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
            endpoint_opens: self.endpoint_opens.load(Relaxed),
            unreadable_responses: self.unreadable.load(Relaxed),
            recovered: self.recovered.load(Relaxed),
            replayed: self.replayed.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            quarantined: self.quarantined.load(Relaxed),
        }
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(0).fmt(f)
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
