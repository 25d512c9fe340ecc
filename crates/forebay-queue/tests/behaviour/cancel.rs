//! Every future of the queue, polled so many times and dropped: nothing is lost, and no slot leaks.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, DropReason, Fate, Totals};
use forebay_queue::{ChannelBuilder, Limits, Overflow, Queue, QueueHandle, QueueLayer, Receiver, Sender, Worker};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready, task};
use tower::Service;

/// More polls than any of the futures takes.
const POLLS: usize = 8;

fn limits(items: usize) -> Limits {
    Limits::new().items(items).soft_limit(1.0)
}

fn one_place() -> (Sender<u32>, Receiver<u32>, QueueHandle<u32>) {
    let (sender, receiver) = ChannelBuilder::new().limits(limits(1)).overflow(Overflow::Wait).build().unwrap();
    let handle = sender.handle();
    (sender, receiver, handle)
}

/// Polls `future` so many times, with a step of the test after each, and drops it. Returns whether it was ready.
fn poll_and_drop(future: impl Future, polls: usize, mut between: impl FnMut(usize)) -> bool {
    let mut future = task::spawn(future);
    for poll in 0..polls {
        if future.poll().is_ready() {
            return true;
        }
        between(poll);
    }
    false
}

/// Whether or not it ends.
fn look(future: &mut task::Spawn<impl Future<Output = ()>>) {
    let _either = future.poll();
}

fn respond_to_all(responses: impl Iterator<Item = oneshot::Sender<u32>>) {
    for response in responses {
        // No receiver waits for those that are not reached.
        let _unreceived = response.send(1);
    }
}

fn nothing_left(handle: &QueueHandle<u32>) -> Totals {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.pending, handle.bytes()), (0, 0), "{totals}");
    totals
}

#[test]
fn q07_a_cancelled_send_leaves_nothing_and_passes_its_turn_on() {
    for polls in 0..POLLS {
        let (sender, mut receiver, handle) = one_place();
        sender.emit(0).unwrap();
        let mut behind = None;
        let entered = poll_and_drop(sender.emit_or_wait(1), polls, |poll| match poll {
            0 => {
                let mut next = task::spawn(sender.emit_or_wait(2));
                assert_pending!(next.poll());
                behind = Some(next);
            }
            2 => receiver.try_recv().unwrap().settle(Fate::Delivered),
            _ => {}
        });
        assert_eq!(entered, polls > 3);
        // The item in the queue leaves, and then the sender behind the cancelled one is admitted.
        while let Some(received) = receiver.try_recv() {
            received.settle(Fate::Delivered);
        }
        if let Some(next) = &mut behind {
            assert!(next.is_woken());
            assert_ready!(next.poll()).unwrap();
        }
        receiver.try_recv().into_iter().for_each(|received| received.settle(Fate::Delivered));
        let expected = 1 + u64::from(entered) + u64::from(behind.is_some());
        assert_eq!(nothing_left(&handle).delivered, expected);
    }
}

#[test]
fn q07_a_cancelled_receive_takes_nothing_and_passes_its_turn_on() {
    for polls in 0..POLLS {
        let (sender, mut receiver, handle) = one_place();
        let mut other = receiver.clone();
        let mut waits = None;
        let send = |poll| {
            if poll == 1 {
                sender.emit(7).unwrap();
            }
        };
        if polls > 0 {
            let mut first = task::spawn(receiver.recv());
            assert_pending!(first.poll());
            // The second in line.
            let mut second = task::spawn(other.recv());
            assert_pending!(second.poll());
            waits = Some(second);
            for poll in 1..polls {
                send(poll);
            }
            // Dropped without another poll, woken or not.
            assert_eq!(first.is_woken(), polls > 1);
        }
        let woken = waits.as_ref().is_some_and(task::Spawn::is_woken);
        assert_eq!(woken, polls > 1, "the next receiver is woken for the item");
        if let Some(second) = &mut waits
            && woken
        {
            drop(assert_ready!(second.poll()));
        }
        assert_eq!(nothing_left(&handle).dropped.get(DropReason::Failed), u64::from(polls > 1));
    }
}

/// Ready when polled for the second time, and done when the test says so.
struct Slow {
    looks: usize,
    calls: Arc<AtomicUsize>,
    responses: std::collections::VecDeque<oneshot::Receiver<u32>>,
}

impl Service<u32> for Slow {
    type Response = u32;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.looks += 1;
        if self.looks.is_multiple_of(2) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: u32) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let response = self.responses.pop_front().unwrap();
        Box::pin(async move { Ok(response.await?) })
    }
}

type Rig = (Queue<u32, u32>, Worker<u32, Slow>, Vec<oneshot::Sender<u32>>, Arc<AtomicUsize>);

