use crate::{Footprint, heap_block};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

/// What a header takes in the table of a [`HeaderMap`]: its name, its value, a hash, links, and its place in the index.
const HEADER: usize = size_of::<HeaderName>() + size_of::<HeaderValue>() + 40;

// === impl Footprint ===

/// Counts what can be seen of the buffer. A slice keeps all of a larger buffer that it was cut from: copy it, if the rest
/// is not needed.
impl Footprint for Bytes {
    #[inline]
    fn heap(&self) -> usize {
        heap_block(self.len())
    }
}

/// As for [`Bytes`].
impl Footprint for BytesMut {
    #[inline]
    fn heap(&self) -> usize {
        heap_block(self.capacity())
    }
}

impl Footprint for HeaderMap {
    fn heap(&self) -> usize {
        let texts = self.iter().map(|(name, value)| heap_block(name.as_str().len()) + heap_block(value.len()));
        heap_block(self.capacity() * HEADER) + texts.sum::<usize>()
    }
}

impl Footprint for Uri {
    fn heap(&self) -> usize {
        let path = self.path_and_query().map_or(0, |path| path.as_str().len());
        heap_block(path + self.authority().map_or(0, |authority| authority.as_str().len()))
    }
}

impl Footprint for StatusCode {
    const FLAT: bool = true;

    fn heap(&self) -> usize {
        0
    }
}

impl Footprint for Version {
    const FLAT: bool = true;

    fn heap(&self) -> usize {
        0
    }
}

impl Footprint for Method {
    fn heap(&self) -> usize {
        // Longer names than this stand on the heap.
        const INLINE: usize = 15;
        let len = self.as_str().len();
        if len > INLINE { heap_block(len) } else { 0 }
    }
}

/// Extensions are not counted: what is in them cannot be known.
impl<B: Footprint> Footprint for Request<B> {
    fn heap(&self) -> usize {
        self.method().heap() + self.uri().heap() + self.headers().heap() + self.body().heap()
    }
}

/// Extensions are not counted: what is in them cannot be known.
impl<B: Footprint> Footprint for Response<B> {
    fn heap(&self) -> usize {
        self.headers().heap() + self.body().heap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f17_a_request_weighs_its_headers_its_target_and_its_body() {
        let body = Bytes::from(vec![1; 10_000]);
        let request = Request::post("http://example.com/path").header("x-long", "x".repeat(5_000)).body(body).unwrap();
        let bytes = request.footprint();
        assert!((15_000..16_500).contains(&bytes), "{bytes}");
    }
}
