use super::{SpanKind, StatusCode};
use crate::{
    origin::{AsResource, AsScope, Resource, Scope},
    value::AttributesWriter,
    wire::{Attributed, Field, Message, fields, setters},
};

/// A type that can be sent as a span.
///
/// A type of your own is written field by field straight into the request, without becoming a
/// [`Span`](crate::Span) first:
///
/// ```
/// use forebay_otlp::{AsSpan, AttributesWriter, SpanEventWriter, SpanKind, SpanWriter};
///
/// struct Query {
///     trace_id: [u8; 16],
///     span_id: [u8; 8],
///     statement: String,
///     times: (u64, u64, u64),
/// }
///
/// impl AsSpan for Query {
///     fn span<W: SpanWriter>(&self, w: &mut W) {
///         let (start, first_row, end) = self.times;
///         w.trace_id(self.trace_id);
///         w.span_id(self.span_id);
///         w.name("query");
///         w.kind(SpanKind::Client);
///         w.start_time_unix_nano(start);
///         w.end_time_unix_nano(end);
///         w.attribute("db.query.text", &self.statement);
///         w.event(|event| {
///             event.time_unix_nano(first_row);
///             event.name("first row");
///         });
///     }
/// }
/// ```
///
/// The same value must write the same fields each time: a batch that has to be split is written again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a span",
    note = "implement `AsSpan`, or turn it into a `forebay_otlp::Span`"
)]
pub trait AsSpan {
    /// Writes the fields of the span.
    fn span<W: SpanWriter>(&self, w: &mut W);

    /// The part of the program that it comes from; the encoder's scope by default.
    fn scope(&self) -> Option<impl AsScope> {
        None::<Scope>
    }

    /// The entity that sends it; the encoder's resource by default.
    fn resource(&self) -> Option<impl AsResource> {
        None::<Resource>
    }
}

/// Takes the fields of one span, in any order.
///
/// The order of the methods here, with the attributes after the end time, is that of the canonical encoding, and consecutive
/// attributes, events and links are the fastest. A field that is given twice keeps its first value; a field that is not given
/// is unknown.
pub trait SpanWriter: AttributesWriter {
    /// Takes the fields of an event.
    type Event<'a>: SpanEventWriter;
    /// Takes the fields of a link.
    type Link<'a>: SpanLinkWriter;

