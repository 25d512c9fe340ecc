use super::CopyBody;
use bytes::{Buf, Bytes};
use forebay_core::BoxError;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tower_layer::Layer;
use tower_service::Service;

/// Gives requests a [`ReplayBody`], so that a retry below it can send streaming bodies again.
///
/// ```
/// use forebay_retry::{RetryBuilder, http::{ReplayBody, ReplayLayer}};
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
///
/// # type Upload = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// # let upload: Upload = Full::from("rows").map_err(BoxError::from).boxed_unsync();
/// # let client = service_fn(|_: Request<ReplayBody<Upload>>| async { Ok::<_, std::io::Error>(Response::new(())) });
/// let service = ServiceBuilder::new()
///     .layer(ReplayLayer::new())
///     .layer(RetryBuilder::http().replay_body().build()?)
///     .service(client);
/// service.oneshot(Request::put("https://store.example/rows").body(upload)?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReplayLayer {
    max_bytes: usize,
}

/// Gives requests a [`ReplayBody`]; made by [`ReplayLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Replay<S> {
    inner: S,
    max_bytes: usize,
}

/// A request body that keeps what was read of it, so that another attempt sends the same bytes and trailers.
///
/// A clone begins at the beginning: it reads what was kept, and then the rest of the stream, which only one of them reads at
/// a time. Beyond the cap nothing is kept, and a clone that would need it [cannot be sent](Self::can_replay). Nothing is
/// kept either while there is no clone that may need it.
///
/// # Errors
///
/// Those of the body inside, once. A reader that a later one has overtaken ends with an error: its attempt is over.
pub struct ReplayBody<B> {
    shared: Arc<Mutex<Shared<B>>>,
    /// Later clones have higher numbers.
    reader: u64,
    /// How many data frames this reader has given out.
    frames: usize,
    /// How many bytes are in them.
    bytes: u64,
    /// Whether this reader has nothing more to give out.
    ended: bool,
    /// What the body said of its length before anything was read.
    size: SizeHint,
}

/// Copies a [`ReplayBody`], as long as what it would need is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayBodies;

/// What all clones of a body read from.
struct Shared<B> {
    rest: Rest<B>,
    /// The data frames that were read; `None` once they are above the cap, or not needed.
    kept: Option<Vec<Bytes>>,
    /// How many bytes are kept.
    kept_bytes: usize,
    max_bytes: usize,
    /// How many data frames were read.
    frames: usize,
    trailers: Option<HeaderMap>,
    /// The latest reader that was polled: earlier ones are over.
    latest: u64,
    /// How many readers there were.
    readers: u64,
    /// The reader that waits while an earlier one polls the rest.
    waiting: Option<Waker>,
}

/// What was not read yet.
enum Rest<B> {
    Unread(Pin<Box<B>>),
    /// A reader polls it at this moment.
    Polled,
    /// It ended.
    Ended,
    /// It ended in an error, or in a panic.
    Failed,
}

/// What a reader does after a look at the shared state.
enum Step<B> {
    Give(Option<Result<Frame<Bytes>, BoxError>>),
    Read(Pin<Box<B>>),
    /// The client still polls the body of an earlier attempt, in another thread.
    Wait,
}

/// Marks the body as failed when it is dropped, unless it is disarmed: the poll of the body has panicked.
struct OnPanic<'a, B>(Option<&'a Mutex<Shared<B>>>);

// === impl ReplayLayer ===

impl ReplayLayer {
    /// What is kept of one body unless another number is given: 64 KiB, as in linkerd and gRPC.
    pub const DEFAULT_MAX_BYTES: usize = 64 << 10;

    /// Keeps at most [`DEFAULT_MAX_BYTES`](Self::DEFAULT_MAX_BYTES) of each body.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_bytes: Self::DEFAULT_MAX_BYTES }
    }

    /// How many bytes are kept of one body; 0 keeps nothing, so that a body that was read is not sent again.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for ReplayLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ReplayLayer {
    type Service = Replay<S>;

    fn layer(&self, inner: S) -> Replay<S> {
        Replay { inner, max_bytes: self.max_bytes }
    }
}

