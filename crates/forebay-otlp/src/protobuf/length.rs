use super::put::{low_byte, varint_len};
use crate::wire::Buf;

/// The place of a length that is not known yet.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Length {
    at: usize,
    width: usize,
}

// === impl Length ===

impl Length {
    /// The longest varint.
    const MAX: usize = 10;

    /// Leaves room for a length of `width` bytes, which is a guess.
    #[inline(always)]
    pub(super) fn open(buf: &mut Buf, width: usize) -> Self {
        let at = buf.len();
        let width = width.clamp(1, Self::MAX);
        for _ in 0..width {
            buf.put(&[0]);
        }
        Self { at, width }
    }

    /// Writes the length of the bytes that were written since.
    #[inline(always)]
    pub(super) fn close(self, buf: &mut Buf) {
        let len = buf.len() - self.at - self.width;
        let width = varint_len(len as u64);
        if width != self.width {
            self.resize(buf, width, len);
        }
        let mut rest = len as u64;
        let mut more = width;
        for slot in buf.tail(self.at).iter_mut().take(width) {
            more -= 1;
            *slot = if more == 0 { low_byte(rest) } else { low_byte(rest) | 0x80 };
            rest >>= 7;
        }
    }

    /// Moves the `len` bytes after the length, so that the length has `width` bytes.
    #[cold]
    #[inline(never)]
    fn resize(self, buf: &mut Buf, width: usize, len: usize) {
        if width > self.width {
            buf.put(&[0; Self::MAX]);
        }
        buf.tail(self.at).copy_within(self.width..self.width + len, width);
        buf.truncate(self.at + width + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::put::put_varint;
    use bytes::BytesMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_length_is_minimal_whatever_was_guessed(len in 0_usize..20_000, width in 1_usize..=10) {
            let content: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            let mut buf = Buf::new(BytesMut::from(&b"before"[..]));
            let length = Length::open(&mut buf, width);
            buf.put(&content);
            length.close(&mut buf);

            let mut expected = Buf::new(BytesMut::from(&b"before"[..]));
            put_varint(&mut expected, len as u64);
            expected.put(&content);
            prop_assert_eq!(buf.into_inner(), expected.into_inner());
        }
    }
}
