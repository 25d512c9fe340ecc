//! The body of an OTLP/HTTP request: read, unpacked, looked into.

use crate::{
    batch::Facts,
    inspect::{self, FromJson, Look, NotLooked},
};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use forebay::{core::is_caused_by, otlp::Signal};
use http_body_util::LengthLimitError;
use std::io::Read;

/// The two encodings of OTLP/HTTP; a response has that of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// A request that can be queued.
pub(super) struct Request {
    pub(super) body: Bytes,
    pub(super) facts: Facts,
    /// How many of its records could not be read, and are not in `body`.
    pub(super) refused: u64,
    /// Why the first of them could not be read.
    pub(super) why: String,
}

/// What is wrong with a request.
pub(super) struct Wrong {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

// === impl Encoding ===

impl Encoding {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |name: &str| media_type.eq_ignore_ascii_case(name.as_bytes());
        if is("application/json") {
            return Some(Self::Json);
        }
        (is("application/x-protobuf") || is("application/protobuf")).then_some(Self::Protobuf)
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

// === impl Request ===

impl Request {
    pub(super) async fn read(
        (signal, encoding): (Signal, Encoding),
        headers: &HeaderMap,
        body: Body,
        max: usize,
        look: Look,
    ) -> Result<Self, Wrong> {
        let packed = to_bytes(body, max).await.map_err(|error| {
            if is_caused_by::<LengthLimitError>(&error) {
                return Wrong::too_large(max);
            }
            Wrong::new(StatusCode::BAD_REQUEST, format!("the body ended early: {error}"))
        })?;
        let body = unpack(headers, packed, max)?;
        let wrong = |error| match error {
            NotLooked::Malformed(why) => Wrong::new(StatusCode::BAD_REQUEST, format!("not an export request: {why}")),
            NotLooked::TooLarge => {
                let why = format!("a request may take {} bytes once it is decoded", look.max_decoded);
                Wrong::new(StatusCode::PAYLOAD_TOO_LARGE, why)
            }
        };
        match encoding {
            Encoding::Protobuf => {
                let facts = inspect::protobuf(signal, &body, look).map_err(wrong)?;
                Ok(Self { body: exact(&body), facts, refused: 0, why: String::new() })
            }
            Encoding::Json => {
                let FromJson { facts, body, refused, why } = inspect::json(signal, &body, look).map_err(wrong)?;
                // Two bytes of JSON can be eight of protobuf, which is what is queued, stored and forwarded.
                if body.len() > max {
                    return Err(Wrong::too_large(max));
                }
                Ok(Self { body: body.into(), facts, refused, why })
            }
        }
    }
}

/// A copy that holds no more memory than it has bytes: a body as it was received is often a piece of a larger buffer, and
/// the queue must know what it holds.
pub(super) fn exact(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}

fn unpack(headers: &HeaderMap, packed: Bytes, max: usize) -> Result<Bytes, Wrong> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], |value| value.as_bytes());
    if encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(packed);
    }
    // RFC 9110, 8.4.1.3: a recipient takes `x-gzip` as equivalent.
    if ![&b"gzip"[..], b"x-gzip"].iter().any(|name| encoding.eq_ignore_ascii_case(name)) {
        let message = "content encodings that are understood: gzip, x-gzip, identity";
        return Err(Wrong::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let mut body = Vec::new();
    // One byte more tells a body that fits from one that does not, whatever it would unpack to.
    let read = MultiGzDecoder::new(&*packed).take(max as u64 + 1).read_to_end(&mut body);
    read.map_err(|error| Wrong::new(StatusCode::BAD_REQUEST, format!("not gzip: {error}")))?;
    if body.len() > max { Err(Wrong::too_large(max)) } else { Ok(body.into()) }
}

// === impl Wrong ===

impl Wrong {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn too_large(max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a request may have {max} bytes, unpacked and in protobuf as well"),
        )
    }
}
