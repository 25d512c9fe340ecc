//! Credentials that change, and the fallback for requests without one.

use crate::{Credential, GrpcError, NoCredential, credential::is_credential, trace};
use bytes::Bytes;
use forebay_cached::{Cached, Fetched};
use forebay_core::{BoxError, cause_ref, http::StatusError};
use forebay_retry::grpc::Code;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_service::Service;

/// Puts the current credential on each request, and fetches a new one when the server no longer accepts it.
///
/// ```text
/// credential ─► request ─► 401 ─► a new credential, fetched once for all ─► the same request, once ─► the response
///     │                                                                            │ 401, 403
///     └─ no credential ────────────────────────────────────────────────────────────┴─► the fallback, without a credential
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Authorize<S> {
    inner: S,
    auth: Option<Arc<Auth>>,
}

/// The source of credentials, and the target of requests without one.
pub(crate) struct Auth {
    /// The cache of the credential; `None` where the headers have it.
    provider: Option<Cached<Credential>>,
    fallback: Option<Fallback>,
    /// The name of the exporter, for events.
    name: Arc<str>,
}

/// The target of a request that cannot be sent with a credential, and the headers of that target.
pub(crate) struct Fallback {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

pin_project! {
    /// The future of [`Authorize`].
    #[project = AuthorizingProj]
    pub(crate) enum Authorizing<F> {
        Plain { #[pin] response: F },
        // One box for a request with all its items, and only where credentials change.
        Authorized { response: Pin<Box<dyn Future<Output = ResponseResult> + Send>> },
    }
}

type ResponseResult = Result<Response<Bytes>, BoxError>;

// === impl Auth ===

impl Auth {
    /// A cache of the credential. `provider` fetches it when it is needed, for one request at a time.
    pub(crate) fn provider<F, Fut, E>(provider: F) -> Result<Cached<Credential>, forebay_core::ConfigError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credential, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        /// The validity of a credential that names none.
        const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
        let fetch = move || {
            let credential = provider();
            async move {
                let credential: Result<Credential, BoxError> = credential.await.map_err(Into::into);
                trace::credential_fetched(credential.is_ok());
                let credential = credential?;
                let validity = credential.validity().unwrap_or(LONGEST);
                Ok::<_, BoxError>(Fetched::new(credential).ttl(validity))
            }
        };
        let cached = Cached::builder(fetch).ttl_range(Duration::from_secs(1), LONGEST).ttl(LONGEST);
        // Where no newer credential can be fetched, the server decides whether it still accepts the old one.
        let cached = cached.stale_for(Duration::from_secs(15 * 60));
        // The retries of a request do not call a provider that has just failed.
        cached.negative_ttl(Duration::from_secs(1)).fetch_timeout(Duration::from_secs(10)).build()
    }

    pub(crate) fn new(
        provider: Option<Cached<Credential>>,
        fallback: Option<Fallback>,
        name: &Arc<str>,
    ) -> Option<Arc<Self>> {
        let name = Arc::clone(name);
        (provider.is_some() || fallback.is_some()).then(|| Arc::new(Self { provider, fallback, name }))
    }

    /// The credential to use, other than the `refused` one; `None` where there is no provider.
    async fn credential(&self, refused: Option<&Credential>) -> Result<Option<Credential>, NoCredential> {
        let Some(cached) = &self.provider else { return Ok(None) };
        if let Some(refused) = refused
            && cached.peek().is_some_and(|reading| reading.value.is(refused))
        {
            // CORRECTNESS: only the refused credential is invalidated, so a request that was refused later than another finds
            // the new credential, and does not fetch a third.
            cached.invalidate();
        }
        cached.get().await.map(Some).map_err(NoCredential::new)
    }

    async fn send<S>(&self, mut inner: S, request: Request<Full<Bytes>>) -> ResponseResult
    where
        S: Service<Request<Full<Bytes>>, Response = Response<Bytes>, Error = BoxError>,
    {
        // CANCEL: dropping the future drops the attempt that is under way. The credential belongs to the cache, and stays.
        let result = match self.credential(None).await {
            Err(none) => Err(BoxError::from(none)),
            Ok(first) => {
                let result = inner.call(with(request.clone(), first.as_ref())).await;
                match &first {
                    Some(first) if is_refused(&result, false) => match self.credential(Some(first)).await {
                        // After a failed fetch the cache may return the old one.
                        Ok(Some(second)) if !second.is(first) => {
                            // CORRECTNESS: the first call has used the readiness, so the second one needs its own.
                            poll_fn(|cx| inner.poll_ready(cx)).await?;
                            inner.call(with(request.clone(), Some(&second))).await
                        }
                        _ => result,
                    },
                    _ => result,
                }
            }
        };
        match &self.fallback {
            Some(fallback) if is_refused(&result, true) => {
                trace::fallback_used(&self.name);
                poll_fn(|cx| inner.poll_ready(cx)).await?;
                inner.call(redirected(request, fallback)).await
            }
            _ => result,
        }
    }
}

fn with(mut request: Request<Full<Bytes>>, credential: Option<&Credential>) -> Request<Full<Bytes>> {
    if let Some(credential) = credential {
        credential.put_into(request.headers_mut());
    }
    request
}

/// The same request to the fallback. A header that the user has set belongs to the endpoint, like the credential: these are
/// the headers that are marked as sensitive. The headers that remain are those of the exporter itself, about the body and the
/// sender.
fn redirected(mut request: Request<Full<Bytes>>, fallback: &Fallback) -> Request<Full<Bytes>> {
    request.uri_mut().clone_from(&fallback.uri);
    let headers = request.headers().iter();
    let own = |(name, value): &(&HeaderName, &HeaderValue)| {
        *name != header::USER_AGENT && (value.is_sensitive() || is_credential(name))
    };
    let of_the_endpoint: Vec<HeaderName> = headers.filter(own).map(|(name, _)| name.clone()).collect();
    of_the_endpoint.iter().for_each(|name| _ = request.headers_mut().remove(name));
    request.headers_mut().extend(fallback.headers.clone());
    request
}

/// Whether the server refused the credential, or (`at_all`) no credential will help.
fn is_refused(result: &ResponseResult, at_all: bool) -> bool {
    let Err(error) = result else { return false };
    let error = &**error;
    let status = cause_ref::<StatusError>(error).map(StatusError::status);
    let code = cause_ref::<GrpcError>(error).map(GrpcError::code);
    let unknown = status == Some(StatusCode::UNAUTHORIZED) || code == Some(Code::Unauthenticated);
    let forbidden = status == Some(StatusCode::FORBIDDEN) || code == Some(Code::PermissionDenied);
    unknown || at_all && (forbidden || cause_ref::<NoCredential>(error).is_some())
}

/// Whether the server refused the credential of a request.
pub(crate) fn is_unauthorized(error: &BoxError) -> bool {
    let status = cause_ref::<StatusError>(&**error).map(StatusError::status);
    let code = cause_ref::<GrpcError>(&**error).map(GrpcError::code);
    matches!(status, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
        || matches!(code, Some(Code::Unauthenticated | Code::PermissionDenied))
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("has_provider", &self.provider.is_some()).finish_non_exhaustive()
    }
}

// === impl Authorize ===

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, auth: Option<Arc<Auth>>) -> Self {
        Self { inner, auth }
    }
}

