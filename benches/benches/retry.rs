//! `forebay-retry` by itself, for comparing two commits: `cargo bench -p forebay-benches --bench retry`.
//!
//! The rivals beside it are in the `rivals` binary, where contenders take turns.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::{BoxError, ByError};
use forebay_retry::{Backoff, Budget, Jitter, RetryLayer};
use std::{
    future::{Ready, poll_fn, ready},
    hint::black_box,
    time::Duration,
};
use tokio::runtime::Builder;
use tower::{Layer, Service, service_fn};

/// Calls of one iteration.
const CALLS: u64 = 1_000;

const DELAYS: u64 = 1_000;

fn succeed(n: u64) -> Ready<Result<u64, BoxError>> {
    ready(Ok(n))
}

/// Each second call fails, so that each request succeeds with its second attempt.
fn fail_first() -> impl FnMut(u64) -> Ready<Result<u64, BoxError>> + Clone {
    let mut failed = false;
    move |n| {
        failed = !failed;
        ready(if failed { Err("a failure".into()) } else { Ok(n) })
    }
}

/// Calls that succeed with their first attempt, and calls that succeed with their second.
fn call(criterion: &mut Criterion) {
    // The clock stands still, and goes on by itself to the end of each wait.
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("retry");
    group.throughput(Throughput::Elements(CALLS));
    let layer = || {
        let backoff = Backoff::exponential(Duration::from_millis(100));
        // Each call earns the retry that it may need: with the default, a tenth of one, the calls that fail once would soon fail.
        let budget = Budget::builder().ratio(1.0).build().unwrap();
        RetryLayer::builder(ByError::new()).max_retries(3).backoff(backoff).budget(budget).build().unwrap()
    };
    let mut first = layer().layer(service_fn(succeed));
    group.bench_function("first attempt succeeds", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for n in 0..CALLS {
                    poll_fn(|cx| Service::<u64>::poll_ready(&mut first, cx)).await.unwrap();
                    black_box(first.call(black_box(n)).await.unwrap());
                }
            });
        });
    });
    let mut second = layer().layer(service_fn(fail_first()));
    group.bench_function("second attempt succeeds, the wait skipped", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                for n in 0..CALLS {
                    poll_fn(|cx| Service::<u64>::poll_ready(&mut second, cx)).await.unwrap();
                    black_box(second.call(black_box(n)).await.unwrap());
                }
            });
        });
    });
    group.finish();
}

/// The delays of a backoff.
fn delays(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("backoff");
    group.throughput(Throughput::Elements(DELAYS));
    let base = Duration::from_millis(100);
    let backoffs = [
        ("exponential, full jitter", Backoff::exponential(base).jitter(Jitter::Full)),
        ("fibonacci", Backoff::fibonacci(base)),
        ("decorrelated", Backoff::decorrelated(base)),
    ];
    for (name, backoff) in backoffs {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let delays = black_box(backoff).cap(Duration::from_secs(10)).into_iter();
                delays.take(DELAYS as usize).for_each(|delay| _ = black_box(delay));
            });
        });
    }
    group.finish();
}

criterion_group!(retry, call, delays);
criterion_main!(retry);
