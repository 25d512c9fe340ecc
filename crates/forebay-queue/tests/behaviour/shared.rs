//! One queue for all services of a layer: limits, workers, ledger and end are shared, and each request goes to its own service.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, DropReason, Priority, Verdict};
use forebay_queue::{Limits, Overflow, QueueBuilder, QueueLayer, Rejected, SharedQueue, SharedQueueLayer};
use forebay_testkit::{Probe, laws};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};

/// A route: it says its name when the test lets it, and counts what it works on.
#[derive(Clone)]
struct Route {
    name: &'static str,
    gate: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    is_ready: Arc<AtomicBool>,
}

impl Route {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            gate: Arc::new(Semaphore::new(0)),
            begun: Arc::default(),
            is_ready: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Another route behind the same gate, with the same counts.
    fn beside(&self, name: &'static str) -> Self {
        Self { name, ..self.clone() }
    }
}

impl Service<u32> for Route {
    type Response = (&'static str, u32);
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.is_ready.load(SeqCst) { Poll::Ready(Ok(())) } else { Poll::Ready(Err("not ready".into())) }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        let Self { name, gate, begun, .. } = self.clone();
        Box::pin(async move {
            begun.fetch_add(1, SeqCst);
            gate.acquire().await.unwrap().forget();
            Ok((name, request))
        })
    }
}

type Call = task::Spawn<tower::util::Oneshot<SharedQueue<u32, Route>, u32>>;

type Layered = SharedQueueLayer<u32, Route>;

fn layer(builder: QueueBuilder<u32>) -> Layered {
    builder.shared().unwrap()
}

fn of(items: usize) -> QueueBuilder<u32> {
    QueueLayer::builder().limits(Limits::new().items(items).soft_limit(1.0)).workers(2)
}

fn call(queue: &SharedQueue<u32, Route>, request: u32) -> Call {
    task::spawn(queue.clone().oneshot(request))
}

async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn d04_limits_workers_and_ledger_are_one_and_each_request_reaches_its_own_service() {
    let layer = layer(of(5));
    let handle = layer.handle();
    let first = Route::new("first");
    let (one, other) = (layer.layer(first.clone()), layer.clone().layer(first.beside("other")));
    let mut calls: Vec<_> = (0..6).map(|n| call(if n % 2 == 0 { &one } else { &other }, n)).collect();
    let refused = calls.iter_mut().filter_map(|call| match call.poll() {
        Poll::Ready(result) => Some(result.unwrap_err()),
        Poll::Pending => None,
    });
    let refused: Vec<_> = refused.collect();
    settle_down().await;
    assert_eq!((refused.len(), first.begun.load(SeqCst)), (1, 2), "the limit and the workers are one for both");
    assert_eq!((handle.totals().pending, handle.queued()), (5, 3));
    assert_eq!(Verdict::of(&*refused[0]).unwrap().reason(), DropReason::Full);
    let refused = refused.into_iter().next().unwrap();
    assert_eq!(refused.downcast::<Rejected<u32>>().unwrap().into_item(), 5, "the request, and nothing around it");

    first.gate.add_permits(5);
    settle_down().await;
    for (n, mut call) in calls.into_iter().take(5).enumerate() {
        let name = if n % 2 == 0 { "first" } else { "other" };
        let (served_by, request) = assert_ready!(call.poll()).unwrap();
        assert_eq!((served_by, request as usize), (name, n));
    }
    let totals = handle.totals();
    assert!(totals.balance());
    assert_eq!((totals.offered, totals.delivered, totals.dropped.get(DropReason::Full)), (6, 5, 1));
}

#[tokio::test]
async fn d04_high_priority_is_refused_only_when_nothing_is_left() {
    let limits = Limits::new().items(10).soft_limit(0.5);
    let urgent = |n: &u32| if *n >= 100 { Priority::High } else { Priority::Normal };
    let layer = QueueLayer::builder().limits(limits).workers(1).priority(urgent).shared().unwrap();
    let (handle, route) = (layer.handle(), Route::new("route"));
    let mut calls: Vec<_> = (0..20).chain(100..106).map(|n| call(&layer.layer(route.clone()), n)).collect();
    let refused: Vec<_> = calls.iter_mut().map(|call| call.poll().is_ready()).collect();
    assert_eq!(refused[..20].iter().filter(|refused| **refused).count(), 15, "normal ones up to the soft limit");
    assert_eq!(refused[20..], [false, false, false, false, false, true]);
    let totals = handle.totals();
    assert_eq!((totals.dropped.get(DropReason::SoftLimit), totals.dropped.get(DropReason::Full)), (15, 1));
    assert_eq!((totals.pending, handle.fullness()), (10, 1.0));
}

