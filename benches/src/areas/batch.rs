//! `forebay-batch`: items handed over, items with a reply, and what is refused or idle.

use super::inner::{Echo, Item, item, two_workers, used};
use crate::{
    bound::Bound,
    runner::{Quote, Session, Table},
    work::{Sample, Work},
};
use forebay_batch::{Batch, BatchLayer, Batching};
use forebay_core::DropReason;
use forebay_queue::Limits;
use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    hint::black_box,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, mpsc},
    task::{JoinSet, yield_now},
    time::advance,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_batch_control::{BatchControl, RequestWeight};

/// Items per batch.
const BATCH: usize = 512;

/// How many items may wait, of every contender that has such a limit.
const ROOM: usize = 8 * BATCH;

/// The tables of this area.
pub(super) fn tables(session: &mut Session<'_>) {
    let runtime = two_workers();
    for producers in [1, 2, 8] {
        session.run(emit(&runtime, producers));
    }
    session.run(scaling(&runtime));
    session.run(succeeded(&runtime));
    session.run(refused());
    session.run(idle());
}

const BY_HAND: &str = "Mutex<Vec>, the worker swaps";
const CONTROL: &str = "tower-batch-control 1.1, future dropped";
const OURS: &str = "Batch::emit";

/// The floor counts nothing, has no limits but one, no lanes, no timer, and does not say what became of an item.
fn emit(runtime: &Runtime, producers: u64) -> Table<'_> {
    let title = format!("emit, batches of 512, no-op service, {producers} producers on 2 workers");
    // A producer by itself leaves the second worker half idle, or more.
    let cores = if producers == 1 { 0.95 } else { 1.6 };
    let bounds = [Bound::of_floor(2.5), Bound::of(CONTROL, 0.15), Bound::allocations(0.01)];
    let entered = runtime.enter();
    let table = Table::new("batch", title)
        .unit(BATCH as u64 * 8)
        .quote(Quote::Min)
        .cores(cores)
        .floor(BY_HAND, by_hand(runtime, producers))
        .reference("tokio mpsc, recv_many", received_many(runtime, producers))
        .rival(CONTROL, controlled(runtime, producers))
        .forebay(OURS, &bounds, ours(runtime, producers));
    drop(entered);
    table
}

/// The same contender with more and more producers: the rate of all together should not fall.
fn scaling(runtime: &Runtime) -> Table<'_> {
    let entered = runtime.enter();
    let table = Table::new("batch", "emit, from 1 to 8 producers, all together")
        .unit(BATCH as u64 * 8)
        .quote(Quote::Min)
        .cores(0.95)
        .floor("Batch::emit, 1 producer", ours(runtime, 1))
        .forebay("Batch::emit, 2 producers", &[], ours(runtime, 2))
        .forebay("Batch::emit, 8 producers", &[Bound::of_floor(1.0)], ours(runtime, 8));
    drop(entered);
    table
}

fn by_hand(runtime: &Runtime, producers: u64) -> impl FnMut(Work) -> Sample {
    let shared = Arc::new((Mutex::new(Vec::<Item>::new()), Notify::new(), AtomicU64::new(0)));
    let worker = Arc::clone(&shared);
    runtime.spawn(async move {
        let mut batch = Vec::new();
        loop {
            worker.1.notified().await;
            mem::swap(&mut batch, &mut *worker.0.lock().unwrap());
            worker.2.fetch_add(batch.len() as u64, Relaxed);
            batch.drain(..).for_each(used);
        }
    });
    move |work| {
        let (mut tasks, sent) = (JoinSet::new(), shared.2.load(Relaxed));
        on(
            runtime,
            work,
            producers,
            &mut tasks,
            |share| {
                let shared = Arc::clone(&shared);
                async move {
                    for n in 0..share {
                        let waiting = loop {
                            match push(&shared.0, n) {
                                Some(waiting) => break waiting,
                                None => yield_now().await,
                            }
                        };
                        if waiting == BATCH {
                            shared.1.notify_one();
                        }
                    }
                }
            },
            {
                let shared = Arc::clone(&shared);
                async move {
                    shared.1.notify_one();
                    while shared.2.load(Relaxed) < sent + work.ops {
                        yield_now().await;
                    }
                }
            },
        )
    }
}

/// How many wait then; `None` if there is no room.
#[inline]
fn push(shared: &Mutex<Vec<Item>>, n: u64) -> Option<usize> {
    let mut waiting = shared.lock().unwrap();
    (waiting.len() < ROOM).then(|| {
        waiting.push(item(n));
        waiting.len()
    })
}

