//! One client per key, made once, and never pinned by the wrong one.

use crate::support::{Log, Numbers, numbered, ok, same, settle};
use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use forebay_registry::{AcquireErrorKind, Declined, EntryState, Registry};
use forebay_testkit::laws;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;

fn switched(
    numbers: &Numbers,
) -> impl Fn(String, bool) -> std::future::Ready<Result<usize, BoxError>> + Send + Sync + 'static {
    let numbers = numbers.clone();
    move |_, enabled| {
        std::future::ready(if enabled {
            Ok(numbers.next())
        } else {
            Err(Declined::because("telemetry is switched off").into())
        })
    }
}

#[tokio::test]
async fn g01_same_key_same_client() {
    let numbers = Numbers::default();
    let registry = Registry::builder(numbered(&numbers)).build().unwrap();
    let first = registry.acquire("a").await.unwrap();
    let second = registry.clone().acquire("a").await.unwrap();
    let third = registry.get("a").unwrap();
    let other = registry.acquire("b").await.unwrap();
    assert!(same(&first, &second) && same(&first, &third) && !same(&first, &other));
    assert_eq!((*first, *second, *other), (1, 1, 2));
}

#[tokio::test]
async fn g01_a_hundred_callers_at_once_make_one_client() {
    let numbers = Numbers::default();
    let (count, gate) = (numbers.clone(), Arc::new(Notify::new()));
    let opened = Arc::clone(&gate);
    let registry = Registry::builder(move |_: String| {
        let (number, gate) = (count.next(), Arc::clone(&opened));
        async move {
            gate.notified().await;
            ok(number)
        }
    })
    .build()
    .unwrap();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.acquire("a").await })
        })
        .collect();
    settle().await;
    assert_eq!(
        registry.snapshot().entries.first().map(|entry| (entry.state, entry.waiters)),
        Some((EntryState::Pending, 100))
    );
    gate.notify_one();
    for caller in callers {
        assert_eq!(*caller.await.unwrap().unwrap(), 1);
    }
    assert_eq!(numbers.made(), 1);
}

#[tokio::test]
async fn g07_a_disabled_first_user_does_not_pin_the_key() {
    let registry =
        Registry::builder_with(switched(&Numbers::default())).negative_ttl(Duration::from_secs(60)).build().unwrap();
    let refused = registry.acquire_with("a", &false).await.unwrap_err();
    assert_eq!(refused.kind(), AcquireErrorKind::Declined);
    assert_eq!(refused.verdict().reason(), DropReason::Disabled);
    assert!(registry.snapshot().entries.is_empty(), "the refusal was kept");
    assert_eq!(*registry.acquire_with("a", &true).await.unwrap(), 1);
}

#[tokio::test]
async fn g07_one_who_waits_behind_a_disabled_user_makes_its_own() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let registry = Registry::builder_with(move |_: String, enabled: bool| {
        let gate = Arc::clone(&held);
        async move {
            if enabled {
                return ok("a client");
            }
            gate.notified().await;
            Err(Declined::because("switched off").into())
        }
    })
    .build()
    .unwrap();
    let mut off = tokio_test::task::spawn(registry.acquire_with("a", &false));
    let mut on = tokio_test::task::spawn(registry.acquire_with("a", &true));
    let mut off_too = tokio_test::task::spawn(registry.acquire_with("a", &false));
    assert!(off.poll().is_pending() && on.poll().is_pending() && off_too.poll().is_pending());
    gate.notify_waiters();
    assert!(on.is_woken());
    let std::task::Poll::Ready(lease) = on.poll() else { panic!("it waits for another caller's response") };
    assert_eq!(*lease.unwrap(), "a client");
    for task in [&mut off, &mut off_too] {
        let std::task::Poll::Ready(refused) = task.poll() else { panic!("it was not woken") };
        assert_eq!(refused.unwrap_err().kind(), AcquireErrorKind::Declined);
    }
}

#[tokio::test]
async fn g08_a_failed_construction_leaves_nothing_and_tells_all_who_waited() {
    let gate = Arc::new(Notify::new());
    let (held, works) = (Arc::clone(&gate), Arc::new(AtomicBool::new(false)));
    let later = Arc::clone(&works);
    let registry = Registry::builder(move |_: String| {
        let (gate, works) = (Arc::clone(&held), Arc::clone(&later));
        async move {
            if works.load(SeqCst) {
                return Ok(7);
            }
            gate.notified().await;
            Err::<i32, _>(BoxError::from("connection refused"))
        }
    })
    .build()
    .unwrap();
    let mut callers: Vec<_> = (0..3).map(|_| tokio_test::task::spawn(registry.acquire("a"))).collect();
    assert!(callers.iter_mut().all(|caller| caller.poll().is_pending()));
    gate.notify_waiters();
    for caller in &mut callers {
        assert!(caller.is_woken());
        let std::task::Poll::Ready(result) = caller.poll() else { panic!("it sleeps on") };
        let error = result.unwrap_err();
        assert_eq!(error.kind(), AcquireErrorKind::Failed);
        assert_eq!((error.verdict().seen(), error.verdict().advice()), (Seen::No, Advice::Retry));
        laws::error_chain_has_one_link_per_sentence(&error);
    }
    let snapshot = registry.snapshot();
    assert!(snapshot.entries.is_empty());
    assert_eq!((snapshot.counts.created, snapshot.counts.failed), (0, 1));
    works.store(true, SeqCst);
    assert_eq!(*registry.acquire("a").await.unwrap(), 7);
}

