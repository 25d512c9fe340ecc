//! `forebay-batch` by itself, for comparing two commits: `cargo bench -p forebay-benches --bench batch`.
//!
//! The rivals beside it are in the `rivals` binary, where contenders take turns.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay_batch::{Batch, BatchLayer, Batching};
use forebay_queue::Limits;
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    time::Duration,
};
use tower::{Layer, Service, service_fn};

type Item = [u64; 4];

const BATCH: usize = 512;

fn item(n: u64) -> Item {
    let n = black_box(n);
    [n, n + 1, n + 2, n + 3]
}

fn used(item: Item) {
    let _seen = black_box(item);
}

fn batching() -> Batching {
    Batching::new().max_items(BATCH).max_age(Duration::from_secs(3600))
}

/// Looks at every item of a batch.
fn take(items: Vec<Item>) -> Ready<Result<(), Infallible>> {
    items.into_iter().for_each(used);
    ready(Ok(()))
}

/// Eight batches handed over, and settled by a flush.
fn emit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let limits = Limits::new().items(8 * BATCH).soft_limit(1.0);
    let layer = BatchLayer::builder().limits(limits).batching(batching()).build().unwrap();
    let batch: Batch<Item, ()> = layer.layer(service_fn(take));
    let handle = batch.handle();
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(8 * BATCH as u64));
    group.bench_function("emit 8 x 512, flush", |bencher| {
        bencher.iter(|| {
            (0..8 * BATCH as u64).for_each(|n| batch.emit(item(n)).unwrap());
            runtime.block_on(handle.flush());
        });
    });
    group.finish();
}

/// 512 calls, of which each gets its own element of the response.
fn call(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let echo = service_fn(|items: Vec<Item>| ready(Ok::<_, Infallible>(items)));
    let layer = BatchLayer::builder().batching(batching()).scatter().build().unwrap();
    let mut batch: Batch<Item, Item> = layer.layer(echo);
    let mut replies = Vec::with_capacity(BATCH);
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("call 512, await all", |bencher| {
        bencher.iter(|| {
            replies.extend((0..BATCH as u64).map(|n| batch.call(item(n))));
            runtime.block_on(async {
                for response in replies.drain(..) {
                    black_box(response.await.unwrap());
                }
            });
        });
    });
    group.finish();
}

/// An item that is handed back.
fn refused(criterion: &mut Criterion) {
    let limits = Limits::new().items(64).soft_limit(1.0);
    let layer = BatchLayer::<Item>::builder().limits(limits).batching(batching()).build().unwrap();
    let (batch, _worker) = layer.pair(service_fn(take));
    (0..64).for_each(|n| batch.emit(item(n)).unwrap());
    criterion.bench_function("batch emit, refused", |bencher| {
        bencher.iter_batched(|| item(0), |item| batch.emit(item).unwrap_err().reason, BatchSize::SmallInput);
    });
}

criterion_group!(batch, emit, call, refused);
criterion_main!(batch);
