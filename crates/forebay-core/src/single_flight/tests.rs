use super::*;
use std::{
    collections::VecDeque,
    sync::{
        Mutex as StdMutex, Weak,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Wake,
};

type Shared = InFlight<u32, Fragile>;

/// A result that looks at what it is the result of whenever it is cloned or dropped.
#[derive(Debug)]
struct Fragile(u32, Weak<Shared>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        touch(&self.1);
        Self(self.0, Weak::clone(&self.1))
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        touch(&self.1);
    }
}

/// Takes both locks: it deadlocks where the caller holds one of them.
fn touch(shared: &Weak<Shared>) {
    if let Some(shared) = shared.upgrade() {
        let _completed: bool = shared.completed().is_some();
        let mut waiter = WaiterId::default();
        shared.notifier.register(&mut waiter, Waker::noop());
    }
}

/// A waker that does so when it is cloned, woken and dropped.
struct Reenters(Weak<Shared>, Arc<AtomicUsize>);

impl Wake for Reenters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        touch(&self.0);
        self.1.fetch_add(1, SeqCst);
    }
}

impl Drop for Reenters {
    fn drop(&mut self) {
        touch(&self.0);
    }
}

/// Work that is pending for each `false`, and wakes itself where that is asked for.
fn work(steps: impl IntoIterator<Item = bool>) -> Work<u32> {
    let mut steps: VecDeque<bool> = steps.into_iter().collect();
    Box::pin(std::future::poll_fn(move |cx| match steps.pop_front() {
        Some(true) => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Some(false) => Poll::Pending,
        None => Poll::Ready(7),
    }))
}

#[test]
fn f22_no_waker_and_no_result_meets_a_lock() {
    let woken = Arc::new(AtomicUsize::new(0));
    let shared: Arc<Shared> = InFlight::of(work([true, false, true]), Arc::new("a"));
    let weak = Arc::downgrade(&shared);
    let waker = || Waker::from(Arc::new(Reenters(Weak::clone(&weak), Arc::clone(&woken))));
    let make = |end: Result<u32, Panic>| Fragile(end.unwrap_or_default(), Weak::clone(&weak));
    let (mut first, mut second) = (WaiterId::default(), WaiterId::default());
    // Each poll has another waker, so that the older one is dropped.
    for _ in 0..2 {
        for waiter in [&mut first, &mut second] {
            let polled = shared.poll(waiter, &mut Context::from_waker(&waker()), make);
            assert!(matches!(polled, Polled::Pending | Polled::Ready(Fragile(7, _))));
        }
    }
    assert!(woken.load(SeqCst) > 0);
    drop(first);
    let Polled::Ready(result) = shared.poll(&mut second, &mut Context::from_waker(&waker()), make) else {
        panic!("the work has ended")
    };
    assert_eq!(result.0, 7);
    // A later result is dropped, and the first one stands.
    assert_eq!(shared.complete(Fragile(8, weak.clone())).0, 7);
}

#[test]
fn f22_a_result_that_another_brings_ends_the_work_without_a_lock() {
    struct DropsWork(Weak<Shared>);
    impl Drop for DropsWork {
        fn drop(&mut self) {
            touch(&self.0);
        }
    }
    let slot: Arc<StdMutex<Weak<Shared>>> = Arc::default();
    let seen = Arc::clone(&slot);
    let pending: Work<u32> = Box::pin(async move {
        let _drops = DropsWork(Weak::clone(&seen.lock().unwrap()));
        std::future::pending().await
    });
    let shared: Arc<Shared> = InFlight::of(pending, Arc::new("a"));
    *slot.lock().unwrap() = Arc::downgrade(&shared);
    let mut waiter = WaiterId::default();
    let polled = shared.poll(&mut waiter, &mut Context::from_waker(Waker::noop()), |_| panic!("it never ends"));
    assert!(matches!(polled, Polled::Pending));
    assert_eq!(shared.complete(Fragile(9, Arc::downgrade(&shared))).0, 9);
    assert_eq!(shared.completed().unwrap().0, 9);
}

#[test]
fn f18_a_waker_that_panics_leaves_the_others_their_wake() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    let woken = Arc::new(AtomicUsize::new(0));
    let shared: Arc<Shared> = InFlight::awaited();
    let counts = Waker::from(Arc::new(Reenters(Weak::new(), Arc::clone(&woken))));
    let (mut first, mut second) = (WaiterId::default(), WaiterId::default());
    for (waiter, waker) in [(&mut first, Waker::from(Arc::new(Panics))), (&mut second, counts)] {
        let polled = shared.poll(waiter, &mut Context::from_waker(&waker), |_| panic!("there is no work"));
        assert!(matches!(polled, Polled::Pending));
    }
    shared.complete(Fragile(1, Weak::new()));
    assert_eq!(woken.load(SeqCst), 1);
}
