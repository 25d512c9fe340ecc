//! The layers of an exporter in their order, from the batcher down to the client.

use crate::{
    Destination, Encode, Exporter, ExporterHandle, Framing, Replayer,
    attempt::WithinTime,
    authorize::{Auth, Authorize, Fallback},
    control::Control,
    counters::{Counted, Counting},
    encoding::{Encoding, SettleExport},
    endpoints::{LiveEndpoints, MakeClient, Route, Router, RouterParts, Several, Way},
    handle::Ending,
    knobs::{Knobs, SpoolKnob, SpoolUsage},
    park_backoff::ParkBackoff,
    read_response::ReadResponse,
    replay::Replay,
    reporting_worker::ReportingWorker,
    runtime,
    sampled::Sampled,
    spool::{Overflowing, WriteAhead},
    spool_worker::SpoolWorker,
    spread::Spread,
    telemetry::Telemetry,
    trace,
};
use bytes::Bytes;
use forebay_batch::{Batch, BatchLayer};
use forebay_breaker::{BreakerEvent, State, Trip};
use forebay_core::{
    BoxError, ConfigError, Fate, Weigh,
    adaptive::{Adaptive, SharedLimiter},
    panic,
};
use forebay_intake::{PriorityOf, now};
use http::{HeaderName, Request, Response};
use http_body::Body;
use http_body_util::Full;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tower_layer::Layer;
use tower_service::Service;

/// What stands at the two ends of the stack, and how items are described.
pub(crate) struct StackParts<E, C, W, P> {
    pub(crate) encoder: E,
    pub(crate) client: ClientSource<C>,
    pub(crate) weigh: W,
    pub(crate) priority: P,
}

/// Where the client comes from.
pub(crate) enum ClientSource<C> {
    /// One for all endpoints.
    Given(C),
    /// One for each endpoint.
    Made(MakeClient<C>),
}

