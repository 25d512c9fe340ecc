use super::{AsSpan, SpanEventWriter, SpanKind, SpanLinkWriter, SpanWriter, StatusCode};
use crate::value::{AnyValue, KeyValue};
use std::borrow::Cow;

/// A span, owned.
///
/// ```
/// use forebay_otlp::{Span, SpanKind};
///
/// let span = Span::new([1; 16], [2; 8], "GET /orders").kind(SpanKind::Server).times(1_000, 2_500);
/// assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1_500);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: [u8; 16],
    /// Its own id.
    pub span_id: [u8; 8],
    /// The W3C `tracestate`; empty if there is none.
    pub trace_state: Cow<'static, str>,
    /// The id of its parent; all zeros mean none.
    pub parent_span_id: [u8; 8],
    /// The name of the operation.
    pub name: Cow<'static, str>,
    /// The relation to its parent and its children.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end_time_unix_nano: u64,
    /// Further attributes; their keys should differ.
    pub attributes: Vec<KeyValue>,
    /// The number of attributes that a limit dropped.
    pub dropped_attributes_count: u32,
    /// The events during the operation.
    pub events: Vec<SpanEvent>,
    /// The number of events that a limit dropped.
    pub dropped_events_count: u32,
    /// Links to related spans, of this trace or of others.
    pub links: Vec<SpanLink>,
    /// The number of links that a limit dropped.
    pub dropped_links_count: u32,
    /// How it ended.
    pub status: Option<SpanStatus>,
    /// See [`span_flags`](crate::span_flags).
    pub flags: u32,
}

/// An event of a span, owned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SpanEvent {
    /// When it happened, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The name of the event.
    pub name: Cow<'static, str>,
    /// Further attributes; their keys should differ.
    pub attributes: Vec<KeyValue>,
    /// The number of attributes that a limit dropped.
    pub dropped_attributes_count: u32,
}

/// A link from a span to another, owned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SpanLink {
    /// The trace of the linked span.
    pub trace_id: [u8; 16],
    /// The id of the linked span.
    pub span_id: [u8; 8],
    /// The W3C `tracestate` of the linked span; empty if there is none.
    pub trace_state: Cow<'static, str>,
    /// Attributes of the link; their keys should differ.
    pub attributes: Vec<KeyValue>,
    /// The number of attributes that a limit dropped.
    pub dropped_attributes_count: u32,
    /// See [`span_flags`](crate::span_flags).
    pub flags: u32,
}

/// How the operation of a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanStatus {
    /// The code.
    pub code: StatusCode,
    /// The reason of an error.
    pub message: Cow<'static, str>,
}

// === impl Span ===

impl Span {
    /// The span with these ids and this name.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], name: impl Into<Cow<'static, str>>) -> Self {
        Self { trace_id, span_id, name: name.into(), ..Self::default() }
    }

    /// Sets the id of its parent.
    #[must_use]
    pub fn parent(mut self, span_id: [u8; 8]) -> Self {
        self.parent_span_id = span_id;
        self
    }

    /// Sets the relation to its parent and its children.
    #[must_use]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets when it began and ended, in nanoseconds since 1970; see [`unix_nanos`](crate::unix_nanos).
    #[must_use]
    pub fn times(mut self, start_unix_nano: u64, end_unix_nano: u64) -> Self {
        (self.start_time_unix_nano, self.end_time_unix_nano) = (start_unix_nano, end_unix_nano);
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: SpanEvent) -> Self {
        self.events.push(event);
        self
    }

    /// Adds a link.
    #[must_use]
    pub fn link(mut self, link: SpanLink) -> Self {
        self.links.push(link);
        self
    }

    /// Sets how it ended, and the reason of an error.
    #[must_use]
    pub fn status(mut self, code: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        self.status = Some(SpanStatus { code, message: message.into() });
        self
    }
}

impl AsSpan for Span {
    fn span<W: SpanWriter>(&self, w: &mut W) {
        w.trace_id(self.trace_id);
        w.span_id(self.span_id);
        w.trace_state(&self.trace_state);
        w.parent_span_id(self.parent_span_id);
        w.name(&self.name);
        w.kind(self.kind);
        w.start_time_unix_nano(self.start_time_unix_nano);
        w.end_time_unix_nano(self.end_time_unix_nano);
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.dropped_attributes_count(self.dropped_attributes_count);
        self.events.iter().for_each(|event| w.event(|w| event.write(w)));
        w.dropped_events_count(self.dropped_events_count);
        self.links.iter().for_each(|link| w.link(|w| link.write(w)));
        w.dropped_links_count(self.dropped_links_count);
        if let Some(SpanStatus { code, message }) = &self.status {
            w.status(*code, message);
        }
        w.flags(self.flags);
    }
}

// === impl SpanEvent ===

impl SpanEvent {
    /// An event of this name at this time, in nanoseconds since 1970.
    #[must_use]
    pub fn new(time_unix_nano: u64, name: impl Into<Cow<'static, str>>) -> Self {
        Self { time_unix_nano, name: name.into(), ..Self::default() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Writes its fields.
    pub fn write<W: SpanEventWriter>(&self, w: &mut W) {
        w.time_unix_nano(self.time_unix_nano);
        w.name(&self.name);
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.dropped_attributes_count(self.dropped_attributes_count);
    }
}

// === impl SpanLink ===

impl SpanLink {
    /// A link to the span with these ids.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self { trace_id, span_id, ..Self::default() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Writes its fields.
    pub fn write<W: SpanLinkWriter>(&self, w: &mut W) {
        w.trace_id(self.trace_id);
        w.span_id(self.span_id);
        w.trace_state(&self.trace_state);
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.dropped_attributes_count(self.dropped_attributes_count);
        w.flags(self.flags);
    }
}
