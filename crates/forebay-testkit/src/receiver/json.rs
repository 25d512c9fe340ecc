//! OTLP/JSON to protobuf, by the descriptors of the messages.
//!
//! The rules are those of the ProtoJSON mapping, except where [OTLP] differs: trace and span ids are hexadecimal, and
//! an enum is a number, never a name. Unknown keys are ignored; names with underscores are unknown. `null` is absent.
//!
//! A [`Reading::Lenient`] reader also takes the names of enum values and the field names of the `.proto` files, as ProtoJSON
//! has them, and refuses no more than the smallest part that it cannot read.
//!
//! Neither `pbjson` nor `prost-reflect` does this: both read ids as base64, both give up the whole message at its first
//! fault, and each would bring its own copy of the messages. The descriptors that `opentelemetry-proto` ships suffice.
//!
//! [OTLP]: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding

use super::{
    payload::Signal,
    schema::{Field, Kind, Schema},
    wire::{self, Number},
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{
    cell::{Cell, RefCell},
    fmt,
};

/// A request that was read from JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The readable part of the request, as protobuf.
    pub protobuf: Vec<u8>,
    /// How many spans, log records or data points could not be read; they are not in `protobuf`.
    pub refused: u64,
    /// Why the first of them could not be read; empty if none was refused.
    pub why: String,
}

/// How strictly JSON is read.
#[derive(Debug)]
enum Reading {
    /// By the letter of OTLP; the first fault ends the reading.
    Strict(Cell<usize>),
    /// As ProtoJSON; a part that cannot be read is counted.
    Lenient { depth: Cell<usize>, refused: Cell<u64>, why: RefCell<String> },
}

/// How deep messages may be nested: as deep as `prost` decodes them.
const DEPTH: usize = 100;

/// The lists that lead to the records of a request, and those of the records themselves. An element of one of them is
/// refused alone.
const LISTS: [&str; 10] = [
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "resourceSpans",
    "scopeSpans",
    "spans",
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    "dataPoints",
];

/// Reads an OTLP request in JSON by the rules of ProtoJSON, with the exceptions that OTLP makes.
///
/// A span, log record or data point that cannot be read is left out and counted; so is a larger part whose own fields
/// cannot be read, with all the records in it.
///
/// # Errors
///
/// When `json` is no JSON object, or the outermost object cannot be read.
pub fn read_json(signal: Signal, json: &[u8]) -> Result<Read, serde_json::Error> {
    let reading = Reading::Lenient { depth: Cell::new(0), refused: Cell::new(0), why: RefCell::new(String::new()) };
    let protobuf = read(signal.message(), json, &reading)?;
    let Reading::Lenient { refused, why, .. } = reading else { return Ok(Read { protobuf, ..Read::default() }) };
    Ok(Read { protobuf, refused: refused.get(), why: why.into_inner() })
}

/// The message called `name`, as protobuf.
pub(super) fn to_protobuf(name: &str, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    read(name, json, &Reading::Strict(Cell::new(0)))
}

fn read(name: &str, json: &[u8], reading: &Reading) -> Result<Vec<u8>, serde_json::Error> {
    let schema = Schema::of_otlp();
    let mut out = Vec::with_capacity(json.len());
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = schema.message(name).ok_or_else(|| Error::custom(format_args!("no such message: {name}")))?;
    MessageSeed { schema, message, reading, out: &mut out }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(out)
}

/// An object that is a message.
struct MessageSeed<'a> {
    schema: &'static Schema,
    message: usize,
    reading: &'a Reading,
    out: &'a mut Vec<u8>,
}

