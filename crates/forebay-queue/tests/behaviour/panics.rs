//! A panic of user code costs its own item at most: callers get a reply, the ledger balances, the worker goes on, and the
//! host that hands items over does not notice.

#![expect(clippy::unwrap_used, reason = "test code")]
#![expect(clippy::panic, reason = "what is tested")]

use forebay_core::{BoxError, DropReason, Fate, Priority, Settle, Settlement, panic};
use forebay_queue::{Limits, Queue, QueueLayer};
use std::{
    error::Error,
    fmt,
    future::Future,
    panic::panic_any,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::time::timeout;
use tower::{Layer, Service};

/// Where user code panics as long as it is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    PollReady,
    Call,
    FuturePoll,
    FutureDrop,
    ResponseDrop,
    ErrorInto,
    ErrorDrop,
    ItemClone,
    ItemDrop,
    Settle,
    SettleWithResponseDrop,
    BackoffClone,
    BackoffNext,
    BackoffDrop,
    WakerWake,
    WakerDrop,
    Weigh,
    Lane,
    Key,
}

const PLACES: [Place; 19] = [
    Place::PollReady,
    Place::Call,
    Place::FuturePoll,
    Place::FutureDrop,
    Place::ResponseDrop,
    Place::ErrorInto,
    Place::ErrorDrop,
    Place::ItemClone,
    Place::ItemDrop,
    Place::Settle,
    Place::SettleWithResponseDrop,
    Place::BackoffClone,
    Place::BackoffNext,
    Place::BackoffDrop,
    Place::WakerWake,
    Place::WakerDrop,
    Place::Weigh,
    Place::Lane,
    Place::Key,
];

/// Panics when it is dropped.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload");
    }
}

/// One place where user code panics as long as it is armed.
#[derive(Clone)]
struct Trap(Arc<(Place, bool, AtomicBool)>);

impl Trap {
    fn spring(&self, place: Place) {
        let (at, with_payload, armed) = &*self.0;
        let springs = *at == place || (*at == Place::SettleWithResponseDrop && place == Place::Settle);
        if springs && armed.load(SeqCst) && !std::thread::panicking() {
            if *with_payload { panic_any(Payload) } else { panic!("{place:?}") }
        }
    }
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trap")
    }
}

/// A value of the user whose `Drop` is one of the places.
#[derive(Debug)]
struct Dropped(Trap, Place);

impl Clone for Dropped {
    fn clone(&self) -> Self {
        self.0.spring(Place::ItemClone);
        Self(self.0.clone(), self.1)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.spring(self.1);
        if self.0.0.0 == Place::SettleWithResponseDrop && self.1 == Place::ResponseDrop {
            assert!(!self.0.0.2.load(SeqCst) || std::thread::panicking(), "the response");
        }
    }
}

#[derive(Clone)]
struct Inner(Trap);

struct Running(Trap, Option<Dropped>, #[expect(dead_code, reason = "dropped")] Dropped);

#[derive(Debug)]
struct Failure(Trap, #[expect(dead_code, reason = "dropped")] Dropped);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl Error for Failure {}

/// Is not an error itself, so that the conversion is code of the user.
struct Raw(Failure);

impl From<Raw> for BoxError {
    fn from(raw: Raw) -> Self {
        raw.0.0.spring(Place::ErrorInto);
        Box::new(raw.0)
    }
}

impl Future for Running {
    type Output = Result<Dropped, Raw>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let trap = self.0.clone();
        trap.spring(Place::FuturePoll);
        drop(self.1.take());
        let fails = matches!(
            trap.0.0,
            Place::ErrorInto
                | Place::ErrorDrop
                | Place::ItemClone
                | Place::BackoffClone
                | Place::BackoffNext
                | Place::BackoffDrop
        );
        if fails && trap.0.2.load(SeqCst) {
            let dropped = Dropped(trap.clone(), Place::ErrorDrop);
            return Poll::Ready(Err(Raw(Failure(trap, dropped))));
        }
        Poll::Ready(Ok(Dropped(trap, Place::ResponseDrop)))
    }
}

impl Service<Dropped> for Inner {
    type Response = Dropped;
    type Error = Raw;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Raw>> {
        self.0.spring(Place::PollReady);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, item: Dropped) -> Running {
        self.0.spring(Place::Call);
        Running(self.0.clone(), Some(item), Dropped(self.0.clone(), Place::FutureDrop))
    }
}

#[derive(Clone)]
struct Judge(Trap);

impl Settle<Dropped> for Judge {
    fn settle(&self, result: &Result<Dropped, BoxError>, _: usize) -> Settlement {
        self.0.spring(Place::Settle);
        match result {
            Ok(_) => Settlement::All(Fate::Delivered),
            Err(_) => Settlement::Retry { after: None, otherwise: DropReason::Failed },
        }
    }
}

/// A backoff of no wait, once.
struct Backoff(Trap);

impl Clone for Backoff {
    fn clone(&self) -> Self {
        self.0.spring(Place::BackoffClone);
        Self(self.0.clone())
    }
}

struct BackoffWaits(Trap, u8);

impl IntoIterator for Backoff {
    type Item = Duration;
    type IntoIter = BackoffWaits;

    fn into_iter(self) -> BackoffWaits {
        BackoffWaits(self.0, 2)
    }
}

impl Iterator for BackoffWaits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.spring(Place::BackoffNext);
        self.1 = self.1.checked_sub(1)?;
        Some(Duration::ZERO)
    }
}

