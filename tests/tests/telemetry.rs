//! Everything on `docs/telemetry.md` happens, and nothing happens that is not on it.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay::{
    batch::Batching,
    breaker::{BreakerLayer, Trip},
    core::{BoxError, DropReason},
    export::{Addresses, Credential, DnsEndpoints, EndpointGuard, Exporter, ExporterBuilder, Failover, HostPort},
    kip714::{ErrorCode, GetTelemetrySubscriptionsResponse, Kip714Client, TelemetryRequest, TelemetryResponse},
    otlp::{ExporterBuilderExt, LogRecord, LogsEncoder, Protocol, Signal},
    queue::{Limits, QueueLayer},
    registry::Registry,
    retry::Backoff,
};
use forebay_testkit::events::EventRecorder;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::{Ready, pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn, util::ServiceFn};

const PAGE: &str = include_str!("../../docs/telemetry.md");

/// What tells one event from another.
type Event = (String, String, String);

/// The rows of the table under `heading`, cell by cell.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split(heading).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What a cell has in backticks.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn name(cell: &str) -> String {
    names(cell).into_iter().next().unwrap()
}

type Answer = Result<Response<Full<Bytes>>, BoxError>;

fn answer(status: u16) -> Answer {
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

/// A server that plays `script` and is healthy after that. It is not a closure of `exporter`, where it would be a type of its
/// own for each `build`, and the exporter compiled for each.
fn server(
    protocol: Protocol,
    script: Vec<Answer>,
) -> ServiceFn<impl FnMut(Request<Full<Bytes>>) -> Ready<Answer> + Clone + Send> {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    service_fn(move |_: Request<Full<Bytes>>| {
        let next = script.lock().unwrap().pop_front();
        let mut well = answer(200).unwrap();
        if protocol == Protocol::Grpc {
            well.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
        }
        ready(next.unwrap_or(Ok(well)))
    })
}

/// An exporter over that server.
fn exporter(
    name: &str,
    protocol: Protocol,
    script: Vec<Answer>,
    build: impl FnOnce(Builder) -> Builder,
) -> Exporter<LogRecord> {
    let builder = Exporter::builder()
        .name(name)
        .endpoint("https://far.example/")
        .encoder(LogsEncoder::builder().protocol(protocol).build().unwrap())
        .batching(Batching::new().max_items(4).max_delay(Duration::from_millis(10)))
        .retry(|retry| retry.max_retries(1).backoff(Backoff::constant(Duration::from_millis(1))).without_budget())
        .park_backoff(Backoff::constant(Duration::from_millis(10)));
    build(builder).client(server(protocol, script)).build().unwrap()
}

type Builder = ExporterBuilder<LogRecord, LogsEncoder>;

async fn emit(exporter: &Exporter<LogRecord>, items: usize) {
    (0..items).for_each(|item| exporter.emit(LogRecord::new(format!("item {item}"))));
    exporter.flush().await;
}

fn with_header(answer: Answer, name: &'static str, value: &'static str) -> Answer {
    answer.map(|mut response| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    })
}

