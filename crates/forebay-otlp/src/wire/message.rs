use super::{Buf, Field};
use crate::value::{AsValue, AttributesWriter};

/// One of the two encodings.
pub(crate) trait Wire {
    type Message<'b, K>: Message<Kind = K>;

    /// Writes the message of a whole request at the end of `buf`.
    fn request(buf: &mut Buf, write: impl FnOnce(&mut Self::Message<'_, Outer>));

    /// Writes fields that [`Message::raw`] takes over into a message of the same kind.
    fn fragment<K>(buf: &mut Buf, write: impl FnOnce(&mut Self::Message<'_, K>));
}

/// An open message: takes its fields, in any order.
///
/// The public traits are implemented for every message of the right kind. Their associated types name this trait, so
/// it has to be public; no path leads to it from outside.
///
/// What is the default in proto3 (zero, the empty string, an id of zeros) is left out, unless the method says
/// otherwise. Whether a field that may occur once is written twice is for the caller to ask [`first`](Self::first).
pub trait Message: Sized {
    /// Which message it is; decides which of the public traits it implements.
    type Kind;
    type Child<'c, K>: Message<Kind = K>;

    /// Whether `field` was not asked for before.
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

    /// Written whatever the value is.
    fn some_sfixed64(&mut self, field: Field, value: i64);
    /// Written whatever the value is.
    fn some_double(&mut self, field: Field, value: f64);

    fn uint64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>);
    fn fixed64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>);
    fn doubles(&mut self, field: Field, values: impl IntoIterator<Item = f64>);

    /// An `AnyValue`, written even if it is empty.
    fn value(&mut self, field: Field, value: impl AsValue);

    /// One more `KeyValue` of a repeated field.
    fn attribute(&mut self, field: Field, key: &str, value: impl AsValue);

    /// The one message of a field, written even if it is empty.
    fn message<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>));

    /// One more message of a repeated field.
    fn element<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>));

    /// Like [`element`](Self::element), but leaves nothing behind if a value in it was too deep.
    ///
    /// Says how many bytes the message took, tag and length included.
    fn element_if_whole<K>(
        &mut self,
        field: Field,
        write: impl FnOnce(&mut Self::Child<'_, K>),
    ) -> Result<usize, TooDeep>;

    /// Fields that were written before, by [`Wire::fragment`].
    fn raw(&mut self, fields: &[u8]);

    /// The message cannot be written: a value in it is too deep.
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
/// Only the first call of each writes, so that JSON has no name twice and both encodings mean the same. Where calls
/// follow one another without conditions, the check is gone when this is compiled.
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