fn received_many(runtime: &Runtime, producers: u64) -> impl FnMut(Work) -> Sample {
    let (sender, mut receiver) = mpsc::channel::<Item>(ROOM);
    let count = Arc::new(AtomicU64::new(0));
    let worker = Arc::clone(&count);
    runtime.spawn(async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            worker.fetch_add(batch.len() as u64, Relaxed);
            batch.drain(..).for_each(used);
        }
    });
    move |work| {
        let (mut tasks, sent, count) = (JoinSet::new(), count.load(Relaxed), Arc::clone(&count));
        on(
            runtime,
            work,
            producers,
            &mut tasks,
            |share| {
                let sender = sender.clone();
                async move {
                    for n in 0..share {
                        while sender.try_send(item(n)).is_err() {
                            yield_now().await;
                        }
                    }
                }
            },
            async move {
                while count.load(Relaxed) < sent + work.ops {
                    yield_now().await;
                }
            },
        )
    }
}

fn controlled(runtime: &Runtime, producers: u64) -> impl FnMut(Work) -> Sample {
    let sink = Sink::default();
    let batch = tower_batch_control::Batch::new(sink.clone(), BATCH, 8, Duration::from_secs(3600));
    move |work| {
        let (mut tasks, sent, count) = (JoinSet::new(), sink.0.load(Relaxed), Arc::clone(&sink.0));
        on(
            runtime,
            work,
            producers,
            &mut tasks,
            |share| {
                let mut batch = batch.clone();
                async move {
                    for n in 0..share {
                        // What became of the item is not looked at.
                        drop(batch.ready().await.unwrap().call(Weighed(item(n))));
                    }
                }
            },
            async move {
                while count.load(Relaxed) < sent + work.ops {
                    yield_now().await;
                }
            },
        )
    }
}

fn ours(runtime: &Runtime, producers: u64) -> impl FnMut(Work) -> Sample {
    let layer = BatchLayer::builder().limits(Limits::new().items(ROOM).soft_limit(1.0)).batching(batching());
    let batch = layer.build().unwrap().layer(service_fn(take));
    move |work| {
        let (mut tasks, handle) = (JoinSet::new(), batch.handle());
        on(
            runtime,
            work,
            producers,
            &mut tasks,
            |share| {
                let batch = batch.clone();
                async move {
                    for n in 0..share {
                        // Built for each attempt, as every contender does: one kept over the wait would lie in memory each time.
                        while batch.emit(item(n)).is_err() {
                            yield_now().await;
                        }
                    }
                }
            },
            async move { handle.flush().await },
        )
    }
}

fn batching() -> Batching {
    Batching::new().max_items(BATCH).max_age(Duration::from_secs(3600))
}

/// Looks at every item of a batch.
fn take(items: Vec<Item>) -> Ready<Result<(), Infallible>> {
    items.into_iter().for_each(used);
    ready(Ok(()))
}

/// Measures `producers` tasks that share the work, and then `settled`, which waits until all of it is done.
fn on<P: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    work: Work,
    producers: u64,
    tasks: &mut JoinSet<()>,
    produce: impl Fn(u64) -> P,
    settled: impl Future<Output = ()> + Send + 'static,
) -> Sample {
    work.measure(|| {
        runtime.block_on(async {
            for _ in 0..producers {
                tasks.spawn_on(produce(work.ops / producers), runtime.handle());
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
            runtime.spawn(settled).await.unwrap();
        });
    })
}

fn succeeded(runtime: &Runtime) -> Table<'_> {
    let entered = runtime.enter();
    let table = Table::new("batch", "call, 512 in flight, all awaited, batches of 512, 1 task on 2 workers")
        .unit(BATCH as u64)
        .quote(Quote::Min)
        .cores(0.95)
        .floor("tokio mpsc, recv_many, no replies", received_many(runtime, 1))
        .rival("tower-batch-control 1.1", {
            let batch = tower_batch_control::Batch::new(Sink::default(), BATCH, 8, Duration::from_secs(3600));
            calls(runtime, move || batch.clone(), |n| Weighed(item(n)))
        })
        .rival("tower-batch 0.4", {
            let batch = tower_batch::Batch::new(Sink::default(), BATCH, Duration::from_secs(3600));
            calls(runtime, move || batch.clone(), item)
        })
        .forebay("Batch::call, one response for all", &[Bound::of_best_rival(0.5), Bound::allocations(0.1)], {
            let batch: Batch<Item, ()> =
                BatchLayer::builder().batching(batching()).build().unwrap().layer(service_fn(take));
            calls(runtime, move || batch.clone(), item)
        })
        .forebay("Batch::call, each its own element", &[Bound::of_best_rival(0.5), Bound::allocations(0.1)], {
            let batch: Batch<Item, Item> =
                BatchLayer::builder().batching(batching()).scatter().build().unwrap().layer(Echo);
            calls(runtime, move || batch.clone(), item)
        });
    drop(entered);
    table
}