impl Drop for BackoffWaits {
    fn drop(&mut self) {
        self.0.spring(Place::BackoffDrop);
    }
}

/// A caller's waker.
struct CallerWaker(Trap);

impl Wake for CallerWaker {
    fn wake(self: Arc<Self>) {
        self.0.spring(Place::WakerWake);
    }
}

impl Drop for CallerWaker {
    fn drop(&mut self) {
        self.0.spring(Place::WakerDrop);
    }
}

fn queue(trap: &Trap) -> Queue<Dropped, Dropped> {
    let layer = QueueLayer::builder()
        .workers(1)
        .limits(Limits::new().items(100))
        .weigh(|item: &Dropped| {
            item.0.spring(Place::Weigh);
            1
        })
        .priority(|item: &Dropped| {
            item.0.spring(Place::Lane);
            Priority::High
        })
        .fair_share_key(key)
        .settle(Judge(trap.clone()))
        .park_backoff(Backoff(trap.clone()))
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    layer.layer(Inner(trap.clone()))
}

fn key(item: &Dropped) -> &str {
    item.0.spring(Place::Key);
    "key"
}

#[tokio::test(start_paused = true)]
async fn f18_a_panic_anywhere_in_user_code_costs_its_own_item_at_most() {
    for (place, with_payload) in PLACES.into_iter().flat_map(|place| [(place, false), (place, true)]) {
        let what = format!("{place:?}, payload {with_payload}");
        let trap = Trap(Arc::new((place, with_payload, AtomicBool::new(false))));
        let item = || Dropped(trap.clone(), Place::ItemDrop);
        let mut queue = queue(&trap);
        trap.0.2.store(true, SeqCst);
        let handle = queue.handle();
        queue.emit(item()).unwrap();
        let mut polled_once = Some(queue.call(item()));
        let waker = Waker::from(Arc::new(CallerWaker(trap.clone())));
        assert!(Pin::new(polled_once.as_mut().unwrap()).poll(&mut Context::from_waker(&waker)).is_pending(), "{what}");
        // The clone that waits is the last one.
        drop(waker);
        for called in [queue.call(item()), polled_once.take().unwrap()] {
            let reply = timeout(Duration::from_secs(60), called).await;
            assert!(reply.is_ok(), "{what}: a caller waits for ever");
            // The response and the error are the caller's.
            panic::discard(reply);
        }
        // An item whose caller does not wait any more when its reply is there.
        let mut dropped = Some(queue.call(item()));
        let polled = Pin::new(dropped.as_mut().unwrap()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "{what}");
        tokio::task::yield_now().await;
        panic::discard(dropped);
        assert!(timeout(Duration::from_secs(60), handle.flush()).await.is_ok(), "{what}: a flush waits for ever");
        let totals = handle.totals();
        assert!(totals.balance() && totals.pending == 0 && totals.offered == 4, "{what}: {totals:?}");
        let looked = matches!(place, Place::Weigh | Place::Lane | Place::Key);
        assert_eq!(handle.closure_panics(), if looked { 4 } else { 0 }, "{what}");

        trap.0.2.store(false, SeqCst);
        let called: Vec<_> = (0..3).map(|_| queue.call(item())).collect();
        for call in called {
            let reply = timeout(Duration::from_secs(60), call).await;
            assert!(reply.expect(&what).is_ok(), "{what}: the worker goes on");
        }
        assert!(handle.totals().balance());
        assert_eq!(handle.bytes(), 0, "{what}");
    }
}

/// Its clones panic when they are dropped, whatever else panics.
struct Copied(bool);

impl Clone for Copied {
    fn clone(&self) -> Self {
        Self(true)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        assert!(!self.0, "the copy");
    }
}

/// A second panic while the first unwinds would end the process.
#[tokio::test(start_paused = true)]
async fn f18_the_copy_of_a_request_is_not_dropped_while_the_call_unwinds() {
    let panics = |_: Copied| -> std::future::Ready<Result<(), BoxError>> { panic!("the call") };
    let layer = QueueLayer::builder().weigh(|_: &Copied| 1).park_backoff([Duration::from_secs(1)]).build().unwrap();
    let mut queue = layer.layer(tower::service_fn(panics));
    let reply = timeout(Duration::from_secs(60), queue.call(Copied(false))).await;
    assert!(reply.unwrap().unwrap_err().is::<forebay_queue::Panicked>());
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Panicked), 1);
}
