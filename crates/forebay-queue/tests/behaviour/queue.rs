//! What the queue promises of a service: slots, lanes, panics, cancellation, and the end.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, DropReason, Fate, Priority, Seen, Settlement, Totals, Verdict};
use forebay_queue::{Expired, Limits, Overflow, Panicked, Queue, QueueHandle, QueueLayer, Rejected};
use forebay_testkit::{Probe, Watch, laws};
use std::{
    future::{pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};

/// An item and its lane.
type Item = (u32, Priority);

fn normal(n: u32) -> Item {
    (n, Priority::Normal)
}

fn high(n: u32) -> Item {
    (n, Priority::High)
}

/// A queue over a service that processes an item when the test lets it, and notes the order of the items.
struct Rig {
    queue: Queue<Item, u32>,
    gate: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<u32>>>,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        Self::with(limits, Overflow::Refuse, 1)
    }

    fn with(limits: Limits, overflow: Overflow, workers: usize) -> Self {
        let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (inner_gate, inner_seen) = (Arc::clone(&gate), Arc::clone(&seen));
        let probe = Probe::new(move |(n, _): Item| {
            inner_seen.lock().unwrap().push(n);
            let gate = Arc::clone(&inner_gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(n)
            }
        });
        let layer = QueueLayer::builder()
            .limits(limits)
            .overflow(overflow)
            .workers(workers)
            .priority(|(_, priority): &Item| *priority)
            .build()
            .unwrap();
        Self { queue: layer.layer(probe), gate, seen }
    }

    fn seen(&self) -> Vec<u32> {
        self.seen.lock().unwrap().clone()
    }

    fn handle(&self) -> QueueHandle<Item> {
        self.queue.handle()
    }

    fn totals(&self) -> Totals {
        let totals = self.handle().totals();
        assert!(totals.balance(), "{totals}");
        totals
    }
}

async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn q01_q02_q03_q04_soft_and_hard_limits_hold_with_work_in_flight() {
    let rig = Rig::new(Limits::new().items(10));
    for n in 0..9 {
        rig.queue.emit(normal(n)).unwrap();
    }
    settle_down().await;
    assert_eq!(rig.seen(), [0], "one is in flight and still holds its slot");
    let refused = rig.queue.emit(normal(9)).unwrap_err();
    assert_eq!((refused.reason, refused.into_item()), (DropReason::SoftLimit, normal(9)));
    rig.queue.emit(high(10)).unwrap();
    assert_eq!(rig.queue.emit(high(11)).unwrap_err().reason, DropReason::Full);

    rig.gate.add_permits(1);
    settle_down().await;
    rig.queue.emit(high(12)).unwrap();
    let totals = rig.totals();
    assert_eq!((totals.offered, totals.delivered, totals.pending), (13, 1, 10));
    assert_eq!(totals.dropped.get(DropReason::SoftLimit), 1);
    assert_eq!(totals.dropped.get(DropReason::Full), 1);
}

#[tokio::test]
async fn q05_q06_bytes_refuse_every_lane_and_one_item_may_be_too_large() {
    let layer = QueueLayer::builder()
        .limits(Limits::new().bytes(100).item_bytes(60))
        .weigh(|item: &(String, Priority)| item.0.len())
        .priority(|item: &(String, Priority)| item.1)
        .build()
        .unwrap();
    let queue = layer.layer(Probe::<_, ()>::hanging());
    queue.emit(("x".repeat(60), Priority::Normal)).unwrap();
    assert_eq!(queue.emit(("x".repeat(41), Priority::High)).unwrap_err().reason, DropReason::Bytes);
    assert_eq!(queue.emit(("x".repeat(61), Priority::High)).unwrap_err().reason, DropReason::TooLarge);
    queue.emit(("x".repeat(40), Priority::High)).unwrap();
    assert_eq!(queue.handle().bytes(), 100);
}

