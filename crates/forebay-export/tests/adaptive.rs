//! An exporter whose number in flight tunes itself: over a long round trip, and over retries.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::{Bytes, BytesMut};
use forebay_core::BoxError;
use forebay_export::{Adaptive, Batching, Encode, Exporter, Limits, MaxInFlight, Skipped};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::sleep;
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

struct Nothing;

impl Encode<u32> for Nothing {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, _: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.extend_from_slice(b"items");
        Ok(Skipped::NONE)
    }
}

/// A server behind a long line, which takes all that comes.
#[derive(Clone, Default)]
struct Far {
    under_way: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
}

impl Far {
    fn exporter(&self, round_trip: Duration, in_flight: impl Into<MaxInFlight>) -> Exporter<u32> {
        let far = self.clone();
        let client = service_fn(move |_: Request<Full<Bytes>>| {
            let far = far.clone();
            async move {
                far.under_way.fetch_add(1, Relaxed);
                sleep(round_trip).await;
                far.under_way.fetch_sub(1, Relaxed);
                let mut response = Response::new(Full::new(Bytes::new()));
                if far.refuses.load(Relaxed) {
                    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                }
                Ok::<_, BoxError>(response)
            }
        });
        Exporter::builder()
            .endpoint("https://far.example/")
            .encoder(Nothing)
            .client(client)
            .limits(Limits::new().items(1_000_000).soft_limit(1.0))
            .batching(Batching::new().max_items(10).max_in_flight(in_flight))
            .quiet()
            .build()
            .unwrap()
    }
}

/// What is delivered in ten seconds.
async fn delivered(round_trip: Duration, in_flight: impl Into<MaxInFlight>) -> u64 {
    let exporter = Far::default().exporter(round_trip, in_flight);
    (0..200_000).for_each(|item| {
        exporter.emit(item);
    });
    sleep(10 * SECOND).await;
    exporter.totals().delivered
}

#[tokio::test(start_paused = true)]
async fn e04_over_a_long_round_trip_ten_times_as_much_is_delivered() {
    for round_trip in [80, 200].map(Duration::from_millis) {
        let adaptive = Adaptive::builder().seed(1).build().unwrap();
        let (one, many) = (delivered(round_trip, 1).await, delivered(round_trip, adaptive).await);
        assert!(many >= 10 * one, "{many} with a round trip of {round_trip:?}, {one} one by one");
    }
}

/// An attempt is a sample, and the waits between attempts are not: the refusals of one export are seen one by one.
#[tokio::test(start_paused = true)]
async fn e04_an_exporter_that_is_refused_has_fewer_under_way_within_one_round_trip() {
    let round_trip = Duration::from_millis(100);
    let far = Far::default();
    let exporter = far.exporter(round_trip, Adaptive::builder().seed(1).build().unwrap());
    (0..900_000).for_each(|item| {
        exporter.emit(item);
    });
    sleep(3 * SECOND + round_trip / 2).await;
    let before = far.under_way.load(Relaxed);
    assert!(before >= 32, "{before} under way after 30 round trips");
    far.refuses.store(true, Relaxed);
    sleep(2 * round_trip).await;
    let after = far.under_way.load(Relaxed);
    assert!(after < before, "{after} under way, {before} before");
    assert!(exporter.totals().balance());
}
