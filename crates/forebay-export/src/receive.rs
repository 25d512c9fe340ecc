//! What an answer means: its status, and its body up to a cap.

use crate::{
    GrpcError, TransportError,
    compression::{Unpacked, unpack},
    framing::GRPC_PREFIX,
    read::{Read, Refused},
    refusal::{Refusal, code_of},
};
use bytes::{Buf, Bytes};
use forebay_core::{BoxError, Outcome, http::Classifier};
use forebay_retry::grpc::{self, Code};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Turns the answers of an HTTP client into what a retry and a breaker should see.
///
/// A 2xx answer comes up with its body, read up to a cap. Every other one is an error with a
/// [`Verdict`](forebay_core::Verdict), and so is a failure of the client: nothing that failed looks like a success to the
/// layers above. Over gRPC the status in the head or the trailers decides, and the body is the message.
#[derive(Clone, Debug)]
pub(crate) struct Receive<S> {
    client: S,
    judge: Judge,
}

/// How answers are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    pub(crate) http: Classifier,
    /// Answers are gRPC's.
    pub(crate) grpc: Option<grpc::Classifier>,
    /// The most bytes of a body, without its content encoding.
    pub(crate) cap: usize,
}

pin_project! {
    /// The future of [`Receive`].
    #[project = ReceivingProj]
    pub(crate) enum Receiving<F, B> {
        Waiting { #[pin] response: F, judge: Judge },
        Reading { #[pin] body: B, head: Option<Parts>, read: Read, judge: Judge },
    }
}

// === impl Receive ===

impl<S> Receive<S> {
    pub(crate) fn new(client: S, judge: Judge) -> Self {
        Self { client, judge }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Receive<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Error: Into<BoxError>,
    ResB: Body,
    ResB::Error: Into<BoxError>,
{
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = Receiving<S::Future, ResB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.client.poll_ready(cx).map_err(|error| TransportError::new(error.into(), &self.judge.http).into())
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        Receiving::Waiting { response: self.client.call(request), judge: self.judge }
    }
}

// === impl Receiving ===

impl<F, B, E> Future for Receiving<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Bytes>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                // ## Waiting => (Waiting | Reading | failed)
                ReceivingProj::Waiting { response, judge } => match ready!(response.poll(cx)) {
                    Err(error) => return Poll::Ready(Err(TransportError::new(error.into(), &judge.http).into())),
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let read = Read::new(judge.cap, judge.refused(&head));
                        Self::Reading { body, head: Some(head), read, judge: *judge }
                    }
                },
                // ## Reading => (Reading | answered | failed)
                ReceivingProj::Reading { mut body, head, read, judge } => {
                    let result = ready!(read.poll(body.as_mut(), cx));
                    let answer = result.and_then(|(bytes, trailers)| {
                        let head = head.take().ok_or_else(|| BoxError::from("polled after it was ready"))?;
                        judge.answer(head, bytes, trailers)
                    });
                    return Poll::Ready(answer);
                }
            };
            self.set(next);
        }
    }
}

// === impl Judge ===

impl Judge {
    /// Whether the head alone says that the request was refused.
    fn refused(&self, head: &Parts) -> Option<Refused> {
        let Some(grpc) = &self.grpc else {
            let outcome = self.http.status(head.status, &head.headers);
            return (outcome != Outcome::Success).then(|| http_refusal(head, outcome));
        };
        if let Some(code) = code_of(&head.headers) {
            let outcome = grpc.head(head.status, &head.headers);
            return (outcome != Outcome::Success).then(|| Refused::Other(grpc_error(code, outcome, &head.headers)));
        }
        // Something between the server and us has answered.
        if head.status != StatusCode::OK {
            return Some(http_refusal(head, grpc.head(head.status, &head.headers)));
        }
        (!is_grpc(&head.headers)).then(|| Refused::Other(TransportError::not_grpc().into()))
    }

    /// The answer to a request that the head does not call refused.
    fn answer(&self, mut head: Parts, bytes: Bytes, trailers: Option<HeaderMap>) -> Result<Response<Bytes>, BoxError> {
        let encoding = match &self.grpc {
            None => head.headers.get(header::CONTENT_ENCODING),
            Some(grpc) => {
                if code_of(&head.headers).is_none() {
                    let trailers = trailers.unwrap_or_default();
                    // A call without a status has not ended: the connection has.
                    let code = code_of(&trailers).ok_or_else(|| TransportError::broken(None))?;
                    let outcome = grpc.head(head.status, &trailers);
                    if outcome != Outcome::Success {
                        return Err(grpc_error(code, outcome, &trailers));
                    }
                }
                head.headers.get("grpc-encoding")
            }
        };
        let encoding = encoding.map_or(&b""[..], HeaderValue::as_bytes);
        let unpacked = match &self.grpc {
            None => unpack(encoding, &bytes, self.cap),
            Some(_) => unframe(encoding, &bytes, self.cap),
        };
        match unpacked {
            Unpacked::Whole(whole) => {
                head.headers.remove(header::CONTENT_ENCODING);
                Ok(Response::from_parts(head, whole))
            }
            Unpacked::TooLong => Err(TransportError::long(self.cap).into()),
            // The far side has taken the request all the same; the encoder is told that it cannot read what is there.
            Unpacked::Unreadable => {
                head.headers.entry(header::CONTENT_ENCODING).or_insert(HeaderValue::from_static("unreadable"));
                Ok(Response::from_parts(head, bytes))
            }
        }
    }
}

fn http_refusal(head: &Parts, outcome: Outcome) -> Refused {
    Refused::Http(Box::new(Refusal::new(head.status, outcome, &head.headers)))
}

fn grpc_error(code: Code, outcome: Outcome, headers: &HeaderMap) -> BoxError {
    let error = GrpcError::new(code, outcome, headers);
    // The same message will be as large the next time, whatever the table says of the code.
    if error.is_too_large() { GrpcError::new(code, Outcome::Terminal, headers).into() } else { error.into() }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    value.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

/// The one message of an answer; none counts as an empty one.
fn unframe(encoding: &[u8], body: &Bytes, cap: usize) -> Unpacked {
    let Some(mut prefix) = body.get(..GRPC_PREFIX) else {
        return if body.is_empty() { Unpacked::Whole(Bytes::new()) } else { Unpacked::Unreadable };
    };
    let (flag, length) = (prefix.get_u8(), prefix.get_u32());
    let message = body.slice(GRPC_PREFIX..);
    match flag {
        _ if u32::try_from(message.len()) != Ok(length) => Unpacked::Unreadable,
        0 => Unpacked::Whole(message),
        1 if !encoding.is_empty() => unpack(encoding, &message, cap),
        _ => Unpacked::Unreadable,
    }
}
