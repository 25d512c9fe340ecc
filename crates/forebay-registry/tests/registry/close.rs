//! The end of a client.

use crate::support::{Log, Numbers, numbered, ok, settle};
use forebay_core::{BoxError, DropReason};
use forebay_registry::{AcquireErrorKind, EntryState, Lease, LeaseEnd, Registry, RegistryEvent, RegistryLayer};
use forebay_testkit::laws;
use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

#[tokio::test]
async fn g03_the_last_lease_closes_and_no_earlier_one() {
    let log = Log::default();
    let closed = log.clone();
    let registry = Registry::builder(numbered(&Numbers::default()))
        .on_close(move |key: String, client: usize| {
            closed.note(format!("{key} {client}"));
            async {}
        })
        .build()
        .unwrap();
    let first = registry.acquire("a").await.unwrap();
    let clone = Lease::clone(&first);
    let second = registry.acquire("a").await.unwrap();
    assert_eq!(registry.snapshot().entries[0].leases, 3);
    drop(first);
    drop(second);
    settle().await;
    assert!(log.lines().is_empty(), "closed under a lease");
    drop(clone);
    settle().await;
    assert_eq!(log.lines(), ["a 1"]);
    let snapshot = registry.snapshot();
    assert!(snapshot.entries.is_empty());
    assert_eq!((snapshot.closing, snapshot.counts.closed), (0, 1));
}

#[tokio::test]
async fn g04_an_acquire_during_the_close_gets_a_fresh_client() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let registry = Registry::builder(numbered(&Numbers::default()))
        .on_close(move |_, _| {
            let gate = Arc::clone(&held);
            async move { gate.notified().await }
        })
        .build()
        .unwrap();
    drop(registry.acquire("a").await.unwrap());
    settle().await;
    assert_eq!(registry.snapshot().closing, 1);
    assert!(registry.get("a").is_none(), "a closing client was handed out");
    let fresh = registry.acquire("a").await.unwrap();
    assert_eq!(*fresh, 2);
    gate.notify_one();
    settle().await;
    assert_eq!(*registry.acquire("a").await.unwrap(), 2, "the end of the old client took the new one along");
}

