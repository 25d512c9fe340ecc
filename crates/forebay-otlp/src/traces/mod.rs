//! Spans.

mod kinds;
mod span;
mod visit;

pub use self::{
    kinds::{SpanKind, StatusCode, span_flags},
    span::{Span, SpanEvent, SpanLink, SpanStatus},
    visit::{AsSpan, SpanEventWriter, SpanLinkWriter, SpanWriter},
};

use self::visit::SpanMessage;
use crate::{
    encoder::Encoder,
    origin::{AsResource, AsScope},
    settle::{OtlpEvent, explain},
    signal::{Traces, WriteItem},
    wire::Message,
};
use bytes::BytesMut;
use forebay_core::{BoxError, Observe, Settlement};
use forebay_export::{Encode, Framing, ServerText, Skipped};
use http::{HeaderValue, response};

impl<T: AsSpan> WriteItem<T> for Traces {
    type Item = SpanMessage;

    #[inline(always)]
    fn write<M: Message<Kind = SpanMessage>>(item: &T, message: &mut M) {
        item.span(message);
    }

    fn scope(item: &T) -> Option<impl AsScope> {
        item.scope()
    }

    fn resource(item: &T) -> Option<impl AsResource> {
        item.resource()
    }
}

impl<T, O> Encode<T> for Encoder<Traces, O>
where
    T: AsSpan,
    O: Observe<OtlpEvent> + Send + Sync + 'static,
{
    fn content_type(&self) -> HeaderValue {
        self.protocol().content_type()
    }

    fn framing(&self) -> Framing {
        self.framing_of_requests()
    }

    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        self.encode_batch(items, body)
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.settle_response(head, body, items)
    }

    fn explain(&self, content_type: Option<&HeaderValue>, body: &[u8]) -> ServerText {
        explain(content_type, body)
    }
}
