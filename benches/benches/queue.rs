//! The queue by itself, for regressions; `rivals --area queue` shows it beside others.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::Fate;
use forebay_queue::{Limits, channel};
use std::hint::black_box;

const BURST: u64 = 512;

fn bursts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("burst of 512 in and out", |bencher| {
        let (sender, mut receiver) = channel::<[u64; 4]>(Limits::new().items(1024).soft_limit(1.0)).unwrap();
        bencher.iter(|| {
            (0..BURST).for_each(|n| sender.try_send(black_box([n; 4])).unwrap());
            let mut burst = receiver.drain(512);
            assert_eq!(burst.by_ref().map(black_box).count() as u64, BURST);
            burst.settle(Fate::Delivered);
        });
    });
    group.finish();
}

criterion_group!(benches, bursts);
criterion_main!(benches);
