//! No user value runs or is dropped under the queue's lock: wakers, items, iterators of delays. Each of them calls into the queue
//! here; under the lock that would be a deadlock.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use cooked_waker::{IntoWaker, Wake, WakeRef};
use forebay_core::{BoxError, DropReason, Fate, Settlement};
use forebay_queue::{ChannelBuilder, Limits, Offer, Overflow, Queue, QueueHandle, QueueLayer, Receiver, Sender};
use std::{
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{Service, service_fn};

/// What foreign code does with the queue.
type Act = Box<dyn Fn() + Send + Sync>;

/// Calls into a queue when it is cloned, woken or dropped.
#[derive(Default)]
struct Foreign(Arc<Inner>);

#[derive(Default)]
struct Inner {
    act: OnceLock<Act>,
    acts: AtomicUsize,
}

thread_local! {
    /// What calls into the queue does not do so again from there.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

impl Foreign {
    fn act(&self) {
        if let Some(act) = self.0.act.get()
            && !WITHIN.replace(true)
        {
            self.0.acts.fetch_add(1, SeqCst);
            act();
            WITHIN.set(false);
        }
    }

    /// A waker that wakes no task that another one wakes.
    fn waker(&self) -> Waker {
        Box::new(self.clone()).into_waker()
    }

    fn acts(&self) -> usize {
        self.0.acts.load(SeqCst)
    }

    /// From now on it calls into the queue of `handle`, and `offers` to it.
    fn arm<T: Send + 'static>(&self, handle: QueueHandle<T>, offers: impl Fn() + Send + Sync + 'static) {
        let act = move || {
            assert!(handle.totals().balance());
            let (_, _, _) = (handle.queued(), handle.bytes(), handle.fullness());
            let _either = pin!(handle.flush()).poll(&mut Context::from_waker(Waker::noop()));
            offers();
        };
        assert!(self.0.act.set(Box::new(act)).is_ok());
    }
}

impl Clone for Foreign {
    fn clone(&self) -> Self {
        self.act();
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.act();
    }
}

impl WakeRef for Foreign {
    fn wake_by_ref(&self) {
        self.act();
    }
}

impl Wake for Foreign {}

/// Runs `scenario` on a thread of its own, which does not end where something waits for its own lock.
fn ends(name: &str, scenario: impl FnOnce(Foreign) + Send + 'static) {
    let (done, waits) = mpsc::channel();
    let foreign = Foreign::default();
    let counts = Foreign(Arc::clone(&foreign.0));
    std::thread::spawn(move || {
        scenario(foreign);
        done.send(()).unwrap();
    });
    match waits.recv_timeout(Duration::from_secs(30)) {
        Ok(()) => assert!(counts.acts() > 0, "{name}: nothing foreign has run"),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name}: it waits for its own lock"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: it has failed"),
    }
    drop(counts);
}

fn poll<F: Future + Unpin>(foreign: &Foreign, future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&foreign.waker()))
}

fn limits(items: usize) -> Limits {
    Limits::new().items(items).bytes(1000).soft_limit(1.0)
}

