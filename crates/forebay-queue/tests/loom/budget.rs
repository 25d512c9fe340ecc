//! Queues that share a byte budget, between threads.

use super::{Woken, limits, model};
use forebay_core::{DropReason, Fate};
use forebay_queue::{ByteBudget, ChannelBuilder, Offer, Receiver, Sender};
use loom::thread;
use std::{
    future::Future,
    sync::Arc,
    task::{Context, Waker},
};

fn channel(budget: &ByteBudget) -> (Sender<u32>, Receiver<u32>) {
    ChannelBuilder::new().limits(limits(4)).byte_budget(budget).build().unwrap()
}

fn budget(bytes: usize) -> ByteBudget {
    let budget = ByteBudget::new(bytes).unwrap();
    budget.set_soft_limit(1.0).unwrap();
    budget
}

fn of(bytes: usize) -> Offer<u32> {
    Offer::new(0).weight(bytes)
}

#[test]
fn e06_two_queues_never_hold_more_than_their_budget() {
    model(|| {
        let budget = budget(3);
        let ((logs, _logs), (spans, _spans)) = (channel(&budget), channel(&budget));
        let other = thread::spawn(move || (spans.emit(of(2)).is_ok(), spans));
        let first = logs.emit(of(2));
        let (second, spans) = other.join().unwrap();
        assert!(first.is_ok() != second, "there is room for one of them");
        if let Err(refused) = first {
            assert_eq!(refused.reason, DropReason::ByteBudget);
        }
        assert_eq!(budget.bytes(), 2);
        drop((logs, spans));
    });
}

/// A sender looks once, beside `act`; if it found no room it has to be woken.
///
/// The assertion stands behind the drop of all ends: they take locks, which a thread that panics under the model cannot.
fn is_woken_by(budget: &ByteBudget, act: impl FnOnce() + Send + 'static) {
    let (spans, receiver) = channel(budget);
    let woken = Arc::new(Woken::default());
    let mut waits = Box::pin(spans.emit_or_wait(of(1)));
    let acts = thread::spawn(act);
    let is_admitted = waits.as_mut().poll(&mut Context::from_waker(&Arc::clone(&woken).into())).is_ready();
    acts.join().unwrap();
    let was_woken = woken.was_woken();
    drop(waits);
    drop((spans, receiver));
    assert!(is_admitted || was_woken, "it sleeps for ever");
}

#[test]
fn e06_a_sender_is_woken_when_another_queue_gives_bytes_back() {
    model(|| {
        let budget = budget(2);
        let (logs, mut receiver) = channel(&budget);
        logs.emit(of(2)).unwrap();
        let item = receiver.try_recv().unwrap();
        is_woken_by(&budget, move || {
            item.settle(Fate::Delivered);
            drop((logs, receiver));
        });
    });
}

#[test]
fn e06_a_sender_is_woken_when_the_soft_limit_rises() {
    model(|| {
        let budget = budget(2);
        budget.set_soft_limit(0.0).unwrap();
        let raised = budget.clone();
        is_woken_by(&budget, move || raised.set_soft_limit(1.0).unwrap());
    });
}

#[test]
fn e06_a_sender_that_is_dropped_passes_its_turn_on() {
    model(|| {
        let budget = budget(1);
        let (logs, mut receiver) = channel(&budget);
        let ((spans, of_spans), (metrics, of_metrics)) = (channel(&budget), channel(&budget));
        logs.emit(of(1)).unwrap();
        let item = receiver.try_recv().unwrap();
        let woken = Arc::new(Woken::default());
        let (mut first, mut second) = (Box::pin(spans.emit_or_wait(of(1))), Box::pin(metrics.emit_or_wait(of(1))));
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&Arc::clone(&woken).into())).is_pending());
        let gives = thread::spawn(move || item.settle(Fate::Delivered));
        drop(first);
        gives.join().unwrap();
        let was_woken = woken.was_woken();
        drop(second);
        drop((logs, receiver, spans, of_spans, metrics, of_metrics));
        assert!(was_woken, "it sleeps for ever");
    });
}
