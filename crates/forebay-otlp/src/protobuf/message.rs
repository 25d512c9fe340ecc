use super::{
    WireType,
    length::Length,
    put::{put_len, put_tag, put_varint},
    value::ProtobufValue,
};
use crate::{
    value::AsValue,
    wire::{Buf, Field, Message, Outer, TooDeep, Wire},
};
use std::marker::PhantomData;

/// The binary encoding.
#[derive(Debug)]
pub(crate) enum Protobuf {}

/// An open message: its fields are appended to the body.
pub(crate) struct ProtobufMessage<'b, K> {
    buf: &'b mut Buf,
    kind: PhantomData<K>,
    /// The fields that [`Message::first`] has seen, as a set of bits.
    seen: u32,
}

// === impl Protobuf ===

impl Wire for Protobuf {
    type Message<'b, K> = ProtobufMessage<'b, K>;

    fn request(buf: &mut Buf, write: impl FnOnce(&mut ProtobufMessage<'_, Outer>)) {
        write(&mut ProtobufMessage::new(buf));
    }

    #[inline(always)]
    fn fragment<K>(buf: &mut Buf, write: impl FnOnce(&mut ProtobufMessage<'_, K>)) {
        write(&mut ProtobufMessage::new(buf));
    }
}

// === impl ProtobufMessage ===

impl<'b, K> ProtobufMessage<'b, K> {
    #[inline(always)]
    fn new(buf: &'b mut Buf) -> Self {
        Self { buf, kind: PhantomData, seen: 0 }
    }

    /// Writes several numbers into one field, without a tag for each.
    #[inline]
    fn packed<T>(&mut self, field: Field, values: impl IntoIterator<Item = T>, put: impl Fn(&mut Buf, T)) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        put_tag(self.buf, field, WireType::Len);
        let length = Length::open(self.buf, field.width);
        values.for_each(|value| put(self.buf, value));
        length.close(self.buf);
    }
}

impl<Kind> Message for ProtobufMessage<'_, Kind> {
    type Kind = Kind;
    type Child<'c, K> = ProtobufMessage<'c, K>;

    #[inline(always)]
    fn first(&mut self, field: Field) -> bool {
        let first = self.seen & field.bit() == 0;
        self.seen |= field.bit();
        first
    }

    #[inline(always)]
    fn bool(&mut self, field: Field, value: bool) {
        self.uint32(field, u32::from(value));
    }

    #[inline(always)]
    fn uint32(&mut self, field: Field, value: u32) {
        if value != 0 {
            put_tag(self.buf, field, WireType::Varint);
            put_varint(self.buf, u64::from(value));
        }
    }

    #[inline(always)]
    fn sint32(&mut self, field: Field, value: i32) {
        self.uint32(field, ((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    #[inline(always)]
    fn fixed32(&mut self, field: Field, value: u32) {
        if value != 0 {
            put_tag(self.buf, field, WireType::I32);
            self.buf.put(&value.to_le_bytes());
        }
    }

    #[inline(always)]
    fn fixed64(&mut self, field: Field, value: u64) {
        if value != 0 {
            put_tag(self.buf, field, WireType::I64);
            self.buf.put(&value.to_le_bytes());
        }
    }

    #[inline(always)]
    fn double(&mut self, field: Field, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    #[inline(always)]
    fn string(&mut self, field: Field, value: &str) {
        if !value.is_empty() {
            put_len(self.buf, field, value.len());
            self.buf.put_text(value.as_bytes());
        }
    }

    #[inline(always)]
    fn id<const N: usize>(&mut self, field: Field, value: [u8; N]) {
        if value != [0; N] {
            put_len(self.buf, field, N);
            self.buf.put(&value);
        }
    }

    #[inline(always)]
    fn some_sfixed64(&mut self, field: Field, value: i64) {
        put_tag(self.buf, field, WireType::I64);
        self.buf.put(&value.to_le_bytes());
    }

    #[inline(always)]
    fn some_double(&mut self, field: Field, value: f64) {
        put_tag(self.buf, field, WireType::I64);
        self.buf.put(&value.to_le_bytes());
    }

    fn uint64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>) {
        self.packed(field, values, put_varint);
    }

    fn fixed64s(&mut self, field: Field, values: impl IntoIterator<Item = u64>) {
        self.packed(field, values, |buf, value| buf.put(&value.to_le_bytes()));
    }

    fn doubles(&mut self, field: Field, values: impl IntoIterator<Item = f64>) {
        self.packed(field, values, |buf, value| buf.put(&value.to_le_bytes()));
    }

    #[inline(always)]
    fn value(&mut self, field: Field, value: impl AsValue) {
        value.value(ProtobufValue::in_field(self.buf, field));
    }

    #[inline(always)]
    fn attribute(&mut self, field: Field, key: &str, value: impl AsValue) {
        value.value(ProtobufValue::in_pair(self.buf, field, key));
    }

    #[inline(always)]
    fn message<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>)) {
        self.element(field, write);
    }

    #[inline(always)]
    fn element<K>(&mut self, field: Field, write: impl FnOnce(&mut Self::Child<'_, K>)) {
        put_tag(self.buf, field, WireType::Len);
        let length = Length::open(self.buf, field.width);
        write(&mut ProtobufMessage::new(self.buf));
        length.close(self.buf);
    }

    #[inline(always)]
    fn element_if_whole<K>(
        &mut self,
        field: Field,
        write: impl FnOnce(&mut Self::Child<'_, K>),
    ) -> Result<usize, TooDeep> {
        let start = self.buf.len();
        self.element(field, write);
        if self.buf.take_too_deep() {
            self.buf.truncate(start);
            return Err(TooDeep);
        }
        Ok(self.buf.len() - start)
    }

    #[inline]
    fn raw(&mut self, fields: &[u8]) {
        self.buf.put(fields);
    }

    fn give_up(&mut self) {
        self.buf.set_too_deep();
    }

    #[inline(always)]
    fn body_len(&self) -> usize {
        self.buf.len()
    }
}