/// An item that calls into the queue when it is dropped.
struct Item(#[expect(dead_code, reason = "it acts when it is dropped")] Foreign);

fn item(foreign: &Foreign) -> Offer<Item> {
    Offer::new(Item(Foreign(Arc::clone(&foreign.0)))).weight(1)
}

type Ends = (Sender<Item>, Receiver<Item>, QueueHandle<Item>);

fn channel(foreign: &Foreign, overflow: Overflow) -> Ends {
    let (sender, receiver) =
        ChannelBuilder::new().limits(limits(1)).overflow(overflow).weigh(|_: &Item| 1).build().unwrap();
    let handle: QueueHandle<Item> = sender.handle();
    let (offers, kin) = (Mutex::new(Some(sender.clone())), Foreign(Arc::clone(&foreign.0)));
    foreign.arm(handle.clone(), move || {
        // Never admitted, so that it does not change the scenario.
        let sender = offers.lock().unwrap().clone();
        if let Some(sender) = sender {
            let refused = sender.emit(item(&kin).weight(2000)).unwrap_err();
            assert!(matches!(refused.reason, DropReason::TooLarge | DropReason::Shutdown));
        }
    });
    (sender, receiver, handle)
}

#[test]
fn f22_a_sender_that_waits_and_is_dropped_or_admitted() {
    for polls in 0..3 {
        for goes in [false, true] {
            ends(&format!("send, polled {polls} times, cancelled: {goes}"), move |foreign| {
                let (sender, mut receiver, _) = channel(&foreign, Overflow::Wait);
                sender.emit(item(&foreign)).unwrap();
                let mut send = sender.emit_or_wait(item(&foreign));
                let mut behind = sender.emit_or_wait(item(&foreign));
                for _ in 0..polls {
                    assert!(poll(&foreign, &mut send).is_pending());
                    assert!(poll(&foreign, &mut behind).is_pending());
                }
                if goes {
                    drop(send);
                    receiver.try_recv().unwrap().settle(Fate::Delivered);
                    assert!(poll(&foreign, &mut behind).is_ready());
                } else {
                    receiver.try_recv().unwrap().settle(Fate::Delivered);
                    assert!(poll(&foreign, &mut send).is_ready());
                }
            });
        }
    }
}

#[test]
fn f22_a_receiver_that_waits_and_is_dropped_or_receives() {
    for goes in [false, true] {
        ends(&format!("recv, cancelled: {goes}"), move |foreign| {
            let (sender, mut receiver, _) = channel(&foreign, Overflow::Refuse);
            let mut other = receiver.clone();
            let mut waits = Box::pin(other.recv());
            {
                let mut recv = Box::pin(receiver.recv());
                for _ in 0..2 {
                    assert!(poll(&foreign, &mut recv).is_pending());
                    assert!(poll(&foreign, &mut waits).is_pending());
                }
                if !goes {
                    sender.emit(item(&foreign)).unwrap();
                    let Poll::Ready(Some(received)) = poll(&foreign, &mut recv) else { panic!("it is there") };
                    received.settle(Fate::Delivered);
                }
            }
            sender.emit(item(&foreign)).unwrap();
            assert!(poll(&foreign, &mut waits).is_ready());
            drop(waits);
            drop(receiver.drain(8));
        });
    }
}

#[test]
fn f22_a_flush_or_a_drain_that_waits_and_is_dropped_or_ends() {
    for goes in [false, true] {
        ends(&format!("flush and drain, cancelled: {goes}"), move |foreign| {
            let (sender, mut receiver, handle) = channel(&foreign, Overflow::Refuse);
            sender.emit(item(&foreign)).unwrap();
            let received = receiver.try_recv().unwrap();
            let (mut flush, mut drain) = (handle.flush(), Box::pin(handle.drain(Duration::MAX)));
            for _ in 0..2 {
                assert!(poll(&foreign, &mut flush).is_pending());
                assert!(poll(&foreign, &mut drain).is_pending());
            }
            if goes {
                drop(flush);
                drop(drain);
                received.settle(Fate::Delivered);
            } else {
                received.settle(Fate::Delivered);
                assert!(poll(&foreign, &mut flush).is_ready());
                assert!(poll(&foreign, &mut drain).is_ready());
            }
        });
    }
}

#[test]
fn f22_the_end_and_other_limits_wake_every_task_that_waits() {
    type Way = fn(&Sender<Item>, Receiver<Item>, &QueueHandle<Item>);
    let ways: [(&str, Way); 3] = [
        ("close", |_, _, handle| handle.close()),
        ("limits", |_, _, handle| handle.set_limits(limits(5)).unwrap()),
        ("the last receiver goes", |_, receiver, _| drop(receiver)),
    ];
    for (name, way) in ways {
        ends(name, move |foreign| {
            let (sender, receiver, handle) = channel(&foreign, Overflow::Wait);
            sender.emit(item(&foreign)).unwrap();
            let (mut send, mut flush) = (sender.emit_or_wait(item(&foreign)), handle.flush());
            assert!(poll(&foreign, &mut send).is_pending());
            assert!(poll(&foreign, &mut flush).is_pending());
            way(&sender, receiver, &handle);
            let _either = poll(&foreign, &mut send);
        });
    }
}

#[test]
fn f22_items_that_are_evicted_or_expire_are_dropped_without_the_lock() {
    ends("evicted", |foreign| {
        let (sender, _receiver, _) = channel(&foreign, Overflow::DropOldest);
        for _ in 0..3 {
            sender.emit(item(&foreign)).unwrap();
        }
    });
    ends("expired", |foreign| {
        let channel =
            ChannelBuilder::new().limits(limits(4)).max_age(Duration::ZERO).weigh(|_: &Item| 1).build().unwrap();
        let (sender, mut receiver): (Sender<Item>, Receiver<Item>) = channel;
        foreign.arm(sender.handle(), || {});
        for _ in 0..2 {
            sender.emit(item(&foreign)).unwrap();
        }
        assert!(receiver.try_recv().is_none());
        sender.emit(item(&foreign)).unwrap();
        assert_eq!(receiver.drain(8).len(), 0);
    });
}

type Calls = Queue<u32, Foreign>;

/// A service whose responses are foreign: it responds to even numbers and keeps odd ones for ever.
fn service(foreign: &Foreign) -> impl Service<u32, Response = Foreign, Error = BoxError, Future: Send> + Clone + use<> {
    let foreign = Foreign(Arc::clone(&foreign.0));
    service_fn(move |n: u32| {
        let response = Foreign(Arc::clone(&foreign.0));
        async move {
            if n % 2 == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, BoxError>(response)
        }
    })
}

fn arm(foreign: &Foreign, queue: &Calls) {
    let offers = Mutex::new(queue.clone());
    foreign.arm(queue.handle(), move || {
        let queue = offers.lock().unwrap().clone();
        assert!(queue.emit(Offer::new(2).weight(2000)).is_err());
    });
}

#[test]
fn f22_calls_and_workers_that_wait_are_dropped_or_end() {
    for overflow in [Overflow::Refuse, Overflow::DropOldest, Overflow::Wait] {
        ends(&format!("calls, {overflow:?}"), move |foreign| {
            let layer = QueueLayer::builder().limits(limits(4)).overflow(overflow).build().unwrap();
            let (mut queue, worker) = layer.pair(service(&foreign));
            let (mut idle, mut worker) = (Box::pin(worker.clone()), Box::pin(worker));
            arm(&foreign, &queue);
            for _ in 0..2 {
                assert!(poll(&foreign, &mut worker).is_pending());
                assert!(poll(&foreign, &mut idle).is_pending());
            }
            // One reply is fetched, one is abandoned, one item has no caller, and one is cancelled before it begins.
            let (mut fetched, mut unwanted, dropped) = (queue.call(2), queue.call(4), queue.call(6));
            for _ in 0..2 {
                assert!(poll(&foreign, &mut fetched).is_pending());
                assert!(poll(&foreign, &mut unwanted).is_pending());
            }
            drop(dropped);
            queue.emit(8).unwrap();
            assert!(poll(&foreign, &mut worker).is_pending());
            drop(unwanted);
            assert!(poll(&foreign, &mut fetched).is_ready());
            assert!(poll(&foreign, &mut idle).is_pending());
            // In flight until the workers are dropped.
            let mut hangs = queue.call(1);
            for _ in 0..2 {
                assert!(poll(&foreign, &mut hangs).is_pending());
                assert!(poll(&foreign, &mut worker).is_pending());
            }
            // More items than there is room for.
            let mut ready = queue.clone();
            let mut more: Vec<_> = (0..6).map(|n| queue.call(3 + 2 * n)).collect();
            for _ in 0..2 {
                let _either = ready.poll_ready(&mut Context::from_waker(&foreign.waker()));
                more.retain_mut(|call| poll(&foreign, call).is_pending());
            }
            drop(ready);
            drop(more);
            drop(worker);
            drop(idle);
            assert!(poll(&foreign, &mut hangs).is_ready());
        });
    }
}

/// Delays that call into the queue when they are polled and dropped.
#[derive(Clone)]
struct Delays(Foreign);

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.act();
        Some(Duration::from_secs(3600))
    }
}

