//! The answer to an export: `Export*ServiceResponse`, in either encoding.

mod json;
mod notice;
mod protobuf;

pub use self::notice::{Notice, Unreadable};

use crate::{protocol::Protocol, signal::Signal};
use forebay_core::{DropReason, Fate, Observe, Settlement};
use forebay_export::ServerText;
use http::{HeaderMap, HeaderValue, header, response};

/// `Export*PartialSuccess`: what the server did not take, or only wants to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PartialSuccess {
    rejected: i64,
    message: String,
}

/// What a 2xx answer says of the `items` items of its request.
///
/// The server has taken the request. So what cannot be read changes nothing: all is delivered, and the observer is
/// told. What the server refused is never sent again: OTLP forbids it.
pub(crate) fn settle(
    signal: Signal,
    protocol: Protocol,
    head: &response::Parts,
    body: &[u8],
    items: usize,
    observer: &impl Observe<Notice>,
) -> Settlement {
    let (settlement, said) = match read(signal, protocol, &head.headers, body) {
        Ok(PartialSuccess { rejected, message }) => {
            // A negative number can only be a mistake; nothing is known to be refused.
            let rejected = usize::try_from(rejected.max(0)).unwrap_or(usize::MAX).min(items);
            let message = (!message.is_empty()).then_some(message);
            match (rejected, message) {
                (0, None) => return Settlement::All(Fate::Delivered),
                (0, Some(message)) => (Settlement::All(Fate::Delivered), Said::Warning(message)),
                (dropped, message) => (
                    Settlement::Partial { dropped, reason: DropReason::Rejected },
                    Said::Rejected(dropped, message.unwrap_or_default()),
                ),
            }
        }
        Err(reason) => (Settlement::All(Fate::Delivered), Said::Unreadable(reason)),
    };
    if observer.enabled() {
        observer.observe(&said.notice(signal, items));
    }
    settlement
}

/// What the body of a refusal says: the message of the `google.rpc.Status` that OTLP wants there, or the text that something
/// else put in its place.
pub(crate) fn explain(content_type: Option<&HeaderValue>, body: &[u8]) -> ServerText {
    let headers = content_type.map(|value| (header::CONTENT_TYPE, value.clone())).into_iter().collect();
    match answered_in(Protocol::HttpProtobuf, &headers) {
        Some(Protocol::HttpJson) => match json::message(body) {
            Some(message) => ServerText::new(&message),
            None => ServerText::from_bytes(body),
        },
        Some(_) => ServerText::from_bytes(protobuf::message(body).unwrap_or_default()),
        None => ServerText::from_bytes(body),
    }
}

/// A [`Notice`] before it is known that anybody wants it.
enum Said {
    Rejected(usize, String),
    Warning(String),
    Unreadable(Unreadable),
}

// === impl Said ===

impl Said {
    fn notice(self, signal: Signal, items: usize) -> Notice {
        match self {
            Self::Rejected(rejected, text) => {
                Notice::Rejected { signal, items, rejected, message: ServerText::new(&text) }
            }
            Self::Warning(text) => Notice::Warning { signal, message: ServerText::new(&text) },
            Self::Unreadable(reason) => Notice::Unreadable { signal, reason },
        }
    }
}

fn read(signal: Signal, protocol: Protocol, headers: &HeaderMap, body: &[u8]) -> Result<PartialSuccess, Unreadable> {
    // In protobuf an empty answer is the usual full success, and no server means anything else by it in JSON.
    if body.is_empty() {
        return Ok(PartialSuccess::default());
    }
    if is_encoded(headers) {
        return Err(Unreadable::Compressed);
    }
    match answered_in(protocol, headers).ok_or(Unreadable::ContentType)? {
        Protocol::HttpProtobuf | Protocol::Grpc => protobuf::read(body).ok_or(Unreadable::Malformed),
        Protocol::HttpJson => json::read(signal, body).map_err(|_why| Unreadable::Malformed),
    }
}

/// Whether the body is still compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// The encoding of the answer: the one it names, or the one it was asked in.
fn answered_in(asked: Protocol, headers: &HeaderMap) -> Option<Protocol> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Some(asked) };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| media_type.eq_ignore_ascii_case(name.as_bytes());
    // The name without `x-` was registered after OTLP had chosen the other.
    if is("application/protobuf") || is("application/grpc+proto") {
        return Some(Protocol::HttpProtobuf);
    }
    Protocol::ALL.into_iter().find(|protocol| is(protocol.media_type()))
}
