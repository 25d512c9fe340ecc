use super::{
    logs::SdkLog,
    origin::{Resourced, Scopes},
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
    wire::{Buf, Message, Outer, Wire},
};
use bytes::BytesMut;
use forebay_core::{BoxError, Observe, Settlement};
use forebay_export::{BodyTooLarge, Encode, Skipped};
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

/// The records of one scope.
struct Part<'i> {
    scope: Option<Section>,
    records: Vec<&'i [u8]>,
    /// How many bytes they will take together, tags and lengths included.
    len: usize,
}

const MAX_BODY: usize = Builder::<Logs>::MAX_BODY.get();

// === impl LogsEncoder ===

impl<O> LogsEncoder<O> {
    pub(super) fn new(protocol: Protocol, resource: Resourced, scopes: Arc<Scopes>, observer: O) -> Self {
        Self { answers: Answers { signal: Logs::SIGNAL, protocol, observer }, resource, scopes }
    }

    /// The records by scope, in the order in which the scopes come first, and the places of those that are not whole.
    fn parts<'i>(&self, items: &'i [SdkLog]) -> (Vec<Part<'i>>, Skipped) {
        let mut order: Vec<(&'i SdkLog, Part<'i>)> = Vec::new();
        let (mut skipped, mut last) = (Vec::new(), 0);
        for (place, item) in items.iter().enumerate() {
            let Some(fields) = item.fields() else {
                skipped.push(place);
                continue;
            };
            if order.get(last).is_none_or(|(first, _)| !first.scope.is(&item.scope)) {
                last = order.iter().position(|(first, _)| first.scope.is(&item.scope)).unwrap_or_else(|| {
                    let scope = self.scopes.section(&item.scope);
                    order.push((item, Part { scope, records: Vec::new(), len: 0 }));
                    order.len() - 1
                });
            }
            if let Some((_, part)) = order.get_mut(last) {
                part.records.push(fields);
                part.len += 1 + varint_len(fields.len() as u64) + fields.len();
            }
        }
        (order.into_iter().map(|(_, part)| part).collect(), Skipped(skipped))
    }
}

impl<O: Observe<Notice> + Send + Sync + 'static> Encode<SdkLog> for LogsEncoder<O> {
    fn content_type(&self) -> HeaderValue {
        self.answers.protocol.content_type()
    }

    fn encode(&self, items: &[SdkLog], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let (parts, skipped) = self.parts(items);
        if parts.is_empty() && !items.is_empty() {
            return Err(NothingEncodable::new(skipped.0.len()).into());
        }
        let start = body.len();
        let resource = self.resource.get();
        let sections = parts.iter().map(|part| part.scope.as_ref()).chain([resource.as_ref()]).flatten();
        let around: usize = sections.map(|section| section.bytes().len() + 32).sum();
        body.reserve((around + parts.iter().map(|part| part.len).sum::<usize>()).min(MAX_BODY));
        let mut buf = Buf::new(mem::take(body));
        let written = match self.answers.protocol.encoding() {
            Encoding::Protobuf => write::<Protobuf>(resource.as_ref(), &parts, &mut buf),
            Encoding::Json => write::<Json>(resource.as_ref(), &parts, &mut buf),
        };
        *body = buf.into_inner();
        match written {
            Some(written) if body.len() > MAX_BODY => {
                body.truncate(start);
                // A part must be smaller than the whole.
                Err(BodyTooLarge::new(MAX_BODY, written.min(items.len().saturating_sub(1))).into())
            }
            _ => Ok(skipped),
        }
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.answers.settle(head, body, items)
    }
}

/// Writes the request; says how many records are in the body, should it have become too large.
fn write<W: Wire>(resource: Option<&Section>, parts: &[Part<'_>], buf: &mut Buf) -> Option<usize> {
    let envelope = Logs::SIGNAL.envelope();
    let all: usize = parts.iter().map(|part| part.len).sum();
    let (mut written, mut too_large) = (0, false);
    W::request(buf, |request| {
        request.element::<Outer>(envelope.resources.wide(varint_len(all as u64)), |m| {
            within(m, resource, |m| {
                for part in parts {
                    m.element::<Outer>(envelope.scopes.wide(varint_len(part.len as u64)), |m| {
                        within(m, part.scope.as_ref(), |m| {
                            for record in &part.records {
                                if too_large {
                                    return;
                                }
                                let field = envelope.items.wide(varint_len(record.len() as u64));
                                m.element::<LogRecordMessage>(field, |m| m.raw(record));
                                too_large = m.body_len() > MAX_BODY;
                                written += usize::from(!too_large);
                            }
                        });
                    });
                }
            });
        });
    });
    (too_large || buf.len() > MAX_BODY).then_some(written)
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

impl<O: Observe<Notice>> Answers<O> {
    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        settle(self.signal, self.protocol, head, body, items, &self.observer)
    }
}
