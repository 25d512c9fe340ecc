use crate::{Framing, ServerText};
use bytes::BytesMut;
use forebay_core::{Advice, BoxError, DropReason, Fate, Seen, Settlement, Verdict};
use http::HeaderValue;
use std::{error::Error, fmt};

/// Turns a batch of items into the body of one request, and the answer into their fates.
///
/// One encoder serves all batches, so it keeps what does not change (resource, scope, header values) ready made.
pub trait Encode<T>: Send + Sync + 'static {
    /// The `Content-Type` of the body.
    fn content_type(&self) -> HeaderValue;

    /// How requests carry the body; as it is, unless the protocol is gRPC.
    fn framing(&self) -> Framing {
        Framing::Plain
    }

    /// Writes `items` at the end of `body`, which is empty but for what gRPC puts before a message, and may have capacity
    /// left from an earlier batch.
    ///
    /// The same items always give the same bytes: a batch is encoded once, and sent again as it is.
    ///
    /// # Errors
    ///
    /// When nothing of the batch can be encoded. An item that alone cannot be encoded costs only itself: it is left
    /// out and listed in [`Skipped`]. A batch whose body would be larger than the protocol allows is given back as
    /// [`BodyTooLarge`] before all of it is in memory; it may pass in parts. What is in `body` after an error does not matter.
    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError>;

    /// What a 2xx answer says of the `items` items that were in the body; delivered, unless the protocol knows better.
    ///
    /// `body` is what was read of the answer, up to the exporter's cap.
    fn settle(&self, head: &http::response::Parts, body: &[u8], items: usize) -> Settlement {
        let _none_needed = (head, body, items);
        Settlement::All(Fate::Delivered)
    }

    /// What the answer of a refusal says to people, out of the first 4 KiB of its `body`.
    ///
    /// By default that is the body where it is text or JSON.
    fn explain(&self, content_type: Option<&HeaderValue>, body: &[u8]) -> ServerText {
        let media_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let is = |name: &[u8]| media_type.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        if is(b"text/") || is(b"application/json") { ServerText::from_bytes(body) } else { ServerText::default() }
    }
}

/// The places of the items that an encoder had to leave out, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(pub Vec<usize>);

/// The body of a batch would have become larger than it may.
///
/// Nothing was sent. A part of the batch may pass, a single item may not.
#[derive(Clone, Debug)]
pub struct BodyTooLarge {
    limit: usize,
    fits: usize,
    verdict: Verdict,
}

// === impl BodyTooLarge ===

impl BodyTooLarge {
    /// The body was to have at most `limit` bytes, and `fits` items were in it before it had more.
    #[must_use]
    pub fn new(limit: usize, fits: usize) -> Self {
        Self { limit, fits, verdict: Verdict::new(DropReason::TooLarge, Seen::No, Advice::Never) }
    }

    /// The greatest length of a body, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many items of this batch about fit into one body.
    #[must_use]
    pub fn fits(&self) -> usize {
        self.fits
    }
}

impl fmt::Display for BodyTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body would be larger than {} bytes; {} items fit", self.limit, self.fits)
    }
}

impl Error for BodyTooLarge {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl Skipped ===

impl Skipped {
    /// Every item is in the body.
    pub const NONE: Self = Self(Vec::new());
}
