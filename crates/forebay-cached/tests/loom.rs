//! The concurrent shell, in every order that two threads can bring about.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p forebay-cached --test loom --release`

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_cached::{Cached, Fetched};
use forebay_core::BoxError;
use loom::{future::block_on, sync::atomic::AtomicUsize, thread};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Poll,
};

/// Every order with at most so many interruptions of a thread by another.
fn model(interruptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 20_000;
    builder.check(run);
}

/// Polls once, and drops what is not ready.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    block_on(async {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    })
}

/// A value that needs a second poll; it is woken at once.
async fn in_two_polls(number: usize) -> Result<Fetched<usize>, BoxError> {
    let mut polled = false;
    poll_fn(|cx| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    Ok(Fetched::new(number))
}

/// Two readers of a cached value, one of whom gives up.
#[test]
fn a_cached_value_is_fetched_by_the_waiter_that_is_left() {
    model(6, || {
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let cached = Cached::builder(move || in_two_polls(count.fetch_add(1, SeqCst))).build().unwrap();
        let other = cached.clone();
        let leader = thread::spawn(move || drop(poll_once(other.get())));
        let value = block_on(cached.get()).unwrap();
        leader.join().unwrap();
        assert!(value < fetched.load(SeqCst) && fetched.load(SeqCst) <= 2);
        assert_eq!(block_on(cached.get()).unwrap(), value, "it is fresh");
    });
}

/// A reader against an invalidation: what is read afterwards was fetched afterwards.
#[test]
fn what_was_begun_before_an_invalidation_does_not_count() {
    model(6, || {
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let cached = Cached::builder(move || in_two_polls(count.fetch_add(1, SeqCst))).build().unwrap();
        let other = cached.clone();
        let reader = thread::spawn(move || block_on(other.get()).unwrap());
        let before = fetched.load(SeqCst);
        cached.invalidate();
        let after = block_on(cached.get()).unwrap();
        assert!(after >= before, "an older value came back");
        let read = reader.join().unwrap();
        let latest = block_on(cached.get()).unwrap();
        assert!(latest >= after && latest >= read.min(after), "the value went back");
    });
}
