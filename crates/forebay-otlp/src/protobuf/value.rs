use super::{
    WireType,
    length::Length,
    put::{len_of, put_len, put_tag, put_two_lens, put_varint, varint_len},
};
use crate::{
    MAX_DEPTH,
    value::{ArrayWriter, AsValue, AttributesWriter, ValueWriter},
    wire::{Buf, Field, fields},
};

fields! {
    // AnyValue
    STRING_VALUE = 1, "stringValue";
    BOOL_VALUE = 2, "boolValue";
    INT_VALUE = 3, "intValue";
    DOUBLE_VALUE = 4, "doubleValue";
    ARRAY_VALUE = 5, "arrayValue";
    KVLIST_VALUE = 6, "kvlistValue";
    BYTES_VALUE = 7, "bytesValue";
    // ArrayValue and KeyValueList
    VALUES = 1, "values";
    // KeyValue
    KEY = 1, "key";
    VALUE = 2, "value";
}

/// Writes one `AnyValue`, with the tags and lengths before it.
pub(crate) struct ProtobufValue<'b, 'k> {
    buf: &'b mut Buf,
    place: Place<'k>,
    /// The number of lists around it.
    depth: usize,
}

/// The messages that begin before an `AnyValue`.
#[derive(Clone, Copy)]
enum Place<'k> {
    /// The field contains the value.
    Field(Field),
    /// The field contains a `KeyValue` with this value.
    Pair(Field, &'k str),
}

/// The messages around the elements of a list, innermost last.
struct OpenList {
    pair: Option<Length>,
    value: Length,
    list: Length,
}

/// Writes the values of an open `ArrayValue`.
pub(crate) struct ProtobufArray<'b> {
    buf: &'b mut Buf,
    depth: usize,
}

/// Writes the pairs of an open `KeyValueList`.
pub(crate) struct ProtobufKvList<'b> {
    buf: &'b mut Buf,
    depth: usize,
}

// === impl ProtobufValue ===

impl<'b, 'k> ProtobufValue<'b, 'k> {
    #[inline(always)]
    pub(super) fn in_field(buf: &'b mut Buf, field: Field) -> Self {
        Self { buf, place: Place::Field(field), depth: 0 }
    }

    #[inline(always)]
    pub(super) fn in_pair(buf: &'b mut Buf, field: Field, key: &'k str) -> Self {
        Self { buf, place: Place::Pair(field, key), depth: 0 }
    }

    /// Writes the bytes before an `AnyValue` of `len` bytes.
    #[inline(always)]
    fn head(self, len: usize) -> &'b mut Buf {
        let Self { buf, place, depth: _ } = self;
        match place {
            Place::Field(field) => put_len(buf, field, len),
            Place::Pair(field, key) => {
                put_pair(buf, field, key, len_of(VALUE, len));
                put_len(buf, VALUE, len);
            }
        }
        buf
    }

    /// Writes the same as [`head`](Self::head), for a value of `len` bytes in the field `kind`.
    #[inline(always)]
    fn head_with(self, kind: Field, len: usize) -> &'b mut Buf {
        let Self { buf, place, depth: _ } = self;
        let value = len_of(kind, len);
        match place {
            Place::Field(field) => put_two_lens(buf, (field, value), (kind, len)),
            Place::Pair(field, key) => {
                put_pair(buf, field, key, len_of(VALUE, value));
                put_two_lens(buf, (VALUE, value), (kind, len));
            }
        }
        buf
    }

    /// Opens the list that is the value; `None` if it is nested too deep.
    fn open_list(self, kind: Field) -> Option<(&'b mut Buf, usize, OpenList)> {
        let Self { buf, place, depth } = self;
        if depth >= MAX_DEPTH {
            buf.set_too_deep();
            return None;
        }
        let (pair, value) = match place {
            Place::Field(field) => (None, open(buf, field)),
            Place::Pair(field, key) => {
                let pair = open(buf, field);
                put_key(buf, key);
                (Some(pair), open(buf, VALUE))
            }
        };
        let list = open(buf, kind);
        Some((buf, depth + 1, OpenList { pair, value, list }))
    }
}

