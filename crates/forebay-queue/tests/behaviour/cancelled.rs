//! The work of callers that do not wait any more is not begun, unless that is asked for.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, DropReason, Fate, Settlement, Totals};
use forebay_queue::{Limits, Overflow, Queue, QueueHandle, QueueLayer, Worker};
use proptest::prelude::*;
use std::{
    future::{Future, Ready, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A service that notes what it has begun, is ready when the test says so, and fails while the test says so.
#[derive(Clone, Default)]
struct Noted {
    begun: Arc<Mutex<Vec<u32>>>,
    unready: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
}

impl Noted {
    fn begun(&self) -> Vec<u32> {
        self.begun.lock().unwrap().clone()
    }
}

impl Service<u32> for Noted {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.unready.load(SeqCst) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.begun.lock().unwrap().push(request);
        ready(if self.fails.load(SeqCst) { Err("away".into()) } else { Ok(request) })
    }
}

fn settle(result: &Result<u32, BoxError>, _: usize) -> Settlement {
    match result {
        Ok(_) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
    }
}

fn limits(items: usize) -> Limits {
    Limits::new().items(items).soft_limit(1.0)
}

fn balanced(handle: &QueueHandle<u32>) -> Totals {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    totals
}

fn nothing_left(handle: &QueueHandle<u32>) -> Totals {
    let totals = balanced(handle);
    assert_eq!((totals.pending, handle.bytes(), handle.queued()), (0, 0, 0), "{totals}");
    totals
}

fn pair(run_cancelled: bool) -> (Queue<u32, u32>, task::Spawn<Worker<u32, Noted>>, Noted) {
    let noted = Noted::default();
    let layer = QueueLayer::builder().limits(limits(1000)).run_cancelled(run_cancelled).build().unwrap();
    let (queue, worker) = layer.pair(noted.clone());
    (queue, task::spawn(worker), noted)
}

/// A server works on one request at a time, and twenty clients hang up while the first one is served.
#[tokio::test]
async fn f15_a_server_runs_none_of_the_requests_of_clients_that_hung_up() {
    for (run_cancelled, expected) in [(false, 0), (true, 20)] {
        let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (inner_gate, inner_begun) = (Arc::clone(&gate), Arc::clone(&begun));
        let inner = service_fn(move |request: u32| {
            inner_begun.lock().unwrap().push(request);
            let gate = Arc::clone(&inner_gate);
            async move {
                gate.acquire().await?.forget();
                Ok::<_, BoxError>(request)
            }
        });
        let layer = QueueLayer::builder().workers(1).run_cancelled(run_cancelled).build().unwrap();
        let queue = layer.layer(inner);
        let served = tokio::spawn(queue.clone().oneshot(0));
        while begun.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let mut clients: Vec<_> = (1..=20).map(|n| task::spawn(queue.clone().oneshot(n))).collect();
        clients.iter_mut().for_each(|client| assert_pending!(client.poll()));
        queue.emit(100).unwrap();
        drop(clients);
        gate.add_permits(100);
        assert_eq!(served.await.unwrap().unwrap(), 0);
        let handle = queue.handle();
        handle.flush().await;
        // The one that was begun, and the one that has no caller.
        assert_eq!(begun.lock().unwrap().len(), 2 + expected);
        let totals = nothing_left(&handle);
        assert_eq!((totals.delivered, totals.offered), (2 + expected as u64, 22));
        assert_eq!(totals.dropped.get(DropReason::Cancelled), 20 - expected as u64);
    }
}

#[test]
fn f15_many_cancelled_items_in_a_row_are_skipped_in_steps_and_those_between_them_run() {
    let (mut queue, mut worker, noted) = pair(false);
    let calls: Vec<_> = (0..1000).map(|n| queue.call(n)).collect();
    let mut kept: Vec<_> = calls.into_iter().enumerate().filter(|(n, _)| n % 300 == 299).collect();
    while worker.is_woken() || noted.begun().len() < 3 {
        assert_pending!(worker.poll());
    }
    assert_eq!(noted.begun(), [299, 599, 899]);
    for (n, call) in &mut kept {
        assert_eq!(assert_ready!(task::spawn(call).poll()).unwrap() as usize, *n);
    }
    let totals = nothing_left(&queue.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Cancelled)), (3, 997));
}

