use super::{
    builder::{Settings, TcpBuilder},
    error::TransportError,
    worker::{Job, Worker},
};
use crate::wire::{TelemetryRequest, TelemetryResponse};
use forebay_core::{BoxError, chance::entropy};
use std::{
    fmt,
    future::Future,
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
/// Cheap to clone; all clones share one connection, and one broker: the one that responded last. It connects when a
/// request comes, asks that broker for the others of its cluster, and goes on to the next broker when one fails, so a second
/// attempt is made with another one. It makes no second attempt by itself.
#[derive(Clone)]
pub struct TcpTransport {
    jobs: mpsc::Sender<Job>,
}

/// The response to one request.
///
/// Dropped before its end, it takes the connection with it: the response would be in the way of the next one.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    reply: Reply,
}

enum Reply {
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
        runtime.spawn(Worker::new(settings, waiting, entropy()).run());
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
        let (reply, awaited) = oneshot::channel();
        let reply = match self.jobs.try_send(Job { request, reply }) {
            Ok(()) => Reply::Awaited(awaited),
            Err(mpsc::error::TrySendError::Full(_)) => Reply::Refused(Some(TransportError::busy())),
            Err(mpsc::error::TrySendError::Closed(_)) => Reply::Refused(Some(TransportError::worker_gone())),
        };
        ResponseFuture { reply }
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
        match &mut self.reply {
            Reply::Awaited(awaited) => Pin::new(awaited)
                .poll(cx)
                .map(|reply| reply.unwrap_or_else(|_dropped| Err(TransportError::worker_gone().into()))),
            Reply::Refused(error) => {
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
