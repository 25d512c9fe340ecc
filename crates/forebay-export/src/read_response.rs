//! Reads responses, so that the layers above see a success or an error and no half of either.

use crate::{
    TransportError,
    counters::Counting,
    knobs::Knobs,
    read_body::{BodyError, ReadBody},
    response_classifier::{ResponseClassifier, Unread},
    secrets::Secrets,
    trace,
};
use bytes::Bytes;
use forebay_core::{BoxError, time::saturating_add};
use http::{HeaderMap, HeaderValue, Request, Response, header, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

/// Turns the responses of an HTTP client into successes and errors for the retry layer and the circuit breaker.
///
/// The status decides. A 2xx response is returned with its body, read up to a cap; where the body breaks off, is too long, too
/// late or unreadable, the server has accepted the request all the same, and the body is marked as unreadable. Every other
/// response is an error with a [`Verdict`](forebay_core::Verdict), and so is a failure of the client: nothing that failed looks
/// like a success to the layers above. Over gRPC the status in the head or the trailers decides, and the body is the message:
/// a body that breaks off before its trailers is sent again, and one that ends in order without a status has the status
/// UNKNOWN.
#[derive(Clone, Debug)]
pub(crate) struct ReadResponse<S> {
    client: S,
    classifier: ResponseClassifier,
    /// How long a response may take, its body included. The layer above ends the attempt at the same time; a response whose
    /// status is known ends here before.
    timeout: Duration,
    counting: Arc<Counting>,
}

/// The longest wait for a body whose head decides over the request, whatever an attempt may take.
const DECIDED: Duration = Duration::from_secs(30);

/// The longest wait for a body that the status follows. A server may begin to respond long before it is done.
const UNDECIDED: Duration = Duration::from_secs(600);

pin_project! {
    /// The future of [`ReadResponse`].
    #[project = ReadingProj]
    pub(crate) enum Reading<F, B> {
        /// Waits for the head.
        Head { #[pin] response: F, exchange: Exchange },
        /// Reads the body. The timer exists from the first wait on.
        Body { #[pin] body: B, head: Option<Parts>, read: ReadBody, exchange: Exchange, #[pin] late: Option<Sleep> },
    }
}

/// What is known of a request while its response is read.
pub(crate) struct Exchange {
    classifier: ResponseClassifier,
    /// The secrets of the request, which a server may repeat.
    secrets: Secrets,
    /// When the body has taken too long.
    deadline: Instant,
    counting: Arc<Counting>,
}

// === impl ReadResponse ===

impl<S> ReadResponse<S> {
    pub(crate) fn new<T>(client: S, knobs: &Knobs<T>) -> Self {
        Self {
            client,
            classifier: ResponseClassifier::new(knobs),
            timeout: knobs.settings.attempt_timeout,
            counting: Arc::clone(&knobs.counting),
        }
    }
}

impl ReadResponse<()> {
    /// The same around `client`.
    pub(crate) fn with_client<S>(&self, client: S) -> ReadResponse<S> {
        let Self { client: (), classifier, timeout, ref counting } = *self;
        ReadResponse { client, classifier, timeout, counting: Arc::clone(counting) }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ReadResponse<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Error: Into<BoxError>,
    ResB: Body,
    ResB::Error: Into<BoxError>,
{
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = Reading<S::Future, ResB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.client.poll_ready(cx).map_err(|error| TransportError::new(error.into(), &self.classifier).into())
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let secrets = Secrets::of(request.headers());
        let deadline = after(Instant::now(), self.timeout);
        let exchange =
            Exchange { classifier: self.classifier, secrets, deadline, counting: Arc::clone(&self.counting) };
        Reading::Head { response: self.client.call(request), exchange }
    }
}

fn after(at: Instant, wait: Duration) -> Instant {
    Instant::from_std(saturating_add(at.into_std(), wait))
}

// === impl Reading ===

impl<F, B, E> Future for Reading<F, B>
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
                // ## Head => (Head | Body | failed)
                ReadingProj::Head { response, exchange } => match ready!(response.poll(cx)) {
                    Err(error) => {
                        return Poll::Ready(Err(TransportError::new(error.into(), &exchange.classifier).into()));
                    }
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        let read = exchange.begin(&head, Instant::now());
                        Self::Body { body, head: Some(head), read, exchange: exchange.take(), late: None }
                    }
                },
                // ## Body => (Body | read | failed)
                // CANCEL: a dropped future drops the body unread, which closes its connection or stream.
                ReadingProj::Body { mut body, head, read, exchange, mut late } => {
                    let result = match read.poll(body.as_mut(), cx) {
                        Poll::Ready(result) => result,
                        Poll::Pending => {
                            // Nearly every body is there with its head, and needs no timer.
                            if late.is_none() {
                                late.set(Some(sleep_until(exchange.deadline)));
                            }
                            let Some(timer) = late.as_mut().as_pin_mut() else { return Poll::Pending };
                            ready!(timer.poll(cx));
                            read.late()
                        }
                    };
                    let Some(head) = head.take() else {
                        return Poll::Ready(Err(BoxError::from("polled after it was ready")));
                    };
                    return Poll::Ready(exchange.end(head, result));
                }
            };
            self.set(next);
        }
    }
}

// === impl Exchange ===

impl Exchange {
    /// Begins to read the body of the response with this head, and sets the deadline of the body.
    fn begin(&mut self, head: &Parts, now: Instant) -> ReadBody {
        let refused = self.classifier.refused(head, &self.secrets);
        self.deadline = match refused.is_some() || self.classifier.is_decided(head) {
            true => self.deadline.min(after(now, DECIDED)),
            // Where an attempt may take less, the layer above ends it before.
            false => after(now, UNDECIDED),
        };
        ReadBody::new(self.classifier.max_bytes(), refused)
    }

    fn take(&mut self) -> Self {
        let Self { classifier, secrets, deadline, counting } = self;
        Self {
            classifier: *classifier,
            secrets: mem::take(secrets),
            deadline: *deadline,
            counting: Arc::clone(counting),
        }
    }

    /// What the response means, once its body has ended one way or another.
    fn end(
        &self,
        head: Parts,
        result: Result<(Bytes, Option<HeaderMap>), BodyError>,
    ) -> Result<Response<Bytes>, BoxError> {
        let (why, bytes) = match result {
            Ok((bytes, trailers)) => match self.classifier.body(&head, bytes, trailers, &self.secrets)? {
                Ok((bytes, decoded)) => return Ok(success(head, bytes, decoded)),
                Err((why, bytes)) => (why, bytes),
            },
            Err(BodyError::Refused(error)) => return Err(error),
            Err(BodyError::Unread(why, error)) => {
                // Before the status of a call has come, nothing is known of it.
                if !self.classifier.is_decided(&head) {
                    return Err(error.into());
                }
                (why, Bytes::new())
            }
        };
        Ok(self.unreadable(head, why, bytes))
    }

    /// A success whose body cannot be read. The server has accepted the request all the same, so it stays a success; the
    /// encoder learns from the header that it cannot read these bytes.
    fn unreadable(&self, head: Parts, why: Unread, bytes: Bytes) -> Response<Bytes> {
        self.counting.unreadable.fetch_add(1, Relaxed);
        trace::unreadable(why);
        let mut response = Response::from_parts(head, bytes);
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("unreadable"));
        response
    }
}

fn success(mut head: Parts, bytes: Bytes, decoded: bool) -> Response<Bytes> {
    if decoded {
        head.headers.remove(header::CONTENT_ENCODING);
    }
    Response::from_parts(head, bytes)
}