#[tokio::test]
async fn q07_slots_come_back_after_success_failure_panic_and_cancel() {
    let probe = Probe::new(|n: u32| async move {
        match n {
            0 => Ok(n),
            1 => Err(BoxError::from("no")),
            2 => panic!("on purpose"),
            _ => pending().await,
        }
    });
    let layer = QueueLayer::builder().limits(Limits::new().items(4).soft_limit(1.0)).workers(1).build().unwrap();
    let (queue, worker) = layer.pair(probe);
    let mut worker = task::spawn(worker);
    let mut calls: Vec<_> = (0..4).map(|n| task::spawn(queue.clone().oneshot(n))).collect();
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
    assert_pending!(worker.poll());

    assert_eq!(assert_ready!(calls[0].poll()).unwrap(), 0);
    assert_eq!(assert_ready!(calls[1].poll()).unwrap_err().to_string(), "no");
    assert!(assert_ready!(calls[2].poll()).unwrap_err().is::<Panicked>());
    assert_eq!((queue.handle().totals().pending, queue.handle().bytes()), (1, 4));

    // The caller is dropped: the item stays, since it was admitted. The worker is dropped: the item is settled.
    drop(calls);
    assert_eq!(queue.handle().totals().pending, 1);
    drop(worker);
    let totals = queue.handle().totals();
    assert_eq!((totals.pending, queue.handle().bytes()), (0, 0));
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Failed)), (1, 1));
    assert_eq!((totals.dropped.get(DropReason::Panicked), totals.dropped.get(DropReason::Shutdown)), (1, 1));
}

