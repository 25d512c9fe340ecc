//! Workers whose number tunes itself.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{chance::SplitMix64, time::saturating_mul};
use forebay_queue::{Adaptive, BoxError, Limits, Priority, Queue, QueueLayer};
use forebay_testkit::{Probe, laws};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

const LATENCY: Duration = Duration::from_millis(50);

/// A server that takes so many requests at a time, and refuses the others; and what it has seen.
#[derive(Clone)]
struct Server(Arc<Mutex<Seen>>);

struct Seen {
    takes: usize,
    under_way: usize,
    most: usize,
    order: Vec<u32>,
    served: usize,
    refused: usize,
}

/// Items from this one on have high priority.
const HIGH: u32 = 1_000_000;

impl Server {
    fn taking(takes: usize) -> Self {
        let seen = Seen { takes, under_way: 0, most: 0, order: Vec::new(), served: 0, refused: 0 };
        Self(Arc::new(Mutex::new(seen)))
    }

    fn queue(&self, adaptive: Adaptive) -> Queue<u32, ()> {
        let server = self.clone();
        let chance = Arc::new(Mutex::new(SplitMix64::new(1)));
        let inner = service_fn(move |item: u32| {
            let (server, chance) = (server.clone(), Arc::clone(&chance));
            async move {
                let takes = {
                    let mut seen = server.0.lock().unwrap();
                    seen.order.push(item);
                    seen.under_way += 1;
                    seen.most = seen.most.max(seen.under_way);
                    seen.under_way <= seen.takes
                };
                let jitter = saturating_mul(LATENCY, 0.1 * chance.lock().unwrap().unit());
                sleep(LATENCY + jitter).await;
                let mut seen = server.0.lock().unwrap();
                seen.under_way -= 1;
                if takes {
                    seen.served += 1
                } else {
                    seen.refused += 1
                }
                if takes { Ok(()) } else { Err(BoxError::from("429")) }
            }
        });
        QueueLayer::builder()
            .limits(Limits::new().items(200_000).soft_limit(1.0))
            .priority(|item: &u32| if *item < HIGH { Priority::Normal } else { Priority::High })
            .workers(adaptive)
            .park_backoff([LATENCY; 1000])
            .build()
            .unwrap()
            .layer(inner)
    }

    /// What was served and refused since this was asked.
    fn counts(&self) -> (usize, usize) {
        let mut seen = self.0.lock().unwrap();
        (std::mem::take(&mut seen.served), std::mem::take(&mut seen.refused))
    }
}

fn seeded() -> Adaptive {
    Adaptive::builder().seed(1).build().unwrap()
}

/// The least and the most are the same: a fixed number, through the gate.
fn places(places: usize) -> Adaptive {
    Adaptive::builder().floor(places).ceiling(places).build().unwrap()
}

fn over(adaptive: Adaptive) -> impl Fn(Probe<u32>) -> Queue<u32, u32> {
    move |probe| QueueLayer::builder().workers(adaptive).build().unwrap().layer(probe)
}

#[tokio::test]
async fn the_laws_hold_with_workers_that_wait_for_a_place() {
    for most in [1, 3] {
        laws::the_readied_instance_is_called(over(places(most)), 7).await;
        laws::clones_share_slots_not_grants(over(places(most)), 7).await;
        laws::dropping_a_ready_service_gives_back(over(places(most))).await;
    }
    laws::readiness_is_stable(over(seeded())(Probe::echo())).await;
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    laws::a_service_runs_no_waker_under_a_lock(over(places(1)), 7);
    laws::a_service_runs_no_waker_under_a_lock(over(seeded()), 7);
}

#[tokio::test(start_paused = true)]
async fn e04_workers_come_within_a_tenth_of_what_the_server_takes() {
    let server = Server::taking(40);
    let queue = server.queue(seeded());
    (0..60_000).for_each(|item| queue.emit(item).unwrap());
    sleep(50 * LATENCY).await;
    server.counts();
    let round_trips = 200;
    sleep(round_trips * LATENCY).await;
    let (served, refused) = server.counts();
    // A request takes 1.05 times the latency on average.
    let best = 40 * 200 * 100 / 105;
    assert!(served >= best * 9 / 10, "{served} served, {best} by the best fixed number");
    assert!(refused * 20 <= served, "{refused} refused, {served} served");
    let totals = queue.handle().totals();
    assert!(totals.balance(), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn e04_a_server_that_refuses_sees_fewer_within_one_round_trip_and_nothing_is_lost() {
    let server = Server::taking(usize::MAX);
    let queue = server.queue(seeded());
    (0..40_000).for_each(|item| queue.emit(item).unwrap());
    // The climb is over: the number does not grow while the first refusals are under way.
    sleep(60 * LATENCY).await;
    let before = server.0.lock().unwrap().under_way;
    assert!(before >= 150, "{before} under way after 60 round trips");
    server.0.lock().unwrap().takes = 0;
    sleep(2 * LATENCY + LATENCY / 2).await;
    let after = server.0.lock().unwrap().under_way;
    assert!(after < before, "{after} under way, {before} before");
    server.0.lock().unwrap().takes = usize::MAX;
    queue.handle().flush().await;
    let totals = queue.handle().totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.delivered, totals.pending), (40_000, 0), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_does_so_in_the_queue_in_the_order_of_its_lane() {
    let server = Server::taking(usize::MAX);
    let queue = server.queue(places(4));
    (0..400).for_each(|item| queue.emit(item).unwrap());
    sleep(LATENCY / 2).await;
    assert_eq!((server.0.lock().unwrap().under_way, queue.handle().queued()), (4, 396));
    (HIGH..HIGH + 8).for_each(|item| queue.emit(item).unwrap());
    sleep(4 * LATENCY).await;
    let order = server.0.lock().unwrap().order.clone();
    let high = order.iter().filter(|item| **item >= HIGH).count();
    assert_eq!(high, 8, "high priority overtakes all that waits: {order:?}");
    queue.handle().flush().await;
    let seen = server.0.lock().unwrap();
    let (high, normal): (Vec<u32>, Vec<u32>) = seen.order.iter().copied().partition(|item| *item >= HIGH);
    assert!(high.is_sorted() && normal.is_sorted());
    assert_eq!((seen.most, high.len(), normal.len()), (4, 8, 400));
}

/// Workers above the limit end with the queue, as those do that work.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_workers_that_wait_for_a_place() {
    for deadline in [10 * LATENCY, LATENCY / 2] {
        let server = Server::taking(usize::MAX);
        let mut queue = server.queue(Adaptive::builder().floor(2).ceiling(32).initial(2).seed(1).build().unwrap());
        (0..50_000).for_each(|item| queue.emit(item).unwrap());
        let last = queue.ready().await.unwrap().call(7);
        let start = Instant::now();
        let report = queue.handle().drain(deadline).await;
        assert!(start.elapsed() <= deadline + Duration::from_millis(20), "{:?}", start.elapsed());
        assert!(report.totals.balance() && report.totals.pending == 0, "{}", report.totals);
        last.await.unwrap_err();
        drop(queue);
        sleep(LATENCY).await;
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive, 0, "every worker has ended");
    }
}
