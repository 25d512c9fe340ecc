//! What a driver pays for its telemetry: `cargo bench -p forebay-benches --bench databricks`.
//!
//! Switched off, a call is a look at an option. Switched on, it is an event in the aggregator of its host.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_benches::driver::{connection, statement};
use std::hint::black_box;
use tokio::runtime::Builder;

/// All that a driver reports of one statement, of a connection with telemetry and of one without.
fn statements(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("databricks statement");
    group.throughput(Throughput::Elements(1));
    for (name, enabled) in [("disabled", false), ("enabled", true)] {
        let connection = runtime.block_on(connection(enabled));
        group.bench_function(name, |bencher| {
            let mut statements = 0_u32;
            bencher.iter(|| {
                statement(black_box(&connection));
                statements += 1;
                // The worker has its turn: what it is handed is bounded, and is taken.
                if enabled && statements.is_multiple_of(64) {
                    runtime.block_on(connection.flush());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, statements);
criterion_main!(benches);
