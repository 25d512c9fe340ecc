use bytes::BytesMut;
use forebay_core::{BoxError, Fate, Settlement};
use http::HeaderValue;

/// Turns a batch of items into the body of one request, and the answer into their fates.
///
/// One encoder serves all batches, so it keeps what does not change (resource, scope, header values) ready made.
pub trait Encode<T>: Send + Sync + 'static {
    /// The `Content-Type` of the body.
    fn content_type(&self) -> HeaderValue;

    /// Writes `items` into `body`, which is empty and may have capacity left from an earlier batch.
    ///
    /// The same items always give the same bytes: a batch is encoded once, and sent again as it is.
    ///
    /// # Errors
    ///
    /// When nothing of the batch can be encoded. An item that alone cannot be encoded costs only itself: it is left
    /// out and listed in [`Skipped`].
    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError>;

    /// What a 2xx answer says of the `items` items that were in the body; delivered, unless the protocol knows better.
    ///
    /// `body` is what was read of the answer, up to the exporter's cap.
    fn settle(&self, head: &http::response::Parts, body: &[u8], items: usize) -> Settlement {
        let _none_needed = (head, body, items);
        Settlement::All(Fate::Delivered)
    }
}

/// The places of the items that an encoder had to leave out, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(pub Vec<usize>);

// === impl Skipped ===

impl Skipped {
    /// Every item is in the body.
    pub const NONE: Self = Self(Vec::new());
}