/// Hands 512 items over, then awaits all their replies, and so on.
fn calls<S, T>(runtime: &Runtime, service: impl Fn() -> S, request: fn(u64) -> T) -> impl FnMut(Work) -> Sample
where
    S: Service<T, Error: std::fmt::Debug, Response: Send, Future: Send> + Send + 'static,
    T: Send + 'static,
{
    move |work| {
        let mut service = service();
        let task = async move {
            let mut replies = Vec::with_capacity(BATCH);
            for _ in 0..work.ops / BATCH as u64 {
                for n in 0..BATCH as u64 {
                    replies.push(service.ready().await.unwrap().call(request(n)));
                }
                for response in replies.drain(..) {
                    used(response.await.unwrap());
                }
            }
        };
        work.measure(|| runtime.block_on(runtime.spawn(task)).unwrap())
    }
}

fn refused<'a>() -> Table<'a> {
    Table::new("batch", "an item refused by a full batcher")
        .floor("std Mutex<Vec>, length looked at", {
            let shared = Mutex::new(vec![item(0); 64]);
            move |work| {
                work.measure(|| {
                    for n in 0..work.ops {
                        let (item, shared) = (item(n), shared.lock().unwrap());
                        used(if shared.len() < 64 { Ok(()) } else { Err(item) });
                    }
                })
            }
        })
        .forebay("Batch::emit", &[Bound::nanos(1000.0), Bound::allocations(0.0)], {
            let limits = Limits::new().items(64).soft_limit(1.0);
            let layer = BatchLayer::<Item>::builder().limits(limits).batching(batching()).build().unwrap();
            let (batch, worker) = layer.pair(Echo);
            (0..64).for_each(|n| batch.emit(item(n)).unwrap());
            assert_eq!(batch.emit(item(64)).unwrap_err().reason, DropReason::Full);
            move |work| {
                let _open = &worker;
                work.measure(|| (0..work.ops).for_each(|n| used(batch.emit(item(n)))))
            }
        })
}

/// A batcher with nothing in it, while virtual time goes on: its worker is not polled once.
fn idle<'a>() -> Table<'a> {
    let paused = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let minute = |runtime: &Runtime| runtime.block_on(advance(Duration::from_secs(60)));
    Table::new("batch", "a virtual minute in which nothing happens; panics if the idle worker is polled")
        .floor("no batcher", {
            let runtime = paused();
            move |work| work.measure(|| (0..work.ops).for_each(|_| minute(&runtime)))
        })
        .forebay("Batch, one that has sent and is empty", &[Bound::of_floor(1.1)], {
            let (runtime, polls) = (paused(), Arc::new(AtomicU64::new(0)));
            let layer = BatchLayer::<Item>::builder().build().unwrap();
            let (batch, worker) = layer.pair(service_fn(take));
            runtime.spawn({
                let (polls, mut worker) = (Arc::clone(&polls), Box::pin(worker));
                poll_fn(move |cx| {
                    polls.fetch_add(1, Relaxed);
                    worker.as_mut().poll(cx)
                })
            });
            batch.emit(item(0)).unwrap();
            runtime.block_on(batch.handle().flush());
            // The last look at a timer that is not needed any more.
            minute(&runtime);
            let before = polls.load(Relaxed);
            assert!(before > 0, "it has worked");
            move |work| {
                let _open = &batch;
                let sample = work.measure(|| (0..work.ops).for_each(|_| minute(&runtime)));
                assert_eq!(polls.load(Relaxed), before, "an idle batcher is polled zero times");
                sample
            }
        })
}

/// Takes items for `tower-batch` and `tower-batch-control`, which give them to the service one by one.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<AtomicU64>);

/// `tower-batch-control` wants to weigh what it gets.
struct Weighed(Item);

impl RequestWeight for Weighed {}

impl Service<BatchControl<Weighed>> for Sink {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: BatchControl<Weighed>) -> Self::Future {
        if let BatchControl::Item(Weighed(item)) = request {
            used(item);
            self.0.store(self.0.load(Relaxed) + 1, Relaxed);
        }
        ready(Ok(()))
    }
}

impl Service<tower_batch::BatchControl<Item>> for Sink {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tower_batch::BatchControl<Item>) -> Self::Future {
        if let tower_batch::BatchControl::Item(item) = request {
            used(black_box(item));
        }
        ready(Ok(()))
    }
}
