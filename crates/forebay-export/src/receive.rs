//! What an answer means: its status, and its body up to a cap.

use crate::{
    GrpcError, TransportError,
    compression::{Unpacked, unpack},
    counters::Counting,
    framing::GRPC_PREFIX,
    read::{NoBody, Read, Refused},
    refusal::{Refusal, code_of},
    secrets::Secrets,
    trace,
};
use bytes::{Buf, Bytes};
use forebay_core::{BoxError, Outcome, http::Classifier, time::saturating_add};
use forebay_retry::grpc::{self, Code};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

/// Turns the answers of an HTTP client into what a retry and a breaker should see.
///
/// The status is the truth. A 2xx response comes up with its body, read up to a cap; where that breaks off, is too long, too
/// late or unreadable, the request was taken all the same, and the body is marked as unreadable. Every other one is an error
/// with a [`Verdict`](forebay_core::Verdict), and so is a failure of the client: nothing that failed looks like a success to
/// the layers above. Over gRPC the status in the head or the trailers decides, and the body is the message: a body that
/// breaks off before its trailers is sent again, and one that ends in order without a status has the status UNKNOWN.
#[derive(Clone, Debug)]
pub(crate) struct Receive<S> {
    client: S,
    judge: Judge,
    /// How long a response may take, its body included. The layer above ends the attempt at the same time; a response whose
    /// status is known ends here before.
    timeout: Duration,
    counting: Arc<Counting>,
}

/// How long the body of a response may take whose head says what became of the request, whatever an attempt may take.
const DECIDED: Duration = Duration::from_secs(30);

/// The same where the status comes behind the body. A server may begin to respond long before it is done.
const UNDECIDED: Duration = Duration::from_secs(600);

/// How answers are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    pub(crate) http: Classifier,
    /// Answers are gRPC's.
    pub(crate) grpc: Option<grpc::Classifier>,
    /// The most bytes of a body, without its content encoding.
    pub(crate) cap: usize,
    /// The longest hint of a server that counts.
    pub(crate) max_hint: Duration,
}

pin_project! {
    /// The future of [`Receive`].
    #[project = ReceivingProj]
    pub(crate) enum Receiving<F, B> {
        Waiting { #[pin] response: F, context: Exchange },
        Reading { #[pin] body: B, head: Option<Parts>, read: Read, context: Exchange, #[pin] late: Option<Sleep> },
    }
}

/// What is known of a request while its response is waited for.
pub(crate) struct Exchange {
    judge: Judge,
    secrets: Secrets,
    /// When the body has taken too long.
    deadline: Instant,
    counting: Arc<Counting>,
}

/// Why a body that came with a success could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Broken,
    TooLong,
    Late,
    Undecodable,
}

// === impl Receive ===

impl<S> Receive<S> {
    pub(crate) fn new(client: S, judge: Judge, timeout: Duration, counting: Arc<Counting>) -> Self {
        Self { client, judge, timeout, counting }
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
        self.client.poll_ready(cx).map_err(|error| TransportError::new(error.into(), &self.judge).into())
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let secrets = Secrets::of(request.headers());
        let deadline = after(Instant::now(), self.timeout);
        let context = Exchange { judge: self.judge, secrets, deadline, counting: Arc::clone(&self.counting) };
        Receiving::Waiting { response: self.client.call(request), context }
    }
}

fn after(at: Instant, wait: Duration) -> Instant {
    Instant::from_std(saturating_add(at.into_std(), wait))
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
                ReceivingProj::Waiting { response, context } => match ready!(response.poll(cx)) {
                    Err(error) => {
                        return Poll::Ready(Err(TransportError::new(error.into(), &context.judge).into()));
                    }
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let read = Read::new(context.judge.cap, context.judge.refused(&head, &context.secrets));
                        let now = Instant::now();
                        context.deadline = match context.judge.is_decided(&head, &read) {
                            true => context.deadline.min(after(now, DECIDED)),
                            // Where an attempt may take less, the layer above ends it before.
                            false => after(now, UNDECIDED),
                        };
                        Self::Reading { body, head: Some(head), read, context: context.take(), late: None }
                    }
                },
                // ## Reading => (Reading | answered | failed)
                ReceivingProj::Reading { mut body, head, read, context, mut late } => {
                    let result = match read.poll(body.as_mut(), cx) {
                        Poll::Ready(result) => result,
                        Poll::Pending => {
                            if late.is_none() {
                                late.set(Some(sleep_until(context.deadline)));
                            }
                            let Some(timer) = late.as_mut().as_pin_mut() else { return Poll::Pending };
                            ready!(timer.poll(cx));
                            read.late()
                        }
                    };
                    let Some(head) = head.take() else {
                        return Poll::Ready(Err(BoxError::from("polled after it was ready")));
                    };
                    return Poll::Ready(context.end(head, result));
                }
            };
            self.set(next);
        }
    }
}

// === impl Exchange ===

impl Exchange {
    fn take(&mut self) -> Self {
        let Self { judge, secrets, deadline, counting } = self;
        Self { judge: *judge, secrets: std::mem::take(secrets), deadline: *deadline, counting: Arc::clone(counting) }
    }

