//! The credentials that logs are sent under.

use crate::{Identity, Notice, telemetry::Observer};
use bytes::Bytes;
use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict, panic};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Full;
use std::{
    error::Error,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tower_service::Service;

/// The credentials of a connection.
pub trait Credentials: Send + Sync + 'static {
    /// Whose credentials they are: connections of one host and one identity share an exporter, and may each send the
    /// other's logs. Two tenants are two identities.
    fn identity(&self) -> Identity;

    /// The headers of a request, `Authorization` above all; asked for each request, so that a token may be renewed.
    ///
    /// An error, and headers without `Authorization`, mean that these credentials cannot be used now.
    fn authorize(&self) -> BoxFuture<'_, Result<HeaderMap, BoxError>>;
}

/// A token that stays the same. It is never printed.
#[derive(Clone)]
pub struct BearerToken {
    identity: Identity,
    header: HeaderValue,
}

/// No credentials can be used now, so the request was not sent.
#[derive(Clone, Debug)]
pub(crate) struct NoCredentials(Verdict);

/// All credentials under which the requests of one host and identity may be sent.
#[derive(Default)]
pub(crate) struct CredentialStore {
    /// Each with its number, in the order in which they came.
    entries: Mutex<Vec<(u64, Arc<dyn Credentials>)>>,
    /// The number of the next ones.
    next: AtomicU64,
    /// Whether the observer has been notified that none can be used, and no request has succeeded since.
    warned: AtomicBool,
}

/// Puts credentials on requests, below everything that repeats them.
pub(crate) struct Authorized<C> {
    pub(crate) client: C,
    /// `None` for requests without credentials.
    pub(crate) store: Option<Arc<CredentialStore>>,
    pub(crate) host: Arc<str>,
    pub(crate) observer: Arc<Observer>,
}

// === impl BearerToken ===

impl BearerToken {
    /// The token; two connections with the same token have the same identity.
    ///
    /// # Errors
    /// If it cannot be the value of a header.
    pub fn new(token: &str) -> Result<Self, forebay_core::ConfigError> {
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|_secret| {
            forebay_core::ConfigError::new("token", "a value that cannot be one", "visible ASCII (RFC 9110, 5.5)")
        })?;
        header.set_sensitive(true);
        Ok(Self { identity: Identity::of_secret(token), header })
    }
}

impl Credentials for BearerToken {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn authorize(&self) -> BoxFuture<'_, Result<HeaderMap, BoxError>> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, self.header.clone())]);
        Box::pin(std::future::ready(Ok(headers)))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").field("identity", &self.identity).finish_non_exhaustive()
    }
}

// === impl CredentialStore ===

impl CredentialStore {
    /// Adds credentials; the number takes them out again.
    pub(crate) fn enter(&self, credentials: Arc<dyn Credentials>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().push((number, credentials));
        number
    }

    /// Takes credentials out, unless they are the last ones: the last flush is sent under them.
    pub(crate) fn leave(&self, number: u64) {
        self.take(number, 1);
    }

    /// Takes credentials out, be they the last ones.
    pub(crate) fn remove(&self, number: u64) {
        self.take(number, 0);
    }

    /// Takes credentials out if more than `keep` are there.
    fn take(&self, number: u64, keep: usize) {
        let mut entries = self.lock();
        let at = entries.iter().position(|entry| entry.0 == number).filter(|_| entries.len() > keep);
        let taken = at.map(|at| entries.remove(at));
        drop(entries);
        // CORRECTNESS: user code, dropped after the lock is released; a panic in it does not reach the connection.
        panic::discard(taken);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The headers of the first credentials that can be used.
    pub(crate) async fn headers(&self) -> Option<HeaderMap> {
        let all: Vec<_> = self.lock().iter().map(|(_, credentials)| Arc::clone(credentials)).collect();
        for credentials in all {
            // Those that cannot be used now may be later; the others are tried meanwhile.
            if let Ok(headers) = credentials.authorize().await
                && headers.contains_key(header::AUTHORIZATION)
            {
                return Some(headers);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Arc<dyn Credentials>)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Authorized ===

impl<C, B> Service<Request<Full<Bytes>>> for Authorized<C>
where
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    // One box per request of a hundred logs: credentials may have to be fetched, and the type of the client's future has no name.
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.client.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Full<Bytes>>) -> Self::Future {
        let clone = self.client.clone();
        // CORRECTNESS: the instance that was made ready is the one that is called.
        let mut client = mem::replace(&mut self.client, clone);
        let (store, host, observer) = (self.store.clone(), Arc::clone(&self.host), Arc::clone(&self.observer));
        Box::pin(async move {
            if let Some(store) = &store {
                let Some(headers) = store.headers().await else {
                    if !store.warned.swap(true, Ordering::Relaxed) {
                        observer.observe(&Notice::NoCredentials { host: &host });
                    }
                    return Err(NoCredentials::new().into());
                };
                for (name, mut value) in headers {
                    let Some(name) = name else { continue };
                    value.set_sensitive(true);
                    request.headers_mut().insert(name, value);
                }
            }
            let response = client.call(request).await.map_err(Into::into)?;
            if let Some(store) = &store
                && response.status().is_success()
            {
                // The next time without credentials is notified again.
                store.warned.store(false, Ordering::Relaxed);
            }
            Ok(response)
        })
    }
}

impl<C: Clone> Clone for Authorized<C> {
    fn clone(&self) -> Self {
        let Self { client, store, host, observer } = self;
        Self { client: client.clone(), store: store.clone(), host: Arc::clone(host), observer: Arc::clone(observer) }
    }
}

// === impl NoCredentials ===

impl NoCredentials {
    pub(crate) fn new() -> Self {
        Self(Verdict::new(DropReason::Failed, Seen::No, Advice::Never))
    }
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no credentials could be used, so nothing was sent")
    }
}

impl Error for NoCredentials {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