/// Builds the layers, and starts the worker. Nothing runs after an error.
pub(crate) fn start<T, E, C, W, P, B>(
    mut knobs: Knobs<T>,
    parts: StackParts<E, C, W, P>,
) -> Result<Exporter<T>, ConfigError>
where
    T: Send + Sync + 'static,
    E: Encode<T>,
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    W: Weigh<T> + Send + Sync + 'static,
    P: PriorityOf<T> + Send + Sync + 'static,
{
    let StackParts { encoder, client, weigh, priority } = parts;
    knobs.settings.framing = encoder.framing();
    knobs.place_endpoints()?;
    knobs.settings = knobs.settings.checked()?;
    knobs.check()?;
    // What goes to a spool first is sampled there, as the server has nothing to do with it.
    let (in_flight, is_sampled_below) = (knobs.in_flight(), !knobs.writes_ahead());
    let (parks_for, framing) = (knobs.parks_for(), knobs.settings.framing);
    let name = knobs.name.take().unwrap_or_else(next_name);

    let control = Arc::new(Control::new(knobs.settings.clone()));
    let most = knobs.settings.attempt_timeout;
    let read = ReadResponse::new((), &knobs);
    // The limit of the batches in flight, where it tunes itself. It is sampled below the retry: the waits between retries are none
    // of the server's time. The batcher sets its bounds.
    let limiter = SharedLimiter::new(&Adaptive::default(), now());
    let (route, live): (_, Option<Arc<dyn LiveEndpoints>>) = match knobs.endpoints.take() {
        // One attempt: read the response within its time, with the credential of the moment.
        None => {
            let client = match client {
                ClientSource::Given(client) => client,
                ClientSource::Made(make) => make(&Destination::from(knobs.settings.endpoint.clone()?))(),
            };
            let counted = Counted::new(client, Arc::clone(&knobs.counting));
            let attempt = WithinTime::new(read.with_client(counted), most, Arc::clone(&control));
            let fallback = match knobs.fallback.take() {
                Some(endpoint) => {
                    Some(Fallback { uri: knobs.settings.uri(&endpoint?)?, headers: knobs.fallback_headers? })
                }
                None => None,
            };
            let attempt = Spread::new(Sampled::new(attempt, limiter.clone()));
            (Route::One(Authorize::new(attempt, Auth::new(knobs.provider.transpose()?, fallback, &name))), None)
        }
        // The same, at the endpoint that is chosen for the attempt.
        Some(endpoints) => {
            let (client, make) = match client {
                ClientSource::Given(client) => (Some(client), None),
                ClientSource::Made(make) => (None, Some(make)),
            };
            let observe = observer_of_circuits(&knobs.counting);
            let (control, exporter) = (Arc::clone(&control), Arc::clone(&name));
            let router = Arc::new(Router::new(RouterParts { endpoints, control, make, exporter, observe })?);
            let live: Arc<dyn LiveEndpoints> = Arc::clone(&router) as _;
            let way = Way { router, read, counting: Arc::clone(&knobs.counting), attempt_timeout: most };
            (Route::Several(Box::new(Several { client, way, limiter: limiter.clone() })), Some(live))
        }
    };

    // One export: its attempts, and the circuit above them, which sees one result for all of them.
    let retry = match framing {
        Framing::Plain => knobs.retry,
        Framing::Grpc { .. } => knobs.retry.attempt_header(HeaderName::from_static("grpc-previous-rpc-attempts")),
    };
    if let Some(observer) = knobs.breaker_observer.take() {
        // It is set once, here: a builder is built once.
        let _first = knobs.counting.breaker_observer.set(observer);
    }
    // Of a server that fails 70 % of its requests at random, every fourth export fails. With several under way, five in a row
    // fail every few minutes, and an open circuit would cost more than it protects; ten in a row do so once in days.
    let keeps_order = knobs.batching.max_in_flight_by_default(in_flight).keeps_order();
    let trip = Trip::consecutive(if keeps_order { 5 } else { 10 });
    let (retry, breaker) = (retry.build()?, knobs.breaker.trip_by_default(trip).build()?);
    // The handle is taken before the layer is applied; both have the same state.
    let circuit = breaker.handle();
    let export = breaker.layer(retry.layer(route));

    let spool = knobs.spool.take();

    // The batches: each becomes one export, and waits beside the queue when it comes back retryable.
    let mut batch = BatchLayer::builder()
        .limits(knobs.limits)
        .overflow(knobs.overflow)
        .batching(knobs.batching)
        .weigh(weigh)
        .priority_of(priority)
        .retain_items()
        .settle(SettleExport)
        .respond_fates()
        .split_budget(knobs.split_budget)
        .max_hint(knobs.max_hint)
        .max_in_flight_by_default(in_flight)
        // A dropped future of an exporter does not take its item back.
        .run_cancelled(true);
    if let Some(budget) = &knobs.byte_budget {
        batch = batch.byte_budget(budget);
    }
    if is_sampled_below {
        batch = batch.sampled_below(limiter);
    }
    if let Some(flush) = knobs.flush_when {
        batch = batch.flush_when(flush);
    }
    if let Some(key) = knobs.partition_key {
        batch = batch.partition_by(key).max_open_partitions(knobs.max_open_partitions);
    }
    if !parks_for.is_zero() {
        // Parked items keep their slots, so the limits of the queue bound them.
        batch = batch.park_backoff(ParkBackoff::new(knobs.park_backoff)).max_age(parks_for);
    }
    if let Some(SpoolKnob { spool, usage: SpoolUsage::Overflow }) = &spool {
        batch = batch.spool(Overflowing { spool: Arc::clone(spool) });
    }
    let batch = batch.build()?;

    let telemetry = Arc::new(Telemetry::new(Arc::clone(&name), knobs.loudness, knobs.observer));
    let encoding = Encoding::new(export, Arc::new(encoder), Arc::clone(&control), Arc::clone(&telemetry));
    let (counting, runtime) = (knobs.counting, knobs.runtime);
    let handle = |batch: &Batch<T, Fate>, ending| {
        ExporterHandle::new(batch.handle(), circuit, Arc::clone(&control), live, counting, telemetry, ending)
    };
    let replay = Replay::new(encoding.clone(), knobs.split_budget);
    let (running, stop) = (watch::Sender::new(()), Arc::new(Notify::new()));
    // The worker starts last: everything before may fail, and an error must leave nothing running.
    let (batch, handle) = match spool {
        None => {
            let (batch, worker) = batch.pair(encoding);
            let handle = handle(&batch, Ending::Drain);
            runtime::run(runtime, ReportingWorker::new(worker, handle.clone()))?;
            (batch, handle)
        }
        Some(SpoolKnob { spool, usage: SpoolUsage::Overflow }) => {
            let (batch, worker) = batch.pair(encoding);
            let handle = handle(&batch, Ending::Spool);
            let replayer = Replayer::new(replay, handle.clone());
            let worker =
                SpoolWorker::new(worker, spool.replay(replayer.clone()), replayer, Duration::ZERO, stop, running);
            runtime::run(runtime, ReportingWorker::new(worker, handle.clone()))?;
            (batch, handle)
        }
        Some(SpoolKnob { spool, usage: SpoolUsage::WriteAhead }) => {
            let (batch, worker) = batch.pair(WriteAhead { spool: Arc::clone(&spool) });
            let handle = handle(&batch, Ending::Replay { running: running.subscribe(), stop: Arc::clone(&stop) });
            let replayer = Replayer::new(replay, handle.clone());
            let worker =
                SpoolWorker::new(worker, spool.replay(replayer.clone()), replayer, knobs.max_age, stop, running);
            runtime::run(runtime, ReportingWorker::new(worker, handle.clone()))?;
            (batch, handle)
        }
    };
    for setting in &knobs.ignored {
        trace::setting_ignored(&name, knobs.loudness, setting);
    }
    Ok(Exporter::new(batch, control, handle))
}

/// Shows the events of the circuits of endpoints to the observer of the user.
fn observer_of_circuits(counting: &Arc<Counting>) -> Box<dyn Fn(&BreakerEvent) + Send + Sync> {
    let counting = Arc::clone(counting);
    Box::new(move |event| {
        if let BreakerEvent::Changed { to: State::Open, .. } = event {
            counting.endpoint_opens.fetch_add(1, Relaxed);
        }
        if let Some(observer) = counting.breaker_observer.get() {
            // The panic hook has reported the panic of an observer; it must not cost the batch.
            let _reported = panic::catch(|| observer(event));
        }
    })
}

/// The name of an exporter that was given none.
fn next_name() -> Arc<str> {
    static BUILT: AtomicU64 = AtomicU64::new(0);

    format!("exporter/{}", BUILT.fetch_add(1, Relaxed)).into()
}
