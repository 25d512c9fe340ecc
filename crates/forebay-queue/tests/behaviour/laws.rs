//! The laws of `tower::Service`, on [`Queue`] over a strict inner service.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_queue::{Limits, Overflow, Queue, QueueLayer, Rejected, ResponseFuture, Worker};
use forebay_testkit::{Probe, laws};
use tower::{Layer, Service, ServiceExt};

fn over(overflow: Overflow, workers: usize) -> impl Fn(Probe<u32>) -> Queue<u32, u32> {
    move |probe| QueueLayer::builder().overflow(overflow).workers(workers).build().unwrap().layer(probe)
}

const EVERY: [Overflow; 3] = [Overflow::Refuse, Overflow::DropOldest, Overflow::Wait];

#[tokio::test]
async fn the_readied_instance_is_called() {
    for overflow in EVERY {
        laws::the_readied_instance_is_called(over(overflow, 1), 7).await;
        laws::the_readied_instance_is_called(over(overflow, 3), 7).await;
    }
}

#[tokio::test]
async fn q17_readiness_is_stable() {
    for overflow in EVERY {
        laws::readiness_is_stable(over(overflow, 2)(Probe::echo())).await;
    }
}

#[tokio::test]
async fn clones_share_slots_not_grants() {
    for overflow in EVERY {
        laws::clones_share_slots_not_grants(over(overflow, 2), 7).await;
    }
}

#[tokio::test]
async fn dropping_a_ready_service_gives_back() {
    for overflow in EVERY {
        laws::dropping_a_ready_service_gives_back(over(overflow, 2)).await;
    }
}

#[tokio::test]
async fn every_waiter_wakes_on_close() {
    let limits = Limits::new().items(1).soft_limit(1.0);
    let layer = QueueLayer::builder().limits(limits).overflow(Overflow::Wait).build().unwrap();
    let queue = layer.layer(Probe::<u32>::hanging());
    queue.emit(1).unwrap();
    let handle = queue.handle();
    laws::every_waiter_wakes_on_close(vec![queue.clone(), queue.clone(), queue.clone()], move || handle.close()).await;

    // Awake, each learns that the queue is closed, and has its item back.
    let refused = queue.clone().oneshot(7).await.unwrap_err();
    laws::error_chain_has_one_link_per_sentence(&*refused);
    assert_eq!(refused.downcast::<Rejected<u32>>().unwrap().into_item(), 7);
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    for overflow in EVERY {
        laws::a_service_runs_no_waker_under_a_lock(over(overflow, 1), 7);
        laws::a_service_runs_no_waker_under_a_lock(over(overflow, 3), 7);
    }
}

#[test]
fn f22_no_waker_of_a_flush_a_sender_or_a_worker_runs_under_a_lock() {
    laws::no_waker_runs_under_a_lock(|wakers| async move {
        let limits = Limits::new().items(1).soft_limit(1.0);
        let layer = QueueLayer::builder().limits(limits).overflow(Overflow::Wait).build().unwrap();
        let (mut queue, worker) = layer.pair(Probe::<u32>::hanging());
        let mut worker = Box::pin(worker);
        let (handle, again) = (queue.handle(), queue.handle());
        wakers.call_back(move || assert!(again.totals().balance()));
        for _ in 0..3 {
            assert!(wakers.poll(&mut worker).is_pending());
        }
        queue.emit(1).unwrap();
        let mut ready = queue.clone();
        let (mut flush, mut call) = (handle.flush(), queue.call(2));
        for _ in 0..3 {
            assert!(wakers.poll(&mut flush).is_pending());
            assert!(wakers.poll(&mut call).is_pending());
            assert!(wakers.poll_ready(&mut ready).is_pending());
        }
        drop((flush, call, ready));
        handle.close();
        wakers.release();
    });
}

#[test]
fn everything_is_send_and_sync() {
    laws::is_send_and_sync::<QueueLayer<u32>>();
    laws::is_send_and_sync::<Queue<u32, u32>>();
    laws::is_send_and_sync::<ResponseFuture<u32, u32>>();
    laws::is_send_and_sync::<<Queue<u32, u32> as Service<u32>>::Future>();
    fn is_send<T: Send + 'static>() {}
    is_send::<Worker<u32, Probe<u32>>>();
}
