use crate::support::{exporter, flat_spans, received_spans, receiver};
use forebay_otlp::{Protocol, sdk::ForebaySpanProcessor};
use forebay_testkit::receiver::Fault;
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceState, Tracer, TracerProvider},
};
use opentelemetry_proto::transform::{
    common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
};
use opentelemetry_sdk::{
    Resource,
    trace::{InMemorySpanExporter, Sampler, SdkTracerProvider},
};
use std::time::{Duration, SystemTime};

/// Spans with every field and every kind of value, of two scopes.
fn end_all_kinds(provider: &SdkTracerProvider) {
    let scope = InstrumentationScope::builder("shop")
        .with_version("1.2.3")
        .with_schema_url("https://opentelemetry.io/schemas/1.30.0")
        .with_attributes([KeyValue::new("team", "checkout")])
        .build();
    let tracers = [provider.tracer_with_scope(scope), provider.tracer("warehouse")];
    let state = TraceState::from_key_value([("vendor", "x")]).unwrap();
    let remote = SpanContext::new(TraceId::from(5), SpanId::from(6), TraceFlags::SAMPLED, true, state);
    let values = [
        Value::Bool(true),
        Value::I64(-1),
        Value::F64(0.1),
        "grüße\n".into(),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(Array::I64(vec![1, i64::MAX])),
        Value::Array(Array::F64(vec![])),
        Value::Array(Array::String(vec!["a".into(), "b".into()])),
    ];
    let attributes =
        || values.iter().enumerate().map(|(place, value)| KeyValue::new(format!("{place}"), value.clone()));
    let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal];
    for (place, kind) in kinds.into_iter().enumerate() {
        let parent = match place {
            0 => opentelemetry::Context::new(),
            _ => opentelemetry::Context::new().with_remote_span_context(remote.clone()),
        };
        let tracer = &tracers[place % 2];
        let mut span = tracer.build_with_context(
            tracer.span_builder(format!("span {place}")).with_kind(kind).with_attributes(attributes()),
            &parent,
        );
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 7);
        span.add_event_with_timestamp("event", at, attributes().collect());
        span.add_event("bare", vec![]);
        span.add_link(remote.clone(), vec![KeyValue::new("why", "because")]);
        span.set_status(match place {
            0 => Status::Unset,
            1 => Status::Ok,
            _ => Status::error("broken"),
        });
        span.end_with_timestamp(at + Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_span_arrives_as_the_exporter_of_the_sdk_would_have_written_it() {
    for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
        let receiver = receiver([]).await;
        let reference = InMemorySpanExporter::default();
        let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build();
        let processor = ForebaySpanProcessor::builder(exporter(&receiver, "/v1/traces")).protocol(protocol);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_max_events_per_span(1)
            .with_max_attributes_per_span(7)
            .with_span_processor(processor.build().unwrap())
            .with_simple_exporter(reference.clone())
            .build();

        end_all_kinds(&provider);
        provider.force_flush().unwrap();

        let spans = reference.get_finished_spans().unwrap();
        let expected = group_spans_by_resource_and_scope(spans, &ResourceAttributesWithSchema::from(&resource));
        let expected = flat_spans(&expected);
        assert_eq!(expected.len(), 5);
        assert!(expected.iter().any(|(.., span)| span.dropped_events_count == 1 && span.dropped_attributes_count == 1));
        assert_eq!(received_spans(&receiver), expected, "{protocol}");
        provider.shutdown().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_span_that_is_not_sampled_is_not_sent_and_a_flush_waits_for_the_others() {
    let receiver = receiver([Fault::Slow { by: Duration::from_millis(100) }]).await;
    let build = |sampler| {
        let processor = ForebaySpanProcessor::builder(exporter(&receiver, "/v1/traces")).build().unwrap();
        SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(processor).build()
    };
    let (off, on) = (build(Sampler::AlwaysOff), build(Sampler::AlwaysOn));
    off.tracer("").start("off").end();
    on.tracer("").start("on").end();
    off.force_flush().unwrap();
    on.force_flush().unwrap();
    let names: Vec<_> = received_spans(&receiver).into_iter().map(|(.., span)| span.name).collect();
    assert_eq!(names, ["on"]);
}
