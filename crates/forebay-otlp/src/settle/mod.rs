//! The response to an export: `Export*ServiceResponse`, in either encoding.

mod event;
mod json;
mod protobuf;

pub use self::event::{OtlpEvent, Unreadable};

use crate::{protocol::Protocol, signal::Signal};
use forebay_core::{DropReason, Fate, Observe, Settlement};
use forebay_export::ServerText;
use http::{HeaderMap, HeaderValue, header, response};

/// `Export*PartialSuccess`: the number of items that the server refused, and its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PartialSuccess {
    rejected: i64,
    message: String,
}

/// The fates of the `items` items of a request, by its 2xx response.
///
/// The server has accepted the request. So a response that cannot be read still means delivered, and the observer sees an
/// event. Items that the server refused are never sent again: OTLP forbids it.
pub(crate) fn settle(
    signal: Signal,
    protocol: Protocol,
    head: &response::Parts,
    body: &[u8],
    items: usize,
    observer: &impl Observe<OtlpEvent>,
) -> Settlement {
    let (settlement, event) = match read(signal, protocol, &head.headers, body) {
        Ok(PartialSuccess { rejected, message }) => {
            // A negative number is a mistake of the server; no item is known to be refused.
            let rejected = usize::try_from(rejected.max(0)).unwrap_or(usize::MAX).min(items);
            let message = (!message.is_empty()).then_some(message);
            match (rejected, message) {
                (0, None) => return Settlement::All(Fate::Delivered),
                (0, Some(message)) => (Settlement::All(Fate::Delivered), RawEvent::Warning(message)),
                (dropped, message) => (
                    Settlement::Partial { dropped, reason: DropReason::Rejected },
                    RawEvent::Rejected(dropped, message.unwrap_or_default()),
                ),
            }
        }
        Err(reason) => (Settlement::All(Fate::Delivered), RawEvent::Unreadable(reason)),
    };
    if observer.enabled() {
        observer.observe(&event.finish(signal, items));
    }
    settlement
}

/// The text of an error response: the message of the `google.rpc.Status` that OTLP requires, or the text that an intermediary
/// put in its place.
pub(crate) fn explain(content_type: Option<&HeaderValue>, body: &[u8]) -> ServerText {
    let headers = content_type.map(|value| (header::CONTENT_TYPE, value.clone())).into_iter().collect();
    match response_encoding(Protocol::HttpProtobuf, &headers) {
        Some(Protocol::HttpJson) => match json::message(body) {
            Some(message) => ServerText::new(&message),
            None => ServerText::from_bytes(body),
        },
        Some(_) => ServerText::from_bytes(protobuf::message(body).unwrap_or_default()),
        None => ServerText::from_bytes(body),
    }
}

/// An [`OtlpEvent`] before its text is bounded and escaped, which only an observer needs.
enum RawEvent {
    Rejected(usize, String),
    Warning(String),
    Unreadable(Unreadable),
}

// === impl RawEvent ===

impl RawEvent {
    fn finish(self, signal: Signal, items: usize) -> OtlpEvent {
        match self {
            Self::Rejected(rejected, text) => {
                OtlpEvent::Rejected { signal, items, rejected, message: ServerText::new(&text) }
            }
            Self::Warning(text) => OtlpEvent::Warning { signal, message: ServerText::new(&text) },
            Self::Unreadable(reason) => OtlpEvent::Unreadable { signal, reason },
        }
    }
}

fn read(signal: Signal, protocol: Protocol, headers: &HeaderMap, body: &[u8]) -> Result<PartialSuccess, Unreadable> {
    // In protobuf an empty response is the usual full success, and in JSON servers mean the same by it.
    if body.is_empty() {
        return Ok(PartialSuccess::default());
    }
    if is_encoded(headers) {
        return Err(Unreadable::Compressed);
    }
    match response_encoding(protocol, headers).ok_or(Unreadable::ContentType)? {
        Protocol::HttpProtobuf | Protocol::Grpc => protobuf::read(body).ok_or(Unreadable::Malformed),
        Protocol::HttpJson => json::read(signal, body).map_err(|_why| Unreadable::Malformed),
    }
}

/// Whether the body is still compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// The encoding of the response: the one that it names, or that of the request.
fn response_encoding(requested: Protocol, headers: &HeaderMap) -> Option<Protocol> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Some(requested) };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| media_type.eq_ignore_ascii_case(name.as_bytes());
    // The name without `x-` was registered after OTLP had chosen the other one.
    if is("application/protobuf") || is("application/grpc+proto") {
        return Some(Protocol::HttpProtobuf);
    }
    Protocol::ALL.into_iter().find(|protocol| is(protocol.media_type()))
}