#[tokio::test]
async fn q08_q20_a_flood_of_one_key_leaves_the_others_their_share() {
    let layer = QueueLayer::builder()
        .limits(Limits::new().items(10).soft_limit(1.0).fair_share(0.3))
        .fair_share_key(|item: &(&'static str, u32)| item.0)
        .workers(1)
        .build()
        .unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let inner_gate = Arc::clone(&gate);
    let queue = layer.layer(Probe::new(move |_| {
        let gate = Arc::clone(&inner_gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    }));
    let flooded = (0..100).filter(|n| queue.emit(("flood", *n)).is_ok()).count();
    assert_eq!(flooded, 3);
    assert_eq!(queue.emit(("flood", 0)).unwrap_err().reason, DropReason::FairShare);
    (0..3).for_each(|n| queue.emit(("quiet", n)).unwrap());
    gate.add_permits(1);
    settle_down().await;
    queue.emit(("flood", 7)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn q09_a_drain_processes_every_item() {
    let rig = Rig::new(Limits::new());
    (0..5).for_each(|n| rig.queue.emit(normal(n)).unwrap());
    rig.gate.add_permits(5);
    let report = rig.handle().drain(Duration::from_secs(1)).await;
    assert_eq!((report.totals.delivered, report.totals.pending, report.unsent.len()), (5, 0, 0));
    assert_eq!(rig.seen(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_and_returns_the_items_that_are_left() {
    let rig = Rig::new(Limits::new());
    let mut reply = task::spawn(rig.queue.clone().oneshot(normal(0)));
    assert_pending!(reply.poll());
    (1..4).for_each(|n| rig.queue.emit(normal(n)).unwrap());
    let start = tokio::time::Instant::now();
    let report = rig.handle().drain(Duration::from_secs(5)).await;
    assert!(start.elapsed() <= Duration::from_millis(5020), "{:?}", start.elapsed());
    let unsent: Vec<_> = report.unsent.into_iter().map(|(n, _)| n).collect();
    assert_eq!(unsent, [1, 2, 3]);
    assert_eq!((report.totals.pending, report.totals.dropped.get(DropReason::Shutdown)), (0, 4));

    let error = assert_ready!(reply.poll()).unwrap_err();
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.reason(), verdict.seen()), (DropReason::Shutdown, Seen::Maybe));
}

#[tokio::test]
async fn q10_after_close_an_offer_is_refused_and_handed_back() {
    let rig = Rig::new(Limits::new());
    rig.queue.emit(normal(1)).unwrap();
    rig.handle().close();
    assert_eq!(rig.queue.emit(normal(2)).unwrap_err().reason, DropReason::Shutdown);
    let error = rig.queue.clone().oneshot(normal(3)).await.unwrap_err();
    assert_eq!(error.downcast::<Rejected<Item>>().unwrap().into_item(), normal(3));
    rig.gate.add_permits(1);
    settle_down().await;
    let totals = rig.totals();
    assert_eq!((totals.offered, totals.delivered, totals.dropped.get(DropReason::Shutdown)), (3, 1, 2));
}

#[tokio::test]
async fn q11_a_panic_in_ready_call_or_future_costs_that_item_only() {
    #[derive(Clone)]
    struct Panics;
    impl Service<u32> for Panics {
        type Response = u32;
        type Error = BoxError;
        type Future = std::pin::Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, n: u32) -> Self::Future {
            assert!(n != 1, "in call");
            Box::pin(async move {
                assert!(n != 2, "in the future");
                Ok(n)
            })
        }
    }
    let queue = QueueLayer::builder().workers(1).build().unwrap().layer(Panics);
    for n in 0..5 {
        let reply = queue.clone().oneshot(n).await;
        match n {
            1 | 2 => {
                let error = reply.unwrap_err();
                laws::error_chain_has_one_link_per_sentence(&*error);
                assert_eq!(Verdict::of(&*error).unwrap().reason(), DropReason::Panicked);
            }
            _ => assert_eq!(reply.unwrap(), n),
        }
    }
    let totals = queue.handle().totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Panicked)), (3, 2));
}

#[tokio::test]
async fn q11_a_panic_in_readiness_or_in_settling_costs_that_item_only() {
    #[derive(Clone)]
    struct Unready(u32);
    impl Service<u32> for Unready {
        type Response = u32;
        type Error = BoxError;
        type Future = std::future::Ready<Result<u32, BoxError>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            self.0 += 1;
            assert!(self.0 != 1, "in readiness");
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, n: u32) -> Self::Future {
            ready(Ok(n))
        }
    }
    let settle = |result: &Result<u32, BoxError>, _: usize| {
        assert!(!matches!(result, Ok(2)), "in settling");
        Settlement::All(Fate::Delivered)
    };
    let queue = QueueLayer::builder().workers(1).settle(settle).build().unwrap().layer(Unready(0));
    assert!(queue.clone().oneshot(1).await.unwrap_err().is::<Panicked>());
    assert!(queue.clone().oneshot(2).await.unwrap_err().is::<Panicked>());
    assert_eq!(queue.clone().oneshot(3).await.unwrap(), 3);
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Panicked), 2);
}

#[tokio::test]
async fn an_inner_service_that_fails_to_get_ready_costs_that_item_only() {
    let probe = Probe::<u32>::echo();
    let watch = probe.watch();
    let queue = QueueLayer::builder().workers(1).build().unwrap().layer(probe);
    watch.fail("down");
    assert_eq!(queue.clone().oneshot(1).await.unwrap_err().to_string(), "down");
    watch.recover();
    assert_eq!(queue.clone().oneshot(2).await.unwrap(), 2);
}

#[tokio::test]
async fn q13_high_priority_overtakes_the_items_that_wait() {
    let rig = Rig::new(Limits::new());
    (0..4).for_each(|n| rig.queue.emit(normal(n)).unwrap());
    settle_down().await;
    rig.queue.emit(high(100)).unwrap();
    rig.gate.add_permits(5);
    settle_down().await;
    assert_eq!(rig.seen(), [0, 100, 1, 2, 3]);
}

