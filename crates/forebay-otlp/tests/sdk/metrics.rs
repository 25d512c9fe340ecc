use crate::support::{exporter, receiver};
use forebay_export::ExporterBuilder;
use forebay_intake::Limits;
use forebay_otlp::{
    Protocol,
    sdk::{ForebayMetricExporter, SdkMetric},
};
use forebay_retry::Backoff;
use forebay_testkit::receiver::{
    Fault, Payload, Receiver,
    proto::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point::Value as Number},
    },
};
use http::StatusCode;
use opentelemetry::{InstrumentationScope, KeyValue, metrics::MeterProvider as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        Aggregation, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality, data::ResourceMetrics,
        exporter::PushMetricExporter,
    },
};
use std::{
    iter,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What opentelemetry-otlp would have sent.
#[derive(Clone, Debug, Default)]
struct Reference {
    temporality: Temporality,
    requests: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

impl PushMetricExporter for Reference {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.requests.lock().unwrap().push(metrics.into());
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}

/// Keeps the errors of exports, which the reader of the SDK only logs.
struct Reported(ForebayMetricExporter, Arc<Mutex<Vec<String>>>);

impl PushMetricExporter for Reported {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.0.export(metrics).await;
        self.1.lock().unwrap().push(result.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned()));
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}

fn reader<E: PushMetricExporter>(exporter: E) -> PeriodicReader<E> {
    // Only a flush collects.
    PeriodicReader::builder(exporter).with_interval(Duration::from_secs(3600)).build()
}

/// Fails soon: after one retry of its own.
fn impatient(receiver: &Receiver) -> ExporterBuilder<SdkMetric, (), crate::support::Http> {
    let exporter = exporter(receiver, "/v1/metrics")
        .retry(|retry| retry.max_retries(1).backoff(Backoff::constant(Duration::from_millis(1))).without_budget());
    exporter.breaker(|breaker| breaker.trip(forebay_breaker::Trip::consecutive(1_000)))
}

fn refused(times: usize) -> impl Iterator<Item = Fault> {
    iter::repeat_n(Fault::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Vec::new() }, times)
}

fn metrics(receiver: &Receiver) -> Vec<Metric> {
    let mut all = Vec::new();
    for request in receiver.requests() {
        if let Some(Payload::Metrics(metrics)) = request.accepted.as_deref() {
            all.extend(flat(metrics));
        }
    }
    all
}

fn flat(request: &ExportMetricsServiceRequest) -> impl Iterator<Item = Metric> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).cloned()
}

fn numbers(metric: &Metric) -> Vec<(NumberDataPoint, i64)> {
    let points = match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => &sum.data_points,
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    };
    let value = |point: &NumberDataPoint| match point.value {
        Some(Number::AsInt(value)) => value,
        other => panic!("{other:?}"),
    };
    points.iter().map(|point| (point.clone(), value(point))).collect()
}

/// The request without its times, which differ between two readers, and in an order of its own.
fn timeless(mut request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    for resource in &mut request.resource_metrics {
        if let Some(resource) = &mut resource.resource {
            resource.attributes.sort_by(|one, other| one.key.cmp(&other.key));
        }
        resource.scope_metrics.sort_by_key(|scope| format!("{:?}", scope.scope));
        for metric in resource.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
            macro_rules! clear {
                ($data:expr) => {{
                    for point in &mut $data.data_points {
                        (point.start_time_unix_nano, point.time_unix_nano) = (0, 0);
                        point.attributes.sort_by(|one, other| one.key.cmp(&other.key));
                    }
                    $data.data_points.sort_by_key(|point| format!("{:?}", point.attributes));
                }};
            }
            match metric.data.as_mut().unwrap() {
                Data::Gauge(gauge) => clear!(gauge),
                Data::Sum(sum) => clear!(sum),
                Data::Histogram(histogram) => clear!(histogram),
                Data::ExponentialHistogram(histogram) => clear!(histogram),
                Data::Summary(_) => {}
            }
        }
    }
    request
}

