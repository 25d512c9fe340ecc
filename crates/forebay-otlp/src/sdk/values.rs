use crate::value::{ArrayWriter, AsValue, AttributesWriter, ValueWriter};
use opentelemetry::{Array, KeyValue, Value, logs::AnyValue};

/// A value of a log record of the SDK.
pub(super) struct Logged<'a>(pub(super) &'a AnyValue);

/// A value of an attribute of the SDK.
pub(super) struct Attribute<'a>(pub(super) &'a Value);

// === impl Logged ===

impl AsValue for Logged<'_> {
    /// What nearly every value is goes straight into the loop over the attributes.
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        match self.0 {
            AnyValue::Int(value) => w.int(*value),
            AnyValue::String(value) => w.string(value.as_str()),
            _ => self.rare(w),
        }
    }
}

impl Logged<'_> {
    #[inline(never)]
    fn rare<W: ValueWriter>(&self, w: W) -> W::Done {
        match self.0 {
            AnyValue::Int(value) => w.int(*value),
            AnyValue::Double(value) => w.double(*value),
            AnyValue::String(value) => w.string(value.as_str()),
            AnyValue::Boolean(value) => w.bool(*value),
            AnyValue::Bytes(value) => w.bytes(value),
            AnyValue::ListAny(values) => w.array(|array| values.iter().for_each(|value| array.value(Logged(value)))),
            AnyValue::Map(pairs) => w.kv_list(|list| {
                pairs.iter().for_each(|(key, value)| list.attribute(key.as_str(), Logged(value)));
            }),
            // A kind that a later SDK may have, and OTLP may not.
            _ => w.empty(),
        }
    }
}

// === impl Attribute ===

impl AsValue for Attribute<'_> {
    #[inline]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        match self.0 {
            Value::Bool(value) => w.bool(*value),
            Value::I64(value) => w.int(*value),
            Value::F64(value) => w.double(*value),
            Value::String(value) => w.string(value.as_str()),
            Value::Array(Array::Bool(values)) => values.value(w),
            Value::Array(Array::I64(values)) => values.value(w),
            Value::Array(Array::F64(values)) => values.value(w),
            Value::Array(Array::String(values)) => {
                w.array(|array| values.iter().for_each(|value| array.value(value.as_str())))
            }
            // As above.
            _ => w.empty(),
        }
    }
}

/// Writes attributes of the SDK, in order.
pub(super) fn attributes<'a, W: AttributesWriter>(pairs: impl IntoIterator<Item = &'a KeyValue>, w: &mut W) {
    pairs.into_iter().for_each(|pair| w.attribute(pair.key.as_str(), Attribute(&pair.value)));
}

/// About how many bytes a value of a log record holds on the heap.
pub(super) fn heap_of_logged(value: &AnyValue) -> usize {
    match value {
        AnyValue::String(text) => text.as_str().len(),
        AnyValue::Bytes(bytes) => bytes.len(),
        AnyValue::ListAny(values) => values.iter().map(|value| size_of::<AnyValue>() + heap_of_logged(value)).sum(),
        AnyValue::Map(pairs) => {
            let of = |(key, value): (&opentelemetry::Key, &AnyValue)| {
                size_of::<(opentelemetry::Key, AnyValue)>() + key.as_str().len() + heap_of_logged(value)
            };
            pairs.iter().map(of).sum()
        }
        _ => 0,
    }
}

/// About how many bytes the attributes hold on the heap.
pub(super) fn heap_of(pairs: &[KeyValue]) -> usize {
    let of_value = |value: &Value| match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::Bool(values)) => values.len(),
        Value::Array(Array::I64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::F64(values)) => size_of_val(values.as_slice()),
        Value::Array(Array::String(values)) => {
            size_of_val(values.as_slice()) + values.iter().map(|text| text.as_str().len()).sum::<usize>()
        }
        _ => 0,
    };
    size_of_val(pairs) + pairs.iter().map(|pair| pair.key.as_str().len() + of_value(&pair.value)).sum::<usize>()
}