impl<S, B> Service<Request<B>> for Replay<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let max_bytes = self.max_bytes;
        self.inner.call(request.map(|body| ReplayBody::new(body, max_bytes)))
    }
}

// === impl ReplayBody ===

impl<B: Body> ReplayBody<B> {
    /// Keeps at most `max_bytes` of `body`.
    pub fn new(body: B, max_bytes: usize) -> Self {
        let (size, ended) = (body.size_hint(), body.is_end_stream());
        // A body that says that it is longer is not kept up to the cap first.
        let kept = usize::try_from(size.lower()).is_ok_and(|least| least <= max_bytes).then(Vec::new);
        let rest = if ended { Rest::Ended } else { Rest::Unread(Box::pin(body)) };
        let shared = Shared {
            rest,
            kept,
            kept_bytes: 0,
            max_bytes,
            frames: 0,
            trailers: None,
            latest: 0,
            readers: 1,
            waiting: None,
        };
        Self { shared: Arc::new(Mutex::new(shared)), reader: 0, frames: 0, bytes: 0, ended, size }
    }
}

impl<B> ReplayBody<B> {
    /// Whether a clone of this body that is read from its beginning would give all of it.
    #[must_use]
    pub fn can_replay(&self) -> bool {
        let shared = self.shared();
        !matches!(shared.rest, Rest::Failed) && (shared.kept.is_some() || shared.frames == 0)
    }

