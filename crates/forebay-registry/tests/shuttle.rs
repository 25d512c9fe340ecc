//! The concurrent shell under random schedules, with more threads than loom can go through.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p forebay-registry --test shuttle --release`; `.ci/planted` shows that it finds the
//! races in `planted/`. `SHUTTLE_ROUNDS` sets how many schedules are tried.

#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::BoxError;
use forebay_registry::{AcquireErrorKind, Lease, Registry};
use shuttle::{
    future::{block_on, yield_now},
    rand::{Rng, thread_rng},
    sync::Mutex,
    thread,
};
use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

const THREADS: usize = 4;
const ROUNDS: usize = 8;

/// What is true of the clients, kept by their makers, hooks and users.
#[derive(Default)]
struct Truth {
    made: usize,
    /// Clients in use, by whom often.
    used: HashMap<usize, usize>,
    closed: Vec<usize>,
    /// Keys with something to forget.
    known: HashMap<u8, usize>,
}

fn registry(truth: &Arc<Mutex<Truth>>, linger: bool, max: usize) -> Registry<u8, usize> {
    let (makes, closes, forgets) = (Arc::clone(truth), Arc::clone(truth), Arc::clone(truth));
    Registry::builder(move |key: u8| {
        let truth = Arc::clone(&makes);
        async move {
            yield_now().await;
            yield_now().await;
            if thread_rng().gen_bool(0.1) {
                return Err(BoxError::from("refused"));
            }
            // From here on there is a client: nothing is awaited any more.
            let mut truth = truth.lock().unwrap();
            truth.made += 1;
            let number = truth.made;
            truth.known.insert(key, number);
            Ok(number)
        }
    })
    .on_close(move |key: u8, number| {
        let truth = Arc::clone(&closes);
        async move {
            yield_now().await;
            let mut truth = truth.lock().unwrap();
            truth.closed.push(number);
            assert!(truth.known.contains_key(&key), "flushed without credentials");
            assert_eq!(truth.used.get(&number).copied().unwrap_or_default(), 0, "closed under its user");
        }
    })
    .on_vacant(move |key| {
        forgets.lock().unwrap().known.remove(key);
    })
    .linger(if linger { Duration::from_secs(60) } else { Duration::ZERO })
    .max_entries(max)
    .build()
    .unwrap()
}

fn use_client(truth: &Mutex<Truth>, key: u8, lease: Lease<usize>) {
    {
        let mut truth = truth.lock().unwrap();
        assert!(!truth.closed.contains(&lease), "a closed client was handed out");
        assert!(truth.known.contains_key(&key), "a living client's state was forgotten");
        *truth.used.entry(*lease).or_default() += 1;
    }
    thread::yield_now();
    {
        let mut truth = truth.lock().unwrap();
        assert!(!truth.closed.contains(&lease), "closed under its user");
        assert!(truth.known.contains_key(&key), "forgotten under its user");
        *truth.used.get_mut(&*lease).unwrap() -= 1;
    }
    drop(lease);
}

/// Polls up to `times`, and drops what is not ready.
fn poll_some<F: Future>(future: F, mut times: u32) -> Option<F::Output> {
    block_on(async {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if times == 0 => Poll::Ready(None),
            Poll::Pending => {
                times -= 1;
                Poll::Pending
            }
        })
        .await
    })
}

fn everything_at_once() {
    let truth = Arc::new(Mutex::new(Truth::default()));
    let linger = thread_rng().gen_bool(0.5);
    let registry = registry(&truth, linger, 3);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (registry, truth) = (registry.clone(), Arc::clone(&truth));
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let key = thread_rng().gen_range(0..4_u8);
                    let lease = match thread_rng().gen_range(0..8) {
                        0 => block_on(registry.replace(&key)).ok(),
                        1 => registry.get(&key),
                        2 => poll_some(registry.acquire(&key), thread_rng().gen_range(0..3)).and_then(Result::ok),
                        3 => poll_some(registry.replace(&key), thread_rng().gen_range(0..3)).and_then(Result::ok),
                        _ => match block_on(registry.acquire(&key)) {
                            Ok(lease) => Some(lease),
                            Err(error) => {
                                assert!(matches!(error.kind(), AcquireErrorKind::Failed | AcquireErrorKind::Full));
                                None
                            }
                        },
                    };
                    let Some(lease) = lease else { continue };
                    let close = thread_rng().gen_bool(0.2);
                    if close {
                        drop(block_on(Lease::clone(&lease).close()));
                    }
                    use_client(&truth, key, lease);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let report = block_on(registry.close_all(Duration::from_secs(1)));
    assert!(report.is_clean(), "{report:?}");
    assert!(registry.snapshot().entries.is_empty());
    let mut truth = truth.lock().unwrap();
    truth.closed.sort_unstable();
    assert_eq!(truth.closed, (1..=truth.made).collect::<Vec<_>>(), "each client is closed once");
    assert!(truth.known.is_empty(), "something was never forgotten");
    assert_eq!(report.counts.close_panicked, 0, "a hook has seen something wrong");
}

fn rounds() -> usize {
    std::env::var("SHUTTLE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

#[test]
fn g01_to_g06_hold_under_random_schedules() {
    shuttle::check_random(everything_at_once, rounds());
}

#[test]
fn g01_to_g06_hold_under_schedules_with_few_preemptions() {
    shuttle::check_pct(everything_at_once, rounds(), 3);
}
