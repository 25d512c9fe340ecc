use bytes::Bytes;
use forebay::{
    core::{BoxError, Totals},
    otlp::Signal,
};
use forebay_example_support::client::{HttpClient, http_client};
use forebay_gateway::{Batch, Config, Gateway, SpoolConfig, sink::Sink};
use forebay_spool::{
    SpoolError,
    storage::{LocalStorage, Storage, StorageFile},
};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point},
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
};
use prost::Message;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// What a batch of one span or log record is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Healthy,
    Failed,
    Slow,
}

/// A sink that takes as many batches as it is let, and notes what it took.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<Semaphore>,
    entered: Arc<AtomicUsize>,
    pub(crate) taken: Arc<Mutex<Vec<Batch>>>,
}

/// A sender.
pub(crate) struct Sender {
    client: HttpClient,
    base: String,
}

/// The response to a sender.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A folder that goes with the test.
pub(crate) struct Temp(PathBuf);

pub(crate) fn config() -> Config {
    Config { http: ([127, 0, 0, 1], 0).into(), grpc: ([127, 0, 0, 1], 0).into(), ..Config::default() }
}

/// A spool in `temp`, replayed only when the test says so.
pub(crate) fn spool(temp: &Temp) -> SpoolConfig {
    let mut config = SpoolConfig::new(temp.path().join("spool"));
    config.pace.interval = Duration::from_secs(3600);
    config.probe_every = Duration::ZERO;
    config
}

/// A disk that fails for as long as it is broken.
#[derive(Debug)]
pub(crate) struct Disk {
    local: LocalStorage,
    broken: Arc<AtomicBool>,
}

#[derive(Debug)]
struct DiskFile(Arc<dyn StorageFile>, Arc<AtomicBool>);

/// The spool of [`spool`] on a disk that breaks when the flag is set.
pub(crate) fn on_a_disk_that_may_break(config: &mut SpoolConfig) -> Arc<AtomicBool> {
    let broken = Arc::<AtomicBool>::default();
    config.storage = Some(Arc::new(Disk { local: LocalStorage::new(&config.folder), broken: Arc::clone(&broken) }));
    broken
}

