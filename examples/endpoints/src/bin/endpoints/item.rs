use bytes::{BufMut, BytesMut};
use forebay::{
    core::{BoxError, Footprint},
    export::{Encode, Skipped},
};
use http::HeaderValue;

/// What is sent: its number, and when it was handed to the exporter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) number: u64,
    /// In microseconds since the start.
    pub(crate) at: u64,
}

/// Sixteen bytes for each item.
pub(crate) struct Encoder;

// === impl Item ===

impl Item {
    /// The items of a body that [`Encoder`] wrote.
    pub(crate) fn all(body: &[u8]) -> impl Iterator<Item = Self> {
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        body.chunks_exact(16).map(move |bytes| Self { number: number(&bytes[..8]), at: number(&bytes[8..]) })
    }
}

impl Footprint for Item {
    const FLAT: bool = true;

    fn heap(&self) -> usize {
        0
    }
}

// === impl Encoder ===

impl Encode<Item> for Encoder {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, items: &[Item], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        for item in items {
            body.put_u64_le(item.number);
            body.put_u64_le(item.at);
        }
        Ok(Skipped::NONE)
    }
}
