use crate::{
    batch::{self, Frame},
    builder::Builder,
    json::Json,
    protobuf::Protobuf,
    protocol::Protocol,
    section::Section,
    settle::{Notice, settle},
    signal::{Kind, Logs, Metrics, Source, Traces},
    size::SizeHint,
    wire::Buf,
};
use bytes::BytesMut;
use forebay_core::{Advice, BoxError, DropReason, Observe, Seen, Settlement, Verdict};
use forebay_export::{BodyTooLarge, Framing, Skipped};
use http::response;
use std::{error::Error, fmt, marker::PhantomData, mem};

/// Encodes batches of one signal, and reads the answers of the server.
///
/// Its names are [`LogsEncoder`], [`TracesEncoder`] and [`MetricsEncoder`]; `builder()` makes one. It implements
/// [`Encode`](forebay_export::Encode) for every type that can be written as its kind of item, so one encoder serves
/// ready-made records and those of your own alike.
///
/// `O` observes what servers say in their answers, see [`Notice`].
pub struct Encoder<S, O = ()> {
    pub(crate) protocol: Protocol,
    pub(crate) resource: Option<Section>,
    pub(crate) scope: Option<Section>,
    pub(crate) max_body: usize,
    pub(crate) observer: O,
    pub(crate) size: SizeHint,
    pub(crate) signal: PhantomData<fn() -> S>,
}

/// Encodes whatever is [`AsLogRecord`](crate::AsLogRecord).
pub type LogsEncoder<O = ()> = Encoder<Logs, O>;

/// Encodes whatever is [`AsSpan`](crate::AsSpan).
pub type TracesEncoder<O = ()> = Encoder<Traces, O>;

/// Encodes whatever is [`AsMetric`](crate::AsMetric).
pub type MetricsEncoder<O = ()> = Encoder<Metrics, O>;

/// Every item of a batch was nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
///
/// Nothing was sent, and the same items will never be encodable.
#[derive(Clone, Debug)]
pub struct NothingEncodable {
    items: usize,
    verdict: Verdict,
}

// === impl Encoder ===

impl<S: Kind> Encoder<S> {
    /// What can be configured, with its defaults.
    pub fn builder() -> Builder<S> {
        Builder::new()
    }
}

impl<S: Kind, O> Encoder<S, O> {
    /// How its requests are encoded.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What is put around a body.
    pub(crate) fn framing_of_requests(&self) -> Framing {
        match self.protocol {
            Protocol::Grpc => Framing::Grpc { method: S::SIGNAL.grpc_method() },
            Protocol::HttpProtobuf | Protocol::HttpJson => Framing::Plain,
        }
    }

    /// Writes the request for `items` at the end of `body`.
    pub(crate) fn encode_batch<T>(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError>
    where
        S: Source<T>,
    {
        let start = body.len();
        let expected = self.size.expected(items.len()).min(self.max_body);
        body.reserve(expected);
        let frame = Frame {
            envelope: S::SIGNAL.envelope(),
            resource: self.resource.as_ref(),
            scope: self.scope.as_ref(),
            max_body: self.max_body,
            expected,
        };
        // The writers own the body. Should an item panic while it is written, an empty one is left.
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
                Err(BodyTooLarge::new(self.max_body, written).into())
            }
        }
    }

    /// What an answer says of the `items` items of its request.
    pub(crate) fn settle_answer(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement
    where
        O: Observe<Notice>,
    {
        settle(S::SIGNAL, self.protocol, head, body, items, &self.observer)
    }
}

impl<S: Kind, O> fmt::Debug for Encoder<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("signal", &S::SIGNAL)
            .field("protocol", &self.protocol)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

// === impl NothingEncodable ===

impl NothingEncodable {
    fn new(items: usize) -> Self {
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
