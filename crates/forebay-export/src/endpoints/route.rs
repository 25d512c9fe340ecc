//! The way of an attempt: to the one endpoint, or to one of several.

use super::{
    error::{EndpointFailed, EndpointsAway, EndpointsBusy},
    router::{Choice, Permit, Router, Tried, ends},
    selector::{End, Id, Pick},
};
use crate::{
    BodyTooLarge, GrpcError,
    attempt::WithinTime,
    authorize::{Authorize, is_unauthorized},
    counters::{Counted, Counting},
    read_response::ReadResponse,
    sampled::Sampled,
};
use bytes::Bytes;
use forebay_breaker::RunError;
use forebay_core::{
    Advice, BoxError, Boxed, ByError, Classify, Outcome, Verdict, adaptive::SharedLimiter, cause_ref,
    http::StatusError, is_caused_by,
};
use forebay_intake::now;
use forebay_retry::AnotherServer;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::timeout_at;
use tower_service::Service;

/// Sends an attempt to the one endpoint, as `S` does, or to one of several.
#[derive(Clone)]
pub(crate) enum Route<S, C> {
    One(S),
    Several(Box<Several<C>>),
}

/// Sends each attempt to one of several endpoints.
pub(crate) struct Several<C> {
    /// The client of the endpoints that have none of their own. It may not be shared, only cloned.
    pub(crate) client: Option<C>,
    pub(crate) way: Way<C>,
    /// The limiter of the batcher: it learns from all attempts together, those apart that another endpoint makes good.
    pub(crate) limiter: SharedLimiter,
}

/// What leads to an endpoint, whichever it is.
pub(crate) struct Way<C> {
    pub(crate) router: Arc<Router<C>>,
    pub(crate) read: ReadResponse<()>,
    pub(crate) counting: Arc<Counting>,
    pub(crate) attempt_timeout: Duration,
}

pin_project! {
    /// The future of [`Route`].
    #[project = RoutingProj]
    pub(crate) enum Routing<F> {
        One { #[pin] response: F },
        // One box for a request with all its items, and only where there are several endpoints.
        Several { response: Pin<Box<dyn Future<Output = ResponseResult> + Send>> },
    }
}

type ResponseResult = Result<Response<Bytes>, BoxError>;

/// The client of one endpoint, with all that an attempt has around it.
type Attempt<C> = Authorize<Sampled<WithinTime<ReadResponse<Counted<C>>>>>;

/// A wait is no longer than this where every endpoint is away: then the batch waits beside the queue.
const SHORT: Duration = Duration::from_secs(2);
/// Before an endpoint is looked at again whose circuit has refused what was chosen for it.
const PAUSE: Duration = Duration::from_millis(10);

// === impl Route ===

impl<S, C, B> Service<Request<Full<Bytes>>> for Route<S, C>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Bytes>, Error = BoxError>,
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = Routing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::One(one) => one.poll_ready(cx),
            // Which endpoint has to be ready is known once there is a request.
            Self::Several(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        match self {
            Self::One(one) => Routing::One { response: one.call(request) },
            Self::Several(several) => Routing::Several { response: Box::pin(Several::clone(several).send(request)) },
        }
    }
}

// === impl Routing ===

impl<F: Future<Output = ResponseResult>> Future for Routing<F> {
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        match self.project() {
            RoutingProj::One { response } => response.poll(cx),
            RoutingProj::Several { response } => response.as_mut().poll(cx),
        }
    }
}

// === impl Several ===

impl<C: Clone> Clone for Several<C> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), way: self.way.clone(), limiter: self.limiter.clone() }
    }
}

impl<C> Clone for Way<C> {
    fn clone(&self) -> Self {
        let Self { router, read, counting, attempt_timeout } = self;
        let (router, counting) = (Arc::clone(router), Arc::clone(counting));
        Self { router, read: read.clone(), counting, attempt_timeout: *attempt_timeout }
    }
}

impl<C, B> Several<C>
where
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn send(self, request: Request<Full<Bytes>>) -> ResponseResult {
        // CANCEL: dropped, the attempt leaves its endpoint, its circuit and the limiter.
        let Self { client, way, limiter } = self;
        let attempt = limiter.start(now());
        let result = way.attempt(client, request).await;
        // What another endpoint makes good says nothing about how many batches may be in flight.
        let is_counted = result
            .as_ref()
            .err()
            .is_none_or(|error| !is_caused_by::<AnotherServer>(&**error) && !is_caused_by::<EndpointsAway>(&**error));
        let outcome = if is_counted { ByError::<Boxed>::new().classify(&result) } else { Outcome::Ignored };
        attempt.end(now(), outcome);
        result
    }
}

// === impl Way ===

