//! ureq, a client that blocks, as a service.

use bytes::Bytes;
use forebay::core::BoxError;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::Service;
use ureq::Agent;

/// Sends each request on a thread that may block, at most so many at a time.
///
/// Clones share the connections and the bound.
#[derive(Clone, Debug)]
pub struct Blocking {
    agent: Agent,
    threads: Arc<Semaphore>,
    gauge: Arc<Gauge>,
}

/// How many threads block, and how many did at most.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A thread that blocks, while this lives.
struct Blocked(Arc<Gauge>);

/// The longest response that is read, in bytes: as the exporter has it.
const MAX_RESPONSE: u64 = 4 << 20;

// === impl Blocking ===

impl Blocking {
    /// At most `threads` requests at a time, each of which ends within `timeout`.
    ///
    /// The timeout should be that of an attempt: a thread that blocks cannot be interrupted, so that an attempt that is given up
    /// holds its thread until then.
    #[must_use]
    pub fn new(threads: usize, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            // A status is the exporter's to judge, and a redirect is not followed to wherever it points.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(threads)
            .build();
        let threads = Arc::new(Semaphore::new(threads));
        Self { agent: config.into(), threads, gauge: Arc::default() }
    }

    /// How many threads blocked at the same time, at most.
    #[must_use]
    pub fn most_threads(&self) -> usize {
        self.gauge.most.load(SeqCst)
    }
}

impl Service<Request<Full<Bytes>>> for Blocking {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    /// Always ready: a request waits for its thread in its own future, which an attempt's timeout covers.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// CANCEL: a request that waits for a thread is not sent. One that has a thread runs to its end there, and the thread counts
    /// until then.
    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let Self { agent, threads, gauge } = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, body.collect().await?.to_bytes());
            let permit = threads.acquire_owned().await?;
            let sent = tokio::task::spawn_blocking(move || {
                // CORRECTNESS: the permit moves to the thread. Given back with the future, it would be free while its thread
                // still blocks, and a server that hangs would take one thread for each attempt.
                let _permit = permit;
                let _blocked = Blocked::new(gauge);
                send(&agent, request)
            });
            sent.await?
        })
    }
}

fn send(agent: &Agent, request: Request<Bytes>) -> Result<Response<Full<Bytes>>, BoxError> {
    let (head, body) = request.into_parts();
    let response = agent.run(Request::from_parts(head, &body[..]))?;
    let (head, mut body) = response.into_parts();
    let body = body.with_config().limit(MAX_RESPONSE).read_to_vec()?;
    Ok(Response::from_parts(head, Full::from(body)))
}

// === impl Blocked ===

impl Blocked {
    fn new(gauge: Arc<Gauge>) -> Self {
        let now = gauge.now.fetch_add(1, SeqCst) + 1;
        gauge.most.fetch_max(now, SeqCst);
        Self(gauge)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}
