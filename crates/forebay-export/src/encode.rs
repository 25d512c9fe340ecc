use crate::{Framing, ServerText};
use bytes::BytesMut;
use forebay_core::{Advice, BoxError, DropReason, Fate, Seen, Settlement, Verdict};
use http::HeaderValue;
use std::{error::Error, fmt};

/// Turns a batch of items into the body of one request, and the response into their fates.
///
/// One encoder serves all batches, so it can encode what does not change (resource, scope, header values) once.
pub trait Encode<T>: Send + Sync + 'static {
    /// The `Content-Type` of the body.
    fn content_type(&self) -> HeaderValue;

    /// How requests carry the body: as it is, unless the protocol is gRPC.
    fn framing(&self) -> Framing {
        Framing::Plain
    }

    /// Writes `items` at the end of `body`, which is empty except for the prefix of a gRPC message, and may have capacity
    /// left from an earlier batch.
    ///
    /// The same items always give the same bytes: a batch is encoded once, and every attempt sends these bytes.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing of the batch can be encoded. An item that alone cannot be encoded costs only itself: it
    /// is left out and listed in [`Skipped`]. A batch whose body would be larger than the protocol allows is
    /// [`BodyTooLarge`] before all of it is in memory; parts of it may pass. The content of `body` after an error is ignored.
    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError>;

    /// The fates of the `items` items in the body, by a 2xx response: delivered, unless the protocol says more.
    ///
    /// `body` is the body of the response, up to the exporter's cap.
    fn settle(&self, head: &http::response::Parts, body: &[u8], items: usize) -> Settlement {
        let _none_needed = (head, body, items);
        Settlement::All(Fate::Delivered)
    }

    /// The text of an error response for human readers, from the first 4 KiB of its `body`.
    ///
    /// By default this is the body where it is text or JSON.
    fn explain(&self, content_type: Option<&HeaderValue>, body: &[u8]) -> ServerText {
        let media_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let is = |name: &[u8]| media_type.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        if is(b"text/") || is(b"application/json") { ServerText::from_bytes(body) } else { ServerText::default() }
    }
}

/// The indices of the items that an encoder left out, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(pub Vec<usize>);

/// The body of a batch would be larger than it may be.
///
/// Nothing was sent. A part of the batch may pass; a single item may not.
#[derive(Clone, Debug)]
pub struct BodyTooLarge {
    limit: usize,
    fits: usize,
    verdict: Verdict,
}

// === impl BodyTooLarge ===

impl BodyTooLarge {
    /// The error of a body that may have at most `limit` bytes, into which `fits` items fit.
    #[must_use]
    pub fn new(limit: usize, fits: usize) -> Self {
        Self { limit, fits, verdict: Verdict::new(DropReason::TooLarge, Seen::No, Advice::Never) }
    }

    /// The greatest length of a body, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// About how many items of this batch fit into one body.
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
