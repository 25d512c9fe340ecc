//! No user code meets a lock: keys, configurations, clients, errors, wakers and observers may come back at any time.

use forebay_core::BoxError;
use forebay_registry::{Declined, Registry, RegistryEvent, WhenFull};
use forebay_testkit::laws;
use std::{
    cell::Cell,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::{task::yield_now, time::sleep};

type Fragile = Registry<Reenters, Reenters, Reenters>;

static REGISTRY: OnceLock<Fragile> = OnceLock::new();

/// Takes the lock of the registry: it deadlocks where the caller holds it.
fn reenter() {
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    if let Some(registry) = REGISTRY.get()
        && !INSIDE.replace(true)
    {
        drop(registry.snapshot());
        INSIDE.set(false);
    }
}

/// A key, a configuration, a client and an error that comes back when it is dropped; as a waker, whatever is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reenters(&'static str);

impl Drop for Reenters {
    fn drop(&mut self) {
        reenter();
    }
}

impl fmt::Display for Reenters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Reenters {}

impl Wake for Reenters {
    fn wake(self: Arc<Self>) {
        reenter();
    }
}

fn registry() -> &'static Fragile {
    REGISTRY.get_or_init(|| {
        Registry::builder_with(|key: Reenters, config: Reenters| async move {
            let _held = Reenters("work");
            yield_now().await;
            match config.0 {
                "fails" => Err(BoxError::from(Reenters("error"))),
                "declines" => Err(BoxError::from(Declined::because("off"))),
                _ => Ok(key.clone()),
            }
        })
        .on_close(|_, client| async move {
            yield_now().await;
            drop(client);
        })
        .on_vacant(|_| reenter())
        .observe(|_: &RegistryEvent<'_, Reenters, Reenters>| reenter())
        .negative_ttl(Duration::from_millis(10))
        .linger(Duration::from_millis(20))
        .max_entries(4)
        .when_full(WhenFull::EvictIdle)
        .build()
        .unwrap()
    })
}

/// Polls once, and drops it.
fn poll_once(future: impl Future) {
    let waker = Waker::from(Arc::new(Reenters("waker")));
    drop(pin!(future).poll(&mut Context::from_waker(&waker)));
}

#[tokio::test(start_paused = true)]
async fn f22_no_user_code_meets_a_lock() {
    let registry = registry();
    let keys = ["a", "b", "c", "d", "e", "f"].map(Reenters);
    let (works, other, fails, declines) =
        (Reenters("works"), Reenters("other"), Reenters("fails"), Reenters("declines"));
    for round in 0..4 {
        for key in &keys {
            // Waits that are dropped, and a waiter beside one that goes on.
            poll_once(registry.acquire_with(key, &works));
            poll_once(registry.acquire_with(key, &works));
            drop(registry.acquire_with(key, &fails).await);
            drop(registry.acquire_with(key, &fails).await);
            drop(registry.acquire_with(key, &declines).await);
            let (first, second) = tokio::join!(registry.acquire_with(key, &works), registry.acquire_with(key, &other));
            // The published path, too.
            drop((registry.acquire_with(key, &works).await, registry.get(key)));
            poll_once(registry.replace_with(key, &other));
            let replaced = registry.replace_with(key, &other).await;
            drop(registry.replace_with(key, &fails).await);
            if round % 2 == 0 {
                let Ok(lease) = replaced else { panic!("there is room: {replaced:?}") };
                drop((first, second));
                drop(lease.close().await);
            } else {
                drop((first, second, replaced));
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    poll_once(registry.close_all(Duration::from_secs(1)));
    assert!(registry.close_all(Duration::from_secs(1)).await.is_clean());
}

/// A client that is made in many polls.
async fn in_many_polls(number: usize) -> Result<usize, BoxError> {
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        if polls > 20 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(number)
}

/// Wakers of those that wait for a client, for a replacement, for a close, and for the end of everything.
#[test]
fn f22_no_waker_meets_a_lock() {
    laws::no_waker_runs_under_a_lock(|wakers| async move {
        let registry = Registry::builder(|_: &'static str| in_many_polls(7))
            .on_close(|_, _| async {
                yield_now().await;
            })
            .build()
            .unwrap();
        // A waker may own its task, and with it another wait for the same client.
        let owned = Arc::new(Mutex::new(Vec::new()));
        let waits = || {
            let registry = registry.clone();
            let mut waits = Box::pin(async move { registry.acquire(&"a").await });
            drop(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())));
            owned.lock().unwrap().push(waits);
        };
        let (again, dropped) = (registry.clone(), Arc::clone(&owned));
        wakers.call_back(move || {
            let waits = { dropped.lock().unwrap().pop() };
            drop((again.snapshot(), waits));
            poll_once(again.replace(&"a"));
        });
        for gives_up in [true, false, true] {
            let (mut first, mut second) = (Box::pin(registry.acquire(&"a")), Box::pin(registry.acquire(&"a")));
            (0..4).for_each(|_| waits());
            // Each poll has a waker of its own, and drops the one before.
            assert!(wakers.poll(&mut first).is_pending());
            drop(wakers.poll(&mut second));
            if gives_up {
                drop((first, second));
                continue;
            }
            let lease = first.await.unwrap();
            let mut replace = Box::pin(registry.replace(&"a"));
            drop(wakers.poll(&mut replace));
            drop(replace);
            let mut close = Box::pin(lease.close());
            for _ in 0..2 {
                if wakers.poll(&mut close).is_ready() {
                    break;
                }
            }
        }
        let mut end = Box::pin(registry.close_all(Duration::from_secs(1)));
        for _ in 0..3 {
            if wakers.poll(&mut end).is_ready() {
                break;
            }
            yield_now().await;
        }
        wakers.release();
    });
}
