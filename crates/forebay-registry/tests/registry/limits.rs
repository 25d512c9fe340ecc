//! Bounds, reports, and everything at once.

use crate::support::{Log, Numbers, numbered, ok};
use forebay_core::{Advice, BoxError, DropReason};
use forebay_registry::{AcquireErrorKind, CloseReason, Lease, Registry, WhenFull};
use forebay_testkit::laws;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

#[tokio::test(start_paused = true)]
async fn a_full_registry_refuses_or_takes_the_longest_idle() {
    let log = Log::default();
    let registry = Registry::builder(numbered(&Numbers::default()))
        .max_entries(3)
        .linger(Duration::from_secs(60))
        .observe(log.observer::<String, ()>())
        .build()
        .unwrap();
    let held = registry.acquire("held").await.unwrap();
    drop(registry.acquire("older").await.unwrap());
    drop(registry.acquire("newer").await.unwrap());
    // `older` becomes the one that was used last, and a look sees it.
    tokio::time::sleep(Duration::from_secs(16)).await;
    drop(registry.acquire("older").await.unwrap());
    tokio::time::sleep(Duration::from_secs(16)).await;
    log.take();
    let third = registry.acquire("third").await.unwrap();
    assert_eq!(log.take(), [r#"closing "newer" 3 Evicted"#, r#"closed "newer" 3: closed"#, r#"created "third" 4"#]);
    let fourth = registry.acquire("fourth").await.unwrap();
    let refused = registry.acquire("fifth").await.unwrap_err();
    assert_eq!(refused.kind(), AcquireErrorKind::Full);
    assert_eq!((refused.verdict().reason(), refused.verdict().advice()), (DropReason::Full, Advice::Retry));
    laws::error_chain_has_one_link_per_sentence(&refused);
    assert!(registry.acquire("held").await.is_ok(), "who is in stays in");
    let counts = registry.snapshot().counts;
    assert_eq!((counts.evicted, counts.refused), (2, 1));
    drop((held, third, fourth));

    let strict = Registry::builder(numbered(&Numbers::default()))
        .max_entries(1)
        .linger(Duration::from_secs(60))
        .when_full(WhenFull::Refuse)
        .build()
        .unwrap();
    drop(strict.acquire("a").await.unwrap());
    assert_eq!(strict.acquire("b").await.unwrap_err().kind(), AcquireErrorKind::Full);
}

#[tokio::test]
async fn a_failure_makes_room_before_any_client_does() {
    let registry = Registry::builder(|key: String| {
        std::future::ready(if key.starts_with("bad") { Err(BoxError::from("refused")) } else { Ok(key) })
    })
    .max_entries(2)
    .negative_ttl(Duration::from_secs(60))
    .when_full(WhenFull::Refuse)
    .build()
    .unwrap();
    let _held = registry.acquire("good").await.unwrap();
    for index in 0..1_000 {
        assert_eq!(
            registry.acquire(format!("bad {index}").as_str()).await.unwrap_err().kind(),
            AcquireErrorKind::Failed
        );
        assert!(registry.snapshot().entries.len() <= 2);
    }
    assert!(registry.acquire("also good").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_leak_report_names_who_is_held_and_for_how_long() {
    let registry = Registry::builder(numbered(&Numbers::default())).build().unwrap();
    let leaked = registry.acquire("leaked").await.unwrap();
    let again = Lease::clone(&leaked);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let fine = registry.acquire("fine").await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let snapshot = registry.snapshot();
    let report: Vec<_> = snapshot
        .leased_for(Duration::from_secs(60))
        .iter()
        .map(|entry| (entry.key.as_str(), entry.leases, entry.in_state_for.as_secs()))
        .collect();
    assert_eq!(report, [("leaked", 2, 3_601)]);
    assert_eq!(snapshot.leased_for(Duration::ZERO).len(), 2);
    drop((leaked, again, fine));
    assert!(registry.snapshot().leased_for(Duration::ZERO).is_empty());
}

#[tokio::test]
async fn bad_knobs_are_refused_with_their_name() {
    let day = Duration::from_secs(24 * 60 * 60);
    let builder = || Registry::builder(|_: String| std::future::ready(ok(())));
    let refused = [
        builder().max_entries(0).build().unwrap_err(),
        builder().close_deadline(Duration::ZERO).build().unwrap_err(),
        builder().close_deadline(Duration::MAX).build().unwrap_err(),
        builder().linger(day + Duration::from_nanos(1)).build().unwrap_err(),
        builder().negative_ttl(Duration::MAX).build().unwrap_err(),
    ];
    assert_eq!(
        refused.map(|error| error.knob()),
        ["max_entries", "close_deadline", "close_deadline", "linger", "negative_ttl"]
    );
    assert!(builder().linger(day).negative_ttl(day).close_deadline(day).build().is_ok());
}

/// No duration that a user supplies makes the registry panic or hang; each is refused by name or works.
#[tokio::test(start_paused = true)]
async fn f02_every_duration_is_refused_or_works() {
    type Builder = forebay_registry::RegistryBuilder<String, usize>;
    type Knob = (&'static str, fn(Builder, Duration) -> Builder);
    let knobs: [Knob; 3] = [
        ("close_deadline", |builder, time| builder.close_deadline(time)),
        ("linger", |builder, time| builder.linger(time)),
        ("negative_ttl", |builder, time| builder.negative_ttl(time)),
    ];
    let extremes = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    let mut built = 0;
    for (knob, set) in knobs {
        for time in extremes {
            for deadline in extremes {
                let numbers = Numbers::default();
                let builder = Registry::builder(move |key: String| {
                    let number = numbers.next();
                    std::future::ready(if key == "bad" { Err(BoxError::from("refused")) } else { Ok(number) })
                })
                .on_close(|_, _| tokio::time::sleep(Duration::from_secs(1)));
                let registry = match set(builder, time).build() {
                    Ok(registry) => registry,
                    Err(error) => {
                        assert_eq!(error.knob(), knob, "{time:?}");
                        continue;
                    }
                };
                built += 1;
                for _ in 0..2 {
                    drop(registry.acquire("good").await.unwrap());
                    assert!(registry.acquire("bad").await.is_err());
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                let _held = registry.acquire("held").await.unwrap();
                drop(registry.snapshot().leased_for(time));
                let year = Duration::from_secs(365 * 24 * 3_600);
                let ended = tokio::time::timeout(year, registry.close_all(deadline)).await;
                assert_eq!(ended.is_ok(), deadline < Duration::MAX, "it waits for the lease for as long as it may");
            }
        }
    }
    assert_eq!(built, 3 * (1 + 2 + 2));
}

/// Many keys that come and go, from several threads: the published map follows, and nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_keys_from_many_threads_leave_nothing() {
    for linger in [Duration::ZERO, Duration::from_millis(1)] {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&alive);
        let per_key: Arc<[AtomicUsize; 8]> = Arc::default();
        let (made, closed) = (Arc::clone(&per_key), Arc::clone(&per_key));
        let registry = Registry::builder(move |key: usize| {
            made[key].fetch_add(1, SeqCst);
            let alive = Arc::clone(&count);
            async move {
                tokio::task::yield_now().await;
                alive.fetch_add(1, SeqCst);
                ok(alive)
            }
        })
        .on_close(move |key: usize, alive: Arc<AtomicUsize>| {
            let closed = Arc::clone(&closed);
            async move {
                tokio::task::yield_now().await;
                closed[key].fetch_sub(1, SeqCst);
                alive.fetch_sub(1, SeqCst);
            }
        })
        .linger(linger)
        .build()
        .unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let registry = registry.clone();
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    for round in 0..2_000_usize {
                        let key = round.wrapping_mul(task + 3) % 8;
                        match round % 7 {
                            0 => drop(held.pop()),
                            1 => drop(registry.replace(&key).await.unwrap()),
                            2 => drop(tokio_test::task::spawn(registry.acquire(&key)).poll()),
                            _ => held.push(registry.acquire(&key).await.unwrap()),
                        }
                        if held.len() > 5 {
                            held.clear();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let report = registry.close_all(Duration::from_secs(10)).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(alive.load(SeqCst), 0, "each client is closed once");
        let counts = report.counts;
        assert_eq!(counts.created, counts.closed, "{counts:?}");
    }
}

#[test]
fn the_types_can_be_sent_shared_and_debugged() {
    const fn is_debug<T: std::fmt::Debug>() {}
    laws::is_send_and_sync::<Registry<String, AtomicUsize, u32>>();
    laws::is_send_and_sync::<Lease<AtomicUsize>>();
    laws::is_send_and_sync::<forebay_registry::AcquireError>();
    laws::is_send_and_sync::<forebay_registry::Acquire<'static, String, str, AtomicUsize, u32>>();
    is_debug::<Registry<String, AtomicUsize, u32>>();
    is_debug::<CloseReason>();
}