#[tokio::test]
async fn q15_a_fate_is_in_the_ledger_before_its_caller_has_the_reply() {
    let rig = Rig::with(Limits::new(), Overflow::Refuse, 4);
    rig.gate.add_permits(100);
    for n in 1..=100 {
        rig.queue.clone().oneshot(normal(u32::try_from(n).unwrap())).await.unwrap();
        assert_eq!((rig.totals().delivered, rig.handle().bytes()), (n, 0));
    }
}

#[tokio::test]
async fn q16_drop_oldest_keeps_high_priority_and_what_is_in_flight() {
    let rig = Rig::with(Limits::new().items(4).soft_limit(1.0), Overflow::DropOldest, 1);
    rig.queue.emit(normal(0)).unwrap();
    settle_down().await;
    rig.queue.emit(high(1)).unwrap();
    let mut oldest = task::spawn(rig.queue.clone().oneshot(normal(2)));
    assert_pending!(oldest.poll());
    rig.queue.emit(normal(3)).unwrap();
    rig.queue.emit(normal(4)).unwrap();
    let evicted = assert_ready!(oldest.poll()).unwrap_err();
    assert_eq!(Verdict::of(&*evicted).unwrap().reason(), DropReason::Evicted);
    rig.queue.emit(high(5)).unwrap();
    rig.queue.emit(high(6)).unwrap();
    assert_eq!(rig.queue.emit(high(7)).unwrap_err().reason, DropReason::Full, "nothing is left to evict");
    rig.gate.add_permits(10);
    settle_down().await;
    assert_eq!(rig.seen(), [0, 1, 5, 6]);
    assert_eq!(rig.totals().dropped.get(DropReason::Evicted), 3);
}

#[tokio::test]
async fn drop_oldest_drops_nothing_for_an_item_that_would_not_fit_anyway() {
    let layer = QueueLayer::builder()
        .limits(Limits::new().bytes(10).soft_limit(1.0))
        .overflow(Overflow::DropOldest)
        .weigh(|item: &(usize, Priority)| item.0)
        .priority(|item: &(usize, Priority)| item.1)
        .build()
        .unwrap();
    let (queue, _idle) = layer.pair(Probe::<_, ()>::hanging());
    queue.emit((6, Priority::High)).unwrap();
    queue.emit((4, Priority::Normal)).unwrap();
    assert_eq!(queue.emit((5, Priority::High)).unwrap_err().reason, DropReason::Bytes);
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Evicted), 0);
    queue.emit((4, Priority::High)).unwrap();
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Evicted), 1);
}

#[tokio::test]
async fn drop_oldest_drops_nothing_where_there_would_be_too_many_items_all_the_same() {
    let layer = QueueLayer::builder()
        .limits(Limits::new().items(10))
        .overflow(Overflow::DropOldest)
        .priority(|item: &Priority| *item)
        .build()
        .unwrap();
    let (queue, _idle) = layer.pair(Probe::<_, ()>::hanging());
    queue.emit(Priority::Normal).unwrap();
    (0..9).for_each(|_| queue.emit(Priority::High).unwrap());
    // Without the one of normal priority it would still be above the soft limit.
    assert_eq!(queue.emit(Priority::Normal).unwrap_err().reason, DropReason::Full);
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Evicted), 0);
    queue.emit(Priority::High).unwrap();
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Evicted), 1);
}

#[tokio::test]
async fn q17_a_ready_service_stays_ready_when_others_fill_the_queue() {
    let rig = Rig::with(Limits::new().items(1).soft_limit(1.0), Overflow::Wait, 1);
    let mut first = rig.queue.clone();
    assert!(laws::poll_once(&mut first).await.is_ready());
    rig.queue.emit(normal(1)).unwrap();
    assert!(laws::poll_once(&mut rig.queue.clone()).await.is_pending());
    assert!(laws::poll_once(&mut first).await.is_ready());
    // There is no room any more: the call waits for the next, and is not refused.
    let mut call = task::spawn(first.call(normal(2)));
    assert_pending!(call.poll());
    rig.gate.add_permits(2);
    settle_down().await;
    assert!(call.is_woken());
    assert_pending!(call.poll());
    settle_down().await;
    assert_eq!(assert_ready!(call.poll()).unwrap(), 2);
    assert!(rig.totals().dropped.total() == 0);
}

