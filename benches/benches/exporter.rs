//! The whole exporter with a client that responds at once, for comparing two commits:
//! `cargo bench -p forebay-benches --bench exporter`.
//!
//! Over sockets, and beside its rivals, it is in the `rivals` binary.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_batch::Batching;
use forebay_core::BoxError;
use forebay_export::{Compression, Exporter};
use forebay_otlp::{LogRecord, LogsEncoder, Severity};
use forebay_queue::Limits;
use http::{Request, Response};
use http_body_util::Full;
use std::{
    future::{Ready, ready},
    hint::black_box,
    time::Duration,
};
use tokio::runtime::Builder;
use tower::service_fn;

const BATCH: u64 = 512;

/// Batches of one iteration.
const BATCHES: u64 = 8;

fn respond(request: Request<Full<Bytes>>) -> Ready<Result<Response<Full<Bytes>>, BoxError>> {
    black_box(request);
    ready(Ok(Response::new(Full::default())))
}

fn record() -> LogRecord {
    LogRecord::new("GET /basket/4711 200 in 3 ms").severity(Severity::Info).attribute("http.request.method", "GET")
}

/// Records handed over, batched, encoded, sent and settled, to the end of a flush.
fn emit(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("exporter");
    group.throughput(Throughput::Elements(BATCHES * BATCH));
    for (name, compression) in [("plain", Compression::None), ("gzip", Compression::gzip())] {
        let exporter = Exporter::builder()
            .endpoint("http://127.0.0.1:4318/v1/logs")
            .encoder(LogsEncoder::builder().build().unwrap())
            .client(service_fn(respond))
            .compression(compression)
            .limits(Limits::new().items((BATCHES * BATCH) as usize).soft_limit(1.0))
            .batching(Batching::new().max_items(BATCH as usize).max_delay(Duration::from_secs(3600)))
            .runtime(runtime.handle().clone())
            .build()
            .unwrap();
        group.bench_function(format!("emit 8 x 512, flush, {name}"), |bencher| {
            bencher.iter(|| {
                (0..BATCHES * BATCH).for_each(|_| exporter.emit(record()));
                runtime.block_on(exporter.flush());
            });
        });
        let totals = exporter.totals();
        assert_eq!(totals.offered, totals.delivered);
    }
    group.finish();
}

/// A record that is dropped because the exporter is switched off.
fn off(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let exporter = Exporter::<LogRecord>::builder()
        .endpoint("http://127.0.0.1:4318/v1/logs")
        .encoder(LogsEncoder::builder().build().unwrap())
        .client(service_fn(respond))
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    exporter.handle().switch_off();
    let mut group = criterion.benchmark_group("exporter switched off");
    group.throughput(Throughput::Elements(1));
    group.bench_function("emit", |bencher| {
        bencher.iter_batched(record, |record| exporter.emit(record), criterion::BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(exporter, emit, off);
criterion_main!(exporter);
