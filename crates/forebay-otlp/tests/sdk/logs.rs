use crate::support::{exporter, exporter_to, flat_logs, received_logs, receiver};
use forebay_core::DropReason;
use forebay_export::Compression;
use forebay_intake::Limits;
use forebay_otlp::{
    Protocol,
    sdk::{ForebayLogProcessor, SdkLog},
};
use forebay_testkit::receiver::{Fault, proto::logs::v1::ResourceLogs};
use opentelemetry::{
    InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_proto::transform::{
    common::tonic::ResourceAttributesWithSchema, logs::tonic::group_logs_by_resource_and_scope,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider, SimpleLogProcessor},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// What opentelemetry-otlp would have sent.
#[derive(Clone, Debug, Default)]
struct Reference {
    resource: Arc<Mutex<ResourceAttributesWithSchema>>,
    logs: Arc<Mutex<Vec<ResourceLogs>>>,
}

impl LogExporter for Reference {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let resource = self.resource.lock().unwrap();
        self.logs.lock().unwrap().extend(group_logs_by_resource_and_scope(&batch, &resource));
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.resource.lock().unwrap() = resource.into();
    }
}

/// The provider owns its processors; this one is shared with the test.
#[derive(Debug)]
struct Shared(Arc<ForebayLogProcessor>);

impl LogProcessor for Shared {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

fn provider(processor: ForebayLogProcessor) -> (SdkLoggerProvider, Arc<ForebayLogProcessor>) {
    let processor = Arc::new(processor);
    (SdkLoggerProvider::builder().with_log_processor(Shared(Arc::clone(&processor))).build(), processor)
}

fn say(logger: &SdkLogger, body: impl Into<AnyValue>) {
    let mut record = logger.create_log_record();
    record.set_body(body.into());
    logger.emit(record);
}

/// Records with every field and every kind of value, of several scopes.
fn emit_all_kinds(provider: &SdkLoggerProvider) {
    let scope = InstrumentationScope::builder("shop")
        .with_version("1.2.3")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([KeyValue::new("team", "checkout"), KeyValue::new("tier", 1)])
        .build();
    let loggers = [provider.logger_with_scope(scope), provider.logger("warehouse"), provider.logger("")];
    let values: [AnyValue; 8] = [
        AnyValue::Int(i64::MIN),
        AnyValue::Double(0.1),
        AnyValue::String("grüße\u{1f600}\"\\\n".into()),
        AnyValue::Boolean(true),
        AnyValue::Bytes(Box::new(vec![0, 255, 128])),
        AnyValue::ListAny(Box::new(vec![AnyValue::Int(1), AnyValue::ListAny(Box::default()), "x".into()])),
        AnyValue::Map(Box::new(HashMap::from([(Key::new("inner"), AnyValue::Boolean(false))]))),
        AnyValue::String("".into()),
    ];
    for (place, value) in values.iter().enumerate() {
        for (number, logger) in loggers.iter().enumerate() {
            let mut record = logger.create_log_record();
            record.set_timestamp(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 1));
            record.set_body(value.clone());
            record.set_severity_number([Severity::Trace, Severity::Warn3, Severity::Fatal4][number]);
            record.set_severity_text("words");
            // More than the SDK keeps without an allocation.
            for (attribute, value) in values.iter().enumerate().take(place) {
                record.add_attribute(format!("key {attribute}"), value.clone());
            }
            match number {
                0 => record.set_target("shop::cart"),
                1 => record.set_target(format!("made up {place}")),
                _ => {}
            }
            if place % 2 == 0 {
                record.set_event_name("event");
                let flags = (place == 0).then_some(TraceFlags::SAMPLED);
                record.set_trace_context(TraceId::from(7_u128 << 64 | 9), SpanId::from(11), flags);
            }
            logger.emit(record);
        }
    }
    loggers[0].emit(loggers[0].create_log_record());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_record_arrives_as_the_exporter_of_the_sdk_would_have_written_it() {
    for (protocol, compression) in
        [(Protocol::HttpProtobuf, Compression::None), (Protocol::HttpJson, Compression::gzip())]
    {
        let receiver = receiver([]).await;
        let reference = Reference::default();
        let exporter = exporter(&receiver, "/v1/logs").compression(compression);
        let resource = Resource::builder_empty()
            .with_schema_url([KeyValue::new("service.name", "shop"), KeyValue::new("ports", 8080)], "https://a/1.30.0")
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(ForebayLogProcessor::builder(exporter).protocol(protocol).build().unwrap())
            // Behind it, so that it sees what is left of a record.
            .with_log_processor(SimpleLogProcessor::new(reference.clone()))
            .build();

        emit_all_kinds(&provider);
        provider.force_flush().unwrap();

        let expected = flat_logs(&reference.logs.lock().unwrap());
        assert_eq!(expected.len(), 25);
        assert_eq!(received_logs(&receiver), expected, "{protocol}");
        provider.shutdown().unwrap();
    }
}

#[tokio::test]
async fn a_flush_on_the_only_thread_of_a_runtime_comes_back() {
    // The receiver has a thread of its own, because this one is blocked while it responds.
    let (address, given) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let receiver = receiver([Fault::Slow { by: Duration::from_millis(200) }]).await;
            address.send(receiver.endpoint()).unwrap();
            while receiver.totals().accepted < 1_000 {
                tokio::task::yield_now().await;
            }
            receiver.logs().len()
        })
    });
    let url = format!("{}/v1/logs", given.recv().unwrap());
    let (provider, processor) = provider(ForebayLogProcessor::builder(exporter_to(&url)).build().unwrap());
    let logger = provider.logger("flush");
    (0..1_000).for_each(|number| say(&logger, number));

    provider.force_flush().unwrap();

    let totals = processor.totals();
    assert_eq!((totals.offered, totals.delivered, totals.pending), (1_000, 1_000, 0));
    assert_eq!(server.join().unwrap(), 1_000);
}