// === impl OpenList ===

impl OpenList {
    fn close(self, buf: &mut Buf) {
        self.list.close(buf);
        self.value.close(buf);
        if let Some(pair) = self.pair {
            pair.close(buf);
        }
    }
}

fn open(buf: &mut Buf, field: Field) -> Length {
    put_tag(buf, field, WireType::Len);
    Length::open(buf, 1)
}

/// The length of the field of a key; an empty key has no field.
#[inline(always)]
fn key_len(key: &str) -> usize {
    if key.is_empty() { 0 } else { len_of(KEY, key.len()) }
}

/// Begins a pair whose value takes `value` bytes, tag and length included.
#[inline(always)]
fn put_pair(buf: &mut Buf, field: Field, key: &str, value: usize) {
    let len = key_len(key) + value;
    if key.is_empty() {
        put_len(buf, field, len);
    } else {
        put_two_lens(buf, (field, len), (KEY, key.len()));
        buf.put_text(key.as_bytes());
    }
}

#[inline(always)]
fn put_key(buf: &mut Buf, key: &str) {
    if !key.is_empty() {
        put_len(buf, KEY, key.len());
        buf.put_text(key.as_bytes());
    }
}

impl<'b> ValueWriter for ProtobufValue<'b, '_> {
    type Done = ();
    type Array = ProtobufArray<'b>;
    type KvList = ProtobufKvList<'b>;

    #[inline(always)]
    fn empty(self) {
        self.head(0);
    }

    #[inline(always)]
    fn string(self, value: &str) {
        self.head_with(STRING_VALUE, value.len()).put_text(value.as_bytes());
    }

    #[inline(always)]
    fn bool(self, value: bool) {
        let buf = self.head(2);
        put_tag(buf, BOOL_VALUE, WireType::Varint);
        put_varint(buf, u64::from(value));
    }

    #[inline(always)]
    fn int(self, value: i64) {
        let buf = self.head(1 + varint_len(value.cast_unsigned()));
        put_tag(buf, INT_VALUE, WireType::Varint);
        put_varint(buf, value.cast_unsigned());
    }

    #[inline(always)]
    fn double(self, value: f64) {
        let buf = self.head(9);
        put_tag(buf, DOUBLE_VALUE, WireType::I64);
        buf.put(&value.to_le_bytes());
    }

    #[inline(always)]
    fn bytes(self, value: &[u8]) {
        self.head_with(BYTES_VALUE, value.len()).put(value);
    }

    fn array(self, write: impl FnOnce(&mut ProtobufArray<'b>)) {
        if let Some((buf, depth, open)) = self.open_list(ARRAY_VALUE) {
            let mut array = ProtobufArray { buf, depth };
            write(&mut array);
            open.close(array.buf);
        }
    }

    fn kv_list(self, write: impl FnOnce(&mut ProtobufKvList<'b>)) {
        if let Some((buf, depth, open)) = self.open_list(KVLIST_VALUE) {
            let mut list = ProtobufKvList { buf, depth };
            write(&mut list);
            open.close(list.buf);
        }
    }
}

// === impl ProtobufArray ===

impl ArrayWriter for ProtobufArray<'_> {
    fn value(&mut self, value: impl AsValue) {
        value.value(ProtobufValue { buf: self.buf, place: Place::Field(VALUES), depth: self.depth });
    }
}

// === impl ProtobufKvList ===

impl AttributesWriter for ProtobufKvList<'_> {
    fn attribute(&mut self, key: &str, value: impl AsValue) {
        value.value(ProtobufValue { buf: self.buf, place: Place::Pair(VALUES, key), depth: self.depth });
    }
}