    /// The trace it belongs to.
    fn trace_id(&mut self, id: [u8; 16]);
    /// Its own id.
    fn span_id(&mut self, id: [u8; 8]);
    /// The W3C `tracestate`.
    fn trace_state(&mut self, state: &str);
    /// The id of its parent; all zeros mean none.
    fn parent_span_id(&mut self, id: [u8; 8]);
    /// The name of the operation.
    fn name(&mut self, name: &str);
    /// The relation to its parent and its children.
    fn kind(&mut self, kind: SpanKind);
    /// When it began, in nanoseconds since 1970.
    fn start_time_unix_nano(&mut self, nanos: u64);
    /// When it ended, in nanoseconds since 1970.
    fn end_time_unix_nano(&mut self, nanos: u64);
    /// The number of attributes that a limit dropped.
    fn dropped_attributes_count(&mut self, count: u32);
    /// Adds an event.
    fn event(&mut self, write: impl FnOnce(&mut Self::Event<'_>));
    /// The number of events that a limit dropped.
    fn dropped_events_count(&mut self, count: u32);
    /// Adds a link.
    fn link(&mut self, write: impl FnOnce(&mut Self::Link<'_>));
    /// The number of links that a limit dropped.
    fn dropped_links_count(&mut self, count: u32);
    /// How it ended, and the reason of an error.
    fn status(&mut self, code: StatusCode, message: &str);
    /// See [`span_flags`](crate::span_flags).
    fn flags(&mut self, flags: u32);
}

/// Takes the fields of one event of a span.
pub trait SpanEventWriter: AttributesWriter {
    /// When it happened, in nanoseconds since 1970.
    fn time_unix_nano(&mut self, nanos: u64);
    /// The name of the event.
    fn name(&mut self, name: &str);
    /// The number of attributes that a limit dropped.
    fn dropped_attributes_count(&mut self, count: u32);
}

/// Takes the fields of one link of a span.
pub trait SpanLinkWriter: AttributesWriter {
    /// The trace of the linked span.
    fn trace_id(&mut self, id: [u8; 16]);
    /// The id of the linked span.
    fn span_id(&mut self, id: [u8; 8]);
    /// The W3C `tracestate` of the linked span.
    fn trace_state(&mut self, state: &str);
    /// The number of attributes that a limit dropped.
    fn dropped_attributes_count(&mut self, count: u32);
    /// See [`span_flags`](crate::span_flags).
    fn flags(&mut self, flags: u32);
}

/// The kind of a `Span`.
#[derive(Debug)]
pub enum SpanMessage {}

/// The kind of a `Span.Event`.
#[derive(Debug)]
pub enum EventMessage {}

/// The kind of a `Span.Link`.
#[derive(Debug)]
pub enum LinkMessage {}

/// The kind of a `Status`.
enum StatusMessage {}

fields! {
    TRACE_ID = 1, "traceId";
    SPAN_ID = 2, "spanId";
    TRACE_STATE = 3, "traceState";
    PARENT_SPAN_ID = 4, "parentSpanId";
    NAME = 5, "name";
    KIND = 6, "kind";
    START_TIME_UNIX_NANO = 7, "startTimeUnixNano";
    END_TIME_UNIX_NANO = 8, "endTimeUnixNano";
    ATTRIBUTES = 9, "attributes";
    DROPPED_ATTRIBUTES_COUNT = 10, "droppedAttributesCount";
    EVENTS = 11, "events";
    DROPPED_EVENTS_COUNT = 12, "droppedEventsCount";
    LINKS = 13, "links";
    DROPPED_LINKS_COUNT = 14, "droppedLinksCount";
    STATUS = 15, "status";
    FLAGS = 16, "flags";

    EVENT_TIME_UNIX_NANO = 1, "timeUnixNano";
    EVENT_NAME = 2, "name";
    EVENT_ATTRIBUTES = 3, "attributes";
    EVENT_DROPPED_ATTRIBUTES_COUNT = 4, "droppedAttributesCount";

    LINK_ATTRIBUTES = 4, "attributes";
    LINK_DROPPED_ATTRIBUTES_COUNT = 5, "droppedAttributesCount";
    LINK_FLAGS = 6, "flags";

    STATUS_MESSAGE = 2, "message";
    STATUS_CODE = 3, "code";
}

// === impl SpanMessage ===

impl Attributed for SpanMessage {
    const ATTRIBUTES: Field = ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = SpanMessage>> SpanWriter for M {
    type Event<'a> = M::Child<'a, EventMessage>;
    type Link<'a> = M::Child<'a, LinkMessage>;

    setters! {
        trace_id(id: [u8; 16]) => TRACE_ID: id(id);
        span_id(id: [u8; 8]) => SPAN_ID: id(id);
        trace_state(state: &str) => TRACE_STATE: string(state);
        parent_span_id(id: [u8; 8]) => PARENT_SPAN_ID: id(id);
        name(name: &str) => NAME: string(name);
        kind(kind: SpanKind) => KIND: uint32(kind.number().into());
        start_time_unix_nano(nanos: u64) => START_TIME_UNIX_NANO: fixed64(nanos);
        end_time_unix_nano(nanos: u64) => END_TIME_UNIX_NANO: fixed64(nanos);
        dropped_attributes_count(count: u32) => DROPPED_ATTRIBUTES_COUNT: uint32(count);
        dropped_events_count(count: u32) => DROPPED_EVENTS_COUNT: uint32(count);
        dropped_links_count(count: u32) => DROPPED_LINKS_COUNT: uint32(count);
        flags(flags: u32) => FLAGS: fixed32(flags);
    }

    fn event(&mut self, write: impl FnOnce(&mut Self::Event<'_>)) {
        self.element(EVENTS, write);
    }

    fn link(&mut self, write: impl FnOnce(&mut Self::Link<'_>)) {
        self.element(LINKS, write);
    }

    fn status(&mut self, code: StatusCode, message: &str) {
        if self.first(STATUS) {
            self.message::<StatusMessage>(STATUS, |m| {
                m.string(STATUS_MESSAGE, message);
                m.uint32(STATUS_CODE, code.number().into());
            });
        }
    }
}

// === impl EventMessage ===

impl Attributed for EventMessage {
    const ATTRIBUTES: Field = EVENT_ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = EventMessage>> SpanEventWriter for M {
    setters! {
        time_unix_nano(nanos: u64) => EVENT_TIME_UNIX_NANO: fixed64(nanos);
        name(name: &str) => EVENT_NAME: string(name);
        dropped_attributes_count(count: u32) => EVENT_DROPPED_ATTRIBUTES_COUNT: uint32(count);
    }
}

// === impl LinkMessage ===

impl Attributed for LinkMessage {
    const ATTRIBUTES: Field = LINK_ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = LinkMessage>> SpanLinkWriter for M {
    setters! {
        trace_id(id: [u8; 16]) => TRACE_ID: id(id);
        span_id(id: [u8; 8]) => SPAN_ID: id(id);
        trace_state(state: &str) => TRACE_STATE: string(state);
        dropped_attributes_count(count: u32) => LINK_DROPPED_ATTRIBUTES_COUNT: uint32(count);
        flags(flags: u32) => LINK_FLAGS: fixed32(flags);
    }
}

/// A pointer to a span is sent as that span.
macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: AsSpan + ?Sized> AsSpan for $pointer {
            #[inline]
            fn span<W: SpanWriter>(&self, w: &mut W) {
                (**self).span(w);
            }

            fn scope(&self) -> Option<impl AsScope> {
                (**self).scope()
            }

            fn resource(&self) -> Option<impl AsResource> {
                (**self).resource()
            }
        }
    )*};
}
pointers!(&T Box<T> std::sync::Arc<T>);
