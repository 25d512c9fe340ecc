//! Items whose callers have dropped their futures before their batch is sent: left out, counted, and their slots free.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Batch, BatchBuilder, BatchHandle, BatchLayer, Batching, Description, Items};
use forebay_core::{BoxError, DropReason, Fate, Settlement, Totals};
use forebay_intake::{Limits, Overflow};
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio_test::{
    assert_pending, assert_ready,
    task::{self, Spawn},
};
use tower::Service;

const SECOND: Duration = Duration::from_secs(1);

/// What the server got, and whether it is ready, takes what it gets, and responds at all.
#[derive(Clone, Default)]
struct Server(Arc<Script>);

#[derive(Default)]
struct Script {
    seen: Mutex<Vec<Vec<u32>>>,
    is_unready: AtomicBool,
    is_away: AtomicBool,
    hangs: AtomicBool,
}

impl Service<Items<u32>> for Server {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.0.is_unready.load(SeqCst) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, items: Items<u32>) -> Self::Future {
        self.0.seen.lock().unwrap().push(items.to_vec());
        let (hangs, is_away) = (self.0.hangs.load(SeqCst), self.0.is_away.load(SeqCst));
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            if is_away { Err("away".into()) } else { Ok(()) }
        })
    }
}

struct Rig {
    batch: Batch<u32, Fate>,
    handle: BatchHandle<u32>,
    worker: Spawn<Pin<Box<dyn Future<Output = ()>>>>,
    server: Server,
}

type Builder = BatchBuilder<u32, Description<fn(&u32) -> usize>>;

impl Rig {
    /// Batches of four; an item weighs what it says.
    fn new(change: impl FnOnce(Builder) -> Builder) -> Self {
        let weigh: fn(&u32) -> usize = |item| *item as usize;
        let builder = BatchLayer::builder().batching(Batching::new().max_items(4)).weigh(weigh);
        let layer = change(builder)
            .retain_items()
            .settle(|result: &Result<(), BoxError>, _: usize| match result {
                Ok(()) => Settlement::All(Fate::Delivered),
                Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
            })
            .park_backoff([SECOND; 3])
            .park_bytes(1 << 20)
            .respond_fates()
            .build()
            .unwrap();
        let server = Server::default();
        let (batch, worker) = layer.pair(server.clone());
        let worker: Pin<Box<dyn Future<Output = ()>>> = Box::pin(worker);
        Self { handle: batch.handle(), batch, worker: task::spawn(worker), server }
    }

    fn look(&mut self) {
        assert_pending!(self.worker.poll());
    }

    fn seen(&self) -> Vec<Vec<u32>> {
        self.server.0.seen.lock().unwrap().clone()
    }

    fn totals(&self) -> Totals {
        let totals = self.handle.totals();
        assert!(totals.balance(), "{totals}");
        totals
    }

    fn cancelled(&self) -> u64 {
        self.totals().dropped.get(DropReason::Cancelled)
    }
}

#[tokio::test(start_paused = true)]
async fn f15_an_item_whose_caller_has_left_is_left_out_of_its_batch() {
    let mut rig = Rig::new(|builder| builder);
    rig.server.0.hangs.store(true, SeqCst);
    let unpolled = task::spawn(rig.batch.call(100));
    let mut kept = task::spawn(rig.batch.call(20));
    assert_pending!(kept.poll());
    let mut polled = task::spawn(rig.batch.call(3));
    assert_pending!(polled.poll());
    drop((unpolled, polled));
    rig.batch.emit(7).unwrap();
    rig.look();
    assert_eq!(rig.seen(), [[20, 7]]);
    assert_eq!((rig.cancelled(), rig.totals().pending, rig.handle.bytes()), (2, 2, 27), "each frees what it weighs");
    drop(kept);
    rig.look();
    assert_eq!((rig.cancelled(), rig.totals().pending), (2, 2), "one that is sent meets its own fate");
}