async fn exporters() -> Vec<Exporter<LogRecord>> {
    // Success; a retry with a hint; given up and parked; a poison item; a loss; the open circuit.
    let busy = || with_header(answer(503), "retry-after", "1");
    let mut script = vec![answer(200), busy(), answer(200), answer(503), answer(503), answer(200)];
    script.extend([busy(), busy(), answer(200), answer(400), answer(400), answer(200), answer(404)]);
    let logs = exporter("logs", Protocol::HttpProtobuf, script, |builder| builder);
    for _ in 0..6 {
        emit(&logs, 2).await;
    }
    let handle = logs.handle();
    handle.set_endpoint("https://other.example/?token=secret").unwrap();
    handle.switch_off();
    handle.switch_on();

    // Ten failed exports of two attempts each open the circuit.
    let broken = (0..22).map(|_| Err(BoxError::from("the connection broke"))).collect();
    let away = exporter("away", Protocol::HttpProtobuf, broken, |builder| {
        builder.breaker(|breaker| breaker.open_for(Duration::from_secs(1)).close_after(1))
    });
    emit(&away, 2).await;

    let refused = with_header(answer(200), "grpc-status", "7");
    let grpc = exporter("grpc", Protocol::Grpc, vec![refused], |builder| builder);
    emit(&grpc, 1).await;

    let unread = with_header(answer(200), "content-encoding", "gzip");
    let unread = exporter("unread", Protocol::HttpProtobuf, vec![unread], |builder| builder);
    emit(&unread, 1).await;
    assert_eq!((unread.totals().delivered, unread.handle().counters().unreadable_responses), (1, 1));

    // One credential, which is refused; then none.
    let asked = Mutex::new(0);
    let auth = exporter("auth", Protocol::HttpProtobuf, vec![answer(401), answer(200)], |builder| {
        builder.fallback("https://open.example/").auth(move || {
            *asked.lock().unwrap() += 1;
            let first = *asked.lock().unwrap() == 1;
            async move { if first { Credential::bearer("token").map_err(BoxError::from) } else { Err("none".into()) } }
        })
    });
    emit(&auth, 1).await;

    // A variable of the environment that cannot be used is ignored, and is said.
    let variables = |name: &str| (name == "OTEL_EXPORTER_OTLP_TIMEOUT").then(|| "ten".to_owned());
    let ignoring = move |builder: Builder| builder.environment_of(Signal::Logs, variables).unwrap();
    let quiet = exporter("quiet", Protocol::HttpProtobuf, vec![answer(404)], |builder| ignoring(builder).quiet());
    emit(&quiet, 1).await;
    let warned = exporter("warned", Protocol::HttpProtobuf, vec![], ignoring);

    let late = exporter("late", Protocol::HttpProtobuf, (0..99).map(|_| answer(503)).collect(), |builder| builder);
    late.emit(LogRecord::new("too late"));
    assert_eq!(late.shutdown(Duration::from_millis(5)).await.unsent.len(), 1);

    let several = exporter("several", Protocol::HttpProtobuf, vec![answer(503)], |builder| {
        builder.endpoints(Failover::new(["https://one.example/?token=secret", "https://two.example/"]))
    });
    emit(&several, 1).await;
    several.handle().set_endpoints(Failover::new(["https://two.example/"])).unwrap();
    // One lookup fails, and the next one has an address that nothing outside may name.
    let mut lookups =
        vec![Ok(Addresses { addresses: vec!["127.0.0.1:443".parse().unwrap()], valid_for: None }), Err("away")];
    let lookup = service_fn(move |_: HostPort| ready(lookups.pop().unwrap_or(Err("away")).map_err(BoxError::from)));
    let resolving = DnsEndpoints::new("https://two.example/").guard(EndpointGuard::new());
    let resolving = resolving.run(several.handle(), lookup, Failover::new);
    assert!(tokio::time::timeout(Duration::from_secs(6), resolving).await.is_err(), "it never ends");
    vec![logs, away, grpc, unread, auth, quiet, warned, late, several]
}