#[tokio::test]
async fn the_layer_keeps_the_queue_open_and_the_last_service_closes_it() {
    let layer = layer(of(5));
    let (handle, route) = (layer.handle(), Route::new("route"));
    route.gate.add_permits(9);
    drop(layer.layer(route.clone()));
    assert_eq!(layer.layer(route.clone()).oneshot(1).await.unwrap(), ("route", 1), "no service was left in between");
    let service = layer.layer(route.clone());
    drop(layer);
    assert_eq!(service.clone().oneshot(2).await.unwrap(), ("route", 2));
    let (weak, last) = (Arc::downgrade(&route.begun), service.oneshot(3));
    assert_eq!(last.await.unwrap(), ("route", 3));
    drop(route);
    settle_down().await;
    assert!(weak.upgrade().is_none(), "no worker and no item keeps a service");
    assert_eq!(handle.totals().delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_all_services_of_the_layer_and_returns_plain_requests() {
    let layer = layer(of(9));
    let route = Route::new("route");
    let (one, other) = (layer.layer(route.clone()), layer.layer(route.beside("other")));
    let mut calls: Vec<_> = [&one, &other, &one, &other].into_iter().zip(0..).map(|(to, n)| call(to, n)).collect();
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
    settle_down().await;
    let report = layer.handle().drain(Duration::from_secs(1)).await;
    assert_eq!((report.unsent, report.totals.pending), (vec![2, 3], 0));
    assert!(report.totals.balance());
    for mut call in calls {
        assert_eq!(Verdict::of(&*assert_ready!(call.poll()).unwrap_err()).unwrap().reason(), DropReason::Shutdown);
    }
    let refused = other.oneshot(7).await.unwrap_err();
    assert_eq!(refused.downcast::<Rejected<u32>>().unwrap().reason, DropReason::Shutdown);
}

#[tokio::test]
async fn callers_of_every_service_wait_in_one_line() {
    let layer = layer(of(1).overflow(Overflow::Wait));
    let route = Route::new("route");
    let (one, other) = (layer.layer(route.clone()), layer.layer(route.beside("other")));
    let (mut first, mut second) = (call(&one, 1), call(&other, 2));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    route.gate.add_permits(2);
    settle_down().await;
    assert_eq!(assert_ready!(first.poll()).unwrap(), ("route", 1));
    assert!(second.is_woken(), "the room of the one is for the other");
    assert_pending!(second.poll());
    settle_down().await;
    assert_eq!(assert_ready!(second.poll()).unwrap(), ("other", 2));
    drop((one, other, layer));
}

#[tokio::test]
async fn a_service_that_is_not_ready_fails_its_own_requests_alone() {
    let layer = layer(of(9));
    let (sound, broken) = (Route::new("sound"), Route::new("broken"));
    sound.gate.add_permits(1);
    broken.is_ready.store(false, SeqCst);
    let (sound, broken) = (layer.layer(sound), layer.layer(broken));
    assert_eq!(broken.oneshot(1).await.unwrap_err().to_string(), "not ready");
    assert_eq!(sound.oneshot(2).await.unwrap(), ("sound", 2));
    assert_eq!((layer.handle().totals().delivered, layer.handle().totals().dropped.get(DropReason::Failed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_parked_request_returns_to_its_own_service() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let flaky = |name: &'static str| {
        let attempts = Arc::clone(&attempts);
        Probe::new(move |n: u32| {
            let fails = attempts.fetch_add(1, SeqCst) < 2;
            async move {
                let away = Verdict::new(DropReason::Failed, forebay_core::Seen::No, forebay_core::Advice::Retry);
                if fails { Err(BoxError::from(away)) } else { Ok((name, n)) }
            }
        })
    };
    let layer = QueueLayer::<u32>::builder().park_backoff([Duration::from_secs(1); 3]).shared().unwrap();
    let (one, other) = (layer.layer(flaky("one")), layer.layer(flaky("other")));
    let both = tokio::join!(one.oneshot(1), other.oneshot(2));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (("one", 1), ("other", 2)));
    assert_eq!(attempts.load(SeqCst), 4);
}

#[tokio::test]
async fn the_laws_of_a_service_hold() {
    let over =
        |overflow| move |probe: Probe<u32>| QueueLayer::builder().overflow(overflow).shared().unwrap().layer(probe);
    for overflow in [Overflow::Refuse, Overflow::DropOldest, Overflow::Wait] {
        laws::the_readied_instance_is_called(over(overflow), 7).await;
        laws::readiness_is_stable(over(overflow)(Probe::echo())).await;
        laws::clones_share_slots_not_grants(over(overflow), 7).await;
        laws::dropping_a_ready_service_gives_back(over(overflow)).await;
    }
}

#[test]
fn a_queue_whose_runtime_has_ended_refuses() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (layer, route) = (layer(of(5)), Route::new("route"));
    route.gate.add_permits(2);
    let first = runtime();
    let service = first.block_on(async { layer.layer(route.clone()) });
    first.block_on(service.clone().oneshot(1)).unwrap();
    drop(first);
    let refused = runtime().block_on(async { layer.layer(route).oneshot(2).await }).unwrap_err();
    assert_eq!(Verdict::of(&*refused).unwrap().reason(), DropReason::Shutdown);
}
