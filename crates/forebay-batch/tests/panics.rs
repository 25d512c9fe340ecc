//! A panic of user code costs its own batch at most: callers get a reply, the ledger balances, the worker goes on.

#![expect(clippy::unwrap_used, reason = "test code")]
#![expect(clippy::panic, reason = "what is tested")]

use forebay_batch::{Batch, BatchFailed, BatchLayer, Batching, Items, Respond, WrapInner};
use forebay_core::{BoxError, Fate, ItemFate, Settle, Settlement};
use std::{
    error::Error,
    fmt,
    future::Future,
    panic::panic_any,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::time::timeout;
use tower::{Layer, Service};

/// Where user code panics, the first time that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    PollReady,
    Call,
    FuturePoll,
    FutureDrop,
    ResponseDrop,
    ErrorInto,
    ErrorDrop,
    ItemDrop,
    Settle,
    SettleWithResponseDrop,
    Prepare,
    Take,
    BackoffClone,
    BackoffNext,
    BackoffDrop,
    WakerWake,
    WakerDrop,
}

const PLACES: [Place; 17] = [
    Place::PollReady,
    Place::Call,
    Place::FuturePoll,
    Place::FutureDrop,
    Place::ResponseDrop,
    Place::ErrorInto,
    Place::ErrorDrop,
    Place::ItemDrop,
    Place::Settle,
    Place::SettleWithResponseDrop,
    Place::Prepare,
    Place::Take,
    Place::BackoffClone,
    Place::BackoffNext,
    Place::BackoffDrop,
    Place::WakerWake,
    Place::WakerDrop,
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

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.spring(self.1);
        if self.0.0.0 == Place::SettleWithResponseDrop && self.1 == Place::ResponseDrop {
            assert!(!self.0.0.2.load(SeqCst) || std::thread::panicking(), "the response");
        }
    }
}

struct Inner(Trap);

struct Running(Trap, Option<Items<Dropped>>, #[expect(dead_code, reason = "dropped")] Dropped);

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
            Place::ErrorInto | Place::ErrorDrop | Place::BackoffClone | Place::BackoffNext | Place::BackoffDrop
        );
        if fails && trap.0.2.load(SeqCst) {
            let dropped = Dropped(trap.clone(), Place::ErrorDrop);
            return Poll::Ready(Err(Raw(Failure(trap, dropped))));
        }
        Poll::Ready(Ok(Dropped(trap, Place::ResponseDrop)))
    }
}

impl Service<Items<Dropped>> for Inner {
    type Response = Dropped;
    type Error = Raw;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Raw>> {
        self.0.spring(Place::PollReady);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, items: Items<Dropped>) -> Running {
        self.0.spring(Place::Call);
        Running(self.0.clone(), Some(items), Dropped(self.0.clone(), Place::FutureDrop))
    }
}

#[derive(Clone)]
struct Judge(Trap);

impl Settle<Dropped> for Judge {
    fn settle(&self, result: &Result<Dropped, BoxError>, items: usize) -> Settlement {
        self.0.spring(Place::Settle);
        match result {
            Ok(_) => Settlement::Each(vec![ItemFate::Final(Fate::Delivered); items]),
            Err(_) => Settlement::Retry { after: None, otherwise: forebay_core::DropReason::Failed },
        }
    }
}

#[derive(Clone)]
struct Replies(Trap);

impl<S> WrapInner<S> for Replies {
    type Service = S;

    fn wrap_inner(&self, inner: S) -> S {
        inner
    }
}

impl Respond<Dropped> for Replies {
    type Reply = Fate;
    type Prepared = Result<Dropped, BatchFailed>;

    fn prepare(&self, result: Result<Dropped, BatchFailed>, _: usize) -> Self::Prepared {
        self.0.spring(Place::Prepare);
        result
    }

    fn reply(&self, _: &mut Self::Prepared, _: usize, fate: Fate) -> Result<Fate, BoxError> {
        self.0.spring(Place::Take);
        Ok(fate)
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
struct Caller(Trap);

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.0.spring(Place::WakerWake);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.spring(Place::WakerDrop);
    }
}

fn batcher(trap: &Trap) -> Batch<Dropped, Fate> {
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(3))
        .weigh(|_: &Dropped| 1)
        .settle(Judge(trap.clone()))
        .respond(Replies(trap.clone()))
        .retain_items()
        .park_backoff(Backoff(Trap(Arc::new((trap.0.0, trap.0.1, AtomicBool::new(false))))))
        .park_bytes(1 << 20);
    // The builder itself may clone the backoff; from here on it is armed.
    let layer = layer.park_backoff(Backoff(trap.clone())).park_bytes(1 << 20).build().unwrap();
    trap.0.2.store(false, SeqCst);
    let batch = layer.layer(Inner(trap.clone()));
    trap.0.2.store(true, SeqCst);
    batch
}

