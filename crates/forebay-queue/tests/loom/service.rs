//! The queue before a service. Under the planted race a call may end in a deadlock.

use super::{limits, model, poll_once};
use forebay_core::{BoxError, DropReason};
use forebay_queue::QueueLayer;
use loom::{future::block_on, thread};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tower_service::Service;

/// Counts what it is called with.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Service<u32> for Count {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.0.fetch_add(1, SeqCst);
        ready(Ok(request))
    }
}

#[test]
fn a_call_has_its_reply_and_the_worker_ends_with_the_queue() {
    model(|| {
        let (mut queue, worker) = QueueLayer::builder().limits(limits(2)).build().unwrap().pair(Count::default());
        let handle = queue.handle();
        let works = thread::spawn(move || block_on(worker));
        let reply: Result<u32, BoxError> = block_on(queue.call(7));
        assert_eq!(reply.unwrap(), 7);
        assert_eq!(handle.totals().delivered, 1, "in the ledger before the reply");
        drop(queue);
        works.join().unwrap();
        assert!(handle.totals().balance());
    });
}

/// The caller goes beside the worker that takes its item: the item is begun or skipped, and never both.
#[test]
fn f15_a_caller_that_goes_away_has_its_item_skipped_or_run_and_leaves_no_slot_behind() {
    model(|| {
        let count = Count::default();
        let (mut queue, worker) = QueueLayer::builder().limits(limits(2)).build().unwrap().pair(count.clone());
        let handle = queue.handle();
        let works = thread::spawn(move || block_on(worker));
        let _gone = poll_once(queue.call(7));
        drop(queue);
        works.join().unwrap();
        let (totals, calls) = (handle.totals(), count.0.load(SeqCst));
        assert_eq!((totals.delivered, totals.pending, handle.bytes()), (calls, 0, 0));
        assert_eq!(totals.dropped.get(DropReason::Cancelled), 1 - calls);
        assert!(totals.balance());
    });
}

#[test]
fn a_caller_that_goes_away_leaves_the_item_and_no_slot_behind() {
    model(|| {
        let count = Count::default();
        let layer = QueueLayer::builder().limits(limits(2)).run_cancelled(true).build().unwrap();
        let (mut queue, worker) = layer.pair(count.clone());
        let handle = queue.handle();
        let works = thread::spawn(move || block_on(worker));
        let _gone = poll_once(queue.call(7));
        drop(queue);
        works.join().unwrap();
        let totals = handle.totals();
        assert_eq!((totals.delivered, totals.pending, count.0.load(SeqCst)), (1, 0, 1));
    });
}
