use super::{Buf, Field};
use crate::value::{AsValue, AttributesWriter};

/// One of the two encodings.
pub(crate) trait Wire {
    type Message<'b, K>: Message<Kind = K>;

    /// Writes the message of a whole request at the end of `buf`.
    fn request(buf: &mut Buf, write: impl FnOnce(&mut Self::Message<'_, Outer>));

    /// Writes fields that [`Message::raw`] copies into a message of the same kind.
    fn fragment<K>(buf: &mut Buf, write: impl FnOnce(&mut Self::Message<'_, K>));
}

/// An open message: takes its fields, in any order.
///
/// Every message of the right kind implements the public traits. Their associated types name this trait, so it has to be
/// public; no path leads to it from outside.
///
/// Default values of proto3 (zero, the empty string, an id of zeros) are left out, unless the method says otherwise. The
/// caller asks [`first`](Self::first) before it writes a field that may occur once.
pub trait Message: Sized {
    /// The kind of message, which decides over the public traits that it implements.
    type Kind;
    type Child<'c, K>: Message<Kind = K>;

    /// Whether this is the first call for `field`.
    fn first(&mut self, field: Field) -> bool;

    fn bool(&mut self, field: Field, value: bool);
    fn uint32(&mut self, field: Field, value: u32);
    fn sint32(&mut self, field: Field, value: i32);
    fn fixed32(&mut self, field: Field, value: u32);
    fn fixed64(&mut self, field: Field, value: u64);
    fn double(&mut self, field: Field, value: f64);
    fn string(&mut self, field: Field, value: &str);
    /// A trace or span id: bytes in protobuf, hex in JSON.
    fn id<const N: usize>(&mut self, field: Field, value: [u8; N]);

    /// Writes the value even if it is the default.
    fn some_sfixed64(&mut self, field: Field, value: i64);
    /// Writes the value even if it is the default.
    fn some_double(&mut self, field: Field, value: f64);

    fn uint64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>);
    fn fixed64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>);
    fn doubles(&mut self, field: Field, values: impl IntoIterator<Item = f64>);

    /// Writes an `AnyValue`, even if it is empty.
    fn value(&mut self, field: Field, value: impl AsValue);

    /// Adds a `KeyValue` to a repeated field.
    fn attribute(&mut self, field: Field, key: &str, value: impl AsValue);

    /// Writes the one message of a field, even if it is empty.
    fn message<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>));

    /// Adds a message to a repeated field.
    fn element<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>));

    /// Adds a message like [`element`](Self::element), but removes it if a value in it was nested too deep.
    ///
    /// Returns the length of the message, tag and length prefix included.
    fn element_if_whole<K>(
        &mut self,
        field: Field,
        write: impl FnOnce(&mut Self::Child<'_, K>),
    ) -> Result<usize, TooDeep>;

    /// Copies fields that [`Wire::fragment`] wrote.
    fn raw(&mut self, fields: &[u8]);

    /// Marks the message as one that cannot be written: a value in it is nested too deep.
    fn give_up(&mut self);

    /// The length of the whole body so far, in bytes.
    fn body_len(&self) -> usize;
}

/// The kind of the messages around the items: no public trait writes them.
#[derive(Debug)]
pub(crate) enum Outer {}

/// A kind of message that has attributes.
pub trait Attributed {
    const ATTRIBUTES: Field;
}

impl<M: Message<Kind: Attributed>> AttributesWriter for M {
    #[inline(always)]
    fn attribute(&mut self, key: &str, value: impl AsValue) {
        Message::attribute(self, M::Kind::ATTRIBUTES, key, value);
    }
}

/// A value is nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

/// Methods of a public trait that write one field: `name(argument: Type) => NUMBER: kind(argument);`.
///
/// Only the first call of each writes, so that JSON has no name twice and both encodings mean the same. The compiler removes
/// the check where the calls follow one another without conditions.
macro_rules! setters {
    ($($name:ident($argument:ident: $type:ty) => $field:ident: $write:ident($value:expr);)*) => {$(
        #[inline(always)]
        fn $name(&mut self, $argument: $type) {
            if self.first($field) {
                self.$write($field, $value);
            }
        }
    )*};
}
pub(crate) use setters;
