use super::PartialSuccess;
use crate::signal::Signal;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Reads an `Export*ServiceResponse`.
///
/// As OTLP/JSON requires, members with an unknown name are skipped, whatever they contain; of a repeated one the last counts.
pub(super) fn read(signal: Signal, body: &[u8]) -> serde_json::Result<PartialSuccess> {
    let mut found = PartialSuccess::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    Response { signal, found: &mut found }.deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// `google.rpc.Status.message`
pub(super) fn message(status: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(status).ok()?;
    value.get("message")?.as_str().map(str::to_owned)
}

/// The whole response.
struct Response<'f> {
    signal: Signal,
    found: &'f mut PartialSuccess,
}

/// Its one member, which may be `null`.
struct Partial<'f>(Response<'f>);

/// An `int64`: a number, or a string of one; `null` is 0.
struct Int64(i64);

/// A string; `null` is empty.
struct Text(String);

// === impl Response ===

impl<'de> DeserializeSeed<'de> for Response<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Response<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response to an export")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if key == "partialSuccess" {
                map.next_value_seed(Partial(Response { signal: self.signal, found: &mut *self.found }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

// === impl Partial ===

impl<'de> DeserializeSeed<'de> for Partial<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Partial<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a partial success")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Response { signal, found } = self.0;
        while let Some(Text(key)) = map.next_key()? {
            if key == "errorMessage" {
                Text(found.message) = map.next_value()?;
            } else if key == signal.rejected_key() {
                Int64(found.rejected) = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

// === impl Int64 ===

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Int64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer of 64 bits, or a string of one")
            }

            fn visit_unit<E: Error>(self) -> Result<Int64, E> {
                Ok(Int64(0))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Int64, E> {
                Ok(Int64(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Int64, E> {
                i64::try_from(value).map(Int64).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Int64, E> {
                value.parse().map(Int64).map_err(E::custom)
            }
        }

        json.deserialize_any(Any)
    }
}

// === impl Text ===

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_unit<E: Error>(self) -> Result<Text, E> {
                Ok(Text(String::new()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.to_owned()))
            }
        }

        json.deserialize_any(Any)
    }
}
