//! No code of the user runs or is dropped under a lock: keys and observers that call back into the breaker do not stop it.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_breaker::{BreakerEvent, BreakerHandle, BreakerLayer, Mode, Trip};
use forebay_core::BoxError;
use std::{
    cell::Cell,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn};

static HANDLE: OnceLock<BreakerHandle<Key>> = OnceLock::new();

/// How often each kind of code of the user has run: copies, names, drops, events.
static RAN: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls everything that takes a lock; not again while it does so.
fn reenter(what: usize) {
    RAN[what].fetch_add(1, Ordering::Relaxed);
    if let Some(handle) = HANDLE.get()
        && !INSIDE.replace(true)
    {
        handle.expire_idle();
        handle.set_mode_of_all(Mode::Normal);
        handle.remove(&Key(u64::MAX));
        drop(handle.snapshot());
        INSIDE.set(false);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key(u64);

impl Clone for Key {
    fn clone(&self) -> Self {
        reenter(0);
        Self(self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        reenter(1);
        write!(f, "{}", self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        reenter(2);
    }
}

async fn everything() {
    let layer = BreakerLayer::builder()
        .key(|request: &Key| request)
        .trip(Trip::consecutive(2))
        .max_keys(64)
        .idle(Duration::from_secs(1))
        .observe(|_: &BreakerEvent| reenter(3))
        .build()
        .unwrap();
    let handle = HANDLE.get_or_init(|| layer.handle());
    let mut service = layer.layer(service_fn(|request: Key| async move {
        if request.0.is_multiple_of(3) { Err::<(), BoxError>("refused".into()) } else { Ok(()) }
    }));
    for number in 0..2_000 {
        let key = number % 200;
        drop(service.ready().await.unwrap().call(Key(key)).await);
        match number % 7 {
            0 => tokio::time::advance(Duration::from_millis(300)).await,
            1 => _ = handle.remove(&Key(key)),
            2 => _ = handle.reset(&Key(key)),
            3 => _ = handle.set_mode(&Key(key + 1), Mode::ForcedOpen),
            4 => handle.reset_all(),
            _ => {}
        }
    }
}

#[test]
fn f22_keys_and_observers_may_call_back() {
    let (done, ended) = mpsc::channel();
    // A lock that is taken twice stops its thread for ever, so it is another thread that says so.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(everything());
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("code of the user ran under a lock");
    for (what, ran) in ["copies", "names", "drops", "events"].into_iter().zip(&RAN) {
        assert!(ran.load(Ordering::Relaxed) > 100, "{what}: {ran:?}");
    }
}
