//! Senders that bring more than a gateway can take, as OTLP clients would.

use super::sink::Database;
use crate::client::{HttpClient, http_client};
use bytes::Bytes;
use forebay::{core::BoxError, otlp::Signal};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest,
        metrics::v1::ExportMetricsServiceRequest,
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message;
use std::{fmt, ops::AddAssign, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tonic::{Code, transport::Channel};

/// What is sent, and where to.
///
/// Of 40 batches one holds an error and one a slow span; of the others three are traces, one logs and one metrics, in turn.
#[derive(Clone, Debug)]
pub struct Load {
    /// The base of OTLP/HTTP.
    pub http: String,
    /// The base of OTLP/gRPC, to which every second sender sends its traces then.
    pub grpc: Option<String>,
    /// For how long.
    pub time: Duration,
    /// Batches per second, all senders together.
    pub rate: u32,
}

/// What became of the batches of one kind, as their senders see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Batches that were sent; one that is sent again is one.
    pub sent: u64,
    /// Answered with success.
    pub taken: u64,
    /// Answered with a partial success: for good.
    pub rejected: u64,
    /// Told to come again later, and let go: only what is healthy.
    pub let_go: u64,
    /// Sent again, as often as told.
    pub again: u64,
    /// No answer, or one that makes no sense.
    pub failed: u64,
}

/// What became of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sent {
    /// Batches without error or slow span.
    pub healthy: Told,
    /// Batches with an error.
    pub errors: Told,
    /// Batches with a slow span.
    pub slow: Told,
    /// How long it took.
    pub seconds: f64,
}

/// What must be in the database after it, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Spans with an error that senders were told are taken.
    pub errors_taken: u64,
    /// Spans with an error in the database.
    pub errors_stored: u64,
    /// The same for slow spans.
    pub slow_taken: u64,
    /// The same for slow spans.
    pub slow_stored: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Healthy,
    Failed,
    Slow,
}

/// One batch, ready to be sent as often as it takes.
struct Parcel {
    kind: Kind,
    signal: Signal,
    body: Bytes,
}

enum Answer {
    Taken,
    Rejected,
    Later(Duration),
    Failed,
}

struct Sender {
    http: HttpClient,
    base: String,
    grpc: Option<TraceServiceClient<Channel>>,
    told: Sent,
    /// Urgent batches that are to be sent again, and when.
    waiting: Vec<(Instant, Parcel)>,
}

const SENDERS: u32 = 16;

/// Spans of a batch of traces.
const SPANS: u64 = 10;

/// How long a sender goes on with what is urgent after the time is over.
const PATIENCE: Duration = Duration::from_secs(30);

// === impl Load ===

impl Load {
    /// Sends all of it, and waits until every urgent batch was taken.
    ///
    /// # Errors
    ///
    /// When the gateway cannot be reached at the start.
    pub async fn run(&self) -> Result<Sent, BoxError> {
        let mut senders = JoinSet::new();
        let begin = Instant::now();
        for place in 0..SENDERS {
            let grpc = match &self.grpc {
                Some(grpc) if place % 2 == 1 => Some(TraceServiceClient::connect(grpc.clone()).await?),
                _ => None,
            };
            let base = self.http.trim_end_matches('/').to_owned();
            let sender = Sender { http: http_client(), base, grpc, told: Sent::default(), waiting: Vec::new() };
            let every = Duration::from_secs(1) * SENDERS / self.rate.max(1);
            senders.spawn(sender.run(u64::from(place), every, self.time));
        }
        let mut sent = Sent::default();
        while let Some(told) = senders.join_next().await {
            let told = told?;
            sent.healthy += told.healthy;
            sent.errors += told.errors;
            sent.slow += told.slow;
        }
        sent.seconds = begin.elapsed().as_secs_f64();
        Ok(sent)
    }
}

// === impl Sender ===

