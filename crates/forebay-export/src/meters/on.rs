use crate::{EndpointStatus, ExportErrorKind, ExporterHandle};
use forebay_breaker::State;
use forebay_core::{DropReason, panic};
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio::time::Instant;

/// The handles of one exporter's metrics, registered when it is built.
pub(crate) struct Meters {
    name: String,
    offered: Counter,
    delivered: Counter,
    dropped: [Counter; DropReason::ALL.len()],
    spooled: Gauge,
    pending: Gauge,
    queue_size: Gauge,
    queue_capacity: Gauge,
    queue_byte_size: Gauge,
    queue_byte_capacity: Gauge,
    requests: Counter,
    retries: Counter,
    breaker_opens: Counter,
    unreadable_responses: Counter,
    closure_panics: Counter,
    recovered: Counter,
    replayed: Counter,
    evicted: Counter,
    quarantined: Counter,
    breaker_state: Gauge,
    export_duration: Histogram,
    /// By kind of failure. A histogram is many series, so the first failure of a kind registers its own.
    failure_duration: [OnceLock<Histogram>; ExportErrorKind::ALL.len()],
    /// Whether an export has ended since the last update.
    due: AtomicBool,
}

/// Measures one export.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

/// The label of failures, as in OpenTelemetry's own metrics.
const ERROR_TYPE: &str = "error.type";

// === impl Meters ===

impl Meters {
    /// Registers the metrics. A recorder that panics loses the metric that it was asked for, and nothing else.
    pub(crate) fn new(name: &str) -> Self {
        let _reported = panic::catch(describe);
        let name = name.to_owned();
        let counter = |metric: &'static str| {
            panic::catch(|| counter!(metric, "exporter" => name.clone())).unwrap_or_else(|_reported| Counter::noop())
        };
        let gauge = |metric: &'static str| {
            panic::catch(|| gauge!(metric, "exporter" => name.clone())).unwrap_or_else(|_reported| Gauge::noop())
        };
        let dropped = |reason: DropReason| {
            let reason = reason.as_str();
            panic::catch(|| counter!("forebay.items.dropped", "exporter" => name.clone(), "reason" => reason))
                .unwrap_or_else(|_reported| Counter::noop())
        };
        let duration = panic::catch(|| histogram!("forebay.export.duration", "exporter" => name.clone()));
        Self {
            offered: counter("forebay.items.offered"),
            delivered: counter("forebay.items.delivered"),
            dropped: DropReason::ALL.map(dropped),
            spooled: gauge("forebay.items.spooled"),
            pending: gauge("forebay.items.pending"),
            queue_size: gauge("forebay.queue.size"),
            queue_capacity: gauge("forebay.queue.capacity"),
            queue_byte_size: gauge("forebay.queue.byte_size"),
            queue_byte_capacity: gauge("forebay.queue.byte_capacity"),
            requests: counter("forebay.requests"),
            retries: counter("forebay.retries"),
            breaker_opens: counter("forebay.breaker.opens"),
            unreadable_responses: counter("forebay.responses.unreadable"),
            closure_panics: counter("forebay.closures.panicked"),
            recovered: counter("forebay.spool.recovered"),
            replayed: counter("forebay.spool.replayed"),
            evicted: counter("forebay.spool.evicted"),
            quarantined: counter("forebay.spool.quarantined"),
            breaker_state: gauge("forebay.breaker.state"),
            export_duration: duration.unwrap_or_else(|_reported| Histogram::noop()),
            failure_duration: [const { OnceLock::new() }; ExportErrorKind::ALL.len()],
            // The first poll of the worker records the metrics, so that an idle exporter has them too.
            due: AtomicBool::new(true),
            name,
        }
    }

    /// Records the duration of an export, all its retries included.
    pub(crate) fn export_ended(&self, took: Stopwatch, failed: Option<ExportErrorKind>) {
        let seconds = took.0.elapsed().as_secs_f64();
        // The recorder is user code, whose panic must not make a batch count as panicked.
        let _reported = panic::catch(|| match failed {
            None => self.export_duration.record(seconds),
            Some(kind) => {
                if let Some(histogram) = self.failure_duration.get(kind as usize) {
                    histogram.get_or_init(|| self.failure(kind)).record(seconds);
                }
            }
        });
        self.due.store(true, Relaxed);
    }

    #[cold]
    fn failure(&self, kind: ExportErrorKind) -> Histogram {
        histogram!("forebay.export.duration", "exporter" => self.name.clone(), ERROR_TYPE => kind.as_str())
    }

    /// What is not in the ledger has changed.
    pub(crate) fn have_changed(&self) {
        self.due.store(true, Relaxed);
    }

    /// Whether an export has ended since the last call.
    pub(crate) fn are_due(&self) -> bool {
        // CORRECTNESS: relaxed, since the counts are read from the ledger under its lock. The load alone is the usual case.
        self.due.load(Relaxed) && self.due.swap(false, Relaxed)
    }

    /// Updates all metrics, as far as the recorder does not panic.
    pub(crate) fn record<T>(&self, handle: &ExporterHandle<T>) {
        let _reported = panic::catch(|| self.record_all(handle));
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn record_all<T>(&self, handle: &ExporterHandle<T>) {
        let (totals, counters) = (handle.totals(), handle.counters());
        self.offered.absolute(totals.offered);
        self.delivered.absolute(totals.delivered);
        for (reason, counter) in DropReason::ALL.into_iter().zip(&self.dropped) {
            counter.absolute(totals.dropped.get(reason));
        }
        self.spooled.set(totals.spooled as f64);
        self.pending.set(totals.pending as f64);
        self.queue_size.set(handle.queued() as f64);
        self.queue_capacity.set(handle.max_items() as f64);
        self.queue_byte_size.set(handle.bytes() as f64);
        self.queue_byte_capacity.set(handle.max_bytes() as f64);
        self.requests.absolute(counters.requests);
        self.retries.absolute(counters.retries);
        self.breaker_opens.absolute(counters.breaker_opens);
        self.unreadable_responses.absolute(counters.unreadable_responses);
        self.closure_panics.absolute(counters.closure_panics);
        self.recovered.absolute(counters.recovered);
        self.replayed.absolute(counters.replayed);
        self.evicted.absolute(counters.evicted);
        self.quarantined.absolute(counters.quarantined);
        self.breaker_state.set(number_of(handle.breaker().state(&())));
        handle.endpoints().iter().for_each(|endpoint| self.record_endpoint(endpoint));
    }

    /// Looked up each time, for endpoints come and go.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn record_endpoint(&self, endpoint: &EndpointStatus) {
        let labels = || [("exporter", self.name.clone()), ("endpoint", endpoint.name.to_string())];
        counter!("forebay.endpoint.requests", &labels()).absolute(endpoint.requests);
        counter!("forebay.endpoint.failures", &labels()).absolute(endpoint.failures);
        counter!("forebay.endpoint.opens", &labels()).absolute(endpoint.opens);
        gauge!("forebay.endpoint.in_flight", &labels()).set(endpoint.in_flight as f64);
        gauge!("forebay.endpoint.limit", &labels()).set(endpoint.limit as f64);
        gauge!("forebay.endpoint.state", &labels()).set(number_of(endpoint.circuit));
    }
}

