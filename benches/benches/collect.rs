//! `forebay-collect` by itself, for comparing two commits: `cargo bench -p forebay-benches --bench collect`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay_collect::{CardinalityCap, Deltas, Filter, Gathering, Labels, Recorder, Series, Value, WhenUndecided};
use std::{hint::black_box, num::NonZeroUsize};

/// Series of one report.
const SERIES: u64 = 1_000;

const NOW: u64 = 1_700_000_000_000_000_000;

fn series() -> Vec<Series> {
    let one = |n: u64| {
        let labels = Labels::new().with("node.id", "3f2a1c").with("route", format!("/{}", n % 100));
        Series::new(format!("http.server.requests.{}", n / 100), NOW, Value::counter(n)).since(NOW).labels(labels)
    };
    (0..SERIES).map(one).collect()
}

/// Names that are wanted, and names that are not.
fn filter(criterion: &mut Criterion) {
    let names: Vec<_> = (0..SERIES).map(|n| format!("http.server.requests.{n}")).collect();
    let builder = Filter::builder(WhenUndecided::Deny).allow(r"^process\.").allow(r"^http\..*\.[0-9]*7$");
    let (filter, bad) = builder.deny("internal").build();
    assert!(bad.is_empty());
    let mut group = criterion.benchmark_group("collect filter");
    group.throughput(Throughput::Elements(SERIES));
    group.bench_function("three patterns", |bencher| {
        bencher.iter(|| names.iter().filter(|name| black_box(&filter).wants(name)).count());
    });
    group.finish();
}

/// What is counted through the facade, and what is gathered of it.
fn recorder(criterion: &mut Criterion) {
    let mut recorder = Recorder::new();
    let mut group = criterion.benchmark_group("collect recorder");
    group.throughput(Throughput::Elements(SERIES));
    metrics::with_local_recorder(&recorder.clone(), || {
        let counters: Vec<_> =
            (0..SERIES).map(|n| metrics::counter!("requests", "route" => (n % 1_000).to_string())).collect();
        group.bench_function("increment 1,000 counters", |bencher| {
            bencher.iter(|| counters.iter().for_each(|counter| black_box(counter).increment(1)));
        });
    });
    group.bench_function("gather 1,000 series", |bencher| {
        bencher.iter(|| Gathering::of(black_box(&mut recorder), NOW));
    });
    group.finish();
}

/// What a report passes on its way out.
fn report(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("collect report");
    group.throughput(Throughput::Elements(SERIES));
    group.bench_function("cap of cardinality, below it", |bencher| {
        let mut cap = CardinalityCap::new(NonZeroUsize::new(2_000).unwrap());
        bencher.iter_batched(series, |series| cap.apply(series), BatchSize::SmallInput);
    });
    group.bench_function("deltas, reported and taken", |bencher| {
        let mut deltas = Deltas::new();
        bencher.iter_batched(
            series,
            |series| {
                let (series, pending) = deltas.report(series).split();
                pending.commit(&mut deltas);
                series
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(collect, filter, recorder, report);
criterion_main!(collect);
