//! The batcher by itself, for regressions; `rivals --area batch` shows it beside others.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_batch::BatchLayer;
use std::{convert::Infallible, hint::black_box};
use tokio::runtime::Builder;
use tower::{Layer, service_fn};

const BATCH: usize = 512;

fn emit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH as u64));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let context = runtime.enter();
    let sink = service_fn(|items: Vec<[u64; 4]>| async move {
        drop(black_box(items));
        Ok::<_, Infallible>(())
    });
    let batch = BatchLayer::builder().build().unwrap().layer(sink);
    drop(context);
    let handle = batch.handle();
    group.bench_function("emit 512, then flush", |bencher| {
        bencher.iter(|| {
            (0..BATCH as u64).for_each(|n| batch.emit(black_box([n; 4])).unwrap());
            runtime.block_on(handle.flush());
        });
    });
    group.finish();
}

criterion_group!(benches, emit);
criterion_main!(benches);