    /// What the response means, once its body has ended one way or another.
    fn end(
        &self,
        head: Parts,
        result: Result<(Bytes, Option<HeaderMap>), NoBody>,
    ) -> Result<Response<Bytes>, BoxError> {
        let unread = match result {
            Ok((bytes, trailers)) => match self.judge.answer(&head, bytes, trailers, &self.secrets)? {
                Ok((bytes, decoded)) => return Ok(respond(head, bytes, decoded)),
                Err((why, bytes)) => (why, bytes),
            },
            Err(NoBody::Refused(error)) => return Err(error),
            Err(NoBody::Unread(why, error)) => {
                // Of a call nothing is known before its status has come.
                if self.judge.grpc.is_some() && code_of(&head.headers).is_none() {
                    return Err(error.into());
                }
                (why, Bytes::new())
            }
        };
        let (why, bytes) = unread;
        self.counting.unreadable.fetch_add(1, Relaxed);
        trace::unreadable(why);
        let mut response = Response::from_parts(head, bytes);
        // The server has taken the request all the same; the encoder is told that it cannot read what is there.
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("unreadable"));
        Ok(response)
    }
}

fn respond(mut head: Parts, bytes: Bytes, decoded: bool) -> Response<Bytes> {
    if decoded {
        head.headers.remove(header::CONTENT_ENCODING);
    }
    Response::from_parts(head, bytes)
}

// === impl Unread ===

impl Unread {
    /// The word in events; stable.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events say it"))]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::TooLong => "too_long",
            Self::Late => "late",
            Self::Undecodable => "undecodable",
        }
    }
}

// === impl Judge ===

impl Judge {
    /// What a server said, with no longer a hint than counts.
    pub(crate) fn bounded(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Retryable { after: Some(wait) } => {
                Outcome::Retryable { after: Some(wait.min(self.max_hint)).filter(|wait| !wait.is_zero()) }
            }
            other => other,
        }
    }

    /// Whether the head alone says what became of the request.
    fn is_decided(&self, head: &Parts, read: &Read) -> bool {
        read.is_refused() || self.grpc.is_none() || code_of(&head.headers).is_some()
    }

    /// Whether the head alone says that the request was refused.
    fn refused(&self, head: &Parts, secrets: &Secrets) -> Option<Refused> {
        let Some(grpc) = &self.grpc else {
            let outcome = self.bounded(self.http.status(head.status, &head.headers));
            return (outcome != Outcome::Success).then(|| http_refusal(head, outcome, secrets));
        };
        if let Some(code) = code_of(&head.headers) {
            let outcome = self.bounded(grpc.head(head.status, &head.headers));
            return (outcome != Outcome::Success)
                .then(|| Refused::Other(grpc_error(code, outcome, &head.headers, secrets)));
        }
        // Something between the server and us has answered.
        if head.status != StatusCode::OK {
            return Some(http_refusal(head, self.bounded(grpc.head(head.status, &head.headers)), secrets));
        }
        (!is_grpc(&head.headers)).then(|| Refused::Other(TransportError::not_grpc().into()))
    }

    /// The body of a response whose head says no refusal; `Err` inside is one that cannot be read.
    #[expect(clippy::type_complexity, reason = "an error of the request, or of its body alone")]
    fn answer(
        &self,
        head: &Parts,
        bytes: Bytes,
        trailers: Option<HeaderMap>,
        secrets: &Secrets,
    ) -> Result<Result<(Bytes, bool), (Unread, Bytes)>, BoxError> {
        let encoding = match &self.grpc {
            None => head.headers.get(header::CONTENT_ENCODING),
            Some(grpc) => {
                if code_of(&head.headers).is_none() {
                    let trailers = trailers.unwrap_or_default();
                    let Some(code) = code_of(&trailers) else {
                        // The stream was ended in order, and nothing was lost on the way: something between the server and us
                        // passes no trailers on. gRPC's mapping of HTTP statuses calls 200 without a status UNKNOWN; by the
                        // table of OTLP that is not sent again, for the server may have taken each of the attempts.
                        let outcome = self.bounded(grpc.status(Code::Unknown.number().into(), b""));
                        return Err(GrpcError::without_status(outcome).into());
                    };
                    let outcome = self.bounded(grpc.head(head.status, &trailers));
                    if outcome != Outcome::Success {
                        return Err(grpc_error(code, outcome, &trailers, secrets));
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
        Ok(match unpacked {
            Unpacked::Whole(whole) => Ok((whole, true)),
            Unpacked::TooLong => Err((Unread::TooLong, Bytes::new())),
            Unpacked::Unreadable => Err((Unread::Undecodable, bytes)),
        })
    }
}

fn http_refusal(head: &Parts, outcome: Outcome, secrets: &Secrets) -> Refused {
    Refused::Http(Box::new(Refusal::new(head.status, outcome, &head.headers, secrets.clone())))
}

fn grpc_error(code: Code, outcome: Outcome, headers: &HeaderMap, secrets: &Secrets) -> BoxError {
    let error = GrpcError::new(code, outcome, headers, secrets);
    // The same message will be as large the next time, whatever the table says of the code.
    if error.is_too_large() { GrpcError::new(code, Outcome::Terminal, headers, secrets).into() } else { error.into() }
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