#[test]
fn f22_parked_items_and_their_delays_are_dropped_without_the_lock() {
    for max_bytes in [1, 100] {
        ends(&format!("parked, {max_bytes} bytes at most"), move |foreign| {
            let layer = QueueLayer::builder()
                .limits(limits(10))
                .weigh(|_: &u32| 1)
                .settle(|_: &Result<Foreign, BoxError>, _: usize| Settlement::Retry {
                    after: None,
                    otherwise: DropReason::Failed,
                })
                .park_backoff(Delays(Foreign(Arc::clone(&foreign.0))))
                .park_bytes(max_bytes)
                .build()
                .unwrap();
            let (mut queue, worker) = layer.pair(service(&foreign));
            let mut worker = Box::pin(worker);
            arm(&foreign, &queue);
            let mut calls: Vec<_> = (0..3).map(|n| queue.call(2 * n)).collect();
            for call in &mut calls {
                assert!(poll(&foreign, call).is_pending());
            }
            for _ in 0..2 {
                assert!(poll(&foreign, &mut worker).is_pending());
            }
            assert_eq!(queue.handle().queued(), if max_bytes == 1 { 1 } else { 3 });
            drop(worker);
            assert!(calls.iter_mut().all(|call| poll(&foreign, call).is_ready()));
        });
    }
}
