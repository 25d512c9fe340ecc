//! An exporter whose number in flight tunes itself: over a long round trip, and over retries.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::{Bytes, BytesMut};
use forebay_core::{BoxError, DropReason, Priority};
use forebay_export::{Adaptive, Batching, Encode, Exporter, Limits, MaxInFlight, Preset, Skipped};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::sleep;
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

/// The number of the first item names the batch.
struct First;

impl Encode<u32> for First {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, items: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.extend_from_slice(&items.first().unwrap().to_be_bytes());
        Ok(Skipped::NONE)
    }
}

/// A server behind a long line, which takes all that comes.
#[derive(Clone, Default)]
struct Far {
    under_way: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
    /// The first items of the requests, in the order in which they came.
    order: Arc<Mutex<Vec<u32>>>,
}

/// Items from this one on have high priority.
const HIGH: u32 = 1_000_000;
/// The items of a batch.
const BATCH: u32 = 10;

impl Far {
    fn exporter(&self, round_trip: Duration, in_flight: impl Into<MaxInFlight>) -> Exporter<u32> {
        let far = self.clone();
        let client = service_fn(move |request: Request<Full<Bytes>>| {
            let far = far.clone();
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                far.order.lock().unwrap().push(u32::from_be_bytes(body[..].try_into().unwrap()));
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
            .encoder(First)
            .client(client)
            .limits(Limits::new().items(1_000_000).soft_limit(1.0))
            .batching(Batching::new().max_items(10).max_in_flight(in_flight))
            .priority(|item: &u32| if *item < HIGH { Priority::Normal } else { Priority::High })
            .quiet()
            .build()
            .unwrap()
    }
}

/// The default, with a seed.
fn seeded() -> Adaptive {
    Adaptive::builder().seed(1).build().unwrap()
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
        let (one, many) = (delivered(round_trip, 1).await, delivered(round_trip, seeded()).await);
        assert!(many >= 10 * one, "{many} with a round trip of {round_trip:?}, {one} one by one");
    }
}

/// An attempt is a sample, and the waits between attempts are not: the refusals of one export are seen one by one.
#[tokio::test(start_paused = true)]
async fn e04_an_exporter_that_is_refused_has_fewer_under_way_within_one_round_trip() {
    let round_trip = Duration::from_millis(100);
    let far = Far::default();
    let exporter = far.exporter(round_trip, seeded());
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

#[tokio::test(start_paused = true)]
async fn e04_the_number_tunes_itself_by_default_and_presets_that_send_one_at_a_time_keep_one() {
    let builder = || {
        let client =
            service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, BoxError>(Response::new(Full::new(Bytes::new()))) });
        Exporter::builder().endpoint("https://far.example/").encoder(First).client(client)
    };
    let batching = |exporter: Exporter<u32>| exporter.handle().batching();
    let default = Batching::new().max_in_flight(Adaptive::default());
    let exporter = builder().build().unwrap();
    assert_eq!(exporter.handle().batching(), default);
    exporter.handle().set_batching(Batching::new().max_in_flight(1)).unwrap();
    assert!(exporter.handle().batching().keeps_order());
    exporter.handle().set_batching(Batching::new().max_items(7)).unwrap();
    assert_eq!(exporter.handle().batching(), default.max_items(7), "the default again, where no number is set");
    assert_eq!(batching(builder().batching(Batching::new().max_items(7)).build().unwrap()), default.max_items(7));
    for preset in [Preset::DatabricksNode, Preset::DatabricksCsharp, Preset::ConsulHcp] {
        assert!(batching(builder().preset(preset).build().unwrap()).keeps_order(), "{preset:?}");
    }
    let collector = batching(builder().preset(Preset::Collector).build().unwrap());
    assert_eq!(collector, collector.max_in_flight(10));
}

/// The server refuses for a while, so that a batch is sent again and again: none overtakes it.
#[tokio::test(start_paused = true)]
async fn one_in_flight_keeps_the_order_of_arrival() {
    let far = Far::default();
    let exporter = far.exporter(SECOND / 10, 1);
    (0..50 * BATCH).for_each(|item| {
        exporter.emit(item);
    });
    sleep(SECOND).await;
    far.refuses.store(true, Relaxed);
    sleep(20 * SECOND).await;
    far.refuses.store(false, Relaxed);
    exporter.flush().await;
    let totals = exporter.totals();
    assert_eq!((totals.delivered, totals.pending), (500, 0), "{totals}");
    let order = far.order.lock().unwrap();
    assert!(order.len() > 55, "some batches were sent again");
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn e04_batches_leave_in_the_order_of_their_lane_and_the_ledger_is_right() {
    let far = Far::default();
    let exporter = far.exporter(SECOND / 10, seeded());
    (0..20_000).for_each(|item| {
        exporter.emit(item);
    });
    sleep(SECOND).await;
    let behind = far.order.lock().unwrap().len();
    (HIGH..HIGH + 20 * BATCH).for_each(|item| {
        exporter.emit(item);
    });
    exporter.flush().await;
    let totals = exporter.totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.offered, totals.delivered, totals.pending), (20_200, 20_200, 0), "{totals}");
    let order = far.order.lock().unwrap();
    let (high, normal): (Vec<u32>, Vec<u32>) = order.iter().copied().partition(|item| *item >= HIGH);
    assert!(high.is_sorted() && normal.is_sorted(), "{order:?}");
    assert_eq!((high.len(), normal.len()), (20, 2000));
    let last_high = order.iter().rposition(|item| *item >= HIGH).unwrap();
    assert!(last_high < behind + 100, "high priority overtakes: sent as number {last_high}, emitted after {behind}");
}

/// Hundreds of batches are under way or wait, and each keeps its own age.
#[tokio::test(start_paused = true)]
async fn e04_ages_end_with_many_under_way_and_the_ledger_is_right() {
    let far = Far::default();
    let exporter = far.exporter(SECOND / 10, seeded());
    (0..100_000).for_each(|item| {
        exporter.emit(item);
    });
    sleep(3 * SECOND).await;
    far.refuses.store(true, Relaxed);
    // The default age, and what the last attempts take.
    sleep(300 * SECOND + 62 * SECOND).await;
    let totals = exporter.totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.offered, totals.pending), (100_000, 0), "{totals}");
    assert!(totals.delivered > 0 && totals.dropped.get(DropReason::Expired) > 0, "{totals}");
    assert_eq!(totals.delivered + totals.dropped.total(), 100_000, "{totals}");
}
