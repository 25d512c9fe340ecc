//! OTLP/JSON to protobuf, by the descriptors of the messages.
//!
//! The rules are those of the ProtoJSON mapping, except where [OTLP] differs: trace and span ids are hexadecimal, and
//! an enum is a number, never a name. Unknown keys are ignored; names with underscores are unknown. `null` is absent.
//!
//! [OTLP]: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding

use super::{
    schema::{Field, Kind, Schema},
    wire::{self, Number},
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The message called `name`, as protobuf.
pub(super) fn to_protobuf(name: &str, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let schema = Schema::of_otlp();
    let mut out = Vec::with_capacity(json.len());
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = schema.message(name).ok_or_else(|| Error::custom(format_args!("no such message: {name}")))?;
    MessageSeed { schema, message, out: &mut out }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(out)
}

/// An object that is a message.
struct MessageSeed<'a> {
    schema: &'static Schema,
    message: usize,
    out: &'a mut Vec<u8>,
}

/// A value of a field.
struct ValueSeed<'a> {
    schema: &'static Schema,
    field: &'static Field,
    /// One element of a repeated field, or the only one of another.
    single: bool,
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
        while let Some(key) = map.next_key::<String>()? {
            match self.schema.field(self.message, &key) {
                Some(field) => {
                    let single = !field.repeated;
                    map.next_value_seed(ValueSeed { schema: self.schema, field, single, out: self.out })?;
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

impl ValueSeed<'_> {
    fn write(self, number: Number<'_>) -> Result<(), String> {
        if !self.single {
            return Err(format!("`{}` is a list", self.field.json_name));
        }
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
        let Self { schema, field, single, out } = self;
        if single {
            return Err(A::Error::custom(format_args!("`{}` is no list", field.json_name)));
        }
        while list.next_element_seed(ValueSeed { schema, field, single: true, out: &mut *out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { schema, field, single, out } = self;
        let Kind::Message(message) = field.kind else {
            return Err(A::Error::custom(format_args!("`{}` is no object", field.json_name)));
        };
        if !single {
            return Err(A::Error::custom(format_args!("`{}` is a list", field.json_name)));
        }
        wire::nested(field, out, |out| MessageSeed { schema, message, out }.visit_map(map))
    }
}

#[cfg(test)]
mod tests;
