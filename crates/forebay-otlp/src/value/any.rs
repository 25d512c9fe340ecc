use bytes::Bytes;
use std::borrow::Cow;

/// Any value of OTLP, owned.
///
/// Strings are [`Cow`]s, so a literal takes no allocation.
///
/// A list that is nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH) is not sent, and its record is counted as skipped. A value
/// of any depth is dropped in constant stack. Clones, comparisons and formatting recurse as for every nested type, so code that
/// builds a value from untrusted input should stop at [`MAX_DEPTH`](crate::MAX_DEPTH).
///
/// Because the type implements `Drop`, its content is used by reference or with [`std::mem::take`], and cannot be moved out by
/// a pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnyValue {
    /// No value.
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

// === impl AnyValue ===

impl AnyValue {
    fn is_list(&self) -> bool {
        matches!(self, Self::Array(_) | Self::KvList(_))
    }

    /// Moves the values of a list to `into`, and leaves the list empty.
    fn empty_into(&mut self, into: &mut Vec<Self>) {
        match self {
            Self::Array(values) => into.append(values),
            Self::KvList(pairs) => into.extend(pairs.drain(..).map(|pair| pair.value)),
            _ => {}
        }
    }
}

impl Drop for AnyValue {
    // The worker drops values on its thread, where an overflow of the stack ends the process.
    fn drop(&mut self) {
        let is_nested = match self {
            Self::Array(values) => values.iter().any(Self::is_list),
            Self::KvList(pairs) => pairs.iter().any(|pair| pair.value.is_list()),
            _ => false,
        };
        // A list of plain values, which is the usual case, needs no allocation here.
        if is_nested {
            let mut rest = Vec::new();
            self.empty_into(&mut rest);
            while let Some(mut value) = rest.pop() {
                value.empty_into(&mut rest);
            }
        }
    }
}

// === impl KeyValue ===

impl KeyValue {
    /// The attribute `key` with this value.
    #[must_use]
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// Lists the kinds of value that Rust types become.
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

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::Footprint;
    use std::thread;

    /// Lists of both kinds in one another, with a plain value beside each.
    fn nested(depth: usize) -> AnyValue {
        (0..depth).fold(AnyValue::from("the innermost"), |inner, level| match level % 2 {
            0 => AnyValue::Array(vec![AnyValue::Int(1), inner]),
            _ => AnyValue::KvList(vec![KeyValue::new("inner", inner), KeyValue::new(level.to_string(), "beside")]),
        })
    }

    #[test]
    fn f26_a_value_of_any_depth_is_weighed_and_dropped_on_a_small_stack() {
        const SMALL: usize = 64 << 10;

        for depth in [crate::MAX_DEPTH, 64_000, 1_000_000] {
            let small = thread::Builder::new().stack_size(SMALL).spawn(move || {
                let value = nested(depth);
                assert!(value.heap() >= depth * size_of::<AnyValue>());
                drop(value);
            });
            // An overflow of the stack would end the process.
            small.unwrap().join().unwrap();
        }
    }
}
