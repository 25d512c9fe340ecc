//! `forebay-breaker` by itself, for comparing two commits: `cargo bench -p forebay-benches --bench breaker`.
//!
//! The rivals beside it are in the `rivals` binary, where contenders take turns.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_breaker::{BreakerLayer, Trip};
use forebay_core::BoxError;
use std::{
    future::{Ready, poll_fn, ready},
    hint::black_box,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, service_fn};

/// A request of a tenant, by which the circuits are told apart.
struct Request {
    tenant: &'static str,
    number: u64,
}

/// Calls of one iteration.
const CALLS: u64 = 1_000;

fn succeed(n: u64) -> Ready<Result<u64, BoxError>> {
    ready(Ok(n))
}

fn fail(_: u64) -> Ready<Result<u64, BoxError>> {
    ready(Err("a failure".into()))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Calls that are let through while the circuit is closed, by the rule that it would trip by.
fn closed(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("breaker closed");
    group.throughput(Throughput::Elements(CALLS));
    let trips: [(&str, Trip); 3] = [
        ("5 in a row", Trip::consecutive(5)),
        ("half of 100 calls", Trip::ratio(0.5).over_calls(100).into()),
        ("half of 30 s", Trip::ratio(0.5).over(Duration::from_secs(30)).min_calls(100).into()),
    ];
    for (name, trip) in trips {
        let mut service = BreakerLayer::builder().trip(trip).build().unwrap().layer(service_fn(succeed));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    for n in 0..CALLS {
                        poll_fn(|cx| Service::<u64>::poll_ready(&mut service, cx)).await.unwrap();
                        black_box(service.call(black_box(n)).await.unwrap());
                    }
                });
            });
        });
    }
    group.finish();
}

/// The same with a circuit for each of 100 keys.
fn keyed(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("breaker keyed");
    group.throughput(Throughput::Elements(CALLS));
    let layer = BreakerLayer::builder().key(|request: &Request| request.tenant).trip(Trip::consecutive(5));
    let succeed = |request: Request| ready(Ok::<_, BoxError>(request.number));
    let mut service = layer.build().unwrap().layer(service_fn(succeed));
    // As long as the process: a request borrows its tenant.
    let tenants: Vec<&'static str> = (0..100).map(|n| &*format!("tenant-{n:03}").leak()).collect();
    group.bench_function("100 keys", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for (number, tenant) in (0..CALLS).zip(tenants.iter().cycle()) {
                    poll_fn(|cx| Service::<Request>::poll_ready(&mut service, cx)).await.unwrap();
                    black_box(service.call(black_box(Request { tenant, number })).await.unwrap());
                }
            });
        });
    });
    group.finish();
}

/// Calls that an open circuit rejects.
fn open(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("breaker open");
    group.throughput(Throughput::Elements(CALLS));
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(Duration::from_secs(3600)).build().unwrap();
    let mut service = layer.layer(service_fn(fail));
    group.bench_function("rejected", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for n in 0..CALLS {
                    poll_fn(|cx| Service::<u64>::poll_ready(&mut service, cx)).await.unwrap();
                    black_box(service.call(black_box(n)).await.unwrap_err());
                }
            });
        });
    });
    group.finish();
}

criterion_group!(breaker, closed, keyed, open);
criterion_main!(breaker);
