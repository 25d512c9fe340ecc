use crate::support::exporter_to;
use forebay_export::ByteBudget;
use forebay_otlp::sdk::{ForebayLogProcessor, ForebayMetricExporter, ForebaySpanProcessor};
use opentelemetry::{
    logs::{LogRecord as _, Logger, LoggerProvider},
    metrics::MeterProvider,
    trace::{Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    logs::SdkLoggerProvider,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::SdkTracerProvider,
};
use std::time::Duration;

/// The server is away, so that all three signals fill up.
#[test]
fn e06_logs_spans_and_metrics_of_a_program_keep_one_limit() {
    const BUDGET: usize = 20_000;
    let budget = ByteBudget::new(BUDGET).unwrap();
    let url = "http://127.0.0.1:9/v1/any";
    let logs = ForebayLogProcessor::builder(exporter_to(url).byte_budget(&budget)).build().unwrap();
    let spans = ForebaySpanProcessor::builder(exporter_to(url).byte_budget(&budget)).build().unwrap();
    let metrics = ForebayMetricExporter::builder(exporter_to(url).byte_budget(&budget)).build().unwrap();
    let logs = SdkLoggerProvider::builder().with_log_processor(logs).build();
    let spans = SdkTracerProvider::builder().with_span_processor(spans).build();
    let reader = PeriodicReader::builder(metrics).with_interval(Duration::from_secs(3600)).build();
    let metrics = SdkMeterProvider::builder().with_reader(reader).build();
    let (logger, tracer, counter) =
        (logs.logger("shop"), spans.tracer("shop"), metrics.meter("shop").u64_counter("orders").build());

    let mut most = 0;
    for _ in 0..300 {
        let mut record = logger.create_log_record();
        record.set_body("x".repeat(50).into());
        logger.emit(record);
        tracer.start("an order");
        counter.add(1, &[]);
        most = most.max(budget.bytes());
    }
    assert!(most <= BUDGET && most > BUDGET / 2, "{most} bytes");
    assert!(budget.bytes() > 0, "nothing was delivered");
    // What was lost is named, and what was held is free.
    let _lost = (logs.shutdown_with_timeout(Duration::ZERO), spans.shutdown_with_timeout(Duration::ZERO));
    let _lost = metrics.shutdown_with_timeout(Duration::ZERO);
    drop((logger, tracer, counter, logs, spans, metrics));
    assert_eq!(budget.bytes(), 0);
}
