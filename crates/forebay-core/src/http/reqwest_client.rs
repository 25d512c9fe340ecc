//! reqwest: its client as a service of `http::Request`, and its own requests and responses under the presets.

use super::{ByExtension, Classifier};
use crate::{AsError, BoxError, Classify, Deadline, DeadlineOf, Outcome};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

/// [reqwest's client](reqwest::Client) as a service from `http::Request` to `http::Response`: for an exporter, and for every layer
/// that knows the requests of the `http` crate.
///
/// ```
/// use forebay_core::http::Reqwest;
///
/// // A redirect would be followed to wherever it points, with the headers of the request.
/// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let client = Reqwest::new(client);
/// # Ok::<_, reqwest::Error>(())
/// ```
///
/// The presets take reqwest's own requests as well, without this, and then reqwest's builders make them. Their extensions are
/// private, though: a [`Deadline`] and the number of an attempt travel with an `http::Request` alone. The extensions of a
/// request that goes through here reach reqwest.
///
/// # Errors
///
/// Those of reqwest; a URI that is not absolute is one whose [`is_builder`](reqwest::Error::is_builder) is true.
#[derive(Clone, Debug, Default)]
pub struct Reqwest(reqwest::Client);

/// Response future of [`Reqwest`].
///
/// CANCEL: dropping it drops the request.
#[must_use = "futures do nothing unless polled"]
pub struct ReqwestFuture(State);

enum State {
    Sending(<reqwest::Client as Service<reqwest::Request>>::Future),
    /// The request could not be converted. `None` once the error is returned.
    Failed(Option<reqwest::Error>),
}

/// Host and port of a request of reqwest, as its URL spells them; a user name and a password are left out.
///
/// ```
/// use forebay_core::http::reqwest_authority;
///
/// let url = "https://user:secret@collector.example:4318/v1/logs".parse()?;
/// assert_eq!(reqwest_authority(&reqwest::Request::new(http::Method::GET, url)), "collector.example:4318");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn reqwest_authority(request: &reqwest::Request) -> &str {
    let authority = request.url().authority();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

// === impl Reqwest ===

impl Reqwest {
    /// Sends requests with `client`.
    #[must_use]
    pub const fn new(client: reqwest::Client) -> Self {
        Self(client)
    }

    /// The client.
    #[must_use]
    pub const fn get_ref(&self) -> &reqwest::Client {
        &self.0
    }

    /// The client, by value.
    #[must_use]
    pub fn into_inner(self) -> reqwest::Client {
        self.0
    }
}

impl From<reqwest::Client> for Reqwest {
    fn from(client: reqwest::Client) -> Self {
        Self::new(client)
    }
}

impl<B> Service<Request<B>> for Reqwest
where
    B: Body + Send + Sync + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        ReqwestFuture(match request.map(reqwest::Body::wrap).try_into() {
            Ok(request) => State::Sending(self.0.call(request)),
            Err(error) => State::Failed(Some(error)),
        })
    }
}

// === impl ReqwestFuture ===

impl Future for ReqwestFuture {
    type Output = Result<Response<reqwest::Body>, reqwest::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Sending(sending) => Pin::new(sending).poll(cx).map_ok(Response::from),
            // Only a future that is polled after its end has no error, which is not allowed.
            State::Failed(error) => error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}

// === impl Classify ===

impl<Err: AsError<Kind>, Kind> Classify<reqwest::Response, Err> for Classifier<Kind> {
    fn classify(&self, result: &Result<reqwest::Response, Err>) -> Outcome {
        match result {
            Ok(response) => self.of_status(response.status(), response.headers()),
            Err(error) => self.of_error(error.as_error()),
        }
    }
}

// === impl DeadlineOf ===

/// None: the extensions of reqwest's own request are private.
impl DeadlineOf<reqwest::Request> for ByExtension {
    #[inline]
    fn deadline_of(&self, _: &reqwest::Request) -> Option<Deadline> {
        None
    }
}