#[test]
fn f15_an_item_in_hand_is_skipped_when_its_caller_stops_waiting_while_the_service_is_not_ready() {
    for run_cancelled in [false, true] {
        let (mut queue, mut worker, noted) = pair(run_cancelled);
        noted.unready.store(true, SeqCst);
        let (dropped, mut stays) = (queue.call(1), task::spawn(queue.call(2)));
        assert_pending!(worker.poll());
        assert_eq!(queue.handle().queued(), 1, "one is in hand");
        drop(dropped);
        noted.unready.store(false, SeqCst);
        assert_pending!(worker.poll());
        assert_eq!(assert_ready!(stays.poll()).unwrap(), 2);
        assert_eq!(noted.begun(), if run_cancelled { vec![1, 2] } else { vec![2] });
        assert_eq!(nothing_left(&queue.handle()).dropped.get(DropReason::Cancelled), u64::from(!run_cancelled));
    }
}

#[test]
fn f15_the_slot_of_a_skipped_item_goes_to_the_next_in_line() {
    let noted = Noted::default();
    let layer = QueueLayer::builder().limits(limits(1)).overflow(Overflow::Wait).build().unwrap();
    let (mut queue, worker) = layer.pair(noted.clone());
    let (mut worker, dropped) = (task::spawn(worker), queue.call(1));
    let mut waits = task::spawn(queue.call(2));
    assert_pending!(waits.poll());
    let mut flush = task::spawn(queue.handle().flush());
    assert_pending!(flush.poll());
    drop(dropped);
    assert_pending!(worker.poll());
    assert!(waits.is_woken() && flush.is_woken());
    assert_pending!(waits.poll());
    assert_pending!(worker.poll());
    assert_eq!(assert_ready!(waits.poll()).unwrap(), 2);
    assert_eq!(noted.begun(), [2]);
}

/// Three fail and are parked; the callers of two of them stop waiting before the next attempt.
#[tokio::test(start_paused = true)]
async fn f15_a_parked_item_gets_no_other_attempt_when_its_caller_stops_waiting() {
    for run_cancelled in [false, true] {
        let noted = Noted::default();
        noted.fails.store(true, SeqCst);
        let layer = QueueLayer::builder()
            .limits(limits(10))
            .workers(1)
            .settle(settle)
            .park_backoff([Duration::from_secs(1)])
            .park_bytes(1000)
            .run_cancelled(run_cancelled)
            .build()
            .unwrap();
        let queue = layer.layer(noted.clone());
        let mut calls: Vec<_> = (0..3).map(|n| task::spawn(queue.clone().oneshot(n))).collect();
        calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(noted.begun(), [0, 1, 2]);
        noted.fails.store(false, SeqCst);
        let stays = calls.pop().unwrap();
        drop(calls);
        assert_eq!(stays.await.unwrap(), 2);
        queue.handle().flush().await;
        let again = &noted.begun()[3..];
        assert_eq!(again, if run_cancelled { &[0, 1, 2][..] } else { &[2] });
        let cancelled = nothing_left(&queue.handle()).dropped.get(DropReason::Cancelled);
        assert_eq!(cancelled, if run_cancelled { 0 } else { 2 });
    }
}

proptest! {
    /// Calls are made and dropped, and the worker works, in any order: an item is begun if, when its turn comes, its caller waits
    /// or it needs none.
    #[test]
    fn f15_any_order_of_calls_hang_ups_and_work_leaves_books_that_balance(
        steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..100),
        run_cancelled: bool,
    ) {
        let (mut queue, mut worker, noted) = pair(run_cancelled);
        let handle = queue.handle();
        let (mut calls, mut waiting, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        let (mut next, mut cancelled) = (0, 0);
        for (step, which) in steps {
            match step {
                0 => {
                    calls.push((next, queue.call(next)));
                    waiting.push((next, false));
                    next += 1;
                }
                1 => {
                    queue.emit(next).unwrap();
                    waiting.push((next, true));
                    next += 1;
                }
                2 if !calls.is_empty() => drop(calls.remove(which.index(calls.len()))),
                _ => {
                    prop_assert!(worker.poll().is_pending());
                    for (n, offered) in waiting.drain(..) {
                        if offered || run_cancelled || calls.iter().any(|(of, _)| *of == n) {
                            expected.push(n);
                        } else {
                            cancelled += 1;
                        }
                    }
                    prop_assert_eq!(&noted.begun(), &expected);
                    prop_assert_eq!(balanced(&handle).dropped.get(DropReason::Cancelled), cancelled);
                    for (_, call) in &mut calls {
                        let cx = &mut Context::from_waker(std::task::Waker::noop());
                        prop_assert!(std::pin::Pin::new(call).poll(cx).is_ready());
                    }
                    calls.clear();
                }
            }
        }
    }
}
