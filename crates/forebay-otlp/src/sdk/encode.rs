use super::{
    logs::LogItem,
    origin::{LateResource, ScopeId, Scopes},
};
use crate::{
    EncoderBuilder,
    batch::{self, Frame, within},
    encoder::NothingEncodable,
    json::Json,
    logs::LogRecordMessage,
    protobuf::{Protobuf, varint_len},
    protocol::{BodyEncoding, Protocol},
    section::Section,
    settle::{OtlpEvent, settle},
    signal::{Logs, Signal, SignalKind, WriteItem},
    size::SizeHint,
    wire::{Buf, Message, Outer, TooDeep, Wire},
};
use bytes::BytesMut;
use forebay_core::{BoxError, Observe, Settlement};
use forebay_export::{BodyTooLarge, Encode, Framing, Skipped};
use http::{HeaderValue, response};
use std::{marker::PhantomData, mem, sync::Arc};

/// Concatenates log records that are already encoded.
pub(super) struct LogsEncoder<O> {
    responses: ResponseReader<O>,
    resource: LateResource,
    scopes: Arc<Scopes>,
}

/// Encodes spans or metrics, with a resource that the provider sets after the build.
pub(super) struct LateEncoder<S, O> {
    responses: ResponseReader<O>,
    resource: LateResource,
    size: SizeHint,
    signal: PhantomData<fn() -> S>,
}

/// Reads the responses of servers.
struct ResponseReader<O> {
    signal: Signal,
    protocol: Protocol,
    observer: O,
}

/// The records of one scope, by their indices.
struct Part {
    scope: Option<Section>,
    places: Vec<usize>,
    /// About how many bytes they take together, tags and lengths included.
    len: usize,
}

/// The result of writing a request.
#[derive(Default)]
struct Written {
    records: usize,
    skipped: Vec<usize>,
    too_large: bool,
}

const MAX_REQUEST_BYTES: usize = EncoderBuilder::<Logs>::MAX_REQUEST_BYTES;

// === impl LogsEncoder ===

impl<O> LogsEncoder<O> {
    pub(super) fn new(protocol: Protocol, resource: LateResource, scopes: Arc<Scopes>, observer: O) -> Self {
        Self { responses: ResponseReader { signal: Logs::SIGNAL, protocol, observer }, resource, scopes }
    }

    /// The records by scope, in the order of the first record of each scope.
    fn parts<T: LogItem>(&self, items: &[T]) -> Vec<Part> {
        let mut order: Vec<(&ScopeId, Part)> = Vec::new();
        let mut last = 0;
        for (place, item) in items.iter().enumerate() {
            if order.get(last).is_none_or(|(scope, _)| !scope.is(item.scope())) {
                last = order.iter().position(|(scope, _)| scope.is(item.scope())).unwrap_or_else(|| {
                    let scope = self.scopes.section(item.scope());
                    order.push((item.scope(), Part { scope, places: Vec::new(), len: 0 }));
                    order.len() - 1
                });
            }
            if let Some((_, part)) = order.get_mut(last) {
                part.places.push(place);
                part.len += 1 + varint_len(item.len() as u64) + item.len();
            }
        }
        order.into_iter().map(|(_, part)| part).collect()
    }
}

impl<T: LogItem, O: Observe<OtlpEvent> + Send + Sync + 'static> Encode<T> for LogsEncoder<O> {
    fn content_type(&self) -> HeaderValue {
        self.responses.protocol.content_type()
    }

    fn framing(&self) -> Framing {
        self.responses.framing()
    }

    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let parts = self.parts(items);
        let start = body.len();
        let resource = self.resource.get();
        let sections = parts.iter().map(|part| part.scope.as_ref()).chain([resource.as_ref()]).flatten();
        let around: usize = sections.map(|section| section.bytes().len() + 32).sum();
        body.reserve((around + parts.iter().map(|part| part.len).sum::<usize>()).min(MAX_REQUEST_BYTES));
        let mut buf = Buf::new(mem::take(body));
        let written = match self.responses.protocol.encoding() {
            BodyEncoding::Protobuf => write::<Protobuf, T>(resource.as_ref(), &parts, items, &mut buf),
            BodyEncoding::Json => write::<Json, T>(resource.as_ref(), &parts, items, &mut buf),
        };
        *body = buf.into_inner();
        let Written { records, mut skipped, too_large } = written;
        if too_large || body.len() > MAX_REQUEST_BYTES {
            body.truncate(start);
            // A part must be smaller than the whole.
            return Err(BodyTooLarge::new(MAX_REQUEST_BYTES, records.min(items.len().saturating_sub(1))).into());
        }
        if skipped.len() >= items.len() && !items.is_empty() {
            body.truncate(start);
            return Err(NothingEncodable::new(skipped.len()).into());
        }
        skipped.sort_unstable();
        Ok(Skipped(skipped))
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.responses.settle(head, body, items)
    }
}

