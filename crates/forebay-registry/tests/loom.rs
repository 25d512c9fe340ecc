//! The concurrent shell, in every order that two or three threads can bring about.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p forebay-registry --test loom --release`; `.ci/planted` shows that it finds the races
//! in `planted/`.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::BoxError;
use forebay_registry::{AcquireErrorKind, Lease, LeaseEnd, Registry};
use loom::{future::block_on, sync::atomic::AtomicUsize, thread};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Poll,
    time::Duration,
};

/// What the makers and the hooks count, seen by loom.
#[derive(Clone)]
struct Counts {
    made: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Counts {
    fn new() -> Self {
        Self { made: Arc::new(AtomicUsize::new(0)), closed: Arc::new(AtomicUsize::new(0)) }
    }

    fn made(&self) -> usize {
        self.made.load(SeqCst)
    }

    fn closed(&self) -> usize {
        self.closed.load(SeqCst)
    }
}

/// Every order; with a bound, every order with at most so many interruptions of a thread by another.
fn model(interruptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = interruptions;
    builder.max_branches = 20_000;
    builder.check(run);
}

/// A registry of numbered clients, the hooks of which are counted.
fn registry(counts: &Counts, linger: bool) -> Registry<u8, usize> {
    let (made, closed) = (counts.clone(), counts.clone());
    Registry::builder(move |_: u8| {
        let number = made.made.fetch_add(1, SeqCst);
        async move { Ok::<_, BoxError>(number) }
    })
    .on_close(move |_, _| {
        closed.closed.fetch_add(1, SeqCst);
        async {}
    })
    .linger(if linger { Duration::from_secs(60) } else { Duration::ZERO })
    .build()
    .unwrap()
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

/// A client that needs a second poll; it is woken at once.
async fn in_two_polls(number: usize) -> Result<usize, BoxError> {
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
    Ok(number)
}

/// The last release against an acquire: a closing client is never handed out, and a late release takes nothing along.
#[test]
fn g04_an_acquire_racing_the_last_release_gets_a_client_that_stays() {
    model(None, || {
        let counts = Counts::new();
        let registry = registry(&counts, false);
        let last = block_on(registry.acquire(&1)).unwrap();
        let releaser = thread::spawn(move || drop(last));
        let lease = block_on(registry.acquire(&1)).unwrap();
        // It is in use, so it is not closed, whichever of the two it is.
        assert!(counts.closed() <= *lease);
        releaser.join().unwrap();
        assert_eq!(counts.closed(), *lease);
        let again = block_on(registry.acquire(&1)).unwrap();
        assert!(Lease::ptr_eq(&lease, &again), "the late release took a newer client along");
        drop((lease, again));
        assert_eq!(counts.closed(), counts.made());
        assert!(registry.snapshot().entries.is_empty());
    });
}

/// The same through what is published, which has a client that may just be ending.
#[test]
fn g04_the_lock_free_path_never_revives_a_client() {
    model(None, || {
        let counts = Counts::new();
        let registry = registry(&counts, false);
        let last = block_on(registry.acquire(&1)).unwrap();
        // From the second call on it is published.
        drop(block_on(registry.acquire(&1)).unwrap());
        let other = registry.clone();
        let getter = thread::spawn(move || other.get(&1).map(|lease| *lease));
        drop(last);
        let got = getter.join().unwrap();
        assert!(got.is_none_or(|number| number == 0));
        assert_eq!((counts.made(), counts.closed()), (1, 1));
    });
}

/// Two leases that end at once are two ends: the hook runs once, for the last of them.
#[test]
fn g05_two_leases_that_end_at_once_close_once() {
    model(None, || {
        let counts = Counts::new();
        let registry = registry(&counts, false);
        let first = block_on(registry.acquire(&1)).unwrap();
        let second = Lease::clone(&first);
        let other = thread::spawn(move || matches!(block_on(first.close()), LeaseEnd::Closed(_)));
        let here = matches!(block_on(second.close()), LeaseEnd::Closed(_));
        let there = other.join().unwrap();
        assert!(here ^ there, "closed {here} and {there}");
        assert_eq!(counts.closed(), 1);
    });
}

/// Where clients linger: a close that gives the idle client up, against a caller that wants it.
#[test]
fn g04_an_idle_client_is_taken_or_closed_and_never_both() {
    model(None, || {
        let counts = Counts::new();
        let registry = registry(&counts, true);
        let only = block_on(registry.acquire(&1)).unwrap();
        drop(block_on(registry.acquire(&1)).unwrap());
        let closer = thread::spawn(move || matches!(block_on(only.close()), LeaseEnd::Closed(_)));
        let lease = block_on(registry.acquire(&1)).unwrap();
        let closed = closer.join().unwrap();
        assert_eq!(counts.closed(), usize::from(closed));
        assert_eq!(*lease, counts.closed(), "it is in use, so it is not closed");
        drop(lease);
        let report = block_on(registry.close_all(Duration::from_secs(1)));
        assert!(report.is_clean());
        assert_eq!(counts.closed(), counts.made());
    });
}

#[test]
fn g01_two_callers_make_one_client() {
    model(Some(6), || {
        let counts = Counts::new();
        let made = counts.clone();
        let registry = Registry::builder(move |_: u8| in_two_polls(made.made.fetch_add(1, SeqCst))).build().unwrap();
        let other = registry.clone();
        let caller = thread::spawn(move || block_on(other.acquire(&1)).unwrap());
        let here = block_on(registry.acquire(&1)).unwrap();
        let there = caller.join().unwrap();
        assert!(Lease::ptr_eq(&here, &there));
        assert_eq!(counts.made(), 1);
        drop((here, there));
        assert!(registry.snapshot().entries.is_empty());
    });
}

/// The first caller gives up after one poll, whenever: the other one is neither stranded nor failed.
#[test]
fn g01_a_cancelled_leader_strands_no_waiter() {
    model(Some(6), || {
        let counts = Counts::new();
        let made = counts.clone();
        let registry = Registry::builder(move |_: u8| in_two_polls(made.made.fetch_add(1, SeqCst))).build().unwrap();
        let other = registry.clone();
        let leader = thread::spawn(move || drop(poll_once(other.acquire(&1))));
        let lease = block_on(registry.acquire(&1)).unwrap();
        leader.join().unwrap();
        assert!(*lease < counts.made() && counts.made() <= 2);
        drop(lease);
        assert!(registry.snapshot().entries.is_empty(), "an entry or a waiter was left behind");
    });
}

/// A replacement against an acquire and the end of the old lease.
#[test]
fn a_replacement_is_what_every_later_call_gets() {
    model(None, || {
        let counts = Counts::new();
        let registry = registry(&counts, false);
        let old = block_on(registry.acquire(&1)).unwrap();
        drop(block_on(registry.acquire(&1)).unwrap());
        let other = registry.clone();
        let caller = thread::spawn(move || {
            let lease = block_on(other.acquire(&1)).unwrap();
            drop(old);
            lease
        });
        let new = block_on(registry.replace(&1)).unwrap();
        let after = block_on(registry.acquire(&1)).unwrap();
        assert!(*after >= *new, "an older client came back");
        drop((new, after, caller.join().unwrap()));
        assert_eq!(counts.closed(), counts.made(), "each client is closed once");
        assert!(registry.snapshot().entries.is_empty());
    });
}

/// A release, an acquire and a replacement, all of one key.
#[test]
fn g04_three_at_once_leave_nothing() {
    model(Some(3), || {
        let counts = Counts::new();
        let registry = registry(&counts, false);
        let last = block_on(registry.acquire(&1)).unwrap();
        let (other, seen) = (registry.clone(), counts.clone());
        let acquirer = thread::spawn(move || {
            let lease = block_on(other.acquire(&1)).unwrap();
            // Clients are numbered and closed in any order, but not this one.
            assert!(seen.closed() < seen.made());
            drop(lease);
        });
        let other = registry.clone();
        let replacer = thread::spawn(move || drop(block_on(other.replace(&1)).unwrap()));
        drop(last);
        acquirer.join().unwrap();
        replacer.join().unwrap();
        assert_eq!(counts.closed(), counts.made(), "each client is closed once");
        assert!(registry.snapshot().entries.is_empty());
    });
}

/// The end of one client against the beginning of the next: what belongs to the key is never forgotten under it.
#[test]
fn g06_nothing_is_forgotten_under_a_living_client() {
    model(None, || {
        let state = Arc::new(AtomicUsize::new(0));
        let (begins, forgets) = (Arc::clone(&state), Arc::clone(&state));
        // 1 while there is something to forget.
        let registry = Registry::builder(move |_: u8| {
            begins.store(1, SeqCst);
            async { Ok::<_, BoxError>(()) }
        })
        .on_vacant(move |_| forgets.store(0, SeqCst))
        .build()
        .unwrap();
        let last = block_on(registry.acquire(&1)).unwrap();
        let releaser = thread::spawn(move || drop(last));
        let lease = block_on(registry.acquire(&1)).unwrap();
        releaser.join().unwrap();
        assert_eq!(state.load(SeqCst), 1, "a living client lost its state");
        drop(lease);
        assert_eq!(state.load(SeqCst), 0, "the last client left its state behind");
        assert!(registry.snapshot().entries.is_empty());
    });
}

/// Closing the registry against an acquire: a client, or a refusal, and in the end every client is closed.
#[test]
fn close_all_against_an_acquire() {
    model(None, || {
        let counts = Counts::new();
        let registry = registry(&counts, true);
        let other = registry.clone();
        let caller = thread::spawn(move || match block_on(other.acquire(&1)) {
            Ok(lease) => drop(lease),
            Err(error) => assert_eq!(error.kind(), AcquireErrorKind::Closed),
        });
        let report = block_on(registry.close_all(Duration::from_secs(1)));
        assert!(report.is_clean(), "time stands still, so nothing is late");
        caller.join().unwrap();
        assert_eq!(counts.closed(), counts.made());
        assert_eq!(registry.snapshot().entries.len(), 0);
    });
}
