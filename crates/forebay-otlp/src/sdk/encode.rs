use super::{
    logs::LogItem,
    origin::{Resourced, ScopeId, Scopes},
};
use crate::{
    Builder,
    batch::{self, Frame, within},
    encoder::NothingEncodable,
    json::Json,
    logs::LogRecordMessage,
    protobuf::{Protobuf, varint_len},
    protocol::{Encoding, Protocol},
    section::Section,
    settle::{Notice, settle},
    signal::{Kind, Logs, Signal, Source},
    size::SizeHint,
    wire::{Buf, Message, Outer, TooDeep, Wire},
};
use bytes::BytesMut;
use forebay_core::{BoxError, Observe, Settlement};
use forebay_export::{BodyTooLarge, Encode, Framing, Skipped};
use http::{HeaderValue, response};
use std::{marker::PhantomData, mem, sync::Arc};

/// Puts log records that are encoded already behind one another.
pub(super) struct LogsEncoder<O> {
    answers: Answers<O>,
    resource: Resourced,
    scopes: Arc<Scopes>,
}

/// Encodes spans or metrics, for a resource that is known late.
pub(super) struct LateEncoder<S, O> {
    answers: Answers<O>,
    resource: Resourced,
    size: SizeHint,
    signal: PhantomData<fn() -> S>,
}

/// Reads what servers say.
struct Answers<O> {
    signal: Signal,
    protocol: Protocol,
    observer: O,
}

/// The records of one scope, by their places.
struct Part {
    scope: Option<Section>,
    places: Vec<usize>,
    /// About how many bytes they will take together, tags and lengths included.
    len: usize,
}

/// What became of a request while it was written.
#[derive(Default)]
struct Written {
    records: usize,
    skipped: Vec<usize>,
    too_large: bool,
}

const MAX_BODY: usize = Builder::<Logs>::MAX_BODY.get();

// === impl LogsEncoder ===

impl<O> LogsEncoder<O> {
    pub(super) fn new(protocol: Protocol, resource: Resourced, scopes: Arc<Scopes>, observer: O) -> Self {
        Self { answers: Answers { signal: Logs::SIGNAL, protocol, observer }, resource, scopes }
    }

    /// The records by scope, in the order in which the scopes come first.
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

impl<T: LogItem, O: Observe<Notice> + Send + Sync + 'static> Encode<T> for LogsEncoder<O> {
    fn content_type(&self) -> HeaderValue {
        self.answers.protocol.content_type()
    }

    fn framing(&self) -> Framing {
        self.answers.framing()
    }

    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let parts = self.parts(items);
        let start = body.len();
        let resource = self.resource.get();
        let sections = parts.iter().map(|part| part.scope.as_ref()).chain([resource.as_ref()]).flatten();
        let around: usize = sections.map(|section| section.bytes().len() + 32).sum();
        body.reserve((around + parts.iter().map(|part| part.len).sum::<usize>()).min(MAX_BODY));
        let mut buf = Buf::new(mem::take(body));
        let written = match self.answers.protocol.encoding() {
            Encoding::Protobuf => write::<Protobuf, T>(resource.as_ref(), &parts, items, &mut buf),
            Encoding::Json => write::<Json, T>(resource.as_ref(), &parts, items, &mut buf),
        };
        *body = buf.into_inner();
        let Written { records, mut skipped, too_large } = written;
        if too_large || body.len() > MAX_BODY {
            body.truncate(start);
            // A part must be smaller than the whole.
            return Err(BodyTooLarge::new(MAX_BODY, records.min(items.len().saturating_sub(1))).into());
        }
        if skipped.len() >= items.len() && !items.is_empty() {
            body.truncate(start);
            return Err(NothingEncodable::new(skipped.len()).into());
        }
        skipped.sort_unstable();
        Ok(Skipped(skipped))
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.answers.settle(head, body, items)
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
                                written.too_large = m.body_len() > MAX_BODY;
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

impl<S: Kind, O> LateEncoder<S, O> {
    pub(super) fn new(protocol: Protocol, resource: Resourced, observer: O) -> Self {
        let answers = Answers { signal: S::SIGNAL, protocol, observer };
        Self { answers, resource, size: SizeHint::default(), signal: PhantomData }
    }
}

impl<S, T, O> Encode<T> for LateEncoder<S, O>
where
    S: Source<T>,
    O: Observe<Notice> + Send + Sync + 'static,
{
    fn content_type(&self) -> HeaderValue {
        self.answers.protocol.content_type()
    }

    fn framing(&self) -> Framing {
        self.answers.framing()
    }

    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let resource = self.resource.get();
        let expected = self.size.expected(items.len()).min(MAX_BODY);
        let start = body.len();
        body.reserve(expected);
        let frame = Frame {
            envelope: S::SIGNAL.envelope(),
            resource: resource.as_ref(),
            scope: None,
            max_body: MAX_BODY,
            expected,
        };
        let mut buf = Buf::new(mem::take(body));
        let result = match self.answers.protocol.encoding() {
            Encoding::Protobuf => batch::write::<Protobuf, S, T>(frame, items, &mut buf),
            Encoding::Json => batch::write::<Json, S, T>(frame, items, &mut buf),
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
                Err(BodyTooLarge::new(MAX_BODY, written).into())
            }
        }
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.answers.settle(head, body, items)
    }
}

// === impl Answers ===

impl<O> Answers<O> {
    /// What is put around a body.
    fn framing(&self) -> Framing {
        match self.protocol {
            Protocol::Grpc => Framing::Grpc { method: self.signal.grpc_method() },
            Protocol::HttpProtobuf | Protocol::HttpJson => Framing::Plain,
        }
    }
}

impl<O: Observe<Notice>> Answers<O> {
    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        settle(self.signal, self.protocol, head, body, items, &self.observer)
    }
}