/// A value of a field.
struct ValueSeed<'a> {
    schema: &'static Schema,
    field: &'static Field,
    /// One element of a repeated field, or the only one of another.
    single: bool,
    reading: &'a Reading,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.reading.depth();
        if depth.get() > DEPTH {
            return Err(A::Error::custom(format_args!("messages are nested deeper than {DEPTH}")));
        }
        depth.set(depth.get() + 1);
        while let Some(key) = map.next_key::<String>()? {
            match self.reading.field(self.schema, self.message, &key) {
                Some(field) => {
                    let single = !field.repeated;
                    map.next_value_seed(ValueSeed {
                        schema: self.schema,
                        field,
                        single,
                        reading: self.reading,
                        out: self.out,
                    })?;
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        // An error does not reach this line; the caller that goes on after one restores the depth.
        depth.set(depth.get() - 1);
        Ok(())
    }
}

impl ValueSeed<'_> {
    fn write(self, number: Number<'_>) -> Result<(), String> {
        if !self.single {
            return Err(format!("`{}` is a list", self.field.json_name));
        }
        let number = self.reading.number(self.field, number);
        wire::scalar(self.field, number, self.out).map_err(|why| format!("`{}`: {why}", self.field.json_name))
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.single { "" } else { "a list, each " };
        write!(f, "{list}{} for `{}`", self.field.kind, self.field.json_name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.single && self.field.repeated {
            return Err(E::custom(format_args!("`{}` has a null among its elements", self.field.json_name)));
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.write(Number::Bool(value)).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.write(Number::Integer(value.into())).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.write(Number::Integer(value.into())).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.write(Number::Float(value)).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.write(Number::Text(value)).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { schema, field, single, reading, out } = self;
        if single {
            return Err(A::Error::custom(format_args!("`{}` is no list", field.json_name)));
        }
        if reading.is_split_at(field) {
            while let Some(element) = list.next_element::<&RawValue>()? {
                reading.element(schema, field, element, out);
            }
            return Ok(());
        }
        while list.next_element_seed(ValueSeed { schema, field, single: true, reading, out: &mut *out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { schema, field, single, reading, out } = self;
        let Kind::Message(message) = field.kind else {
            return Err(A::Error::custom(format_args!("`{}` is no object", field.json_name)));
        };
        if !single {
            return Err(A::Error::custom(format_args!("`{}` is a list", field.json_name)));
        }
        wire::nested(field, out, |out| MessageSeed { schema, message, reading, out }.visit_map(map))
    }
}

// === impl Reading ===

impl Reading {
    fn depth(&self) -> &Cell<usize> {
        match self {
            Self::Strict(depth) | Self::Lenient { depth, .. } => depth,
        }
    }

    fn field<'s>(&self, schema: &'s Schema, message: usize, key: &str) -> Option<&'s Field> {
        let named = schema.field(message, key);
        match self {
            Self::Strict(_) => named,
            Self::Lenient { .. } => named.or_else(|| schema.field_by_original_name(message, key)),
        }
    }

    /// An enum value may be a name, or its number as text.
    fn number<'n>(&self, field: &Field, number: Number<'n>) -> Number<'n> {
        match (self, field.kind, number) {
            (Self::Lenient { .. }, Kind::Enum, Number::Text(text)) => {
                let value = field.values.get(text).copied().or_else(|| text.parse().ok());
                value.map_or(number, |value| Number::Integer(value.into()))
            }
            _ => number,
        }
    }

    fn is_split_at(&self, field: &Field) -> bool {
        matches!(self, Self::Lenient { .. }) && is_way_to_records(field)
    }

    /// Reads one element of a list, or counts what is lost with it.
    fn element(&self, schema: &'static Schema, field: &'static Field, element: &RawValue, out: &mut Vec<u8>) {
        let Self::Lenient { depth, refused, why } = self else { return };
        let (start, deep, before) = (out.len(), depth.get(), refused.get());
        let mut deserializer = serde_json::Deserializer::from_str(element.get());
        let seed = ValueSeed { schema, field, single: true, reading: self, out: &mut *out };
        if let Err(error) = seed.deserialize(&mut deserializer) {
            out.truncate(start);
            depth.set(deep);
            // What was refused inside it before is a part of it.
            refused.set(before.saturating_add(records(schema, field, element).max(1)));
            let mut why = why.borrow_mut();
            if why.is_empty() {
                *why = error.to_string();
            }
        }
    }
}

fn is_way_to_records(field: &Field) -> bool {
    field.repeated && LISTS.contains(&&*field.json_name)
}

/// How many records are in an element of the list `field`.
fn records(schema: &'static Schema, field: &'static Field, element: &RawValue) -> u64 {
    if matches!(&*field.json_name, "logRecords" | "spans" | "dataPoints") {
        return 1;
    }
    let Kind::Message(message) = field.kind else { return 0 };
    let count = RecordCount { schema, message, found: Cell::new(0) };
    // What cannot be counted any further is counted as far as it can.
    _ = (&count).deserialize(&mut serde_json::Deserializer::from_str(element.get()));
    count.found.get()
}

/// Counts the records in an object that is a message, as far as the object can be read.
struct RecordCount {
    schema: &'static Schema,
    message: usize,
    found: Cell<u64>,
}

impl<'de> DeserializeSeed<'de> for &RecordCount {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &RecordCount {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let RecordCount { schema, message, found } = self;
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value::<&RawValue>()?;
            let field = schema.field(*message, &key).or_else(|| schema.field_by_original_name(*message, &key));
            let Some(field) = field else { continue };
            let more = if is_way_to_records(field) {
                let elements: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
                elements.into_iter().map(|element| records(schema, field, element)).sum()
            } else if matches!(&*field.json_name, "gauge" | "sum" | "histogram" | "exponentialHistogram" | "summary") {
                records(schema, field, value)
            } else {
                0
            };
            found.set(found.get() + more);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