    fn shared(&self) -> MutexGuard<'_, Shared<B>> {
        locked(&self.shared)
    }

    /// Waits for the reader that polls the rest at this moment.
    fn wait(&self, cx: &Context<'_>) {
        // CORRECTNESS: a waker is code of its executor, so it is cloned before the lock is taken, and dropped after it.
        let waker = cx.waker().clone();
        let unused = {
            let mut shared = self.shared();
            match shared.rest {
                Rest::Polled => shared.waiting.replace(waker),
                _ => Some(waker),
            }
        };
        // The rest has come back meanwhile, or an earlier reader waited, which learns that it has been overtaken.
        if let Some(waker) = unused {
            waker.wake();
        }
    }

    /// Gives the rest back to the readers.
    fn give_back(&self, rest: Rest<B>) {
        let waiting = {
            let mut shared = self.shared();
            shared.rest = rest;
            shared.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// What this reader gives out without reading on, or the rest to read from.
    fn step(&self) -> Step<B> {
        let mut shared = self.shared();
        if self.reader < shared.latest {
            return Step::Give(Some(Err("a later attempt reads the body".into())));
        }
        shared.latest = self.reader;
        if self.frames < shared.frames {
            let frame = shared.kept.as_ref().and_then(|kept| kept.get(self.frames));
            return Step::Give(Some(match frame {
                Some(bytes) => Ok(Frame::data(bytes.clone())),
                None => Err("the body is longer than what is kept of it".into()),
            }));
        }
        match mem::replace(&mut shared.rest, Rest::Polled) {
            Rest::Unread(body) => Step::Read(body),
            Rest::Ended => {
                shared.rest = Rest::Ended;
                Step::Give(shared.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Rest::Polled => Step::Wait,
            Rest::Failed => {
                shared.rest = Rest::Failed;
                Step::Give(Some(Err("the body failed in an earlier attempt".into())))
            }
        }
    }

    /// Counts a frame that this reader gives out.
    fn gave(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(bytes) => {
                self.frames = self.frames.saturating_add(1);
                self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            None => self.ended = true,
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut body = match self.step() {
            Step::Read(body) => body,
            Step::Wait => {
                self.wait(cx);
                return Poll::Pending;
            }
            Step::Give(given) => {
                match &given {
                    Some(Ok(frame)) => self.gave(frame),
                    Some(Err(_)) | None => self.ended = true,
                }
                return Poll::Ready(given);
            }
        };

        // CORRECTNESS: polled outside of the lock, and by one reader at a time: a later one waits, because a client may still poll the
        // body of an attempt whose response has come.
        let polled = {
            let mut on_panic = OnPanic(Some(&*self.shared));
            let polled = body.as_mut().poll_frame(cx);
            on_panic.0 = None;
            polled
        };
        let frame = match polled {
            Poll::Pending => {
                self.give_back(Rest::Unread(body));
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                drop(body);
                self.give_back(Rest::Ended);
                self.ended = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                drop(body);
                self.give_back(Rest::Failed);
                self.ended = true;
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Ready(Some(Ok(frame))) => frame.map_data(|mut data| data.copy_to_bytes(data.remaining())),
        };
        // Nothing follows trailers.
        let ended = frame.is_trailers() || body.is_end_stream();
        let needed = Arc::strong_count(&self.shared) > 1;
        let rest = if ended {
            drop(body);
            Rest::Ended
        } else {
            Rest::Unread(body)
        };
        let unneeded = self.shared().keep(&frame, needed);
        drop(unneeded);
        self.give_back(rest);
        self.gave(&frame);
        self.ended |= ended;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        let mut left = SizeHint::new();
        left.set_lower(self.size.lower().saturating_sub(self.bytes));
        if let Some(upper) = self.size.upper() {
            left.set_upper(upper.saturating_sub(self.bytes));
        }
        left
    }
}

/// A clone begins at the beginning.
impl<B> Clone for ReplayBody<B> {
    fn clone(&self) -> Self {
        let reader = {
            let mut shared = self.shared();
            let reader = shared.readers;
            shared.readers = reader.saturating_add(1);
            reader
        };
        // A body that was empty from the beginning has given out nothing, and has ended.
        let ended = self.ended && self.frames == 0 && self.shared().is_empty();
        let (shared, size) = (Arc::clone(&self.shared), self.size);
        Self { shared, reader, frames: 0, bytes: 0, ended, size }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, frames) = {
            let shared = self.shared();
            (shared.kept.as_ref().map(|_| shared.kept_bytes), shared.frames)
        };
        f.debug_struct("ReplayBody").field("kept_bytes", &kept).field("read_frames", &frames).finish_non_exhaustive()
    }
}

// === impl OnPanic ===

impl<B> Drop for OnPanic<'_, B> {
    fn drop(&mut self) {
        let Some(shared) = self.0 else { return };
        let waiting = {
            let mut shared = locked(shared);
            shared.rest = Rest::Failed;
            shared.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

// === impl Shared ===

fn locked<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    // CORRECTNESS: no user code runs or drops under this lock: the body inside is taken out to be polled and dropped.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Shared<B> {
    /// Keeps a frame that was read, and returns what is not kept any more.
    fn keep(&mut self, frame: &Frame<Bytes>, needed: bool) -> Option<Vec<Bytes>> {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        let bytes = frame.data_ref()?;
        self.frames = self.frames.saturating_add(1);
        self.kept_bytes = self.kept_bytes.saturating_add(bytes.len());
        if !needed || self.kept_bytes > self.max_bytes {
            return self.kept.take();
        }
        if let Some(kept) = &mut self.kept {
            kept.push(bytes.clone());
        }
        None
    }

    /// Whether the body ended before anything was read.
    fn is_empty(&self) -> bool {
        matches!(self.rest, Rest::Ended) && self.frames == 0 && self.trailers.is_none()
    }
}

// === impl ReplayBodies ===

impl<B> CopyBody<ReplayBody<B>> for ReplayBodies {
    fn copy_body(&self, body: &ReplayBody<B>) -> Option<ReplayBody<B>> {
        Some(body.clone())
    }

    fn can_replay(&self, copy: &ReplayBody<B>) -> bool {
        copy.can_replay()
    }
}