#[test]
fn without_a_runtime_a_shutdown_ends_by_its_deadline_and_names_what_was_lost() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/logs", silent.local_addr().unwrap());
    let exporter = exporter_to::<SdkLog>(&url).limits(Limits::new().items(50).soft_limit(1.0));
    let processor = ForebayLogProcessor::builder(exporter).flush_timeout(Duration::from_millis(50)).build().unwrap();
    let (provider, processor) = provider(processor);
    let logger = provider.logger("loss");
    (0..80).for_each(|number| say(&logger, number));

    let late = processor.force_flush().unwrap_err();
    assert!(matches!(late, OTelSdkError::Timeout(limit) if limit == Duration::from_millis(50)), "{late}");
    let start = Instant::now();
    let lost = processor.shutdown_with_timeout(Duration::from_millis(200)).unwrap_err();
    let took = start.elapsed();
    // Without the deadline it would not end at all. The rest is room for a machine that is busy.
    assert!(took < Duration::from_secs(2), "{took:?}");
    let named = format!("80 log records were dropped: {} (30), {} (50)", DropReason::Full, DropReason::Shutdown);
    assert!(lost.to_string().ends_with(&named), "{lost}");

    assert!(matches!(processor.shutdown(), Err(OTelSdkError::AlreadyShutdown)));
    say(&logger, "late");
    let totals = processor.totals();
    assert_eq!((totals.offered, totals.pending, totals.dropped.get(DropReason::Shutdown)), (81, 0, 51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_processor_that_takes_records_writes_the_same_and_leaves_them_empty() {
    for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
        let receiver = receiver([]).await;
        let (before, behind) = (Reference::default(), Reference::default());
        let taking = ForebayLogProcessor::taking(exporter(&receiver, "/v1/logs")).protocol(protocol).build().unwrap();
        let provider = SdkLoggerProvider::builder()
            .with_resource(Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build())
            .with_log_processor(SimpleLogProcessor::new(before.clone()))
            .with_log_processor(taking)
            .with_log_processor(Bodies(Arc::clone(&behind.logs)))
            .build();
        emit_all_kinds(&provider);
        provider.force_flush().unwrap();
        assert_eq!(received_logs(&receiver), flat_logs(&before.logs.lock().unwrap()), "{protocol}");
        assert_eq!(behind.logs.lock().unwrap().len(), 0, "a body was left");
        let deep = (0..40).fold(AnyValue::Int(1), |inner, _| AnyValue::ListAny(Box::new(vec![inner])));
        say(&provider.logger("deep"), deep);
        say(&provider.logger("deep"), "flat");
        let error = provider.force_flush().unwrap_err().to_string();
        assert!(error.contains(&format!("{} (1)", DropReason::Encode)), "{error}");
        assert_eq!(receiver.logs().len(), 26);
    }
}

/// Notes each record that has a body.
#[derive(Debug)]
struct Bodies(Arc<Mutex<Vec<ResourceLogs>>>);

impl LogProcessor for Bodies {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        if record.body().is_some() {
            self.0.lock().unwrap().push(ResourceLogs::default());
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_cannot_be_encoded_costs_only_itself_and_is_named() {
    let receiver = receiver([]).await;
    let processor = ForebayLogProcessor::builder(exporter(&receiver, "/v1/logs")).build().unwrap();
    let (provider, processor) = provider(processor);
    let logger = provider.logger("deep");
    let deep = (0..40).fold(AnyValue::Int(1), |inner, _| AnyValue::ListAny(Box::new(vec![inner])));
    say(&logger, "before");
    say(&logger, deep);
    say(&logger, "after");

    let error = provider.force_flush().unwrap_err().to_string();
    assert!(error.contains(&format!("1 log records were dropped: {} (1)", DropReason::Encode)), "{error}");
    provider.force_flush().unwrap();
    assert_eq!(processor.totals().delivered, 2);
    assert_eq!(receiver.logs().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_processor_that_is_only_dropped_sends_what_it_has() {
    let receiver = receiver([]).await;
    let exporter = exporter::<SdkLog>(&receiver, "/v1/logs").batching(forebay_batch::Batching::new());
    let processor = ForebayLogProcessor::builder(exporter).build().unwrap();
    let logger = SdkLoggerProvider::builder().build().logger("");
    let scope = InstrumentationScope::builder("dropped").build();
    (0..10).for_each(|_| processor.emit(&mut logger.create_log_record(), &scope));
    drop(processor);
    while receiver.totals().accepted < 10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn thousands_of_scopes_and_threads_mix_nothing_up() {
    let receiver = receiver([]).await;
    let processor = ForebayLogProcessor::builder(exporter(&receiver, "/v1/logs")).build().unwrap();
    let (provider, processor) = provider(processor);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let logger = provider.logger("mixed");
            std::thread::spawn(move || {
                for number in 0..1_500 {
                    let mut record = logger.create_log_record();
                    // More of them than are remembered by all together.
                    record.set_target(format!("target {thread} {number}"));
                    record.set_body(AnyValue::String(format!("body {thread} {number}").into()));
                    logger.emit(record);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    provider.force_flush().unwrap();

    assert_eq!(processor.totals().delivered, 6_000);
    let mut all = received_logs(&receiver);
    all.dedup();
    assert_eq!(all.len(), 6_000);
    for (_, _, scope, _, record) in all {
        let body = format!("{:?}", record.body);
        assert!(body.contains(&scope.name.replace("target", "body")), "{body} came from {}", scope.name);
    }
}
