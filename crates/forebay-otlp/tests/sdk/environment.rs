//! The three drop-ins, set up by the `OTEL_*` variables alone.

use crate::support::{Http, receiver};
use forebay_export::{Exporter, ExporterBuilder};
use forebay_otlp::{
    ExporterBuilderExt, LogRecord, LogsEncoder, Signal,
    sdk::{ForebayLogProcessor, ForebayMetricExporter, ForebaySpanProcessor},
};
use forebay_testkit::receiver::{Payload, proto::metrics::v1::metric::Data};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry::{
    logs::{LogRecord as _, Logger as _, LoggerProvider as _},
    metrics::MeterProvider as _,
    trace::{Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    logs::SdkLoggerProvider,
    metrics::{SdkMeterProvider, Temporality, exporter::PushMetricExporter},
    trace::SdkTracerProvider,
};

fn exporter<T>() -> ExporterBuilder<T, (), Http> {
    Exporter::builder().client(Client::builder(TokioExecutor::new()).build_http())
}

fn variables(endpoint: &str) -> impl Fn(&str) -> Option<String> + Clone + use<> {
    let endpoint = endpoint.to_owned();
    move |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("http/json".to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("api-key=k%20ey".to_owned()),
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION" => Some("gzip".to_owned()),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" => Some("Delta".to_owned()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_drop_in_is_one_line_from_the_environment() {
    let receiver = receiver([]).await;
    let vars = variables(&receiver.endpoint().to_string());
    let logs = ForebayLogProcessor::builder(exporter()).environment_of(&vars).unwrap().build().unwrap();
    let spans = ForebaySpanProcessor::builder(exporter()).environment_of(&vars).unwrap().build().unwrap();
    let metrics = ForebayMetricExporter::builder(exporter()).environment_of(&vars).unwrap().build().unwrap();
    assert_eq!(metrics.temporality(), Temporality::Delta);

    let logs = SdkLoggerProvider::builder().with_log_processor(logs).build();
    let logger = logs.logger("shop");
    let mut record = logger.create_log_record();
    record.set_body("paid".into());
    logger.emit(record);
    let spans = SdkTracerProvider::builder().with_span_processor(spans).build();
    spans.tracer("shop").in_span("pay", |_| {});
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
    metrics.meter("shop").u64_counter("payments").build().add(1, &[]);
    tokio::task::spawn_blocking(move || {
        logs.force_flush().unwrap();
        spans.force_flush().unwrap();
        metrics.force_flush().unwrap();
    })
    .await
    .unwrap();

    let mut paths = Vec::new();
    for request in receiver.requests() {
        assert_eq!(request.header("api-key"), Some("k ey"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let gzip = request.path() == "/v1/traces";
        assert_eq!(request.content_encoding() == "gzip", gzip, "{}", request.path());
        if let Some(Payload::Metrics(metrics)) = request.accepted.as_deref() {
            let metric = &metrics.resource_metrics[0].scope_metrics[0].metrics[0];
            assert!(matches!(metric.data.as_ref().unwrap(), Data::Sum(sum) if sum.aggregation_temporality == 1));
        }
        paths.push(request.path().to_owned());
    }
    paths.sort();
    assert_eq!(paths, ["/v1/logs", "/v1/metrics", "/v1/traces"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_is_set_up_in_one_call_and_its_encoder_too() {
    let receiver = receiver([]).await;
    let vars = variables(&receiver.endpoint().to_string());
    let exporter = exporter::<LogRecord>()
        .environment_of(Signal::Logs, &vars)
        .unwrap()
        .encoder(LogsEncoder::builder().environment_of(&vars).unwrap().build().unwrap())
        .build()
        .unwrap();
    exporter.emit(LogRecord::new("paid"));
    exporter.flush().await;
    let requests = receiver.requests();
    assert_eq!((requests.len(), requests[0].path()), (1, "/v1/logs"));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].header("api-key"), Some("k ey"));
}

#[test]
fn without_a_variable_it_is_a_collector_on_this_machine_and_a_wrong_endpoint_is_an_error() {
    let endpoint = |vars: &[(&str, &str)], signal| {
        let vars = vars.iter().map(|(name, value)| (format!("OTEL_EXPORTER_OTLP_{name}"), (*value).to_owned()));
        let vars: std::collections::HashMap<_, _> = vars.collect();
        let builder = exporter::<LogRecord>().environment_of(signal, |name| vars.get(name).cloned());
        builder.map(|builder| format!("{builder:?}")).map_err(|error| error.to_string())
    };
    assert!(endpoint(&[], Signal::Metrics).unwrap().contains("http://localhost:4318/v1/metrics"));
    assert!(endpoint(&[("PROTOCOL", "grpc")], Signal::Logs).unwrap().contains("http://localhost:4317"));
    let wrong = endpoint(&[("ENDPOINT", "localhost:4318")], Signal::Logs).unwrap_err();
    assert!(wrong.starts_with("`OTEL_EXPORTER_OTLP_ENDPOINT`"), "{wrong}");
}

/// "Enum values SHOULD be interpreted in a case-insensitive manner", and one that is not known is ignored.
#[tokio::test]
async fn f11_the_temporality_is_read_as_the_specification_says() {
    for (value, expected) in [
        ("", Temporality::Cumulative),
        (" ", Temporality::Cumulative),
        ("cumulative", Temporality::Cumulative),
        ("Cumulative", Temporality::Cumulative),
        ("DELTA", Temporality::Delta),
        ("LowMemory", Temporality::LowMemory),
        ("gauge", Temporality::Cumulative),
        ("1", Temporality::Cumulative),
    ] {
        let vars = |name: &str| (name == "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE").then(|| value.to_owned());
        let metrics = ForebayMetricExporter::builder(exporter()).environment_of(vars).unwrap().build().unwrap();
        assert_eq!(metrics.temporality(), expected, "{value:?}");
    }
}
