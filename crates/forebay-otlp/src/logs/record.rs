use super::{AsLogRecord, LogRecordWriter, Severity};
use crate::value::{AnyValue, KeyValue};
use std::borrow::Cow;

/// A log record, owned.
///
/// ```
/// use forebay_otlp::{LogRecord, Severity};
///
/// let record = LogRecord::new("payment refused")
///     .time_unix_nano(1_732_000_000_000_000_000)
///     .severity(Severity::Warn)
///     .attribute("order.id", 4711);
/// assert_eq!(record.attributes.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LogRecord {
    /// When the event happened, in nanoseconds since 1970; 0 if unknown.
    pub time_unix_nano: u64,
    /// The severity.
    pub severity: Severity,
    /// The severity in the words of its source; empty if unknown.
    pub severity_text: Cow<'static, str>,
    /// The message.
    pub body: Option<AnyValue>,
    /// Further attributes; their keys should differ.
    pub attributes: Vec<KeyValue>,
    /// The number of attributes that a limit dropped.
    pub dropped_attributes_count: u32,
    /// The W3C trace flags in the low eight bits.
    pub flags: u32,
    /// The trace of the event; all zeros mean none.
    pub trace_id: [u8; 16],
    /// The span of the event; all zeros mean none.
    pub span_id: [u8; 8],
    /// When the event was observed by its collector, in nanoseconds since 1970; 0 if unknown.
    pub observed_time_unix_nano: u64,
    /// The name of the class of the event; empty if it has none.
    pub event_name: Cow<'static, str>,
}

// === impl LogRecord ===

impl LogRecord {
    /// A record with this message.
    #[must_use]
    pub fn new(body: impl Into<AnyValue>) -> Self {
        Self { body: Some(body.into()), ..Self::default() }
    }

    /// Sets when the event happened, in nanoseconds since 1970; see [`unix_nanos`](crate::unix_nanos).
    #[must_use]
    pub fn time_unix_nano(mut self, nanos: u64) -> Self {
        self.time_unix_nano = nanos;
        self
    }

    /// Sets the severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Sets the trace and the span of the event, with the W3C trace flags.
    #[must_use]
    pub fn trace(mut self, trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Self {
        (self.trace_id, self.span_id, self.flags) = (trace_id, span_id, flags.into());
        self
    }
}

impl AsLogRecord for LogRecord {
    #[inline]
    fn record<W: LogRecordWriter>(&self, w: &mut W) {
        w.time_unix_nano(self.time_unix_nano);
        w.severity(self.severity);
        w.severity_text(&self.severity_text);
        if let Some(body) = &self.body {
            w.body(body);
        }
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.dropped_attributes_count(self.dropped_attributes_count);
        w.flags(self.flags);
        w.trace_id(self.trace_id);
        w.span_id(self.span_id);
        w.observed_time_unix_nano(self.observed_time_unix_nano);
        w.event_name(&self.event_name);
    }
}