/// The state of a circuit as a gauge has it.
fn number_of(state: State) -> f64 {
    match state {
        State::Closed => 0.0,
        State::Ramping => 1.0,
        State::HalfOpen => 2.0,
        State::Open => 3.0,
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The descriptions of docs/telemetry.md.
fn describe() {
    describe_counter!("forebay.items.offered", Unit::Count, "Items that were handed over, refused ones included.");
    describe_counter!("forebay.items.delivered", Unit::Count, "Items that the server accepted.");
    describe_counter!("forebay.items.dropped", Unit::Count, "Items that were dropped, by reason.");
    describe_gauge!("forebay.items.spooled", Unit::Count, "Items that lie in a durable spool.");
    describe_gauge!("forebay.items.pending", Unit::Count, "Items without a fate so far.");
    describe_gauge!("forebay.queue.size", Unit::Count, "Items that wait, without those in flight.");
    describe_gauge!("forebay.queue.capacity", Unit::Count, "The most items that may be pending.");
    describe_gauge!("forebay.queue.byte_size", Unit::Bytes, "Bytes held, queued and in flight.");
    describe_gauge!("forebay.queue.byte_capacity", Unit::Bytes, "The most bytes that may be held.");
    describe_counter!("forebay.requests", Unit::Count, "Requests given to the client, retries included.");
    describe_counter!("forebay.retries", Unit::Count, "Requests that repeated a failed one.");
    describe_counter!("forebay.breaker.opens", Unit::Count, "How often the circuit of the exporter opened.");
    let unreadable = "Responses that accepted the request, with a body that could not be read.";
    describe_counter!("forebay.responses.unreadable", Unit::Count, unreadable);
    let closures = "Panics of closures that described an item where it was handed over.";
    describe_counter!("forebay.closures.panicked", Unit::Count, closures);
    let recovered = "Items that the spool held of an earlier process.";
    describe_counter!("forebay.spool.recovered", Unit::Count, recovered);
    describe_counter!("forebay.spool.replayed", Unit::Count, "Items that were delivered out of the spool.");
    let evicted = "Items that the spool holds no more, although they were not delivered.";
    describe_counter!("forebay.spool.evicted", Unit::Count, evicted);
    let quarantined = "Items out of the spool that the server did not take.";
    describe_counter!("forebay.spool.quarantined", Unit::Count, quarantined);
    describe_gauge!("forebay.breaker.state", "0 closed, 1 ramping, 2 half-open, 3 open.");
    describe_counter!("forebay.endpoint.requests", Unit::Count, "Requests to one of several endpoints.");
    let failures = "Requests that one of several endpoints did not take, through its own fault.";
    describe_counter!("forebay.endpoint.failures", Unit::Count, failures);
    let opens = "How often the circuit of one of several endpoints opened.";
    describe_counter!("forebay.endpoint.opens", Unit::Count, opens);
    describe_gauge!(
        "forebay.endpoint.in_flight",
        Unit::Count,
        "Requests that are under way to one of several endpoints."
    );
    describe_gauge!("forebay.endpoint.limit", Unit::Count, "How many requests may be under way to it.");
    describe_gauge!("forebay.endpoint.state", "Its circuit: 0 closed, 1 ramping, 2 half-open, 3 open.");
    describe_histogram!("forebay.export.duration", Unit::Seconds, "How long an export took, with all its retries.");
}

// === impl Stopwatch ===

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}
