//! Fields may be written in any order, and more than once: both encodings then mean the same, and JSON stays valid.

use crate::any::{
    self,
    values::{Doubles, small, text, value},
};
use bytes::BytesMut;
use forebay_export::Encode;
use forebay_otlp::{
    AsLogRecord, AsSpan, AttributesWriter, KeyValue, LogRecord, LogRecordWriter, LogsEncoder, Protocol, Span,
    SpanEvent, SpanEventWriter, SpanLink, SpanLinkWriter, SpanWriter, TracesEncoder,
};
use opentelemetry_proto::tonic::collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest};
use proptest::{collection::vec, prelude::*};
use prost::Message;
use std::borrow::Cow;

type Text = Cow<'static, str>;

/// One call of a writer of log records.
#[derive(Clone, Debug)]
enum LogCall {
    Time(u64),
    SeverityText(Text),
    Body(Text),
    Attribute(KeyValue),
    Dropped(u32),
    Flags(u32),
    TraceId([u8; 16]),
    EventName(Text),
}

/// One call of a writer of spans, its events and links.
#[derive(Clone, Debug)]
enum SpanCall {
    Name(Text),
    Attribute(KeyValue),
    Event(Vec<EventCall>),
    DroppedEvents(u32),
    Link(Vec<KeyValue>, [u8; 8], Vec<KeyValue>),
    Flags(u32),
}

#[derive(Clone, Debug)]
enum EventCall {
    Name(Text),
    Attribute(KeyValue),
    Dropped(u32),
}

fn attribute() -> impl Strategy<Value = KeyValue> {
    (text(), value(Doubles::Finite)).prop_map(|(key, value)| KeyValue::new(key, value))
}

fn log_call() -> impl Strategy<Value = LogCall> {
    prop_oneof![
        4 => attribute().prop_map(LogCall::Attribute),
        1 => any::<u64>().prop_map(LogCall::Time),
        1 => text().prop_map(LogCall::SeverityText),
        1 => text().prop_map(LogCall::Body),
        1 => small().prop_map(LogCall::Dropped),
        1 => small().prop_map(LogCall::Flags),
        1 => any::<[u8; 16]>().prop_map(LogCall::TraceId),
        1 => text().prop_map(LogCall::EventName),
    ]
}

fn event_call() -> impl Strategy<Value = EventCall> {
    prop_oneof![
        1 => text().prop_map(EventCall::Name),
        3 => attribute().prop_map(EventCall::Attribute),
        1 => small().prop_map(EventCall::Dropped),
    ]
}

fn span_call() -> impl Strategy<Value = SpanCall> {
    prop_oneof![
        1 => text().prop_map(SpanCall::Name),
        3 => attribute().prop_map(SpanCall::Attribute),
        3 => vec(event_call(), 0..6).prop_map(SpanCall::Event),
        1 => small().prop_map(SpanCall::DroppedEvents),
        3 => (vec(attribute(), 0..3), any::<[u8; 8]>(), vec(attribute(), 0..3))
            .prop_map(|(before, id, after)| SpanCall::Link(before, id, after)),
        1 => small().prop_map(SpanCall::Flags),
    ]
}

struct Log(Vec<LogCall>);

impl AsLogRecord for Log {
    fn record<W: LogRecordWriter>(&self, w: &mut W) {
        for call in &self.0 {
            match call {
                LogCall::Time(nanos) => w.time_unix_nano(*nanos),
                LogCall::SeverityText(text) => w.severity_text(text),
                LogCall::Body(text) => w.body(text),
                LogCall::Attribute(kv) => w.attribute(&kv.key, &kv.value),
                LogCall::Dropped(count) => w.dropped_attributes_count(*count),
                LogCall::Flags(flags) => w.flags(*flags),
                LogCall::TraceId(id) => w.trace_id(*id),
                LogCall::EventName(name) => w.event_name(name),
            }
        }
    }
}

