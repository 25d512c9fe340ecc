use http::{Request, Response, StatusCode, response::Parts};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

const GRPC_STATUS: &str = "grpc-status";

/// Moves a failure that a gRPC server reports in trailers, without a message before it, into the head of the response, where a
/// classifier sees it.
///
/// Servers report a failure either in the head alone (`Trailers-Only`) or in trailers after a head. In the second case this
/// layer waits for the first frame of the body. Where that is a message, nothing is changed: a call whose response has begun is
/// committed, as in [gRFC A6]. A server that streams may send its first message much later than its head, so the wait is
/// [bounded](Self::wait), and the response is passed on as it is.
///
/// It stands below the retry: see [`RetryLayer::grpc`](crate::RetryLayer::grpc), which has it.
///
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
#[derive(Clone, Copy, Debug)]
pub struct TrailersLayer {
    wait: Duration,
}

/// Moves failures from trailers into the head; made by [`TrailersLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Trailers<S> {
    inner: S,
    wait: Duration,
}

pin_project! {
    /// Response future of [`Trailers`].
    ///
    /// CANCEL: dropping it drops the call, or the response with its body unread.
    #[must_use = "futures do nothing unless polled"]
    pub struct TrailersFuture<F, B> {
        #[pin]
        state: State<F, B>,
        wait: Duration,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        // Waits for the head.
        Head { #[pin] response: F },
        // Waits for the first frame of the body.
        First { response: Option<(Parts, Pin<Box<B>>)>, late: Option<Pin<Box<Sleep>>> },
    }
}

/// The body of a response whose first frame may have been read.
pub struct TrailersBody<B: Body> {
    first: Option<Result<Frame<B::Data>, B::Error>>,
    rest: Pin<Box<B>>,
}

// === impl TrailersLayer ===

impl TrailersLayer {
    /// Waits for the first frame for 100 ms: a server that has failed sends head and trailers together.
    #[must_use]
    pub const fn new() -> Self {
        Self { wait: Duration::from_millis(100) }
    }

    /// How long the first frame of a body is waited for after the head; zero looks only at what is there already.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl Default for TrailersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for TrailersLayer {
    type Service = Trailers<S>;

    fn layer(&self, inner: S) -> Trailers<S> {
        Trailers { inner, wait: self.wait }
    }
}

// === impl Trailers ===

impl<S, ReqB, B> Service<Request<ReqB>> for Trailers<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<TrailersBody<B>>;
    type Error = S::Error;
    type Future = TrailersFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        TrailersFuture { state: State::Head { response: self.inner.call(request) }, wait: self.wait }
    }
}

// === impl TrailersFuture ===

impl<F, B, E> Future for TrailersFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TrailersBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // ## Head => (First | the response as it is | an error)
                StateProj::Head { response } => {
                    let (head, body) = ready!(response.poll(cx))?.into_parts();
                    let decided = head.status != StatusCode::OK || head.headers.contains_key(GRPC_STATUS);
                    let ended = body.is_end_stream();
                    let body = Box::pin(body);
                    if decided || ended {
                        let body = TrailersBody { first: None, rest: body };
                        return Poll::Ready(Ok(Response::from_parts(head, body)));
                    }
                    this.state.set(State::First { response: Some((head, body)), late: None });
                }
                // ## First => the response
                StateProj::First { response, late } => {
                    // Only a future that is polled after its end has no response, which is not allowed.
                    let Some((_, body)) = response else { return Poll::Pending };
                    let first = match body.as_mut().poll_frame(cx) {
                        Poll::Ready(first) => first,
                        Poll::Pending => {
                            if !this.wait.is_zero() {
                                ready!(late.get_or_insert_with(|| Box::pin(sleep(*this.wait))).as_mut().poll(cx));
                            }
                            None
                        }
                    };
                    let Some((mut head, rest)) = response.take() else { return Poll::Pending };
                    if let Some(Ok(frame)) = &first
                        && let Some(trailers) = frame.trailers_ref()
                        && trailers.get(GRPC_STATUS).is_some_and(|status| status != "0")
                    {
                        head.headers.extend(trailers.clone());
                    }
                    return Poll::Ready(Ok(Response::from_parts(head, TrailersBody { first, rest })));
                }
            }
        }
    }
}

impl<F, B> fmt::Debug for TrailersFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailersFuture").finish_non_exhaustive()
    }
}

// === impl TrailersBody ===

impl<B: Body> Body for TrailersBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A frame that was read is no longer in the hint of the body inside.
        if self.first.is_none() { self.rest.size_hint() } else { SizeHint::default() }
    }
}

// The body inside is boxed, and a frame is never pinned.
impl<B: Body> Unpin for TrailersBody<B> {}

impl<B: Body> fmt::Debug for TrailersBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailersBody").field("first_frame_read", &self.first.is_some()).finish_non_exhaustive()
    }
}
