//! The encoders of `forebay-otlp` by themselves, for comparing two commits: `cargo bench -p forebay-benches --bench otlp`.

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_export::Encode;
use forebay_otlp::{
    LogRecord, LogsEncoder, Metric, MetricData, MetricsEncoder, NumberPoint, Protocol, Resource, Severity, Span,
    TracesEncoder,
};
use std::hint::black_box;

/// Items of one request.
const ITEMS: u64 = 512;

const NOW: u64 = 1_700_000_000_000_000_000;

const PROTOCOLS: [(&str, Protocol); 2] = [("protobuf", Protocol::HttpProtobuf), ("json", Protocol::HttpJson)];

fn resource() -> Resource {
    Resource::new().attribute("service.name", "shop").attribute("service.instance.id", "3f2a1c")
}

/// One request with all items, in bytes of its body.
fn encode<T: 'static>(
    criterion: &mut Criterion,
    signal: &str,
    items: &[T],
    encoder: impl Fn(Protocol) -> Box<dyn Encode<T>>,
) {
    let mut group = criterion.benchmark_group(format!("otlp {signal}"));
    for (name, protocol) in PROTOCOLS {
        let (encoder, mut body) = (encoder(protocol), BytesMut::new());
        encoder.encode(items, &mut body).unwrap();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("512 items, {name}"), |bencher| {
            bencher.iter(|| {
                body.clear();
                encoder.encode(black_box(items), &mut body).unwrap();
            });
        });
    }
    group.finish();
}

fn logs(criterion: &mut Criterion) {
    let record = |n: u64| {
        LogRecord::new(format!("GET /basket/{n} 200 in 3 ms"))
            .severity(Severity::Info)
            .attribute("http.request.method", "GET")
            .attribute("http.response.status_code", 200_i64)
    };
    let records: Vec<_> = (0..ITEMS).map(record).collect();
    encode(criterion, "logs", &records, |protocol| {
        Box::new(LogsEncoder::builder().resource(resource()).protocol(protocol).build().unwrap())
    });
}

fn metrics(criterion: &mut Criterion) {
    let metric = |n: u64| {
        let points = (0..4).map(|point| NumberPoint::new(NOW + point, n as f64));
        Metric::new(format!("process.metric.{n}"), MetricData::Gauge(points.collect()))
    };
    let metrics: Vec<_> = (0..ITEMS).map(metric).collect();
    encode(criterion, "metrics", &metrics, |protocol| {
        Box::new(MetricsEncoder::builder().resource(resource()).protocol(protocol).build().unwrap())
    });
}

fn traces(criterion: &mut Criterion) {
    let span = |n: u64| {
        let trace = (u128::from(n) + 1).to_be_bytes();
        Span::new(trace, (n + 1).to_be_bytes(), "GET /basket/{id}").attribute("http.request.method", "GET")
    };
    let spans: Vec<_> = (0..ITEMS).map(span).collect();
    encode(criterion, "traces", &spans, |protocol| {
        Box::new(TracesEncoder::builder().resource(resource()).protocol(protocol).build().unwrap())
    });
}

criterion_group!(otlp, logs, metrics, traces);
criterion_main!(otlp);