impl<C, B> Way<C>
where
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    async fn attempt(&self, client: Option<C>, request: Request<Full<Bytes>>) -> ResponseResult {
        let tried = request.extensions().get::<Tried>().cloned().unwrap_or_default();
        let bytes = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
        let end = ends(&self.router.control, self.attempt_timeout);
        // The endpoints whose circuits have opened between the choice and the call.
        let mut refused: Vec<Id> = Vec::new();
        loop {
            let mut passed = tried.ids();
            passed.extend(&refused);
            // CORRECTNESS: registered before the look, so that a change after the look is not missed.
            let mut changed = pin!(self.router.changed.notified());
            changed.as_mut().enable();
            let until = match self.router.pick(&passed, bytes) {
                Choice::Send(permit) => {
                    // There may be room for another attempt that waits.
                    self.router.changed.notify_one();
                    let own = permit.entry.client.as_ref().map(|cloned| cloned());
                    // Each endpoint has a client of its own, or all have the same.
                    let Some(client) = own.or_else(|| client.clone()) else {
                        return Err("there is no client".into());
                    };
                    match self.send_to(&permit, client, request.clone(), &tried, bytes).await {
                        Some(result) => return result,
                        None => {
                            refused.push(permit.entry.id);
                            continue;
                        }
                    }
                }
                Choice::Not(Pick::TooLarge(id, most)) => {
                    let error = BodyTooLarge::new(most, 0).into();
                    return Err(EndpointFailed::new(self.router.name_of(id), error, Advice::Never).into());
                }
                // Each that may be sent to was tried, or has let a probe of another attempt through: the next round begins.
                Choice::Not(Pick::None | Pick::Send(_) | Pick::Away(..)) if !passed.is_empty() => {
                    tried.pass_is_over();
                    let pause = if refused.is_empty() { Duration::ZERO } else { PAUSE };
                    refused.clear();
                    Some(now_after(pause))
                }
                Choice::Not(Pick::None | Pick::Send(_)) => return Err(EndpointsBusy::new().into()),
                Choice::Not(Pick::Away(until, throttled)) => {
                    let wait = until.saturating_duration_since(now());
                    if wait > SHORT || until >= end {
                        return Err(EndpointsAway::new(wait, throttled).into());
                    }
                    Some(until)
                }
                Choice::Not(Pick::Full(until)) => until,
            };
            let wake = until.map_or(end, |until| until.min(end));
            if now() >= end {
                return Err(EndpointsBusy::new().into());
            }
            // Whether there is room or the time is over: the next look says which.
            let _woken = timeout_at(wake.into(), changed).await;
        }
    }

    /// Sends a request to the endpoint of `permit`; `None` if its circuit has opened meanwhile.
    async fn send_to(
        &self,
        permit: &Permit<'_, C>,
        client: C,
        mut request: Request<Full<Bytes>>,
        tried: &Tried,
        bytes: usize,
    ) -> Option<ResponseResult> {
        let entry = &permit.entry;
        request.uri_mut().clone_from(&entry.uri);
        request.headers_mut().extend(entry.headers.clone());
        let counted = Counted::new(client, Arc::clone(&self.counting));
        let read = self.read.with_client(counted);
        let within = WithinTime::new(read, self.attempt_timeout, Arc::clone(&self.router.control));
        let sampled = Sampled::new(within, entry.limiter.clone());
        let mut attempt: Attempt<C> = Authorize::new(sampled, entry.auth.clone());
        let ready_by = now_after(self.attempt_timeout);
        let sent = self.router.circuits.run_for(&*entry.name, || async move {
            // The client may have to connect first.
            match timeout_at(ready_by.into(), poll_fn(|cx| attempt.poll_ready(cx))).await {
                Ok(ready) => ready?,
                Err(_elapsed) => return Err(BoxError::from(tower::timeout::error::Elapsed::new())),
            }
            attempt.call(request).await
        });
        let error = match sent.await {
            Ok(response) => {
                permit.ended(End::Responded);
                return Some(Ok(response));
            }
            Err(RunError::Open(_)) => return None,
            Err(RunError::Failed(error)) => error,
        };
        Some(Err(self.failed(permit, error, tried, bytes)))
    }

    /// What a failed attempt at one endpoint means for the request.
    fn failed(&self, permit: &Permit<'_, C>, error: BoxError, tried: &Tried, bytes: usize) -> BoxError {
        let entry = &permit.entry;
        let advice = Verdict::of(&*error).map_or(Advice::Retry, Verdict::advice);
        let temporary = match advice {
            Advice::Never if !is_unauthorized(&error) => {
                // It was refused for what is in it: another endpoint would do the same.
                permit.ended(if is_too_large(&error) { End::TooLarge(bytes) } else { End::Responded });
                return EndpointFailed::new(Arc::clone(&entry.name), error, advice).into();
            }
            Advice::Never => {
                permit.ended(End::Failed(None));
                false
            }
            Advice::Retry => {
                permit.ended(End::Failed(None));
                true
            }
            Advice::RetryAfter(wait) => {
                permit.ended(End::Failed(Some(wait)));
                true
            }
        };
        let passed = tried.add(entry.id, temporary);
        let (is_any_left, away) = self.router.others(&passed, bytes);
        let failed = |advice| EndpointFailed::new(Arc::clone(&entry.name), error, advice);
        if is_any_left {
            return AnotherServer::new(failed(Advice::Retry)).into();
        }
        let are_all = self.router.are_all(&passed);
        let is_any_temporary = tried.pass_is_over() || !are_all;
        // A pause of one endpoint holds the others only if they are away as well.
        failed(match away {
            _ if !is_any_temporary => Advice::Never,
            Some(wait) if !wait.is_zero() => Advice::RetryAfter(wait),
            _ => Advice::Retry,
        })
        .into()
    }
}

fn now_after(wait: Duration) -> Instant {
    forebay_core::time::saturating_add(now(), wait)
}

/// Whether a server has refused a request for its size.
fn is_too_large(error: &BoxError) -> bool {
    let status = cause_ref::<StatusError>(&**error).map(StatusError::status);
    status == Some(StatusCode::PAYLOAD_TOO_LARGE)
        || cause_ref::<GrpcError>(&**error).is_some_and(GrpcError::is_too_large)
}