impl Sender {
    async fn run(mut self, place: u64, every: Duration, time: Duration) -> Sent {
        let end = Instant::now() + time;
        let mut ticks = interval(every);
        // A late sender catches up: the load is what was asked for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut n = 0;
        while Instant::now() < end {
            ticks.tick().await;
            self.send_due().await;
            let parcel = Parcel::new(place << 32 | n, n);
            self.told.of(parcel.kind).sent += 1;
            self.send(parcel).await;
            n += 1;
        }
        let patience = Instant::now() + PATIENCE;
        while let Some(due) = self.waiting.iter().map(|(due, _)| *due).min()
            && due < patience
        {
            sleep_until(due).await;
            self.send_due().await;
        }
        for (_, parcel) in std::mem::take(&mut self.waiting) {
            self.told.of(parcel.kind).failed += 1;
        }
        self.told
    }

    async fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(place) = self.waiting.iter().position(|(due, _)| *due <= now) {
            let (_, parcel) = self.waiting.swap_remove(place);
            self.told.of(parcel.kind).again += 1;
            self.send(parcel).await;
        }
    }

    async fn send(&mut self, parcel: Parcel) {
        let answer = match &mut self.grpc {
            Some(grpc) if parcel.signal == Signal::Traces => by_grpc(grpc, &parcel).await,
            _ => by_http(&self.http, &self.base, &parcel).await,
        };
        let told = self.told.of(parcel.kind);
        match answer {
            Answer::Taken => told.taken += 1,
            Answer::Rejected => told.rejected += 1,
            Answer::Later(_) if parcel.kind == Kind::Healthy => told.let_go += 1,
            Answer::Later(wait) => self.waiting.push((Instant::now() + wait, parcel)),
            Answer::Failed => told.failed += 1,
        }
    }
}

async fn by_http(client: &HttpClient, base: &str, parcel: &Parcel) -> Answer {
    let request = Request::post(format!("{base}{}", parcel.signal.path()))
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(parcel.body.clone()));
    let Ok(request) = request else { return Answer::Failed };
    let Ok(response) = client.request(request).await else { return Answer::Failed };
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return Answer::Failed };
    match head.status.as_u16() {
        // All three responses have the same shape.
        200 => match ExportTraceServiceResponse::decode(body.to_bytes()) {
            Ok(response) if response.partial_success.is_none() => Answer::Taken,
            Ok(_) => Answer::Rejected,
            Err(_) => Answer::Failed,
        },
        429 | 503 => {
            let after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            after.map_or(Answer::Failed, |seconds| Answer::Later(Duration::from_secs(seconds)))
        }
        _ => Answer::Failed,
    }
}

async fn by_grpc(client: &mut TraceServiceClient<Channel>, parcel: &Parcel) -> Answer {
    let Ok(request) = ExportTraceServiceRequest::decode(parcel.body.clone()) else { return Answer::Failed };
    match client.export(request).await {
        Ok(response) if response.get_ref().partial_success.is_none() => Answer::Taken,
        Ok(_) => Answer::Rejected,
        // A sender may come again only if it is told when; that it is told is tested elsewhere.
        Err(status) if status.code() == Code::ResourceExhausted && !status.details().is_empty() => {
            Answer::Later(Duration::from_secs(1))
        }
        Err(_) => Answer::Failed,
    }
}

// === impl Parcel ===

impl Parcel {
    /// The `n`-th batch of its sender; `id` is no other batch's.
    fn new(id: u64, n: u64) -> Self {
        let kind = match n % 40 {
            7 => Kind::Failed,
            27 => Kind::Slow,
            _ => Kind::Healthy,
        };
        let (signal, body) = match (kind, n % 5) {
            (Kind::Healthy, 3) => (Signal::Logs, logs()),
            (Kind::Healthy, 4) => (Signal::Metrics, metrics()),
            _ => (Signal::Traces, traces(kind, id)),
        };
        Self { kind, signal, body: body.into() }
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() })
}

