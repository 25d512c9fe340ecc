use crate::{
    batch::{self, Frame},
    builder::EncoderBuilder,
    json::Json,
    protobuf::Protobuf,
    protocol::Protocol,
    section::Section,
    settle::{OtlpEvent, settle},
    signal::{Logs, Metrics, SignalKind, Traces, WriteItem},
    size::SizeHint,
    wire::Buf,
};
use bytes::BytesMut;
use forebay_core::{Advice, BoxError, DropReason, Observe, Seen, Settlement, Verdict};
use forebay_export::{BodyTooLarge, Framing, Skipped};
use http::response;
use std::{error::Error, fmt, marker::PhantomData, mem};

/// Encodes batches of one signal, and reads the responses of the server.
///
/// Its names are [`LogsEncoder`], [`TracesEncoder`] and [`MetricsEncoder`]; `builder()` makes one. It implements
/// [`Encode`](forebay_export::Encode) for every type that can be written as its kind of item, so one encoder serves
/// the records of this crate and those of your own alike.
///
/// `O` observes what servers report in their responses, see [`OtlpEvent`].
pub struct Encoder<S, O = ()> {
    pub(crate) protocol: Protocol,
    pub(crate) resource: Option<Section>,
    pub(crate) scope: Option<Section>,
    pub(crate) max_request_bytes: usize,
    pub(crate) observer: O,
    pub(crate) size: SizeHint,
    pub(crate) signal: PhantomData<fn() -> S>,
}

/// Encodes every type that is [`AsLogRecord`](crate::AsLogRecord).
pub type LogsEncoder<O = ()> = Encoder<Logs, O>;

/// Encodes every type that is [`AsSpan`](crate::AsSpan).
pub type TracesEncoder<O = ()> = Encoder<Traces, O>;

/// Encodes every type that is [`AsMetric`](crate::AsMetric).
pub type MetricsEncoder<O = ()> = Encoder<Metrics, O>;

/// Every item of a batch has a value that is nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
///
/// Nothing was sent, and a retry would fail in the same way.
#[derive(Clone, Debug)]
pub struct NothingEncodable {
    items: usize,
    verdict: Verdict,
}

// === impl Encoder ===

impl<S: SignalKind> Encoder<S> {
    /// A builder with the defaults of [`EncoderBuilder`].
    pub fn builder() -> EncoderBuilder<S> {
        EncoderBuilder::new()
    }
}

impl<S: SignalKind, O> Encoder<S, O> {
    /// How its requests are encoded.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How requests carry a body.
    pub(crate) fn framing_of_requests(&self) -> Framing {
        match self.protocol {
            Protocol::Grpc => Framing::Grpc { method: S::SIGNAL.grpc_method() },
            Protocol::HttpProtobuf | Protocol::HttpJson => Framing::Plain,
        }
    }

    /// Writes the request for `items` at the end of `body`.
    pub(crate) fn encode_batch<T>(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError>
    where
        S: WriteItem<T>,
    {
        // Bytes of the caller precede the request, and stay.
        let start = body.len();
        let expected = self.size.expected(items.len()).min(self.max_request_bytes);
        body.reserve(expected);
        let frame = Frame {
            envelope: S::SIGNAL.envelope(),
            resource: self.resource.as_ref(),
            scope: self.scope.as_ref(),
            max_request_bytes: self.max_request_bytes,
            expected,
        };
        // The writers own the body, so a panic of an item leaves an empty body.
        let mut buf = Buf::new(mem::take(body));
        let result = match self.protocol {
            Protocol::HttpProtobuf | Protocol::Grpc => batch::write::<Protobuf, S, T>(frame, items, &mut buf),
            Protocol::HttpJson => batch::write::<Json, S, T>(frame, items, &mut buf),
        };
        *body = buf.into_inner();
        match result {
            Ok(skipped) if skipped.len() < items.len() || items.is_empty() => {
                self.size.record(items.len(), body.len() - start);
                Ok(Skipped(skipped))
            }
            Ok(skipped) => {
                body.truncate(start);
                Err(NothingEncodable::new(skipped.len()).into())
            }
            Err(batch::TooLarge { written }) => {
                body.truncate(start);
                Err(BodyTooLarge::new(self.max_request_bytes, written).into())
            }
        }
    }

    /// The fates of the `items` items of a request, by its response.
    pub(crate) fn settle_response(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement
    where
        O: Observe<OtlpEvent>,
    {
        settle(S::SIGNAL, self.protocol, head, body, items, &self.observer)
    }
}

impl<S: SignalKind, O> fmt::Debug for Encoder<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("signal", &S::SIGNAL)
            .field("protocol", &self.protocol)
            .field("max_request_bytes", &self.max_request_bytes)
            .finish_non_exhaustive()
    }
}

// === impl NothingEncodable ===

impl NothingEncodable {
    pub(crate) fn new(items: usize) -> Self {
        Self { items, verdict: Verdict::new(DropReason::Encode, Seen::No, Advice::Never) }
    }
}

impl fmt::Display for NothingEncodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} items can be encoded: values are nested too deep", self.items)
    }
}

impl Error for NothingEncodable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
