//! The processors for the OpenTelemetry SDK, against the Collector.

use crate::{collector::Collector, normal};
use forebay::{
    export::Exporter,
    otlp::{
        Protocol, Signal,
        sdk::{ForebayLogProcessor, ForebayMetricExporter, ForebaySpanProcessor},
    },
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry::{
    KeyValue,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    metrics::MeterProvider as _,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use opentelemetry_sdk::{Resource, logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider};

#[tokio::test]
async fn logs_and_spans() {
    for protocol in Protocol::ALL {
        let collector = Collector::started(&format!("sdk-{}", protocol.as_str().replace('/', "-"))).await;
        let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build();
        let client = Client::builder(TokioExecutor::new()).http2_only(protocol == Protocol::Grpc).build_http();

        let exporter = Exporter::builder().endpoint(&collector.url_for(protocol, Signal::Logs)).client(client.clone());
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(ForebayLogProcessor::builder(exporter).protocol(protocol).build().unwrap())
            .build();
        let exporter =
            Exporter::builder().endpoint(&collector.url_for(protocol, Signal::Traces)).client(client.clone());
        let traces = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(ForebaySpanProcessor::builder(exporter).protocol(protocol).build().unwrap())
            .build();

        let exporter = Exporter::builder().endpoint(&collector.url_for(protocol, Signal::Metrics)).client(client);
        let metrics = ForebayMetricExporter::builder(exporter).protocol(protocol).build().unwrap();
        let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
        let counter = metrics.meter("cart").u64_counter("puts").build();

        let (logger, tracer) = (logs.logger("cart"), traces.tracer("cart"));
        for number in 0..1_000 {
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Warn);
            record.set_body(AnyValue::Int(number));
            logger.emit(record);
            let mut span = tracer.start("put");
            span.set_attribute(KeyValue::new("number", number));
            span.end();
            counter.add(1, &[]);
        }
        // On the only thread of this runtime: what sends is elsewhere.
        logs.force_flush().unwrap();
        traces.force_flush().unwrap();
        metrics.force_flush().unwrap();

        let records = collector.wait_for(1_000, |collector| normal::logs(&collector.logs())).await;
        let spans = collector.wait_for(1_000, |collector| normal::spans(&collector.traces())).await;
        assert_eq!((records.len(), spans.len()), (1_000, 1_000));
        for (resource, scope, record) in &records {
            assert_eq!(
                (&*resource.attributes[0].key, &*scope.name, record.severity_number),
                ("service.name", "cart", 13)
            );
        }
        for (resource, scope, span) in &spans {
            assert_eq!((&*resource.attributes[0].key, &*scope.name, &*span.name), ("service.name", "cart", "put"));
        }
        let (.., puts) = collector.wait_for(1, |collector| normal::metrics(&collector.metrics())).await.remove(0);
        let Some(Data::Sum(sum)) = puts.data else { panic!("{puts:?}") };
        assert_eq!((&*puts.name, &sum.data_points[0].value), ("puts", &Some(Number::AsInt(1_000))));
        metrics.shutdown().unwrap();
        logs.shutdown().unwrap();
        traces.shutdown().unwrap();
        println!("SDK {protocol}: 1000 log records, 1000 spans and a metric");
    }
}
