use crate::value::{ArrayWriter, AsValue, AttributesWriter, ValueWriter};
use forebay_core::{Footprint, heap_block};
use opentelemetry::{Array, KeyValue, StringValue, Value, logs::AnyValue};

/// A value of a log record of the SDK.
pub(super) struct Logged<'a>(pub(super) &'a AnyValue);

/// A value of an attribute of the SDK.
pub(super) struct Attribute<'a>(pub(super) &'a Value);

// === impl Logged ===

impl AsValue for Logged<'_> {
    /// The common kinds are inlined into the loop over the attributes, and the others are a call.
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
            // A later SDK may have a kind that OTLP does not have.
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
            // A later SDK may have a kind that OTLP does not have.
            _ => w.empty(),
        }
    }
}

/// Writes attributes of the SDK, in order.
pub(super) fn attributes<'a, W: AttributesWriter>(pairs: impl IntoIterator<Item = &'a KeyValue>, w: &mut W) {
    pairs.into_iter().for_each(|pair| w.attribute(pair.key.as_str(), Attribute(&pair.value)));
}

/// About how many bytes a value of a log record holds on the heap. Texts may be static or shared, which is not visible here, so
/// they count as if they were not.
pub(super) fn heap_of_logged(value: &AnyValue) -> usize {
    match value {
        AnyValue::String(text) => heap_block(text.as_str().len()),
        AnyValue::Bytes(bytes) => heap_block(size_of::<Vec<u8>>()) + heap_block(bytes.capacity()),
        AnyValue::ListAny(values) => {
            let list = heap_block(size_of::<Vec<AnyValue>>()) + heap_block(values.capacity() * size_of::<AnyValue>());
            list + values.iter().map(heap_of_logged).sum::<usize>()
        }
        AnyValue::Map(pairs) => {
            // A table has a power of two of slots, of which at most seven in eight are used.
            let slots = (pairs.capacity() * 8 / 7).next_power_of_two();
            let table = heap_block(size_of_val(&**pairs))
                + heap_block(slots * (size_of::<(opentelemetry::Key, AnyValue)>() + 1) + 16);
            let of =
                |(key, value): (&opentelemetry::Key, &AnyValue)| heap_block(key.as_str().len()) + heap_of_logged(value);
            table + pairs.iter().map(of).sum::<usize>()
        }
        _ => 0,
    }
}

/// About how many bytes the attributes hold on the heap, without their list. Texts count as above.
pub(super) fn heap_of<'a>(pairs: impl IntoIterator<Item = &'a KeyValue>) -> usize {
    let of_value = |value: &Value| match value {
        Value::String(text) => heap_block(text.as_str().len()),
        Value::Array(Array::Bool(values)) => values.heap(),
        Value::Array(Array::I64(values)) => values.heap(),
        Value::Array(Array::F64(values)) => values.heap(),
        Value::Array(Array::String(values)) => {
            heap_block(values.capacity() * size_of::<StringValue>())
                + values.iter().map(|text| heap_block(text.as_str().len())).sum::<usize>()
        }
        _ => 0,
    };
    pairs.into_iter().map(|pair| heap_block(pair.key.as_str().len()) + of_value(&pair.value)).sum()
}

/// About how many bytes the attributes hold on the heap, with their list.
pub(super) fn heap_of_list(pairs: &Vec<KeyValue>) -> usize {
    heap_block(pairs.capacity() * size_of::<KeyValue>()) + heap_of(pairs)
}