impl<S> Service<Request<Full<Bytes>>> for Authorize<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Bytes>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = Authorizing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let Some(auth) = &self.auth else { return Authorizing::Plain { response: self.inner.call(request) } };
        // CORRECTNESS: the instance that was polled ready is the one that is called; a clone takes its place.
        let clone = self.inner.clone();
        let (inner, auth) = (mem::replace(&mut self.inner, clone), Arc::clone(auth));
        Authorizing::Authorized { response: Box::pin(async move { auth.send(inner, request).await }) }
    }
}

// === impl Authorizing ===

impl<F: Future<Output = ResponseResult>> Future for Authorizing<F> {
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        let result = match self.project() {
            AuthorizingProj::Plain { response } => response.poll(cx),
            AuthorizingProj::Authorized { response } => response.as_mut().poll(cx),
        };
        // Every failure of an attempt is an error here, its timeout included; the retry layer above may repeat it.
        result.map(|result| result.inspect_err(trace::request_failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::Outcome;
    use forebay_testkit::Probe;
    use tower::ServiceExt;

    type Inner = Probe<Request<Full<Bytes>>, Response<Bytes>>;

    fn refusing(slots: usize, status: StatusCode) -> Inner {
        Probe::with_slots(slots, move |_| async move { Err(StatusError::new(status, Outcome::Terminal).into()) })
    }

    fn authorize(inner: Inner) -> Authorize<Inner> {
        let provider = Auth::provider(|| std::future::ready(Credential::bearer("token"))).unwrap();
        let fallback = Fallback { uri: Uri::from_static("https://open.example/"), headers: HeaderMap::new() };
        Authorize::new(inner, Auth::new(Some(provider), Some(fallback), &"test".into()))
    }

    /// R17, for this layer: the first request, the second with a new credential, and the one to the fallback.
    #[tokio::test]
    async fn r17_the_instance_that_is_ready_is_called_each_time() {
        for (status, calls) in [(StatusCode::UNAUTHORIZED, 3), (StatusCode::FORBIDDEN, 2), (StatusCode::NOT_FOUND, 1)] {
            let inner = refusing(1, status);
            let watch = inner.watch();
            let mut service = authorize(inner);
            for round in 1..=2 {
                let error = service.ready().await.unwrap().call(Request::default()).await.unwrap_err();
                assert_eq!(cause_ref::<StatusError>(&*error).unwrap().status(), status);
                assert_eq!(watch.calls(), calls * round);
            }
            assert_eq!((watch.violations(), watch.reserved(), watch.running()), (0, 0, 0));
        }
    }

    #[tokio::test]
    async fn a_dropped_request_gives_its_slot_back() {
        let inner = Probe::hanging();
        let watch = inner.watch();
        let mut service = authorize(inner);
        let mut response = Box::pin(service.ready().await.unwrap().call(Request::default()));
        assert!(poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx).is_pending())).await);
        assert_eq!(watch.running(), 1);
        drop(response);
        assert_eq!((watch.running(), watch.reserved()), (0, 0));
    }
}
