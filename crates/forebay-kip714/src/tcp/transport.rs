use super::{
    builder::{Settings, TcpBuilder},
    error::TransportError,
    worker::{Job, Worker},
};
use crate::wire::{TelemetryRequest, TelemetryResponse};
use forebay_core::BoxError;
use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tower_service::Service;

/// How many requests may wait for the connection. A client has one at a time.
const WAITING: usize = 8;

/// Brings requests for telemetry to a Kafka broker over a TCP connection of its own.
///
/// Cheap to clone; all clones share one connection, and one broker: the one that answered last. It connects when a
/// request comes, and goes on to the next broker when one fails, so a second attempt is made with another one. It makes
/// no second attempt by itself.
#[derive(Clone)]
pub struct TcpTransport {
    jobs: mpsc::Sender<Job>,
}

/// The answer to one request.
///
/// Dropped before its end, it takes the connection with it: the answer would be in the way of the next one.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    answer: Answer,
}

enum Answer {
    Awaited(oneshot::Receiver<Result<TelemetryResponse, BoxError>>),
    Refused(Option<TransportError>),
}

// === impl TcpTransport ===

impl TcpTransport {
    /// What can be configured, with its defaults.
    pub fn builder() -> TcpBuilder {
        TcpBuilder::new()
    }

    pub(super) fn spawn(settings: Arc<Settings>, runtime: &Handle) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        // A fleet that starts together does not start with the same broker.
        let chance = usize::try_from(RandomState::new().hash_one(0) >> 33).unwrap_or_default();
        let first = chance % settings.brokers.len();
        runtime.spawn(Worker::new(settings, waiting, first).run());
        Self { jobs }
    }
}

impl Service<TelemetryRequest> for TcpTransport {
    type Response = TelemetryResponse;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Always: a request that finds too many before it is refused by its future.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: TelemetryRequest) -> ResponseFuture {
        let (answer, awaited) = oneshot::channel();
        let answer = match self.jobs.try_send(Job { request, answer }) {
            Ok(()) => Answer::Awaited(awaited),
            Err(mpsc::error::TrySendError::Full(_)) => Answer::Refused(Some(TransportError::busy())),
            Err(mpsc::error::TrySendError::Closed(_)) => Answer::Refused(Some(TransportError::worker_gone())),
        };
        ResponseFuture { answer }
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransport").finish_non_exhaustive()
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<TelemetryResponse, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.answer {
            Answer::Awaited(awaited) => Pin::new(awaited)
                .poll(cx)
                .map(|answer| answer.unwrap_or_else(|_dropped| Err(TransportError::worker_gone().into()))),
            Answer::Refused(error) => {
                let error = error.take().unwrap_or_else(TransportError::worker_gone);
                Poll::Ready(Err(error.into()))
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
