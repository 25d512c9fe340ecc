use super::thread::SendingThread;
use bytes::{Bytes, BytesMut};
use forebay_breaker::BreakerLayer;
use forebay_core::{BoxError, ConfigError, http::Classifier};
use forebay_retry::RetryBuilder;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use opentelemetry_http::{HttpClient, HttpError, ResponseBodyTooLarge};
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};
use tower::{Layer, ServiceExt, timeout::TimeoutLayer, util::BoxCloneSyncService};
use tower_service::Service;

/// An HTTP client for the exporters of `opentelemetry-otlp`, with a circuit breaker, a retry budget and a throttle.
///
/// ```no_run
/// # use forebay_otlp::sdk::ForebayHttpClient;
/// # use opentelemetry_otlp::{LogExporter, SpanExporter, WithHttpConfig};
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let client = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::new())))
/// # });
/// let client = ForebayHttpClient::new(client)?;
/// let logs = LogExporter::builder().with_http().with_http_client(client.clone()).build()?;
/// let spans = SpanExporter::builder().with_http().with_http_client(client).build()?;
/// # Ok(())
/// # }
/// ```
///
/// Clones share everything: give one to each exporter, and a `Retry-After` for the exporter of logs holds back the exporter of
/// spans as well, and five failures in a row, of any of them, open the circuit of that host for a minute.
///
/// The exporters of `opentelemetry-otlp` retry as well. The circuit breaker bounds these retries; to leave retries to this
/// client, switch them off there (`with_retry_policy`, with no retries).
///
/// It sends from a thread with a runtime of its own, so the exporters need no runtime, whichever processor they are in. On that
/// thread telemetry is suppressed.
#[derive(Clone)]
pub struct ForebayHttpClient {
    stack: Stack,
    thread: Arc<SendingThread>,
}

/// Boxed, so that the client has no type parameters.
type Stack = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, BoxError>;

/// Reads responses to their end, up to the cap of `opentelemetry-otlp`.
#[derive(Clone, Debug)]
struct ReadWhole<C>(C);

// === impl ForebayHttpClient ===

impl ForebayHttpClient {
    /// The greatest response, in bytes: 4 MiB, as for the clients of `opentelemetry-http`.
    const MAX_RESPONSE_BYTES: usize = 4 << 20;

    /// The timeout of one attempt: the default of OTLP exporters.
    const ATTEMPT: Duration = Duration::from_secs(10);

    /// A client over `client`, with these settings per host: a circuit that opens for a minute after 5 failures in a row, 3
    /// retries within a budget, a shared `Retry-After`, and 10 s per attempt.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when no thread can be started.
    pub fn new<C, B>(client: C) -> Result<Self, ConfigError>
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let breaker = BreakerLayer::http_telemetry().build()?;
        // Every export is a POST, and the table of the protocol says which are sent again.
        let retry = RetryBuilder::http_with(Classifier::otlp()).methods([Method::POST]).build()?;
        // The response is read below the timeout, so that the whole attempt is bounded.
        let attempt = TimeoutLayer::new(Self::ATTEMPT).layer(ReadWhole(client));
        Self::over_whole(breaker.layer(retry.layer(attempt)))
    }

    /// A client over a stack of your own. It only reads the responses, up to 4 MiB.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when no thread can be started.
    pub fn over<S, B>(stack: S) -> Result<Self, ConfigError>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self::over_whole(ReadWhole(stack))
    }

    fn over_whole<S>(stack: S) -> Result<Self, ConfigError>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<Bytes>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let (thread, ()) = SendingThread::start(|| Ok(((), std::future::ready(()))))?;
        Ok(Self { stack: BoxCloneSyncService::new(stack.map_err(Into::into)), thread: Arc::new(thread) })
    }
}

impl HttpClient for ForebayHttpClient {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let stack = self.stack.clone();
        // CANCEL: the task outlives a dropped future; its request was asked for.
        let sent = self.thread.runtime().spawn(stack.oneshot(request.map(Full::new)));
        Box::pin(async move { sent.await? })
    }
}

impl fmt::Debug for ForebayHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForebayHttpClient").finish_non_exhaustive()
    }
}

// === impl ReadWhole ===

impl<C, B> Service<Request<Full<Bytes>>> for ReadWhole<C>
where
    C: Service<Request<Full<Bytes>>, Response = Response<B>>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move {
            let (head, body) = response.await.map_err(Into::into)?.into_parts();
            Ok(Response::from_parts(head, whole(body).await?))
        })
    }
}

async fn whole<B>(body: B) -> Result<Bytes, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Into::into)?.into_data() {
            if bytes::Buf::remaining(&data) > ForebayHttpClient::MAX_RESPONSE_BYTES - read.len() {
                return Err(ResponseBodyTooLarge::new().into());
            }
            bytes::BufMut::put(&mut read, data);
        }
    }
    Ok(read.freeze())
}