/// A lease is a value that ends once: there is no release to call. What is left to show is that `close`, which takes
/// it, and `drop`, which ends it, never count twice.
#[tokio::test]
async fn g05_a_lease_ends_once() {
    let registry = Registry::builder(numbered(&Numbers::default())).build().unwrap();
    let first = registry.acquire("a").await.unwrap();
    let second = Lease::clone(&first);
    assert!(matches!(first.close().await, LeaseEnd::Shared));
    assert_eq!(registry.snapshot().entries[0].leases, 1);
    let LeaseEnd::Closed(end) = second.close().await else { panic!("it was the last") };
    assert!(end.is_done());
    assert!(registry.snapshot().entries.is_empty());
    // An unpolled `close` ends its lease as a drop does.
    let third = registry.acquire("a").await.unwrap();
    drop(third.close());
    assert!(registry.snapshot().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn g06_the_flush_comes_before_the_credentials_go() {
    let log = Log::default();
    let credentials = Arc::new(AtomicBool::new(true));
    let (flushed, forgot, present, gone) =
        (log.clone(), log.clone(), Arc::clone(&credentials), Arc::clone(&credentials));
    let registry = Registry::builder(numbered(&Numbers::default()))
        .on_close(move |_, _| {
            let (log, present) = (flushed.clone(), Arc::clone(&present));
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                log.note(format!("flushed, credentials there: {}", present.load(SeqCst)));
            }
        })
        .on_vacant(move |key: &String| {
            gone.store(false, SeqCst);
            forgot.note(format!("forgot {key}"));
        })
        .build()
        .unwrap();
    let lease = registry.acquire("a").await.unwrap();
    assert!(matches!(lease.close().await, LeaseEnd::Closed(_)));
    assert_eq!(log.lines(), ["flushed, credentials there: true", "forgot a"]);
}

/// The end of an old client must not take away what a newer one of the same key uses.
#[tokio::test]
async fn g06_nothing_is_forgotten_while_a_newer_client_lives() {
    let (log, gate) = (Log::default(), Arc::new(Notify::new()));
    let (forgot, held) = (log.clone(), Arc::clone(&gate));
    let registry = Registry::builder(numbered(&Numbers::default()))
        .on_close(move |_, client| {
            let gate = Arc::clone(&held);
            async move {
                if client == 1 {
                    gate.notified().await;
                }
            }
        })
        .on_vacant(move |key: &String| forgot.note(key.clone()))
        .build()
        .unwrap();
    drop(registry.acquire("a").await.unwrap());
    let fresh = registry.acquire("a").await.unwrap();
    gate.notify_one();
    settle().await;
    assert_eq!(registry.snapshot().counts.closed, 1);
    assert!(log.lines().is_empty(), "the new client's breaker was forgotten");
    drop(fresh);
    settle().await;
    assert_eq!(log.lines(), ["a"]);
}

#[tokio::test]
async fn g06_a_call_that_comes_while_a_key_is_forgotten_waits_for_a_fresh_client() {
    let inside = Arc::new(Mutex::new(None));
    let (slot, log) = (Arc::clone(&inside), Log::default());
    let seen = log.clone();
    let registry = Registry::builder(numbered(&Numbers::default()))
        .on_vacant(move |key: &String| {
            // A call in the middle of the forgetting.
            let slot: &Mutex<Option<Registry<String, usize>>> = &slot;
            let registry = slot.lock().unwrap().clone().unwrap();
            let mut call = tokio_test::task::spawn(async move {
                let lease = registry.acquire("a").await.unwrap();
                (*lease, registry)
            });
            assert!(call.poll().is_pending());
            seen.note(format!("{key}: {} waits", slot.lock().unwrap().as_ref().unwrap().snapshot().entries[0].waiters));
        })
        .build()
        .unwrap();
    *inside.lock().unwrap() = Some(registry.clone());
    drop(registry.acquire("a").await.unwrap());
    settle().await;
    assert_eq!(log.lines(), ["a: 1 waits"]);
    assert!(registry.snapshot().entries.is_empty(), "a waiter was left behind");
    assert_eq!(*registry.acquire("a").await.unwrap(), 2);
    *inside.lock().unwrap() = None;
}

#[tokio::test(start_paused = true)]
async fn g10_a_close_hook_that_panics_hangs_or_fails_hurts_no_other() {
    let log = Log::default();
    let registry = Registry::builder(|key: String| std::future::ready(ok(key)))
        .on_close(|key: String, _: String| {
            assert_ne!(key, "at once", "panics at once");
            async move {
                match key.as_str() {
                    "later" => {
                        tokio::task::yield_now().await;
                        panic!("panics later");
                    }
                    "hangs" => pending().await,
                    "fails" => Err(BoxError::from("disk full")),
                    _ => Ok(()),
                }
            }
        })
        .on_vacant(|key: &String| assert_ne!(key, "forgetful", "cannot forget"))
        .close_deadline(Duration::from_secs(3))
        .observe(log.observer::<String, ()>())
        .build()
        .unwrap();
    for (key, end) in [
        ("at once", "the close hook panicked: "),
        ("later", "the close hook panicked: panics later"),
        ("hangs", "the close hook was not done by its deadline"),
        ("fails", "the close hook failed: disk full"),
        ("forgetful", "closed"),
    ] {
        log.take();
        let began = Instant::now();
        drop(registry.acquire(key).await.unwrap());
        tokio::time::sleep(Duration::from_secs(4)).await;
        let lines = log.take();
        let closed = lines.iter().find(|line| line.starts_with("closed")).unwrap();
        assert!(closed.contains(end), "{closed}");
        assert_eq!(
            lines.last().unwrap(),
            &format!("vacant {key:?} {}", key == "forgetful"),
            "on_vacant runs all the same"
        );
        assert!(began.elapsed() <= Duration::from_secs(4));
    }
    let counts = registry.snapshot().counts;
    assert_eq!((counts.close_panicked, counts.close_timed_out, counts.close_failed, counts.closed), (2, 1, 1, 1));
    assert!(registry.acquire("at once").await.is_ok(), "the registry works on");
}

#[tokio::test]
async fn g10_an_observer_that_panics_hurts_no_caller() {
    let registry = Registry::builder(|_: String| std::future::ready(ok(())))
        .observe(|_: &RegistryEvent<'_, String, ()>| panic!("an observer"))
        .build()
        .unwrap();
    let lease = registry.acquire("a").await.unwrap();
    let other = registry.acquire("a").await.unwrap();
    drop((lease, other));
    assert!(registry.snapshot().entries.is_empty());
}

#[tokio::test]
async fn g10_a_client_that_panics_when_dropped_hurts_no_other() {
    #[derive(Debug)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a client");
        }
    }
    let registry = Registry::builder(|_: String| std::future::ready(ok(Bomb))).build().unwrap();
    drop(registry.acquire("a").await.unwrap());
    assert_eq!(registry.snapshot().counts.close_panicked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lingering_client_comes_back_and_closes_in_time() {
    let log = Log::default();
    let registry = Registry::builder(numbered(&Numbers::default()))
        .linger(Duration::from_secs(10))
        .observe(log.observer::<String, ()>())
        .build()
        .unwrap();
    drop(registry.acquire("a").await.unwrap());
    tokio::time::sleep(Duration::from_secs(9)).await;
    let entry = &registry.snapshot().entries[0];
    // It was first seen idle at the look after 2.5 s.
    assert_eq!((entry.state, entry.in_state_for), (EntryState::Idle, Duration::from_millis(6_500)));
    let revived = registry.acquire("a").await.unwrap();
    assert_eq!(*revived, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(registry.snapshot().entries[0].state, EntryState::Leased, "closed under a lease");
    drop(revived);
    let began = Instant::now();
    while registry.snapshot().counts.closed == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((10.0..=12.6).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert_eq!(
        log.lines(),
        [r#"created "a" 1"#, r#"reused "a" 1"#, r#"closing "a" 1 Lingered"#, r#"closed "a" 1: closed"#,]
    );
}

#[tokio::test(start_paused = true)]
async fn close_all_waits_for_leases_and_hooks_and_says_what_is_left() {
    let registry = Registry::builder(|key: String| async move {
        if key == "building" {
            pending::<()>().await;
        }
        ok(key)
    })
    .on_close(|_, _| tokio::time::sleep(Duration::from_secs(1)))
    .linger(Duration::from_secs(600))
    .build()
    .unwrap();
    drop(registry.acquire("idle").await.unwrap());
    let held = registry.acquire("held").await.unwrap();
    let mut building = tokio_test::task::spawn(registry.acquire("building"));
    assert!(building.poll().is_pending());

    let began = Instant::now();
    let report = registry.close_all(Duration::from_secs(5)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert!(!report.is_clean());
    assert_eq!((report.leased.len(), report.closing, report.pending, report.counts.closed), (1, 0, 1, 1));
    let refused = registry.acquire("held").await.unwrap_err();
    assert_eq!((refused.kind(), refused.verdict().reason()), (AcquireErrorKind::Closed, DropReason::Shutdown));
    laws::error_chain_has_one_link_per_sentence(&refused);
    assert!(registry.get("held").is_none());

    drop(building);
    drop(held);
    let began = Instant::now();
    let report = registry.close_all(Duration::from_secs(5)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((began.elapsed(), report.counts.closed), (Duration::from_secs(1), 2), "the second call waits as well");
}

#[tokio::test]
async fn a_client_that_comes_after_close_all_is_closed_at_once() {
    let (log, gate) = (Log::default(), Arc::new(Notify::new()));
    let held = Arc::clone(&gate);
    let registry = Registry::builder(move |_: String| {
        let gate = Arc::clone(&held);
        async move {
            gate.notified().await;
            ok(())
        }
    })
    .observe(log.observer::<String, ()>())
    .build()
    .unwrap();
    let mut call = tokio_test::task::spawn(registry.acquire("a"));
    assert!(call.poll().is_pending());
    let mut end = tokio_test::task::spawn(registry.close_all(Duration::from_secs(5)));
    assert!(end.poll().is_pending());
    gate.notify_one();
    let std::task::Poll::Ready(result) = call.poll() else { panic!("it has its response") };
    assert_eq!(result.unwrap_err().kind(), AcquireErrorKind::Closed);
    assert!(end.is_woken());
    let std::task::Poll::Ready(report) = end.poll() else { panic!("nothing is left") };
    assert!(report.is_clean());
    assert_eq!(log.lines(), [r#"created "a" 1"#, r#"closing "a" 1 Shutdown"#, r#"closed "a" 1: closed"#]);
}

#[test]
fn f21_without_a_runtime_or_without_a_timer_it_is_not_built() {
    let builder = || Registry::builder(numbered(&Numbers::default()));
    let error = builder().build().unwrap_err();
    assert_eq!((error.knob(), error.value()), ("runtime", "missing"));
    let layer = RegistryLayer::<String, u32>::builder().build().unwrap_err();
    assert_eq!((layer.knob(), layer.value()), ("runtime", "missing"));
    let blind = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let given = builder().runtime(blind.handle().clone()).build().unwrap_err();
    assert_eq!((given.knob(), given.value()), ("runtime", "one without a timer"));
    let inside = blind.block_on(async { builder().build().unwrap_err() });
    assert_eq!(inside.knob(), "runtime");
}

/// A lease that is dropped in a runtime is closed there, one that is dropped outside of any in the one of `build`.
#[test]
fn outside_a_runtime_a_hook_runs_on_the_one_of_the_registry() {
    let log = Log::default();
    let closed = log.clone();
    let new = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (own, other) = (new(), new());
    let registry = Registry::builder(|_: String| std::future::ready(ok(())))
        .on_close(move |key, ()| {
            closed.note(key);
            async {}
        })
        .runtime(own.handle().clone())
        .build()
        .unwrap();
    drop(tokio_test::task::spawn(registry.acquire("a")).poll());
    assert_eq!(registry.snapshot().closing, 1);
    assert!(log.lines().is_empty(), "its runtime is not driven now");
    let second = other.block_on(async {
        drop(registry.acquire("b").await.unwrap());
        settle().await;
        registry.acquire("c").await.unwrap()
    });
    assert_eq!(log.take(), ["b"]);
    own.block_on(settle());
    assert_eq!(log.take(), ["a"]);
    drop(second);
    assert!(log.lines().is_empty(), "its runtime is not driven now");
    own.block_on(settle());
    assert_eq!(log.take(), ["c"]);
    assert_eq!(registry.snapshot().counts.closed, 3);
}

#[test]
fn outside_a_runtime_close_all_and_close_wait_for_the_hooks() {
    let log = Log::default();
    let closed = log.clone();
    let own = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let registry = Registry::builder(|key: String| std::future::ready(ok(key)))
        .on_close(move |key, _| {
            closed.note(key);
            async {}
        })
        .runtime(own.handle().clone())
        .build()
        .unwrap();
    let acquire = |key: &'static str| {
        let mut call = tokio_test::task::spawn(registry.acquire(key));
        match call.poll() {
            std::task::Poll::Ready(lease) => lease.unwrap(),
            std::task::Poll::Pending => panic!("nothing to wait for"),
        }
    };
    let mut close = tokio_test::task::spawn(acquire("b").close());
    assert!(close.poll().is_pending());
    own.block_on(settle());
    assert!(close.is_woken() && close.poll().is_ready());
    assert_eq!(log.take(), ["b"]);
    let held = acquire("c");
    let mut end = tokio_test::task::spawn(registry.close_all(Duration::from_secs(5)));
    assert!(end.poll().is_pending());
    drop(held);
    own.block_on(settle());
    assert!(end.is_woken());
    let std::task::Poll::Ready(report) = end.poll() else { panic!("nothing is left") };
    assert!(report.is_clean());
    assert_eq!(log.take(), ["c"]);
}

#[test]
fn a_hook_that_dies_with_its_runtime_is_counted() {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let registry = Registry::builder(|_: String| std::future::ready(ok(())))
        .on_close(|_, ()| pending::<()>())
        .observe(log.observer::<String, ()>())
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(registry.acquire("a").await.unwrap());
        settle().await;
    });
    assert_eq!(registry.snapshot().closing, 1);
    drop(runtime);
    let snapshot = registry.snapshot();
    assert_eq!((snapshot.closing, snapshot.counts.close_aborted), (0, 1));
    assert_eq!(log.lines().last().unwrap(), r#"closed "a" 1: no runtime was left to run the close hook"#);
}

#[tokio::test]
async fn the_hook_runs_when_all_handles_are_gone() {
    let log = Log::default();
    for linger in [Duration::ZERO, Duration::from_secs(600)] {
        let closed = log.clone();
        let registry = Registry::builder(|_: String| std::future::ready(ok(())))
            .on_close(move |key, ()| {
                closed.note(key);
                async {}
            })
            .linger(linger)
            .build()
            .unwrap();
        let lease = registry.acquire("a").await.unwrap();
        drop(registry);
        settle().await;
        assert!(log.lines().is_empty(), "the lease keeps it");
        drop(lease);
        settle().await;
        assert_eq!(log.take(), ["a"], "no caller can ask for it any more: it does not linger ({linger:?})");
    }
}

#[tokio::test]
async fn a_close_that_is_dropped_goes_on_as_a_task() {
    let (log, gate) = (Log::default(), Arc::new(Notify::new()));
    let (closed, held) = (log.clone(), Arc::clone(&gate));
    let registry = Registry::builder(|_: String| std::future::ready(ok(())))
        .on_close(move |key, ()| {
            let (log, gate) = (closed.clone(), Arc::clone(&held));
            async move {
                gate.notified().await;
                log.note(key);
            }
        })
        .build()
        .unwrap();
    let mut close = tokio_test::task::spawn(registry.acquire("a").await.unwrap().close());
    assert!(close.poll().is_pending());
    drop(close);
    gate.notify_one();
    settle().await;
    assert_eq!(log.lines(), ["a"]);
    assert_eq!(registry.snapshot().counts.closed, 1);
}

/// A sweeper that was dropped with its runtime, even before it began, makes place for another one.
#[test]
fn a_client_goes_on_lingering_in_the_next_runtime() {
    let new = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (dead, dying, alive) = (new(), new(), new());
    let registry = Registry::builder(numbered(&Numbers::default()))
        .linger(Duration::from_secs(4))
        .runtime(dead.handle().clone())
        .build()
        .unwrap();
    drop(dead);
    // Outside a runtime, so it is spawned on the dead one.
    drop(tokio_test::task::spawn(registry.acquire("a")).poll());
    dying.block_on(async { drop(registry.acquire("b").await.unwrap()) });
    drop(dying);
    alive.block_on(async {
        drop(registry.acquire("c").await.unwrap());
        tokio::time::sleep(Duration::from_secs(10)).await;
    });
    assert!(registry.snapshot().entries.is_empty(), "{:?}", registry.snapshot());
}

/// The task that looks at idle clients ends when there is none, and there is another one for the next client.
#[tokio::test(start_paused = true)]
async fn after_a_rest_the_next_client_is_swept_too() {
    let registry = Registry::builder(numbered(&Numbers::default())).linger(Duration::from_secs(4)).build().unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..3 {
        drop(registry.acquire("a").await.unwrap());
        assert_eq!(tasks(), 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(registry.snapshot().entries.is_empty());
        assert_eq!(tasks(), 0, "a task runs while there is nothing to look at");
    }
}
