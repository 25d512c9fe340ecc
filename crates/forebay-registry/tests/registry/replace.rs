//! A new client in the place of an old one.

use crate::support::{Log, ok, same, settle};
use forebay_core::BoxError;
use forebay_registry::{AcquireErrorKind, EntryState, Lease, Registry};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::sync::Notify;

#[tokio::test]
async fn a_replacement_serves_new_calls_and_the_old_one_drains() {
    let log = Log::default();
    let registry = Registry::builder_with(|_: String, token: &'static str| std::future::ready(ok(token)))
        .observe(log.observer::<String, &'static str>())
        .build()
        .unwrap();
    let old = registry.acquire_with("a", &"old").await.unwrap();
    // Published, so that the lock-free path has the old one.
    drop(registry.acquire_with("a", &"old").await.unwrap());
    drop(registry.acquire_with("a", &"old").await.unwrap());
    log.take();
    let new = registry.replace_with("a", &"new").await.unwrap();
    assert_eq!((*old, *new), ("old", "new"));
    assert_eq!(*registry.get("a").unwrap(), "new");
    assert_eq!(*registry.acquire_with("a", &"new").await.unwrap(), "new");
    let states: Vec<_> = registry.snapshot().entries.iter().map(|entry| (entry.state, entry.leases)).collect();
    assert_eq!(states, [(EntryState::Leased, 1), (EntryState::Draining, 1)]);
    drop(old);
    assert_eq!(
        log.take(),
        [
            r#"created "a" 2"#,
            r#"swapped "a" Some(1) to 2"#,
            r#"reused "a" 2"#,
            r#"reused "a" 2"#,
            r#"closing "a" 1 Replaced"#,
            r#"closed "a" 1: closed"#,
        ]
    );
}

#[tokio::test]
async fn a_replacement_that_fails_leaves_the_old_client() {
    let registry = Registry::builder_with(|_: String, works: bool| async move {
        if works { Ok(()) } else { Err(BoxError::from("access denied")) }
    })
    .build()
    .unwrap();
    let old = registry.acquire_with("a", &true).await.unwrap();
    assert_eq!(registry.replace_with("a", &false).await.unwrap_err().kind(), AcquireErrorKind::Failed);
    assert!(same(&old, &registry.get("a").unwrap()));
    assert_eq!(registry.snapshot().counts.failed, 1);
}

#[tokio::test]
async fn a_slow_replacement_never_takes_the_place_of_a_later_one() {
    let (log, slow) = (Log::default(), Arc::new(Notify::new()));
    let (closed, held) = (log.clone(), Arc::clone(&slow));
    let registry = Registry::builder_with(move |_: String, token: &'static str| {
        let slow = Arc::clone(&held);
        async move {
            if token == "slow" {
                slow.notified().await;
            }
            ok(token)
        }
    })
    .on_close(move |_, token| {
        closed.note(token);
        async {}
    })
    .build()
    .unwrap();
    let first = registry.acquire_with("a", &"first").await.unwrap();
    let mut late = tokio_test::task::spawn(registry.replace_with("a", &"slow"));
    assert!(late.poll().is_pending());
    let second = registry.replace_with("a", &"second").await.unwrap();
    slow.notify_one();
    let std::task::Poll::Ready(got) = late.poll() else { panic!("it is there") };
    assert_eq!((*first, *second, *got.unwrap()), ("first", "second", "second"));
    settle().await;
    assert_eq!(log.lines(), ["slow"], "what no caller uses is closed");
}

#[tokio::test]
async fn a_replacement_lands_those_who_wait_for_the_first_client() {
    let registry = Registry::builder_with(|_: String, token: &'static str| async move {
        if token == "hangs" {
            pending::<()>().await;
        }
        ok(token)
    })
    .build()
    .unwrap();
    let mut waits = tokio_test::task::spawn(registry.acquire_with("a", &"hangs"));
    assert!(waits.poll().is_pending());
    let new = registry.replace_with("a", &"new").await.unwrap();
    assert!(waits.is_woken());
    let std::task::Poll::Ready(got) = waits.poll() else { panic!("it waits for what is not made") };
    assert!(same(&got.unwrap(), &new));
}

#[tokio::test(start_paused = true)]
async fn replacing_an_idle_or_failed_or_absent_client_works() {
    let registry = Registry::builder_with(|_: String, works: bool| async move {
        if works { Ok(()) } else { Err(BoxError::from("access denied")) }
    })
    .linger(Duration::from_secs(60))
    .negative_ttl(Duration::from_secs(60))
    .build()
    .unwrap();
    assert!(registry.replace_with("absent", &true).await.is_ok());
    assert_eq!(registry.snapshot().entries[0].state, EntryState::Idle);
    let new = registry.replace_with("absent", &true).await.unwrap();
    assert_eq!(registry.snapshot().counts.closed, 1, "the idle one was closed");
    assert_eq!(Lease::generation(&new), 2);
    assert!(registry.acquire_with("failed", &false).await.is_err());
    assert!(matches!(
        registry.acquire_with("failed", &false).await.unwrap_err().kind(),
        AcquireErrorKind::FailedBefore { .. }
    ));
    assert_eq!(
        registry.replace_with("failed", &false).await.unwrap_err().kind(),
        AcquireErrorKind::Failed,
        "it is tried"
    );
}