fn works(broken: &AtomicBool) -> io::Result<()> {
    if broken.load(Relaxed) { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
}

/// One span, whose ids say `n`.
pub(crate) fn span(kind: Kind, n: u64) -> Span {
    let error = Status { code: 2, message: "failed".to_owned() };
    Span {
        trace_id: (u128::from(n) + 1).to_be_bytes().to_vec(),
        span_id: (n + 1).to_be_bytes().to_vec(),
        name: format!("span {n}"),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: if kind == Kind::Slow { 2_000_000_000 } else { 2_000 },
        status: (kind == Kind::Failed).then_some(error),
        ..Span::default()
    }
}

pub(crate) fn with_event(mut span: Span) -> Span {
    span.events.push(Event { time_unix_nano: 1_500, name: "exception".to_owned(), ..Event::default() });
    span
}

pub(crate) fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

pub(crate) fn logs(texts: &[&str], severity: i32) -> ExportLogsServiceRequest {
    let record = |text: &&str| LogRecord {
        time_unix_nano: 7,
        severity_number: severity,
        body: Some(AnyValue { value: Some(Value::StringValue((*text).to_owned())) }),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: texts.iter().map(record).collect(), ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

pub(crate) fn metrics(points: &[f64]) -> ExportMetricsServiceRequest {
    let point = |value: &f64| NumberDataPoint {
        time_unix_nano: 7,
        value: Some(number_data_point::Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: points.iter().map(point).collect() };
    let metric = Metric { name: "temperature".to_owned(), data: Some(Data::Gauge(gauge)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// The number of a line of `/metrics`.
pub(crate) fn value(page: &str, line: &str) -> Option<f64> {
    let found = page.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.map(|number| number.parse().unwrap())
}

/// What became of all batches, whatever their signal.
pub(crate) fn batches(gateway: &Gateway) -> [Totals; 3] {
    gateway.summary().pages.map(|page| page.batches())
}

/// Waits until `done`; a test that never gets there fails.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), waited).await;
    assert!(in_time.is_ok(), "it should have come to that");
}

/// Whether the system refuses a connection to `address`: a listener that only does not accept is still one.
pub(crate) async fn is_closed(address: std::net::SocketAddr) -> bool {
    let connected = tokio::time::timeout(Duration::from_millis(50), tokio::net::TcpStream::connect(address)).await;
    matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Waits until no listener is at `address`; a test that never gets there fails.
pub(crate) async fn until_closed(address: std::net::SocketAddr) {
    let waited = async { while !is_closed(address).await {} };
    assert!(tokio::time::timeout(Duration::from_secs(20), waited).await.is_ok(), "the listener is not closed");
}

/// A sink that refuses the first `times` batches.
pub(crate) fn failing(times: usize) -> Sink {
    let left = Arc::new(AtomicUsize::new(times));
    Sink::of_fn(move |_| {
        let fails = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        async move { if fails { Err(BoxError::from("the disk is full")) } else { Ok(()) } }
    })
}

// === impl Disk ===

impl Storage for Disk {
    fn claim(&self) -> Result<(), SpoolError> {
        self.local.claim()
    }

    fn release(&self) {
        self.local.release();
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.local.list()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        works(&self.broken)?;
        Ok(Arc::new(DiskFile(self.local.open(name, create)?, Arc::clone(&self.broken))))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        works(&self.broken)?;
        self.local.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        works(&self.broken)?;
        self.local.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        works(&self.broken)?;
        self.local.sync()
    }
}

impl StorageFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        works(&self.1)?;
        self.0.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        works(&self.1)?;
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        works(&self.1)?;
        self.0.sync()
    }
}

// === impl Gate ===

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), entered: Arc::default(), taken: Arc::default() }
    }

    pub(crate) fn let_through(&self, batches: usize) {
        self.open.add_permits(batches);
    }

    pub(crate) fn sink(&self) -> Sink {
        let gate = self.clone();
        Sink::of_fn(move |batch| {
            let gate = gate.clone();
            async move {
                gate.entered.fetch_add(1, Relaxed);
                gate.open.acquire().await?.forget();
                gate.taken.lock().unwrap().push(batch);
                Ok(())
            }
        })
    }

    /// Waits for one place.
    pub(crate) async fn pass(&self) {
        self.open.acquire().await.unwrap().forget();
    }

    /// How many batches have come to the gate.
    pub(crate) fn entered(&self) -> usize {
        self.entered.load(Relaxed)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let name = |batch: &Batch| {
            let request = ExportTraceServiceRequest::decode(&*batch.body).unwrap();
            request.resource_spans[0].scope_spans[0].spans[0].name.clone()
        };
        self.taken.lock().unwrap().iter().map(name).collect()
    }
}

// === impl Sender ===

impl Sender {
    pub(crate) fn to(gateway: &Gateway) -> Self {
        Self { client: http_client(), base: format!("http://{}", gateway.http()) }
    }

    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> Reply {
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        Reply { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(crate) async fn post(&self, signal: Signal, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = Request::post(format!("{}{}", self.base, signal.path()));
        if headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header(header::CONTENT_TYPE, "application/x-protobuf");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Full::from(body)).unwrap()).await
    }

    /// One batch of one span, by a tenant.
    pub(crate) async fn send_as(&self, tenant: &str, kind: Kind, n: u64) -> Reply {
        let headers = [("x-tenant-id", tenant)];
        let headers = if tenant.is_empty() { &[][..] } else { &headers };
        self.post(Signal::Traces, headers, traces(vec![span(kind, n)]).encode_to_vec()).await
    }

    pub(crate) async fn send(&self, kind: Kind, n: u64) -> Reply {
        self.send_as("", kind, n).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(format!("{}{path}", self.base)).body(Full::default()).unwrap();
        let Reply { status, body, .. } = self.request(request).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn is_taken(&self) -> bool {
        self.status == 200 && self.body.is_empty()
    }

    /// How many records a partial success rejects.
    pub(crate) fn rejected(&self) -> i64 {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
        assert_eq!(self.status, 200);
        let response = ExportTraceServiceResponse::decode(&*self.body).unwrap();
        response.partial_success.map_or(0, |partial| partial.rejected_spans)
    }
}

// === impl Temp ===

impl Temp {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-gateway-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Every batch and record has one fate, by signal and in the queue.
pub(crate) fn assert_ledger(gateway: &Gateway) {
    let summary = gateway.summary();
    assert!(summary.balances(), "{summary}");
    let offered: u64 = summary.pages.iter().map(|page| page.batches().offered).sum();
    assert_eq!(summary.queue.offered, offered, "{summary}");
    let pending: u64 = summary.pages.iter().map(|page| page.batches().pending).sum();
    assert_eq!(summary.queue.pending, pending, "{summary}");
}
