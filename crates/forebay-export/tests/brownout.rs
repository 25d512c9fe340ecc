//! A server that fails a share of its requests at random, and takes all the rest: an exporter loses nothing by it.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "test code"
)]

#[path = "brownout/storm.rs"]
mod storm;

use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::{BoxError, chance::SplitMix64, time::saturating_mul};
use forebay_export::{Adaptive, Backoff, Encode, Exporter, Jitter, Skipped};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);
/// The time that the server works on a request, whether it takes it or fails it.
const LATENCY: Duration = Duration::from_millis(100);

/// An hour where `BROWNOUT_AT_LENGTH` is set, as `.ci/models` does, and else a quarter of it.
fn hour() -> Duration {
    Duration::from_secs(if std::env::var_os("BROWNOUT_AT_LENGTH").is_some() { 3600 } else { 900 })
}

/// What is offered: so many items at a time make one batch.
#[derive(Clone, Copy, Debug)]
enum Size {
    /// Batches that their age closes: those that wait are joined.
    Small,
    /// Full batches, of which no two can be joined.
    Large,
}

/// What became of the items of one run.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// The share of the offered items that was delivered.
    delivered: f64,
    /// The number of requests for each batch that was sent at least once.
    requests: f64,
}

/// The number of the first item names the batch.
struct Numbers;

impl Encode<u32> for Numbers {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, items: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.extend_from_slice(&items.first().unwrap().to_be_bytes());
        Ok(Skipped::NONE)
    }
}

/// What the server saw: the batches by their names, and how many requests there were.
#[derive(Default)]
struct Seen {
    batches: HashSet<Bytes>,
    requests: u32,
}

/// How many batches are in flight.
#[derive(Clone, Copy, Debug)]
enum InFlight {
    /// As many as the server works on at a time.
    Width,
    /// What an exporter has by default.
    Default,
}

/// A run against a server that works on `width` requests at a time and fails a share of `failing`. The load is half of what such
/// a server takes. All knobs but the number in flight have their defaults.
async fn run(size: Size, width: usize, in_flight: InFlight, failing: f64, time: Duration) -> Outcome {
    let seed = 1;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (noted, chance) = (Arc::clone(&seen), Arc::new(Mutex::new(SplitMix64::new(seed))));
    let workers = Arc::new(Semaphore::new(width));
    let client = service_fn(move |request: Request<Full<Bytes>>| {
        let (noted, chance, workers) = (Arc::clone(&noted), Arc::clone(&chance), Arc::clone(&workers));
        async move {
            let _worker = workers.acquire().await.unwrap();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            sleep(LATENCY).await;
            {
                let mut noted = noted.lock().unwrap();
                noted.batches.insert(body);
                noted.requests += 1;
            }
            let mut response = Response::new(Full::new(Bytes::new()));
            if chance.lock().unwrap().unit() < failing {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, BoxError>(response)
        }
    });
    let (items, batching) = match size {
        Size::Small => (10, Batching::new().max_delay(Duration::from_millis(5))),
        Size::Large => (20, Batching::new().max_items(20)),
    };
    // The defaults, with the seed of this run.
    let attempts = Backoff::exponential(LATENCY).cap(10 * SECOND).jitter(Jitter::Full).seed(seed);
    let parked = Backoff::exponential(SECOND).cap(30 * SECOND).jitter(Jitter::Equal).seed(seed);
    let exporter = Exporter::builder()
        .endpoint("https://far.example/")
        .encoder(Numbers)
        .client(client)
        .batching(match in_flight {
            InFlight::Width => batching.max_in_flight(width),
            // The default, with the seed of this run.
            InFlight::Default => batching.max_in_flight(Adaptive::builder().seed(seed).build().unwrap()),
        })
        .retry(|retry| retry.backoff(attempts))
        .breaker(|breaker| breaker.seed(seed))
        .park_backoff(parked)
        .quiet()
        .build()
        .unwrap();
    let every = saturating_mul(LATENCY, 2.0 / (width as f64 * (1.0 - failing)));
    let (mut offered, rounds) = (0, (time.as_secs_f64() / every.as_secs_f64()) as u32);
    let start = Instant::now();
    for round in 0..rounds {
        for _ in 0..items {
            // An item that finds no room is lost, and counted as such.
            exporter.emit(offered);
            offered += 1;
        }
        sleep_until(start + saturating_mul(every, f64::from(round + 1))).await;
    }
    exporter.flush().await;
    let totals = exporter.totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.offered, totals.pending), (u64::from(offered), 0));
    let seen = seen.lock().unwrap();
    println!("{totals}; the circuit opened {} times", exporter.counters().breaker_opens);
    Outcome {
        delivered: totals.delivered as f64 / f64::from(offered),
        requests: f64::from(seen.requests) / seen.batches.len() as f64,
    }
}