#[tokio::test]
async fn q18_a_thousand_idle_clones_hold_no_slot() {
    for overflow in [Overflow::Refuse, Overflow::Wait] {
        let rig = Rig::with(Limits::new().items(2), overflow, 1);
        let mut clones = vec![rig.queue.clone(); 1000];
        for clone in &mut clones {
            assert!(laws::poll_once(clone).await.is_ready());
        }
        rig.gate.add_permits(1);
        assert_eq!(rig.queue.clone().oneshot(normal(1)).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn q19_nothing_is_shed_because_the_coop_budget_is_used_up() {
    let queue = QueueLayer::builder().limits(Limits::new().items(64)).build().unwrap().layer(Probe::<u32>::echo());
    let (busy, mut drained) = mpsc::unbounded_channel();
    (0..10_000).for_each(|n| busy.send(n).unwrap());
    tokio::spawn(async move {
        // One poll of this task uses up its budget many times over; while there is room, no offer is refused.
        for n in 0..2_000_u32 {
            for _ in 0..5 {
                drained.recv().await.unwrap();
            }
            let mut queue = queue.clone();
            assert!(laws::poll_once(&mut queue).await.is_ready());
            queue.call(n).await.unwrap();
        }
        assert_eq!(queue.handle().totals().dropped.total(), 0);
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_item_that_waited_too_long_is_dropped_unseen() {
    let (probe, watch) = gated();
    let layer = QueueLayer::builder().max_age(Duration::from_secs(5)).workers(1).build().unwrap();
    let queue = layer.layer(probe.0);
    let mut replies: Vec<_> = (0..3).map(|n| task::spawn(queue.clone().oneshot(n))).collect();
    replies.iter_mut().for_each(|reply| assert_pending!(reply.poll()));
    settle_down().await;
    tokio::time::advance(Duration::from_millis(5001)).await;
    let mut young = task::spawn(queue.clone().oneshot(3));
    assert_pending!(young.poll());
    probe.1.add_permits(10);
    settle_down().await;
    assert_eq!(assert_ready!(replies[0].poll()).unwrap(), 0, "it was in flight");
    for reply in &mut replies[1..] {
        let error = assert_ready!(reply.poll()).unwrap_err();
        assert!(error.is::<Expired>());
        assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::No);
    }
    assert_eq!(assert_ready!(young.poll()).unwrap(), 3);
    assert_eq!((watch.calls(), queue.handle().totals().dropped.get(DropReason::Expired)), (2, 2));
    assert!(queue.handle().set_max_age(Duration::from_secs(1)).is_ok());
}

fn gated() -> ((Probe<u32>, Arc<Semaphore>), Watch) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let probe = Probe::new(move |n: u32| {
        let gate = Arc::clone(&inner);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(n)
        }
    });
    let watch = probe.watch();
    ((probe, gate), watch)
}

#[tokio::test]
async fn waiting_callers_are_admitted_in_order_and_a_cancelled_one_passes_its_turn_on() {
    let rig = Rig::with(Limits::new().items(1).soft_limit(1.0), Overflow::Wait, 1);
    rig.queue.emit(normal(0)).unwrap();
    let mut waiting: Vec<_> = (1..5)
        .map(|n| {
            let mut queue = rig.queue.clone();
            task::spawn(queue.call(normal(n)))
        })
        .collect();
    waiting.iter_mut().for_each(|call| assert_pending!(call.poll()));
    assert_eq!(rig.totals().offered, 1, "who waits has not offered yet");
    rig.gate.add_permits(1);
    settle_down().await;
    assert!(waiting[0].is_woken() && !waiting[1].is_woken(), "one slot, one wake-up");
    // Woken, and dropped before it was admitted: the next in line must not sleep on.
    drop(waiting.remove(0));
    assert!(waiting[0].is_woken() && !waiting[1].is_woken());
    rig.gate.add_permits(3);
    for call in &mut waiting {
        assert_pending!(call.poll());
        settle_down().await;
    }
    assert_eq!(rig.seen(), [0, 2, 3, 4]);
    assert_eq!((rig.totals().offered, rig.totals().delivered), (4, 4));
}

#[tokio::test]
async fn after_the_last_handle_is_dropped_the_items_are_processed_and_the_workers_end() {
    let (probe, watch) = gated();
    let layer = QueueLayer::builder().workers(1).build().unwrap();
    let (queue, worker) = layer.pair(probe.0);
    let handle = queue.handle();
    let worker = tokio::spawn(worker);
    (0..3).for_each(|n| queue.emit(n).unwrap());
    drop(queue);
    probe.1.add_permits(3);
    worker.await.unwrap();
    assert_eq!((watch.calls(), handle.totals().delivered), (3, 3));
}

#[tokio::test]
async fn the_items_of_the_last_worker_have_a_fate_when_it_is_dropped() {
    let (probe, _watch) = gated();
    let (queue, worker) = QueueLayer::builder().build().unwrap().pair(probe.0);
    let mut reply = task::spawn(queue.clone().oneshot(1));
    assert_pending!(reply.poll());
    queue.emit(2).unwrap();
    drop(worker);
    assert_eq!(Verdict::of(&*assert_ready!(reply.poll()).unwrap_err()).unwrap().seen(), Seen::No);
    assert_eq!(queue.emit(3).unwrap_err().reason, DropReason::Shutdown);
    let totals = queue.handle().totals();
    assert_eq!((totals.dropped.get(DropReason::Shutdown), totals.pending), (3, 0));
}

#[tokio::test]
async fn a_flush_waits_for_the_items_before_it_and_for_no_others() {
    let rig = Rig::new(Limits::new());
    rig.queue.emit(normal(0)).unwrap();
    let handle = rig.handle();
    let mut flush = task::spawn(handle.flush());
    rig.queue.emit(normal(1)).unwrap();
    assert_pending!(flush.poll());
    rig.gate.add_permits(1);
    settle_down().await;
    assert!(flush.is_woken());
    assert_ready!(flush.poll());
    assert_eq!(rig.totals().pending, 1);
    assert_ready!(task::spawn(Rig::new(Limits::new()).handle().flush()).poll());
}

#[tokio::test]
async fn raised_limits_admit_callers_that_wait() {
    let rig = Rig::with(Limits::new().items(1).soft_limit(1.0), Overflow::Wait, 1);
    rig.queue.emit(normal(0)).unwrap();
    let mut queue = rig.queue.clone();
    let mut call = task::spawn(queue.call(normal(1)));
    assert_pending!(call.poll());
    rig.handle().set_limits(Limits::new().items(2).soft_limit(1.0)).unwrap();
    assert!(call.is_woken());
    assert_pending!(call.poll());
    assert_eq!(rig.totals().pending, 2);
    assert!(rig.handle().set_limits(Limits::new().items(0)).is_err());
}

#[test]
fn outside_of_a_runtime_a_pair_can_be_driven_by_hand() {
    let (queue, worker) = QueueLayer::builder().build().unwrap().pair(Probe::<u32>::echo());
    std::thread::scope(|threads| {
        threads.spawn(|| queue.emit(1).unwrap());
    });
    let mut reply = task::spawn(queue.clone().oneshot(2));
    assert_pending!(reply.poll());
    let mut worker = task::spawn(worker);
    assert_pending!(worker.poll());
    assert_eq!(assert_ready!(reply.poll()).unwrap(), 2);
    drop(queue);
    assert!(worker.is_woken());
    assert_ready!(worker.poll());
}