/// What no exporter does, as it has one circuit, no registry and a service that does not panic.
async fn layers() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).probe_lease(Duration::from_secs(1)).build().unwrap();
    let mut breaker = layer.layer(service_fn(|hangs: bool| async move {
        if hangs { pending::<Result<(), BoxError>>().await } else { Err(BoxError::from("refused")) }
    }));
    assert!(breaker.ready().await.unwrap().call(false).await.is_err());
    advance(Duration::from_secs(120)).await;
    let mut probe = Box::pin(breaker.ready().await.unwrap().call(true));
    assert!(futures_pending(&mut probe).await);
    advance(Duration::from_secs(2)).await;
    assert!(breaker.ready().await.unwrap().call(false).await.is_err());

    let layer = BreakerLayer::builder()
        .key(|(key, _): &(&'static str, bool)| *key)
        .trip(Trip::consecutive(1))
        .max_open_share(0.5)
        .build()
        .unwrap();
    let mut guarded = layer.layer(service_fn(|(_, good): (&'static str, bool)| {
        ready(if good { Ok(()) } else { Err(BoxError::from("refused")) })
    }));
    for call in [("a", true), ("b", true), ("a", false), ("b", false)] {
        assert_eq!(guarded.ready().await.unwrap().call(call).await.is_ok(), call.1);
    }

    let registry = Registry::builder(|host: String| async move {
        if host == "good" { Ok(host) } else { Err(BoxError::from("no client")) }
    });
    let registry = registry.on_close(|_, _: String| ready(())).build().unwrap();
    drop(registry.acquire("good").await.unwrap());
    assert!(registry.acquire("bad").await.is_err());
    assert!(registry.close_all(Duration::from_secs(1)).await.is_clean());

    // Two clients of Kafka stop for good.
    for _ in 0..2 {
        let broker = service_fn(|_: TelemetryRequest| async {
            Ok::<_, BoxError>(TelemetryResponse::GetSubscriptions(GetTelemetrySubscriptionsResponse {
                error_code: ErrorCode::INVALID_REQUEST,
                ..Default::default()
            }))
        });
        let client = Kip714Client::builder().build(broker).unwrap();
        // It asks once it has its turn.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert!(client.shutdown(Duration::from_secs(1)).await.status.stopped.is_some());
    }

    let queue = QueueLayer::builder().build().unwrap();
    let (mut queue, worker) = queue.pair(service_fn(|panics: bool| async move {
        if panics {
            std::panic::resume_unwind(Box::new("the inner service panics"));
        }
        pending::<Result<(), BoxError>>().await
    }));
    let worker = tokio::spawn(worker);
    assert!(queue.ready().await.unwrap().call(true).await.is_err());
    let held = queue.ready().await.unwrap().call(false);
    tokio::task::yield_now().await;
    worker.abort();
    assert!(held.await.is_err());
}

async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn the_page_lists_every_metric_and_every_event_and_no_other() {
    let heard = EventRecorder::of("forebay");
    let _subscriber = tracing::subscriber::set_default(heard.clone());
    let recorder = DebuggingRecorder::new();
    let _recorder = metrics::set_default_local_recorder(&recorder);

    let exporters = exporters().await;
    layers().await;
    let mut counted = BTreeMap::new();
    for exporter in &exporters {
        let handle = exporter.handle();
        exporter.shutdown(Duration::from_secs(5)).await;
        handle.record_metrics();
        counted.insert(handle.name().to_owned(), handle.totals());
    }
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }

    // ## The metrics
    let mut seen: BTreeMap<String, (&str, BTreeSet<String>)> = BTreeMap::new();
    let (mut offered, mut accounted) = (BTreeMap::new(), BTreeMap::<String, u64>::new());
    for (key, _, description, value) in recorder.snapshotter().snapshot().into_vec() {
        let kind = match key.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let metric = key.key().name().to_owned();
        assert!(description.is_some(), "{metric} is described");
        let labels = key.key().labels().map(|label| label.key().to_owned());
        seen.entry(metric.clone()).or_insert((kind, BTreeSet::new())).1.extend(labels);
        let exporter = key.key().labels().find(|label| label.key() == "exporter").unwrap().value().to_owned();
        match (metric.as_str(), value) {
            ("forebay.items.offered", DebugValue::Counter(items)) => drop(offered.insert(exporter, items)),
            ("forebay.items.delivered" | "forebay.items.dropped", DebugValue::Counter(items)) => {
                *accounted.entry(exporter).or_default() += items;
            }
            ("forebay.items.spooled" | "forebay.items.pending", value) => {
                assert_eq!(value, DebugValue::Gauge(0.0.into()), "{metric} of {exporter}");
            }
            _ => {}
        }
    }
    let listed: BTreeMap<_, _> =
        table("\n## Metrics\n").into_iter().map(|row| (name(row[0]), (row[1], names(row[3])))).collect();
    assert_eq!(seen, listed);
    assert_eq!(offered, accounted, "the equation, as a dashboard would check it");
    assert_eq!(offered, counted.iter().map(|(name, totals)| (name.clone(), totals.offered)).collect());
    assert!(counted["logs"].dropped.get(DropReason::Rejected) > 0 && counted["logs"].delivered > 0);

    // ## The events
    let mut seen: BTreeMap<Event, BTreeSet<String>> = BTreeMap::new();
    for event in heard.events() {
        let level = event.level.to_string().to_lowercase();
        let fields = event.fields.iter().map(|(name, _)| (*name).to_owned());
        seen.entry((event.target, level, event.message)).or_default().extend(fields);
    }
    let listed: BTreeMap<Event, _> = table("\n## Events\n")
        .into_iter()
        .map(|row| ((name(row[0]), row[1].to_owned(), name(row[2])), names(row[3])))
        .collect();
    assert_eq!(seen, listed);
    let text = format!("{:?}", heard.events());
    assert!(!text.contains("secret") && !text.contains("the connection broke"), "no query, no text of an error");
    assert!(heard.with_message("breaker changed state").iter().any(|event| event.field("key") == Some("away")));
}

#[tokio::test(start_paused = true)]
async fn a_scrape_between_two_exports_sees_what_is_there_now() {
    let recorder = DebuggingRecorder::new();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let snapshotter = recorder.snapshotter();
    let value = |metric: &str| {
        let all = snapshotter.snapshot().into_vec();
        all.into_iter().find_map(|(key, _, _, value)| (key.key().name() == metric).then_some(value)).unwrap()
    };
    let logs = exporter("logs", Protocol::HttpProtobuf, vec![], |builder| {
        builder.limits(Limits::new().items(50)).batching(Batching::new().max_delay(Duration::from_secs(10)))
    });
    (0..3).for_each(|_| logs.emit(LogRecord::new("one")));
    let handle = logs.handle();
    for (metric, expected) in [("queue.size", 3.0), ("queue.capacity", 50.0), ("items.pending", 3.0)] {
        handle.record_metrics();
        assert_eq!(value(&format!("forebay.{metric}")), DebugValue::Gauge(expected.into()), "{metric}");
    }
    // The worker does it itself after an export.
    logs.flush().await;
    assert_eq!(value("forebay.items.delivered"), DebugValue::Counter(3));
}
