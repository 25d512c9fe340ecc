use super::WireType;
use crate::wire::{Buf, Field};

/// The length of `value` as a varint: seven bits per byte, and one byte for zero.
#[inline(always)]
pub(crate) const fn varint_len(value: u64) -> usize {
    ((value | 1).ilog2() as usize * 9 + 73) / 64
}

/// Writes a varint: seven bits per byte, the lowest first.
#[inline(always)]
pub(super) fn put_varint(buf: &mut Buf, mut value: u64) {
    while value >= 0x80 {
        buf.put(&[low_byte(value) | 0x80]);
        value >>= 7;
    }
    buf.put(&[low_byte(value)]);
}

/// Writes the tag of a field, which precedes its payload.
#[inline(always)]
pub(super) fn put_tag(buf: &mut Buf, field: Field, wire: WireType) {
    put_varint(buf, tag(field, wire));
}

/// Writes tag and length.
#[inline(always)]
pub(super) fn put_len(buf: &mut Buf, field: Field, len: usize) {
    let tag = tag(field, WireType::Len);
    if tag < 0x80 && len < 0x80 {
        buf.put(&[low_byte(tag), low_byte(len as u64)]);
    } else {
        put_varint(buf, tag);
        put_varint(buf, len as u64);
    }
}

/// Writes tags and lengths of two messages of which the second begins the first: nearly always four bytes, in one write.
#[inline(always)]
pub(super) fn put_two_lens(buf: &mut Buf, outer: (Field, usize), inner: (Field, usize)) {
    let (outer_tag, inner_tag) = (tag(outer.0, WireType::Len), tag(inner.0, WireType::Len));
    if outer_tag < 0x80 && inner_tag < 0x80 && outer.1 < 0x80 && inner.1 < 0x80 {
        let lens = (outer.1 as u64, inner.1 as u64);
        buf.put(&[low_byte(outer_tag), low_byte(lens.0), low_byte(inner_tag), low_byte(lens.1)]);
    } else {
        put_len(buf, outer.0, outer.1);
        put_len(buf, inner.0, inner.1);
    }
}

/// The length of a field: tag, length and content.
#[inline(always)]
pub(super) const fn len_of(field: Field, len: usize) -> usize {
    varint_len(tag(field, WireType::Len)) + varint_len(len as u64) + len
}

#[inline(always)]
const fn tag(field: Field, wire: WireType) -> u64 {
    (field.number << 3 | wire as u32) as u64
}

#[inline(always)]
pub(super) const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// The definition of a varint, one byte at a time.
    fn plain_varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 127 {
            bytes.push(u8::try_from(value % 128 + 128).unwrap());
            value /= 128;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    proptest! {
        #[test]
        fn varints_are_minimal(value: u64, shift in 0_u32..64) {
            let value = value >> shift;
            let mut buf = Buf::new(BytesMut::new());
            put_varint(&mut buf, value);
            prop_assert_eq!(&buf.into_inner()[..], plain_varint(value));
            prop_assert_eq!(varint_len(value), plain_varint(value).len());
        }
    }

    #[test]
    fn a_varint_has_one_to_ten_bytes() {
        for (value, len) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            assert_eq!(varint_len(value), len, "{value}");
        }
    }
}