fn rig(overflow: Overflow, items: usize) -> Rig {
    let (senders, responses): (Vec<_>, _) = (0..3).map(|_| oneshot::channel()).unzip();
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = Slow { looks: 0, calls: Arc::clone(&calls), responses };
    let layer = QueueLayer::builder().limits(limits(items)).overflow(overflow).run_cancelled(true).build().unwrap();
    let (queue, worker) = layer.pair(inner);
    (queue, worker, senders, calls)
}

#[test]
fn q07_a_cancelled_call_is_processed_where_that_is_asked_for() {
    for overflow in [Overflow::Refuse, Overflow::Wait] {
        for polls in 0..POLLS {
            let (mut queue, worker, responses, calls) = rig(overflow, 1);
            let (handle, mut worker) = (queue.handle(), task::spawn(worker));
            let mut responses = responses.into_iter();
            poll_and_drop(queue.call(1), polls, |poll| {
                assert_pending!(worker.poll());
                if poll == 3 {
                    responses.next().unwrap().send(1).unwrap();
                }
            });
            respond_to_all(responses);
            drop(queue);
            (0..4).for_each(|_| look(&mut worker));
            assert_eq!((nothing_left(&handle).delivered, calls.load(SeqCst)), (1, 1));
        }
    }
}

/// A call that waits for room takes its item with it; the item of an admitted one is processed.
#[test]
fn q07_a_call_that_is_cancelled_in_line_was_never_offered() {
    for polls in 0..POLLS {
        let (mut queue, worker, responses, calls) = rig(Overflow::Wait, 1);
        let (handle, mut worker) = (queue.handle(), task::spawn(worker));
        let mut responses = responses.into_iter();
        let first = queue.call(1);
        poll_and_drop(queue.call(2), polls, |poll| {
            look(&mut worker);
            if poll == 2 {
                responses.next().unwrap().send(1).unwrap();
            }
        });
        respond_to_all(responses);
        drop((first, queue));
        (0..8).for_each(|_| look(&mut worker));
        let totals = nothing_left(&handle);
        // Up to its fourth poll it waited in line; then the first was done, and it was admitted at the next.
        let expected = if polls > 4 { 2 } else { 1 };
        assert_eq!((totals.offered, totals.delivered), (expected, expected));
        assert_eq!(calls.load(SeqCst) as u64, expected);
    }
}

#[test]
fn q11_a_cancelled_worker_gives_its_item_a_fate_and_the_queued_ones_too() {
    for polls in 0..POLLS {
        let (mut queue, worker, responses, _) = rig(Overflow::Refuse, 4);
        let handle = queue.handle();
        let mut callers: Vec<_> = (0..2).map(|n| task::spawn(queue.call(n))).collect();
        let mut responses = responses.into_iter();
        poll_and_drop(worker, polls, |poll| {
            if poll == 1 {
                responses.next().unwrap().send(1).unwrap();
            }
        });
        let totals = nothing_left(&handle);
        assert_eq!(totals.delivered, u64::from(polls > 2));
        assert_eq!(totals.dropped.get(DropReason::Shutdown), 2 - totals.delivered);
        for caller in &mut callers {
            assert!(matches!(caller.poll(), Poll::Ready(_)), "every caller has a reply");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn q09_a_cancelled_flush_or_drain_leaves_the_queue_working() {
    for polls in 0..4 {
        let (queue, worker, responses, _) = rig(Overflow::Refuse, 4);
        let handle = queue.handle();
        queue.emit(1).unwrap();
        poll_and_drop(handle.flush(), polls, |_| {});
        queue.emit(2).unwrap();
        let drained = poll_and_drop(handle.drain(Duration::from_secs(1)), polls, |_| {});
        assert!(!drained);
        assert_eq!(queue.emit(3).is_err(), polls > 0, "a drain that was begun has closed the queue");
        respond_to_all(responses.into_iter());
        drop(queue);
        worker.await;
        let totals = nothing_left(&handle);
        assert_eq!(totals.delivered, if polls > 0 { 2 } else { 3 });
    }
}

/// A queue that keeps a worker busy for ever does not keep other tasks from the thread.
#[test]
fn a_worker_leaves_the_thread_to_others_after_a_while() {
    let (queue, worker) = QueueLayer::builder()
        .limits(limits(10_000))
        .build()
        .unwrap()
        .pair(tower::service_fn(|n: u32| std::future::ready(Ok::<_, BoxError>(n))));
    (0..10_000).for_each(|n| queue.emit(n).unwrap());
    let mut worker = task::spawn(worker);
    assert_pending!(worker.poll());
    assert!(worker.is_woken());
    assert!(queue.handle().totals().delivered < 1_000);
    drop(queue);
    let mut polls = 0;
    while worker.poll().is_pending() {
        polls += 1;
    }
    assert!(polls > 10);
}
