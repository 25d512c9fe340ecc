use super::{
    close,
    lists::Lists,
    number::{put_double, put_integer, put_long},
    text::{put_hex, put_text},
    value::JsonValue,
};
use crate::{
    value::AsValue,
    wire::{Buf, Field, Message, Outer, TooDeep, Wire},
};
use std::marker::PhantomData;

/// The JSON encoding.
#[derive(Debug)]
pub(crate) enum Json {}

/// An open object.
pub(crate) struct JsonMessage<'b, K> {
    buf: &'b mut Buf,
    kind: PhantomData<K>,
    lists: Lists,
    /// The fields that [`Message::first`] has seen, as a set of bits.
    seen: u32,
}

// === impl Json ===

impl Wire for Json {
    type Message<'b, K> = JsonMessage<'b, K>;

    fn request(buf: &mut Buf, write: impl FnOnce(&mut JsonMessage<'_, Outer>)) {
        object(buf, write);
    }

    fn fragment<K>(buf: &mut Buf, write: impl FnOnce(&mut JsonMessage<'_, K>)) {
        members(buf, write);
    }
}

#[inline(always)]
fn object<K>(buf: &mut Buf, write: impl FnOnce(&mut JsonMessage<'_, K>)) {
    let start = buf.len();
    members(buf, write);
    close(buf, start, *b"{}");
}

#[inline(always)]
fn members<K>(buf: &mut Buf, write: impl FnOnce(&mut JsonMessage<'_, K>)) {
    let mut message = JsonMessage { buf, kind: PhantomData, lists: Lists::default(), seen: 0 };
    write(&mut message);
    message.lists.close(message.buf);
}

// === impl JsonMessage ===

impl<K> JsonMessage<'_, K> {
    /// Writes the key of a field that is no list.
    #[inline(always)]
    fn key(&mut self, field: Field) -> &mut Buf {
        self.lists.close(self.buf);
        self.buf.put(field.key.as_bytes());
        self.buf
    }

    /// An array of numbers.
    #[inline]
    fn numbers<T>(&mut self, field: Field, values: impl IntoIterator<Item = T>, put: impl Fn(&mut Buf, T)) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        let buf = self.key(field);
        let start = buf.len();
        values.for_each(|value| {
            buf.put(b",");
            put(buf, value);
        });
        close(buf, start, *b"[]");
    }
}

impl<Kind> Message for JsonMessage<'_, Kind> {
    type Kind = Kind;
    type Child<'c, K> = JsonMessage<'c, K>;

    #[inline(always)]
    fn first(&mut self, field: Field) -> bool {
        let first = self.seen & field.bit() == 0;
        self.seen |= field.bit();
        first
    }

    fn bool(&mut self, field: Field, value: bool) {
        if value {
            self.key(field).put(b"true");
        }
    }

    #[inline]
    fn uint32(&mut self, field: Field, value: u32) {
        if value != 0 {
            put_integer(self.key(field), value);
        }
    }

    fn sint32(&mut self, field: Field, value: i32) {
        if value != 0 {
            put_integer(self.key(field), value);
        }
    }

    #[inline]
    fn fixed32(&mut self, field: Field, value: u32) {
        self.uint32(field, value);
    }

    #[inline]
    fn fixed64(&mut self, field: Field, value: u64) {
        if value != 0 {
            put_long(self.key(field), value);
        }
    }

    fn double(&mut self, field: Field, value: f64) {
        if value.to_bits() != 0 {
            self.some_double(field, value);
        }
    }

    #[inline]
    fn string(&mut self, field: Field, value: &str) {
        if !value.is_empty() {
            let buf = self.key(field);
            buf.put(b"\"");
            put_text(buf, value);
            buf.put(b"\"");
        }
    }

    #[inline]
    fn id<const N: usize>(&mut self, field: Field, value: [u8; N]) {
        if value != [0; N] {
            let buf = self.key(field);
            buf.put(b"\"");
            put_hex(buf, &value);
            buf.put(b"\"");
        }
    }

    fn some_sfixed64(&mut self, field: Field, value: i64) {
        put_long(self.key(field), value);
    }

    fn some_double(&mut self, field: Field, value: f64) {
        put_double(self.key(field), value);
    }

    fn uint64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>) {
        self.numbers(field, values, put_long);
    }

    fn fixed64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>) {
        self.numbers(field, values, put_long);
    }

    fn doubles(&mut self, field: Field, values: impl IntoIterator<Item = f64>) {
        self.numbers(field, values, put_double);
    }

    #[inline]
    fn value(&mut self, field: Field, value: impl AsValue) {
        value.value(JsonValue::new(self.key(field)));
    }

    #[inline]
    fn attribute(&mut self, field: Field, key: &str, value: impl AsValue) {
        let element = self.lists.begin(self.buf, field);
        JsonValue::pair(self.buf, key, value, 0);
        self.lists.end(self.buf, element);
    }

    fn message<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>)) {
        object(self.key(field), write);
    }

    fn element<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>)) {
        let element = self.lists.begin(self.buf, field);
        object(self.buf, write);
        self.lists.end(self.buf, element);
    }

    fn element_if_whole<K>(
        &mut self,
        field: Field,
        write: impl FnOnce(&mut Self::Child<'_, K>),
    ) -> Result<usize, TooDeep> {
        let (start, lists) = (self.buf.len(), self.lists);
        let element = self.lists.begin(self.buf, field);
        object(self.buf, write);
        if self.buf.take_too_deep() {
            self.buf.truncate(start);
            self.lists = lists;
            return Err(TooDeep);
        }
        self.lists.end(self.buf, element);
        Ok(self.buf.len() - start)
    }

    fn raw(&mut self, fields: &[u8]) {
        self.lists.close(self.buf);
        self.buf.put(fields);
    }

    fn give_up(&mut self) {
        self.buf.set_too_deep();
    }

    fn body_len(&self) -> usize {
        self.buf.len()
    }
}
