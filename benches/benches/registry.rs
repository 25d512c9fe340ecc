//! `forebay-registry` and `forebay-cached` by themselves, for comparing two commits:
//! `cargo bench -p forebay-benches --bench registry`.
//!
//! The rivals beside them are in the `rivals` binary, where contenders take turns.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_cached::{Cached, Fetched};
use forebay_core::BoxError;
use forebay_registry::Registry;
use std::{convert::Infallible, hint::black_box, time::Duration};
use tokio::runtime::Builder;

const KEYS: usize = 100;

/// Reads of one iteration.
const READS: u64 = 1_000;

/// Clients that are held by others, acquired and given back.
fn acquire(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let registry = Registry::builder(|key: String| async move { Ok::<_, Infallible>(key.len()) }).build().unwrap();
    let keys: Vec<_> = (0..KEYS).map(|n| format!("https://host-{n:03}.example:443")).collect();
    let held: Vec<_> = keys.iter().map(|key| runtime.block_on(registry.acquire(key.as_str())).unwrap()).collect();
    let mut group = criterion.benchmark_group("registry");
    group.throughput(Throughput::Elements(KEYS as u64));
    group.bench_function("acquire and give back, 100 keys", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for key in &keys {
                    black_box(*registry.acquire(black_box(key.as_str())).await.unwrap());
                }
            });
        });
    });
    group.bench_function("construct and close, 100 keys", |bencher| {
        let fresh: Vec<_> = keys.iter().map(|key| format!("{key}/once")).collect();
        bencher.iter(|| {
            runtime.block_on(async {
                for key in &fresh {
                    black_box(*registry.acquire(black_box(key.as_str())).await.unwrap());
                }
            });
        });
    });
    group.finish();
    drop(held);
}

/// A value that is fresh.
fn cached(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let fetch = || async { Ok::<_, BoxError>(Fetched::new(7_u64).ttl(Duration::from_secs(3600))) };
    let cached = Cached::builder(fetch).build().unwrap();
    let mut group = criterion.benchmark_group("cached");
    group.throughput(Throughput::Elements(READS));
    group.bench_function("fresh value", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for _ in 0..READS {
                    black_box(cached.get().await.unwrap());
                }
            });
        });
    });
    group.finish();
}

criterion_group!(registry, acquire, cached);
criterion_main!(registry);
