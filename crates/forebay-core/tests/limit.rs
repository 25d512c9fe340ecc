//! The layer of the limit that tunes itself: the laws of `tower::Service`, and a server in virtual time.

#![cfg(all(feature = "limit", not(any(loom, shuttle))))]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{
    BoxError, Outcome,
    adaptive::Adaptive,
    limit::{Limit, LimitLayer, ResponseFuture},
};
use forebay_testkit::{Probe, laws};
use std::{
    convert::Infallible,
    future::Ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};

const LATENCY: Duration = Duration::from_millis(50);

/// Always so many.
fn places(places: usize) -> impl Fn(Probe<u32>) -> Limit<Probe<u32>> {
    move |probe| LimitLayer::new(Adaptive::builder().floor(places).ceiling(places).build().unwrap()).layer(probe)
}

#[tokio::test]
async fn the_readied_instance_is_called() {
    laws::the_readied_instance_is_called(places(3), 7).await;
}

#[tokio::test]
async fn readiness_is_stable() {
    laws::readiness_is_stable(places(1)(Probe::echo())).await;
}

#[tokio::test]
async fn a_dropped_service_or_future_gives_its_place_back() {
    laws::clones_share_slots_not_grants(places(1), 7).await;
    laws::dropping_a_ready_service_gives_back(places(1)).await;
    laws::dropping_a_future_gives_back(places(1), 7).await;
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    laws::a_service_runs_no_waker_under_a_lock(places(1), 7);
}

#[test]
fn everything_is_send_and_sync() {
    laws::is_send_and_sync::<LimitLayer>();
    laws::is_send_and_sync::<Limit<Probe<u32>>>();
    laws::is_send_and_sync::<ResponseFuture<Ready<Result<u32, BoxError>>, fn()>>();
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_place_and_the_places_go_in_order() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&under_way);
    let service = places_of(2, move || {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(1, Relaxed);
            sleep(LATENCY).await;
            counted.fetch_sub(1, Relaxed);
            200
        }
    });
    let mut ready = service.clone();
    ready.ready().await.unwrap();
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(service.clone().oneshot(()))).collect();
    sleep(LATENCY / 2).await;
    assert_eq!(under_way.load(Relaxed), 1, "a ready service holds the other place");
    drop(ready);
    sleep(LATENCY / 4).await;
    assert_eq!(under_way.load(Relaxed), 2);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), 200);
    }
}

fn places_of<F>(
    places: usize,
    server: impl Fn() -> F + Clone + Send + 'static,
) -> impl Service<(), Response = u16, Error = Infallible, Future: Send> + Clone + Send
where
    F: Future<Output = u16> + Send,
{
    let adaptive = Adaptive::builder().floor(places).ceiling(places).build().unwrap();
    let server = service_fn(move |()| {
        let served = server();
        async move { Ok::<_, Infallible>(served.await) }
    });
    LimitLayer::new(adaptive).classify(|_: &Result<u16, Infallible>| Outcome::Success).layer(server)
}

/// A server that refuses what is above its limit with a response, and 200 clients that are never done.
struct Busy {
    /// How many it takes at a time.
    takes: AtomicUsize,
    under_way: AtomicUsize,
    served: AtomicUsize,
    refused: AtomicUsize,
}

impl Busy {
    /// The server, and what tells the limit in force.
    fn start(takes: usize) -> (Arc<Self>, impl Fn() -> usize) {
        let none = || AtomicUsize::new(0);
        let busy =
            Arc::new(Self { takes: AtomicUsize::new(takes), under_way: none(), served: none(), refused: none() });
        let server = Arc::clone(&busy);
        let client = service_fn(move |()| {
            let server = Arc::clone(&server);
            async move {
                let takes = server.under_way.fetch_add(1, Relaxed) < server.takes.load(Relaxed);
                sleep(LATENCY).await;
                server.under_way.fetch_sub(1, Relaxed);
                let count = if takes { &server.served } else { &server.refused };
                count.fetch_add(1, Relaxed);
                Ok::<u16, BoxError>(if takes { 200 } else { 429 })
            }
        });
        let service = LimitLayer::new(Adaptive::builder().seed(1).build().unwrap())
            .classify(|result: &Result<u16, BoxError>| match result {
                Ok(200) => Outcome::Success,
                _ => Outcome::RETRYABLE,
            })
            .layer(client);
        for _ in 0..200 {
            let mut client = service.clone();
            tokio::spawn(async move { while client.ready().await.unwrap().call(()).await.is_ok() {} });
        }
        (busy, move || service.limit())
    }

    /// What was served and refused since this was asked.
    fn counts(&self) -> (usize, usize) {
        (self.served.swap(0, Relaxed), self.refused.swap(0, Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn e04_the_layer_comes_within_a_tenth_of_what_a_server_takes() {
    let (server, _limit) = Busy::start(40);
    // What the climb costs is over after 50 round trips.
    sleep(50 * LATENCY).await;
    server.counts();
    sleep(200 * LATENCY).await;
    let (served, refused) = server.counts();
    assert!(served >= 200 * 36, "{served} served, {} by the best fixed limit", 200 * 40);
    assert!(refused * 20 <= served, "{refused} refused, {served} served");
}

#[tokio::test(start_paused = true)]
async fn e04_a_429_lowers_the_limit_of_the_layer_within_one_round_trip() {
    let (server, limit) = Busy::start(usize::MAX);
    sleep(60 * LATENCY).await;
    let before = limit();
    assert!(before >= 150, "{before} after 60 round trips");
    server.takes.store(0, Relaxed);
    // What is under way is served yet, and what follows is refused one round trip later.
    sleep(2 * LATENCY + LATENCY / 2).await;
    assert!(limit() < before, "{} after one round trip of refusals, {before} before", limit());
}
