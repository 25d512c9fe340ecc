//! The batcher between threads, in every order that two of them can bring about.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p forebay-batch --test loom --release`. The
//! patch in `planted` names the test that has to find what it plants. Time is moved by hand.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_batch::{Batch, BatchHandle, BatchLayer, Batching, ItemFates, Items, ResponseFuture, Retained, Worker};
use forebay_core::{BoxError, DropReason, Fate, Settlement};
use forebay_intake::{Limits, Overflow, advance};
use loom::future::block_on;
use loom::thread;
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tower_service::Service;

const SECOND: Duration = Duration::from_secs(1);

/// Is away when its first batch arrives, and responds to nothing as long as it is shut.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<u32>>>,
    shut: Arc<AtomicBool>,
    /// The tasks that wait for it to open.
    waits: Arc<Mutex<Vec<Waker>>>,
    away: Arc<AtomicBool>,
}

struct Responding {
    result: Result<(), &'static str>,
    server: Server,
}

type How = fn(&Result<(), BoxError>, usize) -> Settlement;
type Works = Pin<Box<Worker<u32, Server, How, Retained, ItemFates>>>;
type Call = ResponseFuture<u32, Fate>;

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

/// What a thread does beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Emit,
    Call,
    CancelledCall,
    /// Waits for room, is polled once, and is dropped.
    CancelledEmit,
    /// The worker looks for something to do.
    Work,
    /// What is in flight gets its response, and the worker looks.
    Complete,
    /// The worker is dropped.
    Leave,
    Pass,
    Flush,
    Close,
    Raise,
    Lower,
    Rebatch,
    Discard,
    Drain,
    Look,
    CloneAndDrop,
}

use Op::{
    Call as CallIt, CancelledCall, CancelledEmit, CloneAndDrop, Close, Complete, Discard, Drain, Emit, Flush, Leave,
    Look, Lower, Pass, Raise, Rebatch, Work,
};

/// There is one worker: it is with the first of two threads.
const OF_THE_WORKER: [Op; 3] = [Work, Complete, Leave];
const OPS: [Op; 14] = [
    Emit,
    CallIt,
    CancelledCall,
    CancelledEmit,
    Pass,
    Flush,
    Close,
    Raise,
    Lower,
    Rebatch,
    Discard,
    Drain,
    Look,
    CloneAndDrop,
];

/// What one thread has of the batcher.
struct Side {
    batch: Batch<u32, Fate>,
    handle: BatchHandle<u32>,
    worker: Option<Works>,
    server: Server,
    calls: Vec<Call>,
    unsent: usize,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

// === impl Server ===

impl Service<Items<u32>> for Server {
    type Response = ();
    type Error = BoxError;
    type Future = Responding;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, items: Items<u32>) -> Responding {
        self.seen.lock().unwrap().extend(items.iter().copied());
        let away = self.away.swap(false, SeqCst);
        Responding { result: if away { Err("away") } else { Ok(()) }, server: self.clone() }
    }
}

impl Future for Responding {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.server.shut.load(SeqCst) {
            self.server.waits.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.result.map_err(BoxError::from))
    }
}

impl Server {
    fn open(&self) {
        self.shut.store(false, SeqCst);
        let waits = std::mem::take(&mut *self.waits.lock().unwrap());
        waits.into_iter().for_each(Waker::wake);
    }
}

