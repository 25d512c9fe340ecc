//! The laws of `tower::Service`, on [`Batch`] over a strict inner service.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_batch::{Batch, BatchLayer, Batching, ResponseFuture};
use forebay_core::DropReason;
use forebay_intake::{Limits, Overflow, Rejected};
use forebay_testkit::{Probe, laws};
use std::{
    future::Future,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

const EVERY: [Overflow; 3] = [Overflow::Refuse, Overflow::DropOldest, Overflow::Wait];

/// Unpacks each batch of one into the probe, so that the probe's rules hold for single items.
#[derive(Clone)]
struct One(Probe<u32>);

impl Service<Vec<u32>> for One {
    type Response = u32;
    type Error = BoxError;
    type Future = <Probe<u32> as Service<u32>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, items: Vec<u32>) -> Self::Future {
        self.0.call(items[0])
    }
}

fn over(overflow: Overflow) -> impl Fn(Probe<u32>) -> Batch<u32, u32> {
    move |probe| {
        let batching = Batching::new().max_items(1);
        BatchLayer::builder().batching(batching).overflow(overflow).build().unwrap().layer(One(probe))
    }
}

#[tokio::test]
async fn the_readied_instance_is_called() {
    for overflow in EVERY {
        laws::the_readied_instance_is_called(over(overflow), 7).await;
    }
}

#[tokio::test]
async fn q17_readiness_is_stable() {
    for overflow in EVERY {
        laws::readiness_is_stable(over(overflow)(Probe::echo())).await;
    }
}

#[tokio::test]
async fn clones_share_slots_not_grants() {
    for overflow in EVERY {
        laws::clones_share_slots_not_grants(over(overflow), 7).await;
    }
}

#[tokio::test]
async fn dropping_a_ready_service_gives_back() {
    for overflow in EVERY {
        laws::dropping_a_ready_service_gives_back(over(overflow)).await;
    }
}

#[tokio::test]
async fn every_waiter_wakes_on_close() {
    let layer = BatchLayer::builder()
        .limits(Limits::new().items(1).soft_limit(1.0))
        .batching(Batching::new().max_items(1))
        .overflow(Overflow::Wait)
        .build()
        .unwrap();
    let batch = layer.layer(One(Probe::hanging()));
    batch.emit(1).unwrap();
    let handle = batch.handle();
    laws::every_waiter_wakes_on_close(vec![batch.clone(), batch.clone()], move || handle.close()).await;
    let refused = batch.clone().oneshot(7).await.unwrap_err();
    laws::error_chain_has_one_link_per_sentence(&*refused);
    assert_eq!(refused.downcast::<Rejected<u32>>().unwrap().into_item(), 7);
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    for overflow in EVERY {
        laws::a_service_runs_no_waker_under_a_lock(over(overflow), 7);
    }
}

#[test]
fn f22_no_waker_of_the_worker_or_of_a_caller_runs_under_a_lock() {
    laws::no_waker_runs_under_a_lock(|wakers| async move {
        let layer = BatchLayer::builder().batching(Batching::new().max_items(4)).build().unwrap();
        let inner = service_fn(|items: Vec<u32>| async move { Ok::<_, BoxError>(items.len()) });
        let (mut batch, mut worker) = layer.pair(inner);
        let handle = batch.handle();
        for gives_up in [false, true] {
            // A call of the same batch: its reply is under the same lock.
            let (again, sibling) = (handle.clone(), Mutex::new(Some(batch.call(1))));
            wakers.call_back(move || {
                assert!(again.totals().balance());
                let Ok(mut sibling) = sibling.try_lock() else { return };
                let replied = sibling
                    .as_mut()
                    .is_some_and(|sibling| Pin::new(sibling).poll(&mut Context::from_waker(Waker::noop())).is_ready());
                if replied {
                    *sibling = None;
                }
            });
            for _ in 0..3 {
                assert!(wakers.poll(&mut worker).is_pending());
            }
            let mut calls = [batch.call(2), batch.call(3)];
            for _ in 0..3 {
                assert!(calls.iter_mut().all(|call| wakers.poll(call).is_pending()));
            }
            if gives_up {
                drop(calls);
            } else {
                batch.emit(4).unwrap();
                assert!(wakers.poll(&mut worker).is_pending());
                assert!(calls.iter_mut().all(|call| matches!(wakers.poll(call), Poll::Ready(Ok(4)))));
            }
            wakers.release();
        }
    });
}

#[test]
fn f22_no_waker_of_one_that_waits_for_room_or_for_a_flush_runs_under_a_lock() {
    laws::no_waker_runs_under_a_lock(|wakers| async move {
        let layer = BatchLayer::builder()
            .limits(Limits::new().items(1).soft_limit(1.0))
            .batching(Batching::new().max_items(1))
            .overflow(Overflow::Wait)
            .build()
            .unwrap();
        let (mut batch, _worker) = layer.pair(One(Probe::hanging()));
        let (handle, again) = (batch.handle(), batch.handle());
        wakers.call_back(move || assert!(again.totals().balance()));
        let sender = batch.clone();
        for gives_up in [true, false] {
            batch.emit(1).unwrap();
            let mut ready = batch.clone();
            let (mut flush, mut emit, mut call) = (handle.flush(), sender.emit_or_wait(2), batch.call(3));
            for _ in 0..3 {
                assert!(wakers.poll(&mut flush).is_pending());
                assert!(wakers.poll(&mut emit).is_pending());
                assert!(wakers.poll(&mut call).is_pending());
                assert!(wakers.poll_ready(&mut ready).is_pending());
            }
            if gives_up {
                drop((flush, emit, call, ready));
                handle.discard(DropReason::Disabled);
            } else {
                handle.discard(DropReason::Disabled);
                assert!(wakers.poll(&mut flush).is_ready());
                assert!(wakers.poll(&mut emit).is_ready());
            }
        }
        wakers.release();
    });
}

#[test]
fn everything_is_send_and_sync() {
    laws::is_send_and_sync::<BatchLayer<u32>>();
    laws::is_send_and_sync::<Batch<u32, u32>>();
    laws::is_send_and_sync::<ResponseFuture<u32, u32>>();
    laws::is_send_and_sync::<<Batch<u32, u32> as Service<u32>>::Future>();
}
