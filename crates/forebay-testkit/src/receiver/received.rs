use super::{fault::Fault, payload::Payload};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version, header::AUTHORIZATION, request::Parts};
use std::{net::SocketAddr, sync::Arc};
use tokio::time::Instant;

/// One request, as it arrived, and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Its place in the order of arrival, from 0. It decides the fault.
    pub number: usize,
    /// When its head had been read, on tokio's clock.
    pub arrived: Instant,
    /// The client's address; requests with the same one came over the same connection.
    pub peer: SocketAddr,
    /// The version of HTTP.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// The request target, with its query.
    pub uri: Uri,
    /// The headers. The value of `Authorization` is marked sensitive: `Debug` does not print it.
    pub headers: HeaderMap,
    /// The fault that was played.
    pub fault: Fault,
    /// How many bytes of the body were read, as they came.
    pub wire_length: u64,
    /// The length of the body without its content encoding, where it was decoded.
    pub decoded_length: Option<u64>,
    /// The body as it came; empty unless the receiver keeps [everything](super::Keep::Everything).
    pub body: Bytes,
    /// All records of the request, those that were rejected too; `None` as for `body`, or when nothing was decoded.
    pub decoded: Option<Arc<Payload>>,
    /// The records that were taken in; `None` when none were, or as for `body`.
    pub accepted: Option<Arc<Payload>>,
    /// The status of the response; `None` where no response was begun.
    pub status: Option<StatusCode>,
    /// The gRPC status of the response, where it has one.
    pub grpc_status: Option<i32>,
    /// What became of the records.
    pub disposition: Disposition,
}

/// What became of the records of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// They were not taken in: they were refused, lost to a fault, or are still on the way.
    #[default]
    Unprocessed,
    /// They were taken in, and the response says so.
    Accepted,
    /// They were taken in, and the client cannot know: the connection was cut, the response was cut short, or the client
    /// left before it had the response.
    Ambiguous,
}

// === impl Received ===

impl Received {
    pub(super) fn new(head: &Parts, peer: SocketAddr) -> Self {
        let mut headers = head.headers.clone();
        if let http::header::Entry::Occupied(mut values) = headers.entry(AUTHORIZATION) {
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
        Self {
            number: 0,
            arrived: Instant::now(),
            peer,
            version: head.version,
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers,
            fault: Fault::None,
            wire_length: 0,
            decoded_length: None,
            body: Bytes::new(),
            decoded: None,
            accepted: None,
            status: None,
            grpc_status: None,
            disposition: Disposition::Unprocessed,
        }
    }

    /// The path of the request target.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The content encoding of the body, as the client named it.
    #[must_use]
    pub fn content_encoding(&self) -> &str {
        self.header("content-encoding").unwrap_or("identity")
    }

    /// A header as text; `None` where there is none, or it is no visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
