/// A type that can be the value of an attribute, or the body of a log record.
///
/// Implemented for strings, `bool`, integers that fit an `i64`, floats, `[u8]` (bytes), slices of values, and
/// [`AnyValue`](crate::AnyValue). A type of your own chooses its kind of value:
///
/// ```
/// use forebay_otlp::{ArrayWriter, AsValue, ValueWriter};
/// use std::time::Duration;
///
/// struct Laps(Vec<Duration>);
///
/// impl AsValue for Laps {
///     fn value<W: ValueWriter>(&self, w: W) -> W::Done {
///         w.array(|laps| self.0.iter().for_each(|lap| laps.value(lap.as_secs_f64())))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of an attribute",
    note = "implement `AsValue`; a `u64` or `usize` may not fit the protocol's `int64`, so convert it yourself"
)]
pub trait AsValue {
    /// Writes the value: calls exactly one method of `w` and returns what that returned.
    fn value<W: ValueWriter>(&self, w: W) -> W::Done;
}

/// Takes one value, of one kind.
pub trait ValueWriter: Sized {
    /// Proof that a value was written.
    type Done;
    /// Takes the values of an array.
    type Array: ArrayWriter;
    /// Takes the pairs of a list of pairs.
    type KvList: AttributesWriter;

    /// No value.
    fn empty(self) -> Self::Done;
    /// Text.
    fn string(self, value: &str) -> Self::Done;
    /// True or false.
    fn bool(self, value: bool) -> Self::Done;
    /// A signed integer.
    fn int(self, value: i64) -> Self::Done;
    /// A floating point number; NaN and the infinities are values too.
    fn double(self, value: f64) -> Self::Done;
    /// Bytes that need not be text.
    fn bytes(self, value: &[u8]) -> Self::Done;
    /// A list of values, which `write` passes one by one.
    ///
    /// Beyond [`MAX_DEPTH`](crate::MAX_DEPTH) `write` is not called, and the record is left out.
    fn array(self, write: impl FnOnce(&mut Self::Array)) -> Self::Done;
    /// A list of pairs, which `write` passes one by one; their keys should differ.
    ///
    /// Beyond [`MAX_DEPTH`](crate::MAX_DEPTH) `write` is not called, and the record is left out.
    fn kv_list(self, write: impl FnOnce(&mut Self::KvList)) -> Self::Done;
}

/// Takes the values of an array, in order.
pub trait ArrayWriter {
    /// Adds a value.
    fn value(&mut self, value: impl AsValue);
}

/// Takes attributes, in order.
pub trait AttributesWriter {
    /// Adds an attribute. The keys of one set should differ.
    fn attribute(&mut self, key: &str, value: impl AsValue);
}
