//! Senders that bring more than a gateway can take, as OTLP clients would.

pub(super) mod parcel;
mod tally;

pub use self::tally::{Sent, Stored, Tally};

use self::parcel::{Kind, Parcel};
use forebay::{
    core::{
        BoxError,
        time::{FAR, saturating_add, saturating_mul},
    },
    export::Endpoint,
    otlp::Signal,
};
use forebay_example_support::client::{HttpClient, http_client};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use prost::Message;
use std::time::Duration;
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

enum Outcome {
    Taken,
    Rejected,
    Later(Duration),
    Failed,
}

struct Sender {
    http: HttpClient,
    base: Endpoint,
    grpc: Option<TraceServiceClient<Channel>>,
    tally: Sent,
    /// Urgent batches that are to be sent again, and when.
    waiting: Vec<(Instant, Parcel)>,
}

const SENDERS: u32 = 16;

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
        let base: Endpoint = self.http.parse()?;
        for place in 0..SENDERS {
            let grpc = match &self.grpc {
                Some(grpc) if place % 2 == 1 => Some(TraceServiceClient::connect(grpc.clone()).await?),
                _ => None,
            };
            let sender =
                Sender { http: http_client(), base: base.clone(), grpc, tally: Sent::default(), waiting: Vec::new() };
            let every = saturating_mul(Duration::from_secs(1), f64::from(SENDERS) / f64::from(self.rate.max(1)));
            senders.spawn(sender.run(u64::from(place), every, self.time));
        }
        let mut sent = Sent::default();
        while let Some(tally) = senders.join_next().await {
            let tally = tally?;
            sent.healthy += tally.healthy;
            sent.errors += tally.errors;
            sent.slow += tally.slow;
        }
        sent.seconds = begin.elapsed().as_secs_f64();
        Ok(sent)
    }
}

/// The instant that lies `wait` from now, however long a user or a server says that is.
fn after(wait: Duration) -> Instant {
    Instant::from_std(saturating_add(Instant::now().into_std(), wait))
}

// === impl Sender ===

impl Sender {
    async fn run(mut self, place: u64, every: Duration, time: Duration) -> Sent {
        let end = after(time);
        let mut ticks = interval(every.min(FAR));
        // A late sender catches up: the load is what was asked for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut n = 0;
        // However slow the machine is, each sender has had its errors.
        while Instant::now() < end || n < Parcel::ROUND {
            ticks.tick().await;
            self.send_due().await;
            let parcel = Parcel::new(place << 32 | n, n);
            self.tally.of(parcel.kind).sent += 1;
            self.send(parcel).await;
            n += 1;
        }
        let patience = after(PATIENCE);
        while let Some(due) = self.waiting.iter().map(|(due, _)| *due).min()
            && due < patience
        {
            sleep_until(due).await;
            self.send_due().await;
        }
        for (_, parcel) in std::mem::take(&mut self.waiting) {
            self.tally.of(parcel.kind).failed += 1;
        }
        self.tally
    }

    async fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(place) = self.waiting.iter().position(|(due, _)| *due <= now) {
            let (_, parcel) = self.waiting.swap_remove(place);
            self.tally.of(parcel.kind).again += 1;
            self.send(parcel).await;
        }
    }

    async fn send(&mut self, parcel: Parcel) {
        let outcome = match &mut self.grpc {
            Some(grpc) if parcel.signal == Signal::Traces => by_grpc(grpc, &parcel).await,
            _ => by_http(&self.http, &self.base, &parcel).await,
        };
        let tally = self.tally.of(parcel.kind);
        match outcome {
            Outcome::Taken => tally.taken += 1,
            Outcome::Rejected => tally.rejected += 1,
            Outcome::Later(_) if parcel.kind == Kind::Healthy => tally.let_go += 1,
            Outcome::Later(wait) => self.waiting.push((after(wait), parcel)),
            Outcome::Failed => tally.failed += 1,
        }
    }
}

async fn by_http(client: &HttpClient, base: &Endpoint, parcel: &Parcel) -> Outcome {
    let Ok(endpoint) = base.extended(parcel.signal.path()) else { return Outcome::Failed };
    let request = Request::post(endpoint.uri())
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(parcel.body.clone()));
    let Ok(request) = request else { return Outcome::Failed };
    let Ok(response) = client.request(request).await else { return Outcome::Failed };
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return Outcome::Failed };
    match head.status.as_u16() {
        // All three responses have the same shape.
        200 => match ExportTraceServiceResponse::decode(body.to_bytes()) {
            Ok(response) if response.partial_success.is_none() => Outcome::Taken,
            Ok(_) => Outcome::Rejected,
            Err(_) => Outcome::Failed,
        },
        429 | 503 => {
            let after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            after.map_or(Outcome::Failed, |seconds| Outcome::Later(Duration::from_secs(seconds)))
        }
        _ => Outcome::Failed,
    }
}

async fn by_grpc(client: &mut TraceServiceClient<Channel>, parcel: &Parcel) -> Outcome {
    let Ok(request) = ExportTraceServiceRequest::decode(parcel.body.clone()) else { return Outcome::Failed };
    match client.export(request).await {
        Ok(response) if response.get_ref().partial_success.is_none() => Outcome::Taken,
        Ok(_) => Outcome::Rejected,
        // A sender may send again only if the response says when, which is tested elsewhere.
        Err(status) if status.code() == Code::ResourceExhausted && !status.details().is_empty() => {
            Outcome::Later(Duration::from_secs(1))
        }
        Err(_) => Outcome::Failed,
    }
}
