use crate::{Destination, Endpoint, MaxInFlight, control::Settings, credential::is_credential, endpoints::Strategy};
use crate::{authorize::Auth, credential::request_header_of};
use forebay_core::ConfigError;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::{fmt, sync::Arc, time::Duration};

/// Several endpoints, and how the requests are spread over them: a [`Failover`] or a [`Balance`].
#[derive(Clone)]
#[must_use = "endpoints do nothing until an exporter has them"]
pub struct Endpoints {
    pub(crate) strategy: Strategy,
    destinations: Vec<Destination>,
    /// The headers of every request, whatever its endpoint. The first error is kept.
    headers: Result<HeaderMap, ConfigError>,
}

/// Endpoints in order: one receives everything, and the next one while it is away.
///
/// The exporter stays with an endpoint until its circuit opens or it asks for a pause, and returns to an earlier one once that has
/// taken every trial for [`return_after`](Self::return_after). While it waits for that it sends a batch there now and then.
///
/// ```
/// use forebay_export::{Exporter, Failover};
///
/// let builder = Exporter::<String>::builder()
///     .endpoints(Failover::new(["https://a.example/v1/logs", "https://b.example/v1/logs"]));
/// ```
#[derive(Clone)]
#[must_use = "endpoints do nothing until an exporter has them"]
pub struct Failover {
    endpoints: Endpoints,
}

/// Endpoints that share the load: of two, of which one has its turn by weight and the other is drawn, a request goes to the one that is
/// less busy and faster.
///
/// Among endpoints that are equally well the turns go round, so that each has its share of any few requests. A difference of less than
/// ten milliseconds moves nothing. After a failure an endpoint counts as slower until its next success, which it can have soon: one that
/// was sent nothing for a second has its turn.
///
/// ```
/// use forebay_export::{Balance, Destination, Exporter};
///
/// let large = Destination::new("https://a.example/v1/logs").weight(3);
/// let small = Destination::new("https://b.example/v1/logs");
/// let builder = Exporter::<String>::builder().endpoints(Balance::new([large, small]));
/// ```
#[derive(Clone)]
#[must_use = "endpoints do nothing until an exporter has them"]
pub struct Balance {
    endpoints: Endpoints,
}

/// A destination that was checked.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) name: Arc<str>,
    pub(crate) endpoint: Endpoint,
    pub(crate) uri: Uri,
    /// Common headers and those of this endpoint.
    pub(crate) headers: HeaderMap,
    pub(crate) auth: Option<Arc<Auth>>,
    pub(crate) weight: u32,
    pub(crate) max_in_flight: MaxInFlight,
    pub(crate) destination: Destination,
}

/// More endpoints than that are a matter of a load balancer.
const MOST: usize = 256;
const HEAVIEST: u32 = 1000;
const DAY: Duration = Duration::from_secs(86_400);

// === impl Endpoints ===

impl Endpoints {
    fn new(strategy: Strategy, destinations: impl IntoIterator<Item = impl Into<Destination>>) -> Self {
        let destinations = destinations.into_iter().map(Into::into).collect();
        Self { strategy, destinations, headers: Ok(HeaderMap::new()) }
    }

    fn common_header<N, V>(mut self, name: N, value: V) -> Self
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

    /// The destinations, in their order.
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// The endpoints, checked with what the exporter has beside them.
    pub(crate) fn checked(&self, settings: &Settings, exporter: &Arc<str>) -> Result<Vec<Checked>, ConfigError> {
        let count = self.destinations.len();
        if !(1..=MOST).contains(&count) {
            return Err(ConfigError::new("endpoints", format!("{count} endpoints"), "1 to 256 endpoints"));
        }
        if let Strategy::Failover { return_after } = self.strategy {
            ConfigError::within("return_after", return_after, Duration::ZERO..=DAY)?;
        }
        let common = self.headers.clone()?;
        let mut checked: Vec<Checked> = Vec::with_capacity(count);
        for destination in &self.destinations {
            let endpoint = destination.endpoint()?.clone();
            let name = destination.key(&endpoint);
            if checked.iter().any(|other| other.name == name) {
                return Err(ConfigError::new("endpoints", format!("{name} twice"), "endpoints of different names"));
            }
            if !(1..=HEAVIEST).contains(&destination.weight) {
                return Err(ConfigError::new("weight", destination.weight, "1 to 1000"));
            }
            if destination.max_in_flight == MaxInFlight::Fixed(0) {
                return Err(ConfigError::new("max_in_flight", 0, "1 and more"));
            }
            let mut headers = common.clone();
            headers.extend(destination.headers.clone()?);
            let provider = destination.provider.clone().transpose()?;
            let secret = provider.is_some() || headers.keys().any(is_credential);
            if endpoint.is_exposed() && secret && !settings.plaintext_credentials {
                let allowed = "https, or `allow_plaintext_credentials`: each machine on the way can read these headers";
                return Err(ConfigError::new("endpoints", &endpoint, allowed));
            }
            let (uri, auth) = (settings.uri(&endpoint)?, Auth::new(provider, None, exporter));
            let Destination { weight, max_in_flight, .. } = *destination;
            let destination = destination.clone();
            checked.push(Checked { name, endpoint, uri, headers, auth, weight, max_in_flight, destination });
        }
        Ok(checked)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("strategy", &self.strategy)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

// === impl Failover ===

impl Failover {
    /// These endpoints, the one to be preferred first: URLs, or [`Destination`]s.
    pub fn new(destinations: impl IntoIterator<Item = impl Into<Destination>>) -> Self {
        let strategy = Strategy::Failover { return_after: Duration::from_secs(30) };
        Self { endpoints: Endpoints::new(strategy, destinations) }
    }

    /// Sets how long an earlier endpoint must have taken every trial before everything goes there again: 30 s unless this is
    /// called, a day at most; zero returns with the first success.
    pub fn return_after(mut self, time: Duration) -> Self {
        self.endpoints.strategy = Strategy::Failover { return_after: time };
        self
    }

    /// Adds a header to the requests to every one of these endpoints. What only one may see belongs to its
    /// [`Destination`], whose header of the same name takes precedence.
    pub fn common_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.endpoints = self.endpoints.common_header(name, value);
        self
    }
}

impl From<Failover> for Endpoints {
    fn from(failover: Failover) -> Self {
        failover.endpoints
    }
}

impl fmt::Debug for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoints.fmt(f)
    }
}

// === impl Balance ===

impl Balance {
    /// These endpoints: URLs, or [`Destination`]s.
    pub fn new(destinations: impl IntoIterator<Item = impl Into<Destination>>) -> Self {
        Self { endpoints: Endpoints::new(Strategy::Balance, destinations) }
    }

    /// Adds a header to the requests to every one of these endpoints. What only one may see belongs to its
    /// [`Destination`], whose header of the same name takes precedence.
    pub fn common_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.endpoints = self.endpoints.common_header(name, value);
        self
    }
}

impl From<Balance> for Endpoints {
    fn from(balance: Balance) -> Self {
        balance.endpoints
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoints.fmt(f)
    }
}