fn traces(kind: Kind, id: u64) -> Vec<u8> {
    const MILLISECOND: u64 = 1_000_000;
    let begin = 1_700_000_000_000 * MILLISECOND;
    let span = |n: u64| {
        // The first span is what its batch is about.
        let of = if n == 0 { kind } else { Kind::Healthy };
        let took = if of == Kind::Slow { 2_000 } else { 3 };
        Span {
            trace_id: (u128::from(id) << 8 | 1).to_be_bytes().to_vec(),
            span_id: (id << 8 | (n + 1)).to_be_bytes().to_vec(),
            name: "GET /basket/{id}".to_owned(),
            kind: 2,
            start_time_unix_nano: begin,
            end_time_unix_nano: begin + took * MILLISECOND,
            attributes: vec![attribute("http.request.method", "GET"), attribute("url.path", "/basket/4711")],
            status: (of == Kind::Failed).then(|| Status { code: 2, message: "the database is gone".to_owned() }),
            ..Span::default()
        }
    };
    let scope_spans = vec![ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn logs() -> Vec<u8> {
    let body = Some(AnyValue { value: Some(Value::StringValue("GET /basket/4711 200 in 3 ms".to_owned())) });
    let record = LogRecord { severity_number: 9, body, time_unix_nano: 1, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record; 10], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn metrics() -> Vec<u8> {
    let value = Some(number_data_point::Value::AsDouble(0.5));
    let point = NumberDataPoint { time_unix_nano: 1, value, ..NumberDataPoint::default() };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point; 10] }));
    let metric = Metric { name: "process.cpu.utilization".to_owned(), data, ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

// === impl Sent, Told ===

impl Sent {
    fn of(&mut self, kind: Kind) -> &mut Told {
        match kind {
            Kind::Healthy => &mut self.healthy,
            Kind::Failed => &mut self.errors,
            Kind::Slow => &mut self.slow,
        }
    }

    /// Whether every batch with an error or a slow span was taken at last, and nothing failed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let urgent = [self.errors, self.slow].iter().all(|told| told.taken == told.sent);
        urgent && [self.healthy, self.errors, self.slow].iter().all(|told| told.failed == 0)
    }
}

impl AddAssign for Told {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.taken += other.taken;
        self.rejected += other.rejected;
        self.let_go += other.let_go;
        self.again += other.again;
        self.failed += other.failed;
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["sent", "taken", "rejected", "let go", "again", "failed"];
        write!(f, "{:<22}", "batches, by senders")?;
        head.iter().try_for_each(|word| write!(f, "{word:>10}"))?;
        writeln!(f)?;
        for (name, told) in [("healthy", self.healthy), ("with an error", self.errors), ("with a slow span", self.slow)]
        {
            let Told { sent, taken, rejected, let_go, again, failed } = told;
            writeln!(f, "{name:<22}{sent:>10}{taken:>10}{rejected:>10}{let_go:>10}{again:>10}{failed:>10}")?;
        }
        Ok(())
    }
}

// === impl Stored ===

impl Stored {
    /// Looks into `database`; every urgent batch has one urgent span.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn read(database: &Database, sent: &Sent) -> rusqlite::Result<Self> {
        let count = |sql| -> rusqlite::Result<u64> {
            Ok(database.number(sql)?.and_then(|rows| rows.try_into().ok()).unwrap_or(0))
        };
        Ok(Self {
            errors_taken: sent.errors.taken,
            errors_stored: count("SELECT count(*) FROM spans WHERE status = 2")?,
            slow_taken: sent.slow.taken,
            slow_stored: count("SELECT count(*) FROM spans WHERE end_ns - start_ns >= 1000000000")?,
        })
    }

    /// Whether all that was taken is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.errors_taken == self.errors_stored && self.slow_taken == self.slow_stored
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors_taken, errors_stored, slow_taken, slow_stored } = self;
        writeln!(
            f,
            "in the database: {errors_stored} of {errors_taken} errors, {slow_stored} of {slow_taken} slow spans"
        )
    }
}
