//! Reading an answer: its status, and its body up to a cap.

use bytes::{Buf, Bytes, BytesMut};
use forebay_core::{
    Advice, BoxError, DropReason, Outcome, Seen, Verdict,
    http::{Classifier, StatusError},
};
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Turns the answers of an HTTP client into what a retry and a breaker should see.
///
/// A 2xx answer comes up with its body, read up to a cap. Every other one is an error with a [`Verdict`], and so is a
/// failure of the client: nothing that failed looks like a success to the layers above.
#[derive(Clone, Debug)]
pub(crate) struct Receive<S> {
    client: S,
    classifier: Classifier,
    cap: usize,
}

/// The client failed: no answer, or no whole one.
///
/// Whether the far side may have seen the request, and whether a retry is sensible, is in the [`Verdict`] that is this
/// error's source.
#[derive(Clone, Debug)]
pub struct TransportError {
    what: What,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    NotSent,
    NoAnswer,
    BrokenAnswer,
    LongAnswer { cap: usize },
}

pin_project! {
    /// The future of [`Receive`].
    #[project = ReceivingProj]
    pub(crate) enum Receiving<F, B> {
        Waiting { #[pin] response: F, classifier: Classifier, cap: usize },
        Reading { #[pin] body: B, head: Option<http::response::Parts>, read: Read },
    }
}

/// What is read of a body.
pub(crate) struct Read {
    first: Option<Bytes>,
    rest: BytesMut,
    /// Bytes that came, kept or not.
    len: usize,
    cap: usize,
    /// The answer was a refusal, and the body is read only so that the connection can be used again.
    refused: Option<BoxError>,
}

// === impl Receive ===

impl<S> Receive<S> {
    pub(crate) fn new(client: S, classifier: Classifier, cap: usize) -> Self {
        Self { client, classifier, cap }
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
        self.client.poll_ready(cx).map_err(|error| TransportError::new(error.into(), &self.classifier).into())
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        Receiving::Waiting { response: self.client.call(request), classifier: self.classifier, cap: self.cap }
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
                ReceivingProj::Waiting { response, classifier, cap } => match ready!(response.poll(cx)) {
                    Err(error) => return Poll::Ready(Err(TransportError::new(error.into(), classifier).into())),
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let outcome = classifier.status(head.status, &head.headers);
                        let refused = (outcome != Outcome::Success).then(|| refusal(head.status, outcome));
                        let read = Read { first: None, rest: BytesMut::new(), len: 0, cap: *cap, refused };
                        Self::Reading { body, head: Some(head), read }
                    }
                },
                // ## Reading => (Reading | answered | failed)
                ReceivingProj::Reading { mut body, head, read } => {
                    let result = ready!(read.poll(body.as_mut(), cx));
                    let answer = result.and_then(|bytes| {
                        let head = head.take().ok_or_else(|| BoxError::from("polled after it was ready"))?;
                        Ok(Response::from_parts(head, bytes))
                    });
                    return Poll::Ready(answer);
                }
            };
            self.set(next);
        }
    }
}

fn refusal(status: StatusCode, outcome: Outcome) -> BoxError {
    StatusError::new(status, outcome).into()
}

// === impl Read ===

impl Read {
    fn poll<B>(&mut self, mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Result<Bytes, BoxError>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        loop {
            match ready!(body.as_mut().poll_frame(cx)) {
                None => {
                    return Poll::Ready(match self.refused.take() {
                        Some(refused) => Err(refused),
                        None => Ok(self.bytes()),
                    });
                }
                Some(Err(error)) => {
                    // A refusal is one, whatever became of its body.
                    let broken = || TransportError::broken(What::BrokenAnswer, Some(error.into())).into();
                    return Poll::Ready(Err(self.refused.take().unwrap_or_else(broken)));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.len = self.len.saturating_add(data.remaining());
                    if self.len > self.cap {
                        // What is left is not read: the connection goes with the body.
                        let long = || TransportError::broken(What::LongAnswer { cap: self.cap }, None).into();
                        return Poll::Ready(Err(self.refused.take().unwrap_or_else(long)));
                    }
                    self.push(data);
                }
            }
        }
    }

    /// Nearly every answer comes in one piece, which need not be copied.
    fn push(&mut self, mut data: impl Buf) {
        if self.refused.is_some() {
            return;
        }
        let bytes = data.copy_to_bytes(data.remaining());
        match self.first.take() {
            None if self.rest.is_empty() => self.first = Some(bytes),
            first => {
                if let Some(first) = first {
                    self.rest.extend_from_slice(&first);
                }
                self.rest.extend_from_slice(&bytes);
            }
        }
    }

    fn bytes(&mut self) -> Bytes {
        self.first.take().unwrap_or_else(|| std::mem::take(&mut self.rest).freeze())
    }
}

// === impl TransportError ===

impl TransportError {
    fn new(error: BoxError, classifier: &Classifier) -> Self {
        // An error of a layer that has said all there is to say stays what it is, inside.
        let outcome = classifier.error(&*error);
        let advice = match outcome {
            Outcome::Retryable { after: None } => Advice::Retry,
            Outcome::Retryable { after: Some(wait) } => Advice::RetryAfter(wait),
            Outcome::Success | Outcome::Terminal | Outcome::Ignored => Advice::Never,
        };
        let seen = Verdict::of(&*error).map_or_else(|| seen(&*error), Verdict::seen);
        let what = if seen == Seen::No { What::NotSent } else { What::NoAnswer };
        let reason = Verdict::of(&*error).map_or(DropReason::Failed, Verdict::reason);
        Self { what, verdict: Verdict::new(reason, seen, advice).caused_by(error) }
    }

    fn broken(what: What, cause: Option<BoxError>) -> Self {
        // The far side had the request. An answer without end will have none the next time either.
        let advice = if what == What::BrokenAnswer { Advice::Retry } else { Advice::Never };
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, advice);
        Self { what, verdict: cause.map_or(verdict.clone(), |cause| verdict.caused_by(cause)) }
    }
}

/// Whether a request may have been seen, going by the client's error: not if there never was a connection.
fn seen(error: &(dyn Error + 'static)) -> Seen {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let mut link = Some(error);
    while let Some(error) = link {
        let refused = error.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable)
        });
        if refused || forebay_core::http::is_name_not_found(error) {
            return Seen::No;
        }
        link = error.source();
    }
    Seen::Maybe
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::NotSent => f.write_str("there was no connection to the far side"),
            What::NoAnswer => f.write_str("the client failed before there was an answer"),
            What::BrokenAnswer => f.write_str("the answer broke off"),
            What::LongAnswer { cap } => write!(f, "the answer is longer than {cap} bytes"),
        }
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
