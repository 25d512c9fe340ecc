//! Whatever is dropped, whenever: nothing of it is left behind.

use crate::support::{Log, Numbers, numbered, ok, settle};
use forebay_core::BoxError;
use forebay_registry::{Counts, Registry};
use std::{
    future::{Future, poll_fn},
    mem,
    task::Poll,
    time::Duration,
};
use tokio_test::task::spawn;

/// Yields so often that a future has as many places to be dropped at. It wakes at once, unlike tokio's own.
async fn steps(count: usize) {
    for _ in 0..count {
        let mut polled = false;
        poll_fn(|cx| {
            if mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

fn slow(
    numbers: &Numbers,
    count: usize,
) -> impl Fn(String) -> std::pin::Pin<Box<dyn Future<Output = Result<usize, BoxError>> + Send>> + Send + Sync + 'static
{
    let numbers = numbers.clone();
    move |_| {
        let numbers = numbers.clone();
        Box::pin(async move {
            steps(count).await;
            ok(numbers.next())
        })
    }
}

fn is_empty(registry: &Registry<String, usize>) -> bool {
    let snapshot = registry.snapshot();
    snapshot.entries.is_empty() && snapshot.closing == 0
}

#[tokio::test]
async fn g08_an_acquire_dropped_at_any_poll_leaves_nothing() {
    for polls in 0..7 {
        let numbers = Numbers::default();
        let registry = Registry::builder(slow(&numbers, 5)).negative_ttl(Duration::from_secs(60)).build().unwrap();
        let mut call = spawn(registry.acquire("a"));
        let done = (0..polls).any(|_| call.poll().is_ready());
        assert_eq!(done, polls == 6);
        drop(call);
        assert!(is_empty(&registry), "after {polls} polls");
        let Counts { created, closed, abandoned, .. } = registry.snapshot().counts;
        assert_eq!(
            (created, closed, abandoned),
            match polls {
                0 => (0, 0, 0),
                1..6 => (0, 0, 1),
                _ => (1, 1, 0),
            }
        );
    }
}

#[tokio::test]
async fn g01_a_leader_dropped_at_any_poll_leaves_the_others_their_client() {
    for polls in 0..6 {
        let numbers = Numbers::default();
        let registry = Registry::builder(slow(&numbers, 20)).build().unwrap();
        let mut leader = spawn(registry.acquire("a"));
        let mut others: Vec<_> = (0..3).map(|_| spawn(registry.acquire("a"))).collect();
        for _ in 0..polls {
            assert!(leader.poll().is_pending());
        }
        for other in &mut others {
            assert!(other.poll().is_pending());
        }
        drop(leader);
        // Only those who are woken poll, as a runtime would have it.
        let mut leases = Vec::new();
        while leases.len() < 3 {
            let mut progress = false;
            others.retain_mut(|other| {
                if !other.is_woken() {
                    return true;
                }
                progress = true;
                match other.poll() {
                    Poll::Ready(lease) => {
                        leases.push(lease.unwrap());
                        false
                    }
                    Poll::Pending => true,
                }
            });
            assert!(progress, "all waiters sleep, after {polls} polls of the leader");
        }
        assert_eq!(numbers.made(), 1, "the work of the leader was thrown away");
        drop(leases);
        assert!(is_empty(&registry));
    }
}

/// A caller that is not dropped but never polled again, as in a `select!` loop that looks elsewhere.
#[tokio::test]
async fn g01_a_leader_that_stops_polling_holds_up_no_other() {
    let numbers = Numbers::default();
    let registry = Registry::builder(slow(&numbers, 5)).build().unwrap();
    let mut stalled = spawn(registry.acquire("a"));
    assert!(stalled.poll().is_pending());
    let lease = tokio::time::timeout(Duration::from_secs(5), registry.acquire("a")).await.unwrap().unwrap();
    assert_eq!((*lease, numbers.made()), (1, 1));
    let Poll::Ready(late) = stalled.poll() else { panic!("it has its response") };
    assert_eq!(*late.unwrap(), 1);
}

/// The client is there, and the caller who waited for it is dropped before it looks.
#[tokio::test]
async fn a_lease_that_is_not_fetched_ends() {
    let log = Log::default();
    let registry =
        Registry::builder(slow(&Numbers::default(), 5)).observe(log.observer::<String, ()>()).build().unwrap();
    let (mut first, mut second) = (spawn(registry.acquire("a")), spawn(registry.acquire("a")));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    let lease = loop {
        if let Poll::Ready(lease) = first.poll() {
            break lease.unwrap();
        }
    };
    drop(lease);
    assert!(!is_empty(&registry), "the second caller has a right to it");
    drop(second);
    assert!(is_empty(&registry));
    assert_eq!(log.lines(), [r#"created "a" 1"#, r#"closing "a" 1 LastLease"#, r#"closed "a" 1: closed"#]);
}

/// A timer or a channel may keep a waker for long; that must not keep the client.
#[tokio::test]
async fn a_waker_that_is_kept_keeps_no_client() {
    let kept = Log::default();
    let wakers = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let held = wakers.clone();
    let registry = Registry::builder(move |_: String| {
        let (wakers, mut polled) = (held.clone(), false);
        poll_fn(move |cx| {
            wakers.lock().unwrap().push(cx.waker().clone());
            cx.waker().wake_by_ref();
            if mem::replace(&mut polled, true) { Poll::Ready(ok(7)) } else { Poll::Pending }
        })
    })
    .observe(kept.observer::<String, ()>())
    .build()
    .unwrap();
    drop(registry.acquire("a").await.unwrap());
    assert_eq!(wakers.lock().unwrap().len(), 2);
    assert!(is_empty(&registry), "{:?}", kept.lines());
}

#[tokio::test]
async fn a_replacement_dropped_at_any_poll_leaves_the_old_client() {
    for polls in 0..6 {
        let log = Log::default();
        let numbers = Numbers::default();
        let forgot = log.clone();
        let registry =
            Registry::builder(slow(&numbers, 5)).on_vacant(move |key: &String| forgot.note(key)).build().unwrap();
        let old = registry.acquire("a").await.unwrap();
        let mut replace = spawn(registry.replace("a"));
        for _ in 0..polls {
            assert!(replace.poll().is_pending());
        }
        drop(replace);
        assert_eq!(*registry.acquire("a").await.unwrap(), 1);
        drop(old);
        assert!(is_empty(&registry), "after {polls} polls");
        assert_eq!(log.lines(), ["a"], "the key was held for a replacement that is gone");
    }
}

#[tokio::test]
async fn a_close_all_that_is_dropped_leaves_the_registry_closed_and_the_hooks_running() {
    let log = Log::default();
    let closed = log.clone();
    let registry = Registry::builder(numbered(&Numbers::default()))
        .on_close(move |key, _| {
            let log = closed.clone();
            async move {
                steps(3).await;
                log.note(key);
            }
        })
        .linger(Duration::from_secs(60))
        .build()
        .unwrap();
    drop(registry.acquire("a").await.unwrap());
    let mut end = spawn(registry.close_all(Duration::from_secs(5)));
    assert!(end.poll().is_pending());
    drop(end);
    settle().await;
    assert_eq!(log.lines(), ["a"]);
    assert!(registry.acquire("a").await.is_err());
}
