use crate::{Credential, Endpoint, MaxInFlight, authorize::Auth, credential::request_header_of};
use forebay_cached::Cached;
use forebay_core::{BoxError, ConfigError, adaptive::Adaptive};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{fmt, future::Future, net::SocketAddr, sync::Arc};

/// One of several endpoints of an exporter: its URL, and what belongs to it alone.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`new`](Self::new) | | an `http` or `https` URL |
/// | [`name`](Self::name) | the URL without its query, and the address where there is one | |
/// | [`header`](Self::header) | none | |
/// | [`auth`](Self::auth) | none | |
/// | [`weight`](Self::weight) | 1 | 1 to 1000 |
/// | [`max_in_flight`](Self::max_in_flight) | [`Adaptive`]: 1 to 200 | 1 and more, or [`Adaptive`] |
/// | [`address`](Self::address) | none | |
///
/// Nothing is checked before the exporter is built. A clone shares the credential: two destinations that are made of one ask its
/// provider once.
///
/// ```
/// use forebay_export::{Destination, Failover};
///
/// let ours = Destination::new("https://otel.example.com/v1/logs").header("x-api-key", "hunter2");
/// let vendor = Destination::new("https://vendor.example/v1/logs").header("x-vendor-token", "hunter3").max_in_flight(4);
/// let endpoints = Failover::new([ours, vendor]);
/// ```
#[derive(Clone)]
#[must_use = "a destination does nothing until an exporter has it"]
pub struct Destination {
    pub(crate) endpoint: Result<Endpoint, ConfigError>,
    /// `None` for the one that follows from URL and address.
    name: Option<Arc<str>>,
    /// The first error is kept.
    pub(crate) headers: Result<HeaderMap, ConfigError>,
    pub(crate) provider: Option<Result<Cached<Credential>, ConfigError>>,
    pub(crate) weight: u32,
    pub(crate) max_in_flight: MaxInFlight,
    address: Option<SocketAddr>,
}

// === impl Destination ===

impl Destination {
    /// The endpoint with this URL: an absolute `http` or `https` URL, path included.
    pub fn new(url: &str) -> Self {
        Self::of(url.parse())
    }

    fn of(endpoint: Result<Endpoint, ConfigError>) -> Self {
        Self {
            endpoint,
            name: None,
            headers: Ok(HeaderMap::new()),
            provider: None,
            weight: 1,
            max_in_flight: MaxInFlight::Adaptive(Adaptive::default()),
            address: None,
        }
    }

    /// Names the endpoint in errors, events and [`EndpointStatus`](crate::EndpointStatus). An endpoint is known by its name:
    /// when the endpoints of an exporter change, one that keeps its name keeps what is known of it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Adds a header to the requests to this endpoint, and to no others. Its value is treated as a secret: it is never printed.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.headers = self.headers.and_then(|mut headers| {
            let (name, value) = request_header_of(name, value)?;
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Asks `provider` for the credential of the requests to this endpoint; it reaches no other.
    ///
    /// See [`ExporterBuilder::auth`](crate::ExporterBuilder::auth) for when it is asked.
    pub fn auth<F, Fut, Err>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credential, Err>> + Send + 'static,
        Err: Into<BoxError>,
    {
        self.provider = Some(Auth::provider(provider));
        self
    }

    /// Sets the share of this endpoint under [`Balance`](crate::Balance): one of weight 3 receives three times as much as one of
    /// weight 1, as long as both respond as fast.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets how many requests to this endpoint are in flight at a time, whatever happens to the others: a number, or a limit that
    /// tunes itself to what the endpoint takes.
    ///
    /// The [`max_in_flight`](crate::Batching::max_in_flight) of the exporter bounds the sum over all endpoints.
    pub fn max_in_flight(mut self, requests: impl Into<MaxInFlight>) -> Self {
        self.max_in_flight = requests.into();
        self
    }

    /// Names the one address that the client of this endpoint connects to, for
    /// [`ExporterBuilder::client_for`](crate::ExporterBuilder::client_for): the exporter itself makes no connection.
    ///
    /// So several addresses of one host name are several endpoints, whose URL, `Host` and TLS name are those of the host.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The URL.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when what was given is no endpoint.
    pub fn endpoint(&self) -> Result<&Endpoint, ConfigError> {
        self.endpoint.as_ref().map_err(Clone::clone)
    }

    /// The address of [`address`](Self::address).
    #[must_use]
    pub fn pinned_address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The name by which the endpoint is known.
    pub(crate) fn key(&self, endpoint: &Endpoint) -> Arc<str> {
        match (&self.name, self.address) {
            (Some(name), _) => Arc::clone(name),
            (None, Some(address)) => format!("{endpoint} at {address}").into(),
            (None, None) => endpoint.to_string().into(),
        }
    }
}

impl From<&str> for Destination {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Destination {
    fn from(url: String) -> Self {
        Self::new(&url)
    }
}

impl From<Endpoint> for Destination {
    fn from(endpoint: Endpoint) -> Self {
        Self::of(Ok(endpoint))
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("endpoint", &self.endpoint)
            .field("name", &self.name)
            .field("address", &self.address)
            .field("weight", &self.weight)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}