/// Runs one size with so many in flight at each share, and prints and checks what became of it.
async fn table(size: Size, width: usize, in_flight: InFlight, time: Duration, rows: &[(f64, f64)]) {
    for (failing, least) in rows.iter().copied() {
        let needed = 1.0 / (1.0 - failing);
        let Outcome { delivered, requests } = run(size, width, in_flight, failing, time).await;
        println!(
            "{size:?}  {width} workers  {in_flight:?} in flight  p = {failing}  {:6.2} % delivered  {requests:.2} requests per batch, {needed:.2} needed",
            100.0 * delivered
        );
        assert!(delivered >= least, "{delivered} delivered");
        assert!(requests <= 1.1 * needed, "{requests} requests per batch");
    }
}

const UP_TO_HALF: [(f64, f64); 3] = [(0.1, 1.0), (0.3, 1.0), (0.5, 1.0)];
const SEVENTY_PERCENT: [(f64, f64); 1] = [(0.7, 0.99)];

#[tokio::test(start_paused = true)]
async fn e03_a_share_of_failing_requests_costs_no_small_batch() {
    table(Size::Small, 1, InFlight::Width, hour() / 2, &UP_TO_HALF).await;
    table(Size::Small, 8, InFlight::Width, hour() / 12, &UP_TO_HALF).await;
}

#[tokio::test(start_paused = true)]
async fn e03_a_share_of_failing_requests_costs_no_large_batch() {
    table(Size::Large, 8, InFlight::Width, hour() / 12, &UP_TO_HALF).await;
}

/// Every fourth export of four attempts fails, and in these runs five in a row do so again and again: the circuit must stay closed.
#[tokio::test(start_paused = true)]
async fn e03_a_share_of_seventy_percent_costs_at_most_a_hundredth() {
    for size in [Size::Small, Size::Large] {
        table(size, 8, InFlight::Width, hour() / 12, &SEVENTY_PERCENT).await;
    }
    table(Size::Small, 1, InFlight::Width, hour() / 2, &SEVENTY_PERCENT).await;
}

/// One batch in flight keeps the order of arrival, and pays for it where most requests fail.
#[tokio::test(start_paused = true)]
async fn e03_in_order_full_batches_are_delivered_up_to_a_share_of_half() {
    table(Size::Large, 1, InFlight::Width, hour() / 2, &UP_TO_HALF).await;
    table(Size::Large, 1, InFlight::Width, hour() / 2, &[(0.7, 0.4)]).await;
}

/// With the defaults alone, at a server that works on one request at a time as well as at one that works on eight.
#[tokio::test(start_paused = true)]
async fn e03_by_default_a_brown_out_costs_nothing_up_to_a_half_and_a_hundredth_at_seventy_percent() {
    for size in [Size::Small, Size::Large] {
        for (width, time) in [(1, hour() / 2), (8, hour() / 12)] {
            table(size, width, InFlight::Default, time, &UP_TO_HALF).await;
            table(size, width, InFlight::Default, time, &SEVENTY_PERCENT).await;
        }
    }
}
