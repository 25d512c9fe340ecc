//! The buffer of an outage, in virtual time.

use super::{Client, exporter};
use crate::{Options, buffer::one, own};
use bytes::Bytes;
use forebay::{
    core::{BoxError, DropReason},
    export::Exporter,
};
use forebay_collect::Series;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{metric::Data, number_data_point::Value},
};
use prost::Message;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{service_fn, util::BoxCloneService};

/// A server that is away or takes all, and remembers when it was asked and which values it took.
#[derive(Clone, Default)]
struct Server {
    away: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Instant>>>,
    taken: Arc<Mutex<Vec<i64>>>,
}

impl Server {
    fn away() -> Self {
        let server = Self::default();
        server.away.store(true, Relaxed);
        server
    }

    fn client(&self) -> Client {
        let server = self.clone();
        BoxCloneService::new(service_fn(move |request: Request<Full<Bytes>>| {
            let server = server.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                server.asked.lock().unwrap().push(Instant::now());
                let mut response = Response::new(Full::default().map_err(BoxError::from).boxed());
                if server.away.load(Relaxed) {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                } else {
                    server.taken.lock().unwrap().extend(values(&body));
                }
                Ok(response)
            }
        }))
    }

    fn taken(&self) -> Vec<i64> {
        let mut taken = self.taken.lock().unwrap().clone();
        taken.sort_unstable();
        taken
    }
}

fn values(body: &[u8]) -> Vec<i64> {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let sums = scopes.flat_map(|scope| scope.metrics).filter_map(|metric| match metric.data {
        Some(Data::Sum(sum)) => Some(sum.data_points),
        _ => None,
    });
    let values = sums.flatten().filter_map(|point| match point.value {
        Some(Value::AsInt(value)) => Some(value),
        _ => None,
    });
    values.collect()
}

fn start(server: &Server, options: &Options) -> (Exporter<Series>, Arc<AtomicU64>) {
    let failures = Arc::<AtomicU64>::default();
    let exporter = exporter(options, server.client(), None, Arc::clone(&failures)).unwrap();
    (exporter, failures)
}

/// The `n`-th value of one series, gathered every 5 seconds.
async fn gather(exporter: &Exporter<Series>, n: u64) {
    exporter.emit(one(1, n));
    sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_values_expire_and_no_younger_one_does() {
    let server = Server::away();
    let options = Options { buffer_age: Duration::from_secs(600), ..Options::default() };
    let (exporter, _) = start(&server, &options);
    // Half an hour of outage; then the server is back.
    let mut oldest = 0;
    for n in 0..360 {
        gather(&exporter, n).await;
        let expired = exporter.totals().dropped.get(DropReason::Expired);
        assert!(expired >= oldest && expired <= n, "{expired} of {n}");
        oldest = expired;
    }
    server.away.store(false, Relaxed);
    sleep(Duration::from_secs(180)).await;
    let totals = exporter.totals();
    let taken = server.taken();
    assert!(totals.balance() && totals.pending == 0, "{totals}");
    let first = usize::try_from(taken[0]).unwrap();
    let expected: Vec<i64> = (taken[0]..360).collect();
    assert_eq!(taken, expected, "the youngest, without a gap");
    assert_eq!((totals.dropped.get(DropReason::Expired), totals.dropped.total()), (first as u64, first as u64));
    // 10 minutes are 120 values. The first export after the outage comes within an interval, and a batch expires with
    // its oldest values, one after the other.
    assert!((90..=132).contains(&taken.len()), "{}", taken.len());
}

#[tokio::test(start_paused = true)]
async fn the_bytes_hold_and_the_oldest_values_make_room() {
    let server = Server::away();
    let buffer_bytes = 64 << 10;
    let options = Options { buffer_bytes, buffer_age: Duration::from_secs(7200), ..Options::default() };
    let (exporter, _) = start(&server, &options);
    let mut most = 0;
    for n in 0..720 {
        gather(&exporter, n).await;
        let bytes = exporter.handle().bytes();
        assert!(bytes <= buffer_bytes, "{bytes}");
        most = most.max(bytes);
    }
    let all: usize = (0..720).map(|n| own::weight(&one(1, n))).sum();
    assert!(all > 3 * buffer_bytes && most > buffer_bytes * 3 / 4, "{most} of {all}");
    server.away.store(false, Relaxed);
    sleep(Duration::from_secs(180)).await;
    let (totals, taken) = (exporter.totals(), server.taken());
    assert!(totals.balance() && totals.pending == 0, "{totals}");
    // The batch of the first interval is tried again and again, and stays until it expires; of all others the oldest go.
    let tried = taken.iter().zip(0..).take_while(|(value, n)| **value == *n).count();
    assert!(tried <= 13, "{tried}");
    let expected: Vec<i64> = (taken[tried]..720).collect();
    assert_eq!(taken[tried..], expected, "the youngest, without a gap");
    assert_eq!(totals.dropped.get(DropReason::Evicted), totals.dropped.total());
    assert_eq!(totals.dropped.total() + taken.len() as u64, 720);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_sees_one_export_an_interval() {
    let server = Server::away();
    let (exporter, failures) = start(&server, &Options::default());
    let begin = Instant::now();
    for n in 0..360 {
        gather(&exporter, n).await;
    }
    let asked = server.asked.lock().unwrap().clone();
    let seconds: Vec<_> = asked.iter().map(|at| at.duration_since(begin).as_secs()).collect();
    assert!((26..=33).contains(&asked.len()), "30 intervals, {} requests: {seconds:?}", asked.len());
    // An interval of a minute is up to a tenth shorter or longer.
    assert!(seconds.iter().zip(&seconds[1..]).all(|(at, next)| next - at >= 53), "{seconds:?}");
    assert_eq!(exporter.counters().requests, asked.len() as u64);
    assert!(failures.load(Relaxed) >= asked.len() as u64);
}

/// Says how long it was there.
struct Waited(Instant, Arc<Mutex<Vec<Duration>>>);

impl Drop for Waited {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_without_a_response_is_given_up_after_thirty_seconds() {
    let waited = Arc::<Mutex<Vec<Duration>>>::default();
    let seen = Arc::clone(&waited);
    let client: Client = BoxCloneService::new(service_fn(move |_: Request<Full<Bytes>>| {
        let waiting = Waited(Instant::now(), Arc::clone(&seen));
        async move {
            let _waiting = waiting;
            std::future::pending::<()>().await;
            Err(BoxError::from("this is never reached"))
        }
    }));
    let exporter = exporter(&Options::default(), client, None, Arc::default()).unwrap();
    for n in 0..48 {
        gather(&exporter, n).await;
    }
    let waited = waited.lock().unwrap().clone();
    assert!(!waited.is_empty() && waited.iter().all(|time| time.as_secs() == 30), "{waited:?}");
    assert_eq!(exporter.totals().pending, 48, "what it had is kept");
}