fn record_all_kinds(provider: &SdkMeterProvider) {
    let scope = InstrumentationScope::builder("shop")
        .with_version("1.2.3")
        .with_attributes([KeyValue::new("team", "checkout")])
        .build();
    for meter in [provider.meter_with_scope(scope), provider.meter("warehouse")] {
        let pairs = [KeyValue::new("path", "/"), KeyValue::new("status", 200), KeyValue::new("ok", true)];
        for attributes in [&pairs[..], &pairs[..1], &[]] {
            meter.u64_counter("u64_counter").with_unit("1").with_description("counts").build().add(7, attributes);
            meter.f64_counter("f64_counter").build().add(0.1, attributes);
            meter.i64_up_down_counter("up_and_down").build().add(-3, attributes);
            meter.f64_gauge("gauge").build().record(-0.5, attributes);
            meter.i64_gauge("whole_gauge").build().record(i64::MIN, attributes);
            for value in [0.5, 7.0, 12_000.0] {
                meter.f64_histogram("histogram").build().record(value, attributes);
                meter.u64_histogram("exponential").build().record(value as u64, attributes);
            }
        }
        let observed = [KeyValue::new("seen", "by callback")];
        meter.u64_observable_counter("observed").with_callback(move |it| it.observe(11, &observed)).build();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_metric_arrives_as_the_exporter_of_the_sdk_would_have_written_it() {
    for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
        for temporality in [Temporality::Cumulative, Temporality::Delta] {
            let receiver = receiver([]).await;
            let ours = ForebayMetricExporter::builder(exporter(&receiver, "/v1/metrics"));
            let ours = ours.protocol(protocol).temporality(temporality).build().unwrap();
            let reference = Reference { temporality, ..Reference::default() };
            let exponential = |instrument: &Instrument| {
                let aggregation =
                    Aggregation::Base2ExponentialHistogram { max_size: 20, max_scale: 20, record_min_max: true };
                let stream = Stream::builder().with_aggregation(aggregation);
                (instrument.name() == "exponential").then(|| stream.build().unwrap())
            };
            let provider = SdkMeterProvider::builder()
                .with_resource(Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build())
                .with_reader(reader(ours))
                .with_reader(reader(reference.clone()))
                .with_view(exponential)
                .build();
            record_all_kinds(&provider);
            provider.force_flush().unwrap();

            let expected: Vec<_> = reference.requests.lock().unwrap().drain(..).map(timeless).collect();
            let found: Vec<_> = receiver
                .requests()
                .iter()
                .filter_map(|request| match request.accepted.as_deref() {
                    Some(Payload::Metrics(metrics)) => Some(timeless(metrics.clone())),
                    _ => None,
                })
                .collect();
            assert_eq!(found, expected, "{protocol} {temporality:?}");
            assert_eq!(flat(&expected[0]).count(), 16);
            provider.shutdown().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failed_delta_is_part_of_the_next_and_a_failed_gauge_is_kept() {
    let receiver = receiver(refused(2 * 3)).await;
    let ours = ForebayMetricExporter::builder(impatient(&receiver)).temporality(Temporality::Delta).build().unwrap();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let provider = SdkMeterProvider::builder().with_reader(reader(Reported(ours, Arc::clone(&reported)))).build();
    let meter = provider.meter("shop");
    let (orders, level) = (meter.u64_counter("orders").build(), meter.i64_gauge("level").build());

    orders.add(1, &[KeyValue::new("kind", "a")]);
    level.record(40, &[]);
    provider.force_flush().unwrap_err();
    let error = reported.lock().unwrap().pop().unwrap();
    assert!(error.contains("2 of 2 metrics were not delivered") && error.contains("2 are kept"), "{error}");
    orders.add(10, &[KeyValue::new("kind", "a")]);
    orders.add(100, &[KeyValue::new("kind", "b")]);
    provider.force_flush().unwrap_err();
    orders.add(0, &[KeyValue::new("kind", "b")]);
    provider.force_flush().unwrap_err();
    orders.add(1_000, &[KeyValue::new("kind", "a")]);
    provider.force_flush().unwrap();

    let mut all = metrics(&receiver);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(all.iter().map(|metric| &*metric.name).collect::<Vec<_>>(), ["level", "orders"]);
    assert_eq!(numbers(&all[0]).iter().map(|(_, value)| *value).collect::<Vec<_>>(), [40]);
    let mut points = numbers(&all[1]);
    points.sort_by_key(|(_, value)| *value);
    assert_eq!(points.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [100, 1_011]);
    let Some(Data::Sum(sum)) = &all[1].data else { panic!() };
    assert_eq!(sum.aggregation_temporality, 1, "delta");

    // What was delivered is not sent again, and the next window begins where the last one ended.
    orders.add(5, &[KeyValue::new("kind", "a")]);
    provider.force_flush().unwrap();
    let last = numbers(metrics(&receiver).last().unwrap());
    assert_eq!(last.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [5]);
    assert!(last[0].0.start_time_unix_nano >= points[1].0.time_unix_nano);
    provider.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_kept_is_sent_by_a_shutdown_at_the_latest() {
    let receiver = receiver(refused(2)).await;
    let ours = ForebayMetricExporter::builder(impatient(&receiver)).temporality(Temporality::Delta).build().unwrap();
    let provider = SdkMeterProvider::builder().with_reader(reader(ours)).build();
    provider.meter("shop").u64_counter("orders").build().add(9, &[]);
    provider.force_flush().unwrap_err();
    assert!(metrics(&receiver).is_empty());
    // Nothing was recorded since, so the SDK exports nothing.
    provider.shutdown().unwrap();
    assert_eq!(numbers(&metrics(&receiver)[0])[0].1, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failed_cumulative_point_is_replaced_and_a_refused_one_is_let_go() {
    let bad = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: Vec::new() };
    let receiver = receiver(refused(2).chain([bad])).await;
    let ours = ForebayMetricExporter::builder(impatient(&receiver)).build().unwrap();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let provider = SdkMeterProvider::builder().with_reader(reader(Reported(ours, Arc::clone(&reported)))).build();
    let orders = provider.meter("shop").u64_counter("orders").build();

    for kept in ["; 1 are kept", "; 0 are kept"] {
        orders.add(1, &[]);
        provider.force_flush().unwrap_err();
        let error = reported.lock().unwrap().pop().unwrap();
        assert!(error.contains(kept), "{error}");
    }
    orders.add(1, &[]);
    provider.force_flush().unwrap();
    let all = metrics(&receiver);
    assert_eq!(all.len(), 1);
    assert_eq!(numbers(&all[0]).iter().map(|(_, value)| *value).collect::<Vec<_>>(), [3]);
    provider.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn f17_what_is_kept_for_the_next_export_is_bounded_by_bytes() {
    let receiver = receiver(refused(1_000)).await;
    let exporter = impatient(&receiver).limits(Limits::new().bytes(1 << 20));
    let ours = ForebayMetricExporter::builder(exporter).build().unwrap();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let provider = SdkMeterProvider::builder().with_reader(reader(Reported(ours, Arc::clone(&reported)))).build();
    let meter = provider.meter("shop");
    for at in 0..20 {
        let large = KeyValue::new("large", "x".repeat(100 << 10));
        meter.u64_counter(format!("counter{at}")).build().add(1, &[large]);
    }
    provider.force_flush().unwrap_err();
    let error = reported.lock().unwrap().pop().unwrap();
    // Of two megabytes, as many metrics as the queue may hold.
    assert!(error.contains("; 10 are kept"), "{error}");
    provider.shutdown().unwrap_err();
}