fn write<W: Wire, T: LogItem>(resource: Option<&Section>, parts: &[Part], items: &[T], buf: &mut Buf) -> Written {
    let envelope = Logs::SIGNAL.envelope();
    let all: usize = parts.iter().map(|part| part.len).sum();
    let mut written = Written::default();
    W::request(buf, |request| {
        request.element::<Outer>(envelope.resources.wide(varint_len(all as u64)), |m| {
            within(m, resource, |m| {
                for part in parts {
                    m.element::<Outer>(envelope.scopes.wide(varint_len(part.len as u64)), |m| {
                        within(m, part.scope.as_ref(), |m| {
                            let of = |place: &usize| Some((*place, items.get(*place)?));
                            for (place, item) in part.places.iter().filter_map(of) {
                                if written.too_large {
                                    return;
                                }
                                let field = envelope.items.wide(varint_len(item.len() as u64));
                                match m.element_if_whole::<LogRecordMessage>(field, |m| item.write(m)) {
                                    Ok(_) => written.records += 1,
                                    Err(TooDeep) => written.skipped.push(place),
                                }
                                written.too_large = m.body_len() > MAX_REQUEST_BYTES;
                            }
                        });
                    });
                }
            });
        });
    });
    written
}

// === impl LateEncoder ===

impl<S: SignalKind, O> LateEncoder<S, O> {
    pub(super) fn new(protocol: Protocol, resource: LateResource, observer: O) -> Self {
        let responses = ResponseReader { signal: S::SIGNAL, protocol, observer };
        Self { responses, resource, size: SizeHint::default(), signal: PhantomData }
    }
}

impl<S, T, O> Encode<T> for LateEncoder<S, O>
where
    S: WriteItem<T>,
    O: Observe<OtlpEvent> + Send + Sync + 'static,
{
    fn content_type(&self) -> HeaderValue {
        self.responses.protocol.content_type()
    }

    fn framing(&self) -> Framing {
        self.responses.framing()
    }

    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let resource = self.resource.get();
        let expected = self.size.expected(items.len()).min(MAX_REQUEST_BYTES);
        let start = body.len();
        body.reserve(expected);
        let frame = Frame {
            envelope: S::SIGNAL.envelope(),
            resource: resource.as_ref(),
            scope: None,
            max_request_bytes: MAX_REQUEST_BYTES,
            expected,
        };
        let mut buf = Buf::new(mem::take(body));
        let result = match self.responses.protocol.encoding() {
            BodyEncoding::Protobuf => batch::write::<Protobuf, S, T>(frame, items, &mut buf),
            BodyEncoding::Json => batch::write::<Json, S, T>(frame, items, &mut buf),
        };
        *body = buf.into_inner();
        match result {
            Ok(skipped) if skipped.len() >= items.len() && !items.is_empty() => {
                body.truncate(start);
                Err(NothingEncodable::new(skipped.len()).into())
            }
            Ok(skipped) => {
                self.size.record(items.len(), body.len() - start);
                Ok(Skipped(skipped))
            }
            Err(batch::TooLarge { written }) => {
                body.truncate(start);
                Err(BodyTooLarge::new(MAX_REQUEST_BYTES, written).into())
            }
        }
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.responses.settle(head, body, items)
    }
}

// === impl ResponseReader ===

impl<O> ResponseReader<O> {
    /// How requests carry a body.
    fn framing(&self) -> Framing {
        match self.protocol {
            Protocol::Grpc => Framing::Grpc { method: self.signal.grpc_method() },
            Protocol::HttpProtobuf | Protocol::HttpJson => Framing::Plain,
        }
    }
}

impl<O: Observe<OtlpEvent>> ResponseReader<O> {
    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        settle(self.signal, self.protocol, head, body, items, &self.observer)
    }
}