fn bounded(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    // Nearly all races need no more than two (Musuvathi and Qadeer, "Iterative context bounding", PLDI 2007).
    builder.preemption_bound = Some(3);
    builder.check(run);
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn limits(items: usize) -> Limits {
    Limits::new().items(items).soft_limit(1.0)
}

fn batching(items: usize) -> Batching {
    Batching::new().max_items(items).max_delay(SECOND)
}

fn rig(overflow: Overflow, items: usize) -> (Batch<u32, Fate>, Works, Server) {
    let settle: How = |result, _| match result {
        Ok(()) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
    };
    let layer = BatchLayer::builder()
        .limits(limits(items))
        .overflow(overflow)
        .batching(batching(2))
        .retain_items()
        .settle(settle)
        .park_backoff(vec![SECOND])
        .park_bytes(1 << 20)
        .respond_fates()
        .build()
        .unwrap();
    let server = Server::default();
    let (batch, worker) = layer.pair(server.clone());
    (batch, Box::pin(worker), server)
}

fn checked(handle: &BatchHandle<u32>, most: u64) {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    assert!(totals.pending <= most, "{totals}");
}

impl Side {
    fn act(&mut self, op: Op, id: u32) {
        match op {
            Emit => drop(self.batch.emit(id)),
            CallIt => {
                let mut call = self.batch.call(id);
                if poll_once(&mut call).is_pending() {
                    self.calls.push(call);
                }
            }
            CancelledCall => drop(poll_once(self.batch.call(id))),
            CancelledEmit => drop(poll_once(self.batch.emit_or_wait(id))),
            Work => self.work(),
            Complete => {
                self.server.open();
                self.work();
            }
            Leave => self.worker = None,
            Pass => advance(SECOND),
            Flush => drop(poll_once(Box::pin(self.handle.flush())).is_ready()),
            Close => self.handle.close(),
            Raise => self.handle.set_limits(limits(8)).unwrap(),
            Lower => self.handle.set_limits(limits(1)).unwrap(),
            Rebatch => self.handle.set_batching(batching(1)).unwrap(),
            Discard => self.handle.discard(DropReason::Disabled),
            Drain => {
                let mut drain = Box::pin(self.handle.drain(Duration::ZERO));
                let mut polled = poll_once(drain.as_mut());
                if polled.is_pending() {
                    advance(Duration::from_millis(20));
                    polled = poll_once(drain.as_mut());
                }
                let Poll::Ready(report) = polled else { panic!("its time is over") };
                self.unsent += report.unsent.len();
            }
            Look => checked(&self.handle, 8),
            CloneAndDrop => drop(self.batch.clone()),
        }
    }

    fn work(&mut self) {
        if self.worker.as_mut().is_some_and(|worker| poll_once(worker.as_mut()).is_ready()) {
            self.worker = None;
        }
    }
}

/// A batch is in flight, another one is open; then `ops`, each on a thread of its own, the first of which has the worker.
fn pair(ops: [Op; 2], overflow: Overflow, away: bool) {
    let (mut batch, mut worker, server) = rig(overflow, 4);
    let handle = batch.handle();
    server.shut.store(true, SeqCst);
    server.away.store(away, SeqCst);
    let calls = vec![batch.call(0), batch.call(1), batch.call(2)];
    assert!(poll_once(worker.as_mut()).is_pending());
    let mut worker = Some(worker);
    let threads: Vec<_> = [(10, calls), (20, Vec::new())]
        .into_iter()
        .zip(ops)
        .map(|((id, calls), op)| {
            let (batch, handle, server) = (batch.clone(), handle.clone(), server.clone());
            let mut side = Side { batch, handle, worker: worker.take(), server, calls, unsent: 0 };
            thread::spawn(move || {
                side.act(op, id);
                side
            })
        })
        .collect();
    drop(batch);
    let side: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    checked(&handle, 8);
    let mut calls = Vec::new();
    for mut side in side {
        calls.append(&mut side.calls);
        worker = worker.or(side.worker);
    }
    // All handles are dropped: what is left is sent, or it was dropped with the worker.
    server.open();
    for _ in 0..6 {
        if worker.as_mut().is_some_and(|worker| poll_once(worker.as_mut()).is_ready()) {
            worker = None;
        }
        advance(SECOND);
    }
    assert!(worker.is_none(), "the worker ends");
    let totals = handle.totals();
    assert_eq!(totals.delivered + totals.dropped.total(), totals.offered, "{totals}");
    assert_eq!((handle.queued(), handle.bytes(), totals.pending), (0, 0, 0), "every slot is free again");
    assert!(calls.into_iter().all(|call| poll_once(call).is_ready()), "every caller has its reply");
}

#[test]
fn x01_every_operation_beside_the_worker_keeps_the_equation_and_every_caller_gets_a_reply() {
    for one in OF_THE_WORKER {
        for other in OPS {
            for overflow in [Overflow::Wait, Overflow::DropOldest] {
                for away in [false, true] {
                    bounded(move || pair([one, other], overflow, away));
                }
            }
        }
    }
}

#[test]
fn x01_every_pair_of_operations_keeps_the_equation_and_every_caller_gets_a_reply() {
    for (n, one) in OPS.into_iter().enumerate() {
        for other in &OPS[n..] {
            let ops = [one, *other];
            bounded(move || pair(ops, Overflow::DropOldest, true));
        }
    }
}

/// The worker looks once, beside `meanwhile`; if it found nothing it has to be woken.
///
/// The assertion is made when all ends are dropped: they take locks, which a thread that panics under the model cannot.
fn is_woken(meanwhile: impl Fn(Batch<u32, Fate>) -> Option<Batch<u32, Fate>> + Send + Sync + Copy + 'static) {
    bounded(move || {
        let (batch, mut worker, server) = rig(Overflow::Wait, 4);
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken);
        let looks = thread::spawn(move || {
            let ended = worker.as_mut().poll(&mut Context::from_waker(&waker.into())).is_ready();
            (ended, worker)
        });
        let batch = meanwhile(batch);
        let (ended, worker) = looks.join().unwrap();
        let found = ended || !server.seen.lock().unwrap().is_empty();
        // What it saw and did not send yet has an age.
        advance(SECOND);
        let woken = woken.0.load(SeqCst);
        drop((batch, worker));
        assert!(found || woken, "it sleeps for ever");
    });
}

#[test]
fn the_worker_is_woken_for_the_first_item() {
    is_woken(|batch| {
        batch.emit(1).unwrap();
        Some(batch)
    });
}

#[test]
fn the_worker_is_woken_for_the_end() {
    is_woken(|batch| {
        drop(batch);
        None
    });
}

#[test]
fn a_flush_sends_what_is_open_and_ends_with_it() {
    bounded(|| {
        let (batch, worker, _server) = rig(Overflow::Wait, 4);
        let handle = batch.handle();
        batch.emit(1).unwrap();
        let works = thread::spawn(move || block_on(worker));
        block_on(handle.flush());
        assert_eq!(handle.totals().delivered, 1);
        drop(batch);
        works.join().unwrap();
    });
}

#[test]
fn a_call_gets_its_reply_and_the_worker_ends_with_the_last_handle() {
    bounded(|| {
        let (mut batch, worker, _server) = rig(Overflow::Wait, 1);
        let works = thread::spawn(move || block_on(worker));
        let call = batch.call(1);
        drop(batch);
        assert_eq!(block_on(call).unwrap(), Fate::Delivered);
        works.join().unwrap();
    });
}

/// A full batcher: a sender that waits for room is let in when a batch has its response.
#[test]
fn a_response_lets_the_next_item_in() {
    bounded(|| {
        let (batch, worker, _server) = rig(Overflow::Wait, 1);
        let handle = batch.handle();
        batch.emit(1).unwrap();
        let works = thread::spawn(move || block_on(worker));
        let flush = handle.flush();
        block_on(batch.emit_or_wait(2)).unwrap();
        block_on(flush);
        drop(batch);
        works.join().unwrap();
        assert_eq!((handle.totals().delivered, handle.bytes()), (2, 0));
    });
}
