use super::Severity;
use crate::{
    origin::{AsResource, AsScope, Resource, Scope},
    value::{AsValue, AttributesWriter},
    wire::{Attributed, Field, Message, fields, setters},
};

/// A type that can be sent as a log record.
///
/// A type of your own is written field by field straight into the request, without becoming a
/// [`LogRecord`](crate::LogRecord) first:
///
/// ```
/// use forebay_otlp::{AsLogRecord, LogRecordWriter, Severity};
///
/// struct Access {
///     at: u64,
///     path: String,
///     status: u16,
/// }
///
/// impl AsLogRecord for Access {
///     fn record<W: LogRecordWriter>(&self, w: &mut W) {
///         w.time_unix_nano(self.at);
///         w.severity(if self.status < 500 { Severity::Info } else { Severity::Error });
///         w.body(&self.path);
///         w.attribute("http.response.status_code", self.status);
///     }
/// }
/// ```
///
/// The same value must write the same fields each time: a batch that has to be split is written again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a log record",
    note = "implement `AsLogRecord`, or turn it into a `forebay_otlp::LogRecord`"
)]
pub trait AsLogRecord {
    /// Writes the fields of the record.
    fn record<W: LogRecordWriter>(&self, w: &mut W);

    /// The part of the program that it comes from; the encoder's scope by default.
    fn scope(&self) -> Option<impl AsScope> {
        None::<Scope>
    }

    /// The entity that sends it; the encoder's resource by default.
    fn resource(&self) -> Option<impl AsResource> {
        None::<Resource>
    }
}

/// Takes the fields of one log record, in any order.
///
/// The order of the methods here, with the attributes after the body, is that of the canonical encoding, and consecutive
/// attributes are the fastest. A field that is given twice keeps its first value; a field that is not given is unknown.
pub trait LogRecordWriter: AttributesWriter {
    /// When the event happened, in nanoseconds since 1970; 0 if unknown.
    fn time_unix_nano(&mut self, nanos: u64);
    /// The severity.
    fn severity(&mut self, severity: Severity);
    /// The severity in the words of its source.
    fn severity_text(&mut self, text: &str);
    /// The message.
    fn body(&mut self, value: impl AsValue);
    /// The number of attributes that a limit dropped.
    fn dropped_attributes_count(&mut self, count: u32);
    /// The W3C trace flags in the low eight bits.
    fn flags(&mut self, flags: u32);
    /// The trace of the event; all zeros mean none.
    fn trace_id(&mut self, id: [u8; 16]);
    /// The span of the event; all zeros mean none.
    fn span_id(&mut self, id: [u8; 8]);
    /// When the event was observed by its collector, in nanoseconds since 1970.
    fn observed_time_unix_nano(&mut self, nanos: u64);
    /// The name of the class of the event.
    fn event_name(&mut self, name: &str);

    /// The message as bytes that need not be text: a line of a log of unknown encoding, for example.
    #[inline]
    fn body_bytes(&mut self, bytes: &[u8]) {
        self.body(bytes);
    }
}

fields! {
    TIME_UNIX_NANO = 1, "timeUnixNano";
    SEVERITY_NUMBER = 2, "severityNumber";
    SEVERITY_TEXT = 3, "severityText";
    BODY = 5, "body";
    ATTRIBUTES = 6, "attributes";
    DROPPED_ATTRIBUTES_COUNT = 7, "droppedAttributesCount";
    FLAGS = 8, "flags";
    TRACE_ID = 9, "traceId";
    SPAN_ID = 10, "spanId";
    OBSERVED_TIME_UNIX_NANO = 11, "observedTimeUnixNano";
    EVENT_NAME = 12, "eventName";
}

/// The kind of a `LogRecord`.
#[derive(Debug)]
pub enum LogRecordMessage {}

// === impl LogRecordMessage ===

impl Attributed for LogRecordMessage {
    const ATTRIBUTES: Field = ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = LogRecordMessage>> LogRecordWriter for M {
    setters! {
        time_unix_nano(nanos: u64) => TIME_UNIX_NANO: fixed64(nanos);
        severity(severity: Severity) => SEVERITY_NUMBER: uint32(severity.number().into());
        severity_text(text: &str) => SEVERITY_TEXT: string(text);
        body(value: impl AsValue) => BODY: value(value);
        dropped_attributes_count(count: u32) => DROPPED_ATTRIBUTES_COUNT: uint32(count);
        flags(flags: u32) => FLAGS: fixed32(flags);
        trace_id(id: [u8; 16]) => TRACE_ID: id(id);
        span_id(id: [u8; 8]) => SPAN_ID: id(id);
        observed_time_unix_nano(nanos: u64) => OBSERVED_TIME_UNIX_NANO: fixed64(nanos);
        event_name(name: &str) => EVENT_NAME: string(name);
    }
}

/// A pointer to a record is sent as that record.
macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: AsLogRecord + ?Sized> AsLogRecord for $pointer {
            #[inline]
            fn record<W: LogRecordWriter>(&self, w: &mut W) {
                (**self).record(w);
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