#[tokio::test]
async fn g08_a_panic_in_the_maker_is_an_error_and_leaves_nothing() {
    for in_the_future in [false, true] {
        let registry = Registry::builder(move |_: String| {
            assert!(in_the_future, "no such host");
            async move {
                tokio::task::yield_now().await;
                panic!("no such {}", "host");
                #[expect(unreachable_code, reason = "it gives the block its type")]
                ok(())
            }
        })
        .build()
        .unwrap();
        let error = registry.acquire("a").await.unwrap_err();
        assert_eq!(error.kind(), AcquireErrorKind::Panicked);
        assert!(error.to_string().contains("no such host"), "{error}");
        assert_eq!(error.verdict().reason(), DropReason::Panicked);
        laws::error_chain_has_one_link_per_sentence(&error);
        assert!(registry.snapshot().entries.is_empty());
    }
}

#[tokio::test]
async fn the_makers_own_verdict_is_passed_on() {
    let registry = Registry::builder(|_: String| async {
        Err::<(), _>(Verdict::new(DropReason::Rejected, Seen::Yes, Advice::Never).caused_by("bad certificate"))
    })
    .build()
    .unwrap();
    let error = registry.acquire("a").await.unwrap_err();
    assert_eq!((error.verdict().reason(), error.verdict().advice()), (DropReason::Rejected, Advice::Never));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_again_for_a_while() {
    let numbers = Numbers::default();
    let count = numbers.clone();
    let registry = Registry::builder(move |_: String| {
        count.next();
        async { Err::<(), _>(BoxError::from("connection refused")) }
    })
    .negative_ttl(Duration::from_secs(10))
    .build()
    .unwrap();
    assert_eq!(registry.acquire("a").await.unwrap_err().kind(), AcquireErrorKind::Failed);
    tokio::time::advance(Duration::from_secs(4)).await;
    let again = registry.acquire("a").await.unwrap_err();
    let retry_in = Duration::from_secs(6);
    assert_eq!(again.kind(), AcquireErrorKind::FailedBefore { retry_in });
    assert_eq!(again.verdict().advice(), Advice::RetryAfter(retry_in));
    laws::error_chain_has_one_link_per_sentence(&again);
    assert_eq!(numbers.made(), 1);
    tokio::time::advance(Duration::from_secs(6)).await;
    settle().await;
    assert!(registry.snapshot().entries.is_empty(), "a failure outlived its time");
    assert_eq!(registry.acquire("a").await.unwrap_err().kind(), AcquireErrorKind::Failed);
    assert_eq!(numbers.made(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_told_to_one_who_asks_for_something_else() {
    let registry = Registry::builder_with(|_: String, password: &'static str| async move {
        if password == "right" { Ok(()) } else { Err(BoxError::from("access denied")) }
    })
    .negative_ttl(Duration::from_secs(10))
    .build()
    .unwrap();
    assert!(registry.acquire_with("a", &"wrong").await.is_err());
    assert!(registry.acquire_with("a", &"right").await.is_ok());
}

#[tokio::test]
async fn g09_a_divergent_configuration_is_reported_with_both() {
    let log = Log::default();
    let registry = Registry::builder_with(|_: String, batch: u32| std::future::ready(ok(batch)))
        .observe(log.observer::<String, u32>())
        .build()
        .unwrap();
    let first = registry.acquire_with("a", &100).await.unwrap();
    // Through the table, then through what is published.
    for _ in 0..2 {
        log.take();
        let second = registry.acquire_with("a", &500).await.unwrap();
        assert_eq!(*second, 100, "the first one wins");
        assert_eq!(log.take(), [r#"reused "a" 1"#, r#"diverged "a": 100 not 500"#]);
    }
    drop(registry.acquire_with("a", &100).await.unwrap());
    assert_eq!(log.take(), [r#"reused "a" 1"#]);
    let snapshot = registry.snapshot();
    assert_eq!((snapshot.counts.diverged, snapshot.entries[0].diverged), (2, 2));
    drop(first);
}

#[tokio::test]
async fn g09_it_is_reported_to_one_who_waited_too() {
    let (log, gate) = (Log::default(), Arc::new(Notify::new()));
    let held = Arc::clone(&gate);
    let registry = Registry::builder_with(move |_: String, batch: u32| {
        let gate = Arc::clone(&held);
        async move {
            gate.notified().await;
            ok(batch)
        }
    })
    .observe(log.observer::<String, u32>())
    .build()
    .unwrap();
    let mut first = tokio_test::task::spawn(registry.acquire_with("a", &100));
    let mut second = tokio_test::task::spawn(registry.acquire_with("a", &500));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    gate.notify_waiters();
    assert!(second.poll().is_ready() && first.poll().is_ready());
    assert_eq!(
        log.lines(),
        [
            r#"created "a" 1"#,
            r#"diverged "a": 100 not 500"#,
            r#"reused "a" 1"#,
            r#"closing "a" 1 LastLease"#,
            r#"closed "a" 1: closed"#
        ]
    );
}
