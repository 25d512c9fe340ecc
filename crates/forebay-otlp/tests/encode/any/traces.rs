use super::values::{Doubles, attributes, id, proto_attributes, proto_id, small, text, unsigned};
use forebay_otlp::{Span, SpanEvent, SpanKind, SpanLink, SpanStatus, StatusCode};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{self as proto, span},
};
use proptest::{collection::vec, prelude::*};

fn event(doubles: Doubles) -> impl Strategy<Value = SpanEvent> {
    (unsigned(), text(), attributes(doubles), small()).prop_map(|(time, name, attributes, dropped)| {
        let mut event = SpanEvent::new(time, name);
        event.attributes = attributes;
        event.dropped_attributes_count = dropped;
        event
    })
}

fn link(doubles: Doubles) -> impl Strategy<Value = SpanLink> {
    (id(), id(), text(), attributes(doubles), small(), small()).prop_map(
        |(trace, span, state, attributes, dropped, flags)| {
            let mut link = SpanLink::new(trace, span);
            link.trace_state = state;
            link.attributes = attributes;
            link.dropped_attributes_count = dropped;
            link.flags = flags;
            link
        },
    )
}

fn status() -> impl Strategy<Value = SpanStatus> {
    let code = prop::sample::select(vec![StatusCode::Unset, StatusCode::Ok, StatusCode::Error]);
    (code, text()).prop_map(|(code, message)| SpanStatus { code, message })
}

fn kind() -> impl Strategy<Value = SpanKind> {
    use SpanKind::{Client, Consumer, Internal, Producer, Server, Unspecified};
    prop::sample::select(vec![Unspecified, Internal, Server, Client, Producer, Consumer])
}

pub(crate) fn span(doubles: Doubles) -> impl Strategy<Value = Span> {
    let fields = (
        (id(), id(), text(), id(), text(), kind(), unsigned(), unsigned()),
        (attributes(doubles), vec(event(doubles), 0..4), vec(link(doubles), 0..4)),
        (small(), small(), small(), small(), proptest::option::of(status())),
    );
    fields.prop_map(|(head, (attributes, events, links), tail)| {
        let mut span = Span::default();
        (span.trace_id, span.span_id, span.trace_state, span.parent_span_id, span.name, span.kind, ..) = head.clone();
        (.., span.start_time_unix_nano, span.end_time_unix_nano) = head;
        (span.attributes, span.events, span.links) = (attributes, events, links);
        (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count, ..) = tail.clone();
        (.., span.flags, span.status) = tail;
        span
    })
}

fn proto_event(event: &SpanEvent) -> span::Event {
    span::Event {
        time_unix_nano: event.time_unix_nano,
        name: event.name.to_string(),
        attributes: proto_attributes(&event.attributes),
        dropped_attributes_count: event.dropped_attributes_count,
    }
}

fn proto_link(link: &SpanLink) -> span::Link {
    span::Link {
        trace_id: proto_id(&link.trace_id),
        span_id: proto_id(&link.span_id),
        trace_state: link.trace_state.to_string(),
        attributes: proto_attributes(&link.attributes),
        dropped_attributes_count: link.dropped_attributes_count,
        flags: link.flags,
    }
}

pub(crate) fn proto_span(span: &Span) -> proto::Span {
    proto::Span {
        trace_id: proto_id(&span.trace_id),
        span_id: proto_id(&span.span_id),
        trace_state: span.trace_state.to_string(),
        parent_span_id: proto_id(&span.parent_span_id),
        flags: span.flags,
        name: span.name.to_string(),
        kind: span.kind.number().into(),
        start_time_unix_nano: span.start_time_unix_nano,
        end_time_unix_nano: span.end_time_unix_nano,
        attributes: proto_attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes_count,
        events: span.events.iter().map(proto_event).collect(),
        dropped_events_count: span.dropped_events_count,
        links: span.links.iter().map(proto_link).collect(),
        dropped_links_count: span.dropped_links_count,
        status: span
            .status
            .as_ref()
            .map(|status| proto::Status { message: status.message.to_string(), code: status.code.number().into() }),
    }
}

/// The request of an encoder without resource and scope.
pub(crate) fn proto_request(spans: &[Span]) -> ExportTraceServiceRequest {
    let scope_spans = vec![proto::ScopeSpans {
        scope: None,
        spans: spans.iter().map(proto_span).collect(),
        schema_url: String::new(),
    }];
    ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans { resource: None, scope_spans, schema_url: String::new() }],
    }
}
