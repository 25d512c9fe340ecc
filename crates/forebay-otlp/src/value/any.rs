use bytes::Bytes;
use std::borrow::Cow;

/// Any value that OTLP knows, owned.
///
/// Strings are [`Cow`]s, so a literal takes no allocation.
///
/// A list that is nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH) is not sent. Like every nested type it is cloned
/// and dropped level by level on the stack, so whoever builds one from what strangers send should stop there already.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnyValue {
    /// A value of no kind.
    #[default]
    Empty,
    /// Text.
    String(Cow<'static, str>),
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A floating point number; NaN and the infinities are values too.
    Double(f64),
    /// Bytes that need not be text.
    Bytes(Bytes),
    /// A list of values, which need not be of the same kind.
    Array(Vec<Self>),
    /// A list of pairs; the keys should differ.
    KvList(Vec<KeyValue>),
}

/// An attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyValue {
    /// Its name.
    pub key: Cow<'static, str>,
    /// Its value.
    pub value: AnyValue,
}

// === impl KeyValue ===

impl KeyValue {
    /// The attribute `key` with this value.
    #[must_use]
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

// === impl AnyValue ===

/// Which kind of value a Rust type becomes.
macro_rules! from {
    ($($type:ty => $kind:ident($value:ident => $into:expr);)*) => {$(
        impl From<$type> for AnyValue {
            fn from($value: $type) -> Self {
                Self::$kind($into)
            }
        }
    )*};
}

from! {
    &'static str => String(value => Cow::Borrowed(value));
    String => String(value => Cow::Owned(value));
    Cow<'static, str> => String(value => value);
    bool => Bool(value => value);
    i32 => Int(value => value.into());
    u32 => Int(value => value.into());
    i64 => Int(value => value);
    f32 => Double(value => value.into());
    f64 => Double(value => value);
    Bytes => Bytes(value => value);
    &'static [u8] => Bytes(value => Bytes::from_static(value));
    Vec<u8> => Bytes(value => value.into());
    Vec<Self> => Array(value => value);
    Vec<KeyValue> => KvList(value => value);
}
