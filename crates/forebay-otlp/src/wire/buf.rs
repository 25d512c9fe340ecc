use bytes::BytesMut;

/// The body of a request while it is written.
#[derive(Debug)]
pub(crate) struct Buf {
    bytes: BytesMut,
    /// Whether a value was nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH), and is not completely written.
    too_deep: bool,
}

// === impl Buf ===

impl Buf {
    /// A body that continues after `bytes`.
    pub(crate) fn new(bytes: BytesMut) -> Self {
        Self { bytes, too_deep: false }
    }

    pub(crate) fn into_inner(self) -> BytesMut {
        self.bytes
    }

    /// Splits off the written bytes, and continues after them in the same memory.
    #[cfg(feature = "opentelemetry")]
    #[inline]
    pub(crate) fn split(&mut self) -> BytesMut {
        self.bytes.split()
    }

    /// A copy of the written bytes, in memory of exactly their length.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn copied(&self) -> BytesMut {
        BytesMut::from(&*self.bytes)
    }

    /// How many bytes may be written before the next allocation.
    #[cfg(feature = "opentelemetry")]
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes text. Short text, which is the usual case, is copied without a call.
    #[inline(always)]
    pub(crate) fn put_text(&mut self, text: &[u8]) {
        let len = text.len();
        if len > 16 {
            return self.put(text);
        }
        // The two ends may overlap, and are equal where they do.
        let ends = match (text.first_chunk(), text.last_chunk(), text.first_chunk(), text.last_chunk()) {
            (Some(first), Some(last), ..) => {
                u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (len - 8))
            }
            (.., Some(first), Some(last)) => {
                u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << (8 * (len - 4))
            }
            _ => return self.put(text),
        };
        let end = self.len() + len;
        self.put(&ends.to_le_bytes());
        self.truncate(end);
    }

    /// The written bytes from `at` on, to be changed in place.
    #[inline]
    pub(crate) fn tail(&mut self, at: usize) -> &mut [u8] {
        self.bytes.get_mut(at..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    #[cold]
    pub(crate) fn set_too_deep(&mut self) {
        self.too_deep = true;
    }

    /// Whether a value was nested too deep since the last call.
    #[inline]
    pub(crate) fn take_too_deep(&mut self) -> bool {
        std::mem::take(&mut self.too_deep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_is_put_as_it_is() {
        let text: Vec<u8> = (b'a'..=b'z').cycle().take(64).collect();
        for len in 0..=text.len() {
            let mut buf = Buf::new(BytesMut::from(&b"before"[..]));
            buf.put_text(&text[..len]);
            buf.put(b"behind");
            assert_eq!(buf.into_inner(), [b"before", &text[..len], b"behind"].concat());
        }
    }
}