#[tokio::test(start_paused = true)]
async fn f18_a_panic_anywhere_in_user_code_costs_its_own_batch_at_most() {
    std::panic::set_hook(Box::new(|_| {}));
    for (place, with_payload) in PLACES.into_iter().flat_map(|place| [(place, false), (place, true)]) {
        let what = format!("{place:?}, payload {with_payload}");
        let trap = Trap(Arc::new((place, with_payload, AtomicBool::new(false))));
        let item = || Dropped(trap.clone(), Place::ItemDrop);
        let mut batch = batcher(&trap);
        let handle = batch.handle();
        batch.emit(item()).unwrap();
        let mut woken = Some(batch.call(item()));
        let waker = Waker::from(Arc::new(Caller(trap.clone())));
        assert!(Pin::new(woken.as_mut().unwrap()).poll(&mut Context::from_waker(&waker)).is_pending(), "{what}");
        // The clone that waits is the last one.
        drop(waker);
        let called = batch.call(item());
        let replied = timeout(Duration::from_secs(60), called).await;
        assert!(replied.is_ok(), "{what}: a caller waits for ever");
        let replied = timeout(Duration::from_secs(60), woken.take().unwrap()).await;
        assert!(replied.is_ok(), "{what}: the other caller waits for ever");
        assert!(timeout(Duration::from_secs(60), handle.flush()).await.is_ok(), "{what}: a flush waits for ever");
        let totals = handle.totals();
        assert!(totals.balance() && totals.pending == 0 && totals.offered == 3, "{what}: {totals:?}");

        trap.0.2.store(false, SeqCst);
        let called: Vec<_> = (0..3).map(|_| batch.call(item())).collect();
        for call in called {
            let fate = timeout(Duration::from_secs(60), call).await;
            assert_eq!(fate.expect(&what).expect(&what), Fate::Delivered, "{what}: the worker goes on");
        }
        assert!(handle.totals().balance());
    }
}

/// A service that never responds, so that everything is in flight when the drain gives up.
#[derive(Clone)]
struct Hanging;

impl Service<Items<u32>> for Hanging {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Pending<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Items<u32>) -> Self::Future {
        std::future::pending()
    }
}

#[test]
fn f20_a_drain_reports_every_item_that_was_in_flight_whatever_thread_is_first() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    for round in 0..200 {
        let unsent = runtime.block_on(async {
            let layer = BatchLayer::builder().batching(Batching::new().max_items(256)).retain_items().build().unwrap();
            let batch = layer.layer(Hanging);
            (0..600).for_each(|item| batch.emit(item).unwrap());
            while batch.handle().queued() > 344 {
                tokio::task::yield_now().await;
            }
            let handle = batch.handle();
            let drained = tokio::spawn(async move { handle.drain(Duration::ZERO).await }).await.unwrap();
            assert_eq!(drained.totals.pending, 0);
            drained.unsent.len()
        });
        assert_eq!(unsent, 600, "round {round}");
    }
}

type Draining = Pin<Box<dyn Future<Output = usize> + Send>>;

/// A drain that is polled right where it is woken, as another thread of an executor may do.
#[derive(Default)]
struct PolledAtOnce {
    drain: Mutex<Option<Draining>>,
    unsent: Mutex<Option<usize>>,
}

impl Wake for PolledAtOnce {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        // Not there while it is polled already.
        let Ok(mut drain) = self.drain.try_lock() else { return };
        if let Some(Poll::Ready(unsent)) =
            drain.as_mut().map(|drain| drain.as_mut().poll(&mut Context::from_waker(&waker)))
        {
            *self.unsent.lock().unwrap() = Some(unsent);
            *drain = None;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f20_a_drain_that_is_polled_while_its_items_are_given_up_reports_them() {
    let layer = BatchLayer::builder().batching(Batching::new().max_items(4)).retain_items().build().unwrap();
    let (batch, worker) = layer.pair(Hanging);
    let mut worker = pin!(worker);
    let mut look = || worker.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    (0..4).for_each(|item| batch.emit(item).unwrap());
    assert!(look().is_pending());
    assert_eq!(batch.handle().queued(), 0, "they are in flight");

    let (handle, polled) = (batch.handle(), Arc::new(PolledAtOnce::default()));
    *polled.drain.lock().unwrap() = Some(Box::pin(async move { handle.drain(Duration::ZERO).await.unsent.len() }));
    Arc::clone(&polled).wake();
    // Its time is over: what is in flight is given up at the next look.
    tokio::time::advance(Duration::from_millis(1)).await;
    Arc::clone(&polled).wake();
    assert!(look().is_ready());
    assert_eq!(*polled.unsent.lock().unwrap(), Some(4));
}