#[tokio::test(start_paused = true)]
async fn f15_each_caller_that_stays_gets_the_reply_to_its_own_item() {
    let mut rig = Rig::new(|builder| builder);
    let mut calls: Vec<_> = (1..=4).map(|item| task::spawn(rig.batch.call(item))).collect();
    drop(calls.remove(1));
    rig.look();
    assert_eq!(rig.seen(), [[1, 3, 4]]);
    for call in &mut calls {
        assert_eq!(assert_ready!(call.poll()).unwrap(), Fate::Delivered);
    }
    assert_eq!((rig.totals().delivered, rig.cancelled(), rig.handle.bytes()), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn f15_a_batch_of_nothing_else_is_not_sent() {
    let mut rig = Rig::new(|builder| builder);
    (0..4).for_each(|item| drop(rig.batch.call(item)));
    let mut flush = task::spawn(rig.handle.flush());
    assert_pending!(flush.poll());
    rig.look();
    assert_ready!(flush.poll());
    assert_eq!((rig.seen().len(), rig.cancelled(), rig.totals().pending, rig.handle.bytes()), (0, 4, 0, 0));
    // The next batch goes as ever.
    (0..4).for_each(|item| rig.batch.emit(item).unwrap());
    rig.look();
    assert_eq!(rig.totals().delivered, 4);
}

#[tokio::test(start_paused = true)]
async fn f15_a_caller_that_leaves_while_the_server_is_not_ready_takes_its_item_along() {
    let mut rig = Rig::new(|builder| builder);
    rig.server.0.is_unready.store(true, SeqCst);
    let calls: Vec<_> = (0..4).map(|item| rig.batch.call(item)).collect();
    rig.look();
    drop(calls);
    rig.look();
    assert_eq!((rig.seen().len(), rig.cancelled(), rig.totals().pending), (0, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn f15_a_batch_that_was_sent_is_sent_again_as_it_was_and_those_behind_it_are_not() {
    let mut rig = Rig::new(|builder| builder);
    rig.server.0.is_away.store(true, SeqCst);
    let first: Vec<_> = (0..4).map(|item| rig.batch.call(item)).collect();
    rig.look();
    let second: Vec<_> = (4..8).map(|item| rig.batch.call(item)).collect();
    rig.look();
    drop((first, second));
    rig.server.0.is_away.store(false, SeqCst);
    tokio::time::advance(SECOND).await;
    rig.look();
    assert_eq!(rig.seen(), [[0, 1, 2, 3], [0, 1, 2, 3]]);
    assert_eq!((rig.totals().delivered, rig.cancelled(), rig.totals().pending), (4, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn f15_the_slots_of_cancelled_items_let_others_in() {
    let limits = Limits::new().items(4).soft_limit(1.0);
    let mut rig = Rig::new(|builder| builder.limits(limits).overflow(Overflow::Wait));
    rig.server.0.hangs.store(true, SeqCst);
    let batch = rig.batch.clone();
    let calls: Vec<_> = (0..3).map(|item| rig.batch.call(item)).collect();
    batch.emit(3).unwrap();
    let mut waits = task::spawn(batch.emit_or_wait(4));
    assert_pending!(waits.poll());
    drop(calls);
    rig.look();
    assert!(waits.is_woken());
    assert_ready!(waits.poll()).unwrap();
    assert_eq!((rig.cancelled(), rig.totals().pending), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn f15_the_fair_share_of_a_key_is_free_again() {
    fn itself(item: &u32) -> &u32 {
        item
    }
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let layer = BatchLayer::builder()
        .limits(Limits::new().items(10).fair_share(0.3))
        .batching(Batching::new().max_items(3))
        .fair_share_key(itself)
        .build()
        .unwrap();
    let (mut batch, worker) = layer.pair(service_fn(move |items: Vec<u32>| {
        count.fetch_add(items.len(), SeqCst);
        std::future::ready(Ok::<_, BoxError>(()))
    }));
    let mut worker = task::spawn(worker);
    (0..2).for_each(|_| drop(batch.call(7)));
    let mut kept = task::spawn(batch.call(7));
    assert_pending!(worker.poll());
    assert_ready!(kept.poll()).unwrap();
    for _ in 0..3 {
        assert_pending!(task::spawn(batch.call(7)).poll());
    }
    assert_pending!(worker.poll());
    assert_eq!(served.load(SeqCst), 1);
    assert_eq!(batch.handle().totals().dropped.get(DropReason::FairShare), 0);
}

#[tokio::test(start_paused = true)]
async fn f15_an_item_is_sent_all_the_same_where_that_was_asked_for() {
    let mut rig = Rig::new(|builder| builder.run_cancelled(true));
    (0..4).for_each(|item| drop(rig.batch.call(item)));
    rig.look();
    assert_eq!(rig.seen(), [[0, 1, 2, 3]]);
    assert_eq!((rig.totals().delivered, rig.cancelled()), (4, 0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Emit(u32),
    Call(u32),
    /// A caller drops its future.
    Drop(prop::sample::Index),
    /// The worker is polled.
    Look,
    /// The server responds to what is in flight.
    Respond,
}

/// An item, and whether its caller has dropped the future.
#[derive(Clone, Copy, Debug)]
struct Held {
    number: usize,
    bytes: u32,
    is_cancelled: bool,
}

/// The batcher as one would write it down first, with batches of three and one in flight.
#[derive(Debug, Default)]
struct Plain {
    offered: usize,
    batches: VecDeque<Vec<Held>>,
    in_flight: Vec<Held>,
    has_response: bool,
    sent: Vec<Vec<u32>>,
    delivered: usize,
    cancelled: usize,
}

impl Plain {
    fn enter(&mut self, bytes: u32) {
        if self.batches.back().is_none_or(|batch| batch.len() == 3) {
            self.batches.push_back(Vec::new());
        }
        let held = Held { number: self.offered, bytes, is_cancelled: false };
        self.offered += 1;
        self.batches.back_mut().unwrap().push(held);
    }

    fn look(&mut self) {
        if std::mem::take(&mut self.has_response) {
            self.delivered += std::mem::take(&mut self.in_flight).len();
        }
        while self.in_flight.is_empty() && self.batches.front().is_some_and(|batch| batch.len() == 3) {
            let (cancelled, left): (Vec<_>, Vec<_>) =
                self.batches.pop_front().unwrap().into_iter().partition(|held| held.is_cancelled);
            self.cancelled += cancelled.len();
            if !left.is_empty() {
                self.sent.push(left.iter().map(|held| held.bytes).collect());
            }
            self.in_flight = left;
        }
    }

    fn held(&self) -> Vec<Held> {
        self.batches.iter().flatten().chain(&self.in_flight).copied().collect()
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..1000_u32).prop_map(Step::Emit),
        4 => (1..1000_u32).prop_map(Step::Call),
        4 => any::<prop::sample::Index>().prop_map(Step::Drop),
        2 => Just(Step::Look),
        2 => Just(Step::Respond),
    ]
}

fn runs(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (response, responds) = tokio::sync::mpsc::unbounded_channel();
    let responds = Arc::new(tokio::sync::Mutex::new(responds));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(3))
        .weigh(|item: &u32| *item as usize)
        .respond_fates()
        .build()
        .unwrap();
    let (mut batch, worker) = layer.pair(service_fn(move |items: Vec<u32>| {
        noted.lock().unwrap().push(items);
        let responds = Arc::clone(&responds);
        async move { responds.lock().await.recv().await.ok_or_else(|| BoxError::from("the test has ended")) }
    }));
    let (mut worker, handle) = (task::spawn(worker), batch.handle());
    let (mut plain, mut calls) = (Plain::default(), Vec::new());
    for step in steps {
        match step {
            Step::Emit(bytes) => {
                batch.emit(bytes).unwrap();
                plain.enter(bytes);
            }
            Step::Call(bytes) => {
                calls.push((plain.offered, task::spawn(batch.call(bytes))));
                plain.enter(bytes);
            }
            Step::Drop(index) if !calls.is_empty() => {
                let (number, call) = calls.swap_remove(index.index(calls.len()));
                drop(call);
                let waits = plain.batches.iter_mut().flatten();
                waits.filter(|held| held.number == number).for_each(|held| held.is_cancelled = true);
            }
            Step::Respond if !plain.in_flight.is_empty() && !plain.has_response => {
                response.send(()).unwrap();
                plain.has_response = true;
            }
            Step::Look => {
                assert_pending!(worker.poll());
                plain.look();
            }
            Step::Drop(_) | Step::Respond => {}
        }
        let (totals, held) = (handle.totals(), plain.held());
        prop_assert!(totals.balance());
        prop_assert_eq!(totals.delivered, plain.delivered as u64);
        prop_assert_eq!(totals.dropped.get(DropReason::Cancelled), plain.cancelled as u64);
        prop_assert_eq!(totals.dropped.total(), plain.cancelled as u64);
        prop_assert_eq!(totals.pending, held.len() as u64);
        prop_assert_eq!(handle.bytes(), held.iter().map(|held| held.bytes as usize).sum::<usize>());
        prop_assert_eq!(&*seen.lock().unwrap(), &plain.sent);
        for index in (0..calls.len()).rev() {
            let is_held = held.iter().any(|held| held.number == calls[index].0);
            match calls[index].1.poll() {
                Poll::Pending => prop_assert!(is_held, "a caller was forgotten"),
                Poll::Ready(fate) => {
                    prop_assert!(!is_held);
                    prop_assert_eq!(fate.unwrap(), Fate::Delivered);
                    drop(calls.swap_remove(index));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn f15_whenever_callers_leave_each_item_is_sent_or_cancelled_and_none_is_both(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // All of it is one poll, for which tokio's budget would not do.
        runtime.block_on(tokio::task::unconstrained(async { runs(steps) }))?;
    }
}
