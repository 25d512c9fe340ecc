use super::Number;
use crate::{
    value::{AttributesWriter, KeyValue},
    wire::{Attributed, Field, Message, fields, setters},
};

/// Takes the fields of one exemplar.
///
/// Its attributes are those that its point does not have.
pub trait ExemplarWriter: AttributesWriter {
    /// When it was measured, in nanoseconds since 1970.
    fn time_unix_nano(&mut self, nanos: u64);
    /// The measured value, if it is not an integer.
    fn double(&mut self, value: f64);
    /// The measured value, if it is an integer.
    fn int(&mut self, value: i64);
    /// The span in which it was measured; all zeros mean none.
    fn span_id(&mut self, id: [u8; 8]);
    /// The trace in which it was measured; all zeros mean none.
    fn trace_id(&mut self, id: [u8; 16]);
}

/// A single measurement, as an example of those that a point aggregates; owned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// The attributes that its point does not have.
    pub filtered_attributes: Vec<KeyValue>,
    /// When it was measured, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The measured value.
    pub value: Option<Number>,
    /// The span in which it was measured; all zeros mean none.
    pub span_id: [u8; 8],
    /// The trace in which it was measured; all zeros mean none.
    pub trace_id: [u8; 16],
}

/// The kind of an `Exemplar`.
#[derive(Debug)]
pub enum ExemplarMessage {}

fields! {
    TIME_UNIX_NANO = 2, "timeUnixNano";
    AS_DOUBLE = 3, "asDouble";
    SPAN_ID = 4, "spanId";
    TRACE_ID = 5, "traceId";
    AS_INT = 6, "asInt";
    FILTERED_ATTRIBUTES = 7, "filteredAttributes";
}

// === impl ExemplarMessage ===

impl Attributed for ExemplarMessage {
    const ATTRIBUTES: Field = FILTERED_ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = ExemplarMessage>> ExemplarWriter for M {
    setters! {
        time_unix_nano(nanos: u64) => TIME_UNIX_NANO: fixed64(nanos);
        span_id(id: [u8; 8]) => SPAN_ID: id(id);
        trace_id(id: [u8; 16]) => TRACE_ID: id(id);
    }

    fn double(&mut self, value: f64) {
        // Only one of the two is written, so both use one bit.
        if self.first(AS_DOUBLE) {
            self.some_double(AS_DOUBLE, value);
        }
    }

    fn int(&mut self, value: i64) {
        if self.first(AS_DOUBLE) {
            self.some_sfixed64(AS_INT, value);
        }
    }
}

// === impl Exemplar ===

impl Exemplar {
    /// The value `value`, measured at this time, in nanoseconds since 1970.
    #[must_use]
    pub fn new(time_unix_nano: u64, value: impl Into<Number>) -> Self {
        Self { time_unix_nano, value: Some(value.into()), ..Self::default() }
    }

    /// Sets the trace and the span in which it was measured.
    #[must_use]
    pub fn trace(mut self, trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        (self.trace_id, self.span_id) = (trace_id, span_id);
        self
    }

    /// Writes its fields.
    pub fn write<W: ExemplarWriter>(&self, w: &mut W) {
        w.time_unix_nano(self.time_unix_nano);
        match self.value {
            Some(Number::Double(value)) => w.double(value),
            Some(Number::Int(value)) => w.int(value),
            None => {}
        }
        w.span_id(self.span_id);
        w.trace_id(self.trace_id);
        self.filtered_attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
    }
}
