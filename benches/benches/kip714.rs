//! The payloads of `forebay-kip714`, for comparing two commits: `cargo bench -p forebay-benches --bench kip714`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::BoxError;
use forebay_kip714::{
    GetTelemetrySubscriptionsResponse, InstanceId, Kip714Client, PushTelemetryResponse, TelemetryRequest,
    TelemetryResponse,
};
use forebay_otlp::{Metric, MetricData, NumberPoint};
use std::{
    future::{Ready, ready},
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    runtime::Builder,
    time::{advance, sleep},
};
use tower::service_fn;

/// Metrics of one payload.
const METRICS: u64 = 500;

const INTERVAL: Duration = Duration::from_secs(10);

/// A broker that wants the metrics under `prefix`, and takes each push.
fn broker(
    prefix: &'static str,
    pushes: Arc<AtomicU64>,
) -> impl FnMut(TelemetryRequest) -> Ready<Result<TelemetryResponse, BoxError>> + Clone + Send {
    move |request| {
        ready(Ok(match black_box(request) {
            TelemetryRequest::Push(_) => {
                pushes.fetch_add(1, Relaxed);
                TelemetryResponse::Push(PushTelemetryResponse::default())
            }
            _ => TelemetryResponse::GetSubscriptions(GetTelemetrySubscriptionsResponse {
                client_instance_id: InstanceId::from_bytes([7; 16]),
                subscription_id: 1,
                push_interval_ms: 10_000,
                telemetry_max_bytes: 1 << 20,
                requested_metrics: vec![prefix.to_owned()],
                ..Default::default()
            }),
        }))
    }
}

/// One push of all metrics: gathered, selected, encoded and taken. The interval before it is skipped.
fn push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kip714 push");
    group.throughput(Throughput::Elements(METRICS));
    for (name, prefix) in [("500 metrics, all wanted", "*"), ("500 metrics, a fifth wanted", "client.metric.1")] {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let pushes = Arc::<AtomicU64>::default();
        let client = runtime.block_on(async {
            let builder = Kip714Client::builder().seed(1).metrics(|out| {
                for n in 0..METRICS {
                    let point = NumberPoint::new(1_700_000_000_000_000_000, n as f64);
                    out.push(Metric::new(format!("client.metric.{n:03}"), MetricData::Gauge(vec![point])));
                }
            });
            let client = builder.build(service_fn(broker(prefix, Arc::clone(&pushes)))).unwrap();
            // Beyond the jitter of the first push.
            sleep(2 * INTERVAL).await;
            client
        });
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let before = pushes.load(Relaxed);
                runtime.block_on(async {
                    while pushes.load(Relaxed) == before {
                        advance(INTERVAL).await;
                    }
                });
            });
        });
        drop(client);
    }
    group.finish();
}

criterion_group!(kip714, push);
criterion_main!(kip714);
