//! `forebay-queue` by itself, for comparing two commits: `cargo bench -p forebay-benches --bench queue`.
//!
//! The rivals beside it are in the `rivals` binary, where contenders take turns.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::{Fate, Ledger, Priority};
use forebay_queue::{Limits, Offer, QueueLayer, channel};
use std::{convert::Infallible, future::ready, hint::black_box};
use tower::{Layer, Service, ServiceExt, service_fn};

type Item = [u64; 4];

const BURST: u64 = 512;

fn item(n: u64) -> Item {
    let n = black_box(n);
    [n, n + 1, n + 2, n + 3]
}

fn used(item: Item) {
    let _seen = black_box(item);
}

fn limits(items: usize) -> Limits {
    Limits::new().items(items).soft_limit(1.0)
}

/// 512 items in, then out: by one lane, by both, one by one.
fn bursts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue burst of 512");
    group.throughput(Throughput::Elements(BURST));
    let (sender, mut receiver) = channel::<Item>(limits(1024)).unwrap();
    group.bench_function("normal lane", |bencher| {
        bencher.iter(|| {
            (0..BURST).for_each(|n| sender.emit(item(n)).unwrap());
            let mut burst = receiver.drain(BURST as usize);
            burst.by_ref().for_each(used);
            burst.settle(Fate::Delivered);
        });
    });
    group.bench_function("both lanes", |bencher| {
        bencher.iter(|| {
            for n in 0..BURST {
                let lane = if n % 8 == 7 { Priority::High } else { Priority::Normal };
                sender.emit(Offer::new(item(n)).priority(black_box(lane))).unwrap();
            }
            let mut burst = receiver.drain(BURST as usize);
            burst.by_ref().for_each(used);
            burst.settle(Fate::Delivered);
        });
    });
    group.bench_function("one by one", |bencher| {
        bencher.iter(|| {
            (0..BURST).for_each(|n| sender.emit(item(n)).unwrap());
            for _ in 0..BURST {
                let received = receiver.try_recv().unwrap();
                black_box(*received);
                received.settle(Fate::Delivered);
            }
        });
    });
    group.finish();
}

/// One call through the layer to a service that responds at once.
fn call(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let layer = QueueLayer::builder().limits(limits(1024)).build().unwrap();
    let queue = layer.layer(service_fn(|n: u64| ready(Ok::<_, Infallible>(n))));
    criterion.bench_function("queue call", |bencher| {
        bencher.iter_custom(|times| {
            let mut queue = queue.clone();
            let calls = async move {
                let start = std::time::Instant::now();
                for n in 0..times {
                    black_box(queue.ready().await.unwrap().call(black_box(n)).await.unwrap());
                }
                start.elapsed()
            };
            runtime.block_on(runtime.spawn(calls)).unwrap()
        });
    });
}

/// An item that is handed back, and the making of the error of a call.
fn refused(criterion: &mut Criterion) {
    let (queue, _worker) = QueueLayer::<Item>::builder()
        .limits(limits(64))
        .build()
        .unwrap()
        .pair(service_fn(|item: Item| ready(Ok::<_, Infallible>(item))));
    (0..64).for_each(|n| queue.emit(item(n)).unwrap());
    criterion.bench_function("queue offer, refused", |bencher| {
        bencher.iter_batched(|| item(0), |item| queue.emit(item).unwrap_err().reason, BatchSize::SmallInput);
    });
}

/// What is counted for one item.
fn ledger(criterion: &mut Criterion) {
    let mut ledger = Ledger::default();
    criterion.bench_function("ledger, one item", |bencher| {
        bencher.iter(|| {
            black_box(&mut ledger).accept(black_box(1));
            black_box(&mut ledger).settle(black_box(Fate::Delivered), black_box(1));
        });
    });
}

criterion_group!(queue, bursts, call, refused, ledger);
criterion_main!(queue);