impl Log {
    /// The first of each, and all attributes.
    fn plain(&self) -> LogRecord {
        let mut record = LogRecord::default();
        for call in self.0.iter().rev() {
            match call.clone() {
                LogCall::Time(nanos) => record.time_unix_nano = nanos,
                LogCall::SeverityText(text) => record.severity_text = text,
                LogCall::Body(text) => record.body = Some(text.into()),
                LogCall::Attribute(kv) => record.attributes.insert(0, kv),
                LogCall::Dropped(count) => record.dropped_attributes_count = count,
                LogCall::Flags(flags) => record.flags = flags,
                LogCall::TraceId(id) => record.trace_id = id,
                LogCall::EventName(name) => record.event_name = name,
            }
        }
        record
    }
}

struct Trace(Vec<SpanCall>);

impl AsSpan for Trace {
    fn span<W: SpanWriter>(&self, w: &mut W) {
        for call in &self.0 {
            match call {
                SpanCall::Name(name) => w.name(name),
                SpanCall::Attribute(kv) => w.attribute(&kv.key, &kv.value),
                SpanCall::Event(calls) => w.event(|w| {
                    for call in calls {
                        match call {
                            EventCall::Name(name) => w.name(name),
                            EventCall::Attribute(kv) => w.attribute(&kv.key, &kv.value),
                            EventCall::Dropped(count) => w.dropped_attributes_count(*count),
                        }
                    }
                }),
                SpanCall::DroppedEvents(count) => w.dropped_events_count(*count),
                SpanCall::Link(before, id, after) => w.link(|w| {
                    before.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
                    w.span_id(*id);
                    after.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
                }),
                SpanCall::Flags(flags) => w.flags(*flags),
            }
        }
    }
}

impl Trace {
    fn plain(&self) -> Span {
        let mut span = Span::default();
        for call in self.0.iter().rev() {
            match call.clone() {
                SpanCall::Name(name) => span.name = name,
                SpanCall::Attribute(kv) => span.attributes.insert(0, kv),
                SpanCall::Event(calls) => span.events.insert(0, plain_event(&calls)),
                SpanCall::DroppedEvents(count) => span.dropped_events_count = count,
                SpanCall::Link(before, id, after) => {
                    let mut link = SpanLink::new([0; 16], id);
                    link.attributes = [before, after].concat();
                    span.links.insert(0, link);
                }
                SpanCall::Flags(flags) => span.flags = flags,
            }
        }
        span
    }
}

fn plain_event(calls: &[EventCall]) -> SpanEvent {
    let mut event = SpanEvent::default();
    for call in calls.iter().rev() {
        match call.clone() {
            EventCall::Name(name) => event.name = name,
            EventCall::Attribute(kv) => event.attributes.insert(0, kv),
            EventCall::Dropped(count) => event.dropped_attributes_count = count,
        }
    }
    event
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_log_record_written_in_any_order_is_the_same(calls in vec(vec(log_call(), 0..12), 1..4)) {
        let items: Vec<Log> = calls.into_iter().map(Log).collect();
        let expected = any::logs::proto_request(&items.iter().map(Log::plain).collect::<Vec<_>>());
        let [mut protobuf, mut json] = [BytesMut::new(), BytesMut::new()];
        LogsEncoder::builder().build().unwrap().encode(&items, &mut protobuf).unwrap();
        LogsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap().encode(&items, &mut json).unwrap();
        prop_assert_eq!(&ExportLogsServiceRequest::decode(protobuf).unwrap(), &expected);
        prop_assert_eq!(&serde_json::from_slice::<ExportLogsServiceRequest>(&json).unwrap(), &expected);
    }

    #[test]
    fn a_span_written_in_any_order_is_the_same(calls in vec(vec(span_call(), 0..14), 1..3)) {
        let items: Vec<Trace> = calls.into_iter().map(Trace).collect();
        let expected = any::traces::proto_request(&items.iter().map(Trace::plain).collect::<Vec<_>>());
        let [mut protobuf, mut json] = [BytesMut::new(), BytesMut::new()];
        TracesEncoder::builder().build().unwrap().encode(&items, &mut protobuf).unwrap();
        TracesEncoder::builder().protocol(Protocol::HttpJson).build().unwrap().encode(&items, &mut json).unwrap();
        prop_assert_eq!(&ExportTraceServiceRequest::decode(protobuf).unwrap(), &expected);
        prop_assert_eq!(&serde_json::from_slice::<ExportTraceServiceRequest>(&json).unwrap(), &expected);
    }
}
