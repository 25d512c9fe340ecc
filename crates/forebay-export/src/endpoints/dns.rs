//! All addresses of one host name as endpoints, for as long as they are its addresses.

use super::{Destination, Endpoints, schedule::Schedule};
use crate::{EndpointGuard, ExporterHandle, trace};
use forebay_core::{BoxError, ConfigError, chance};
use forebay_intake::now;
use http::Uri;
use std::{
    fmt,
    future::{Future, poll_fn},
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::{sleep_until, timeout};
use tower_service::Service;

/// A host name and port whose addresses are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The name, or an address as text; an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The port of the URL, or that of its scheme.
    pub port: u16,
}

/// The addresses of a name, and for how long they may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// With the port of the [`HostPort`] that was asked for.
    pub addresses: Vec<SocketAddr>,
    /// The time to live; `None` where the lookup does not know it, such as the resolver of the operating system.
    pub valid_for: Option<Duration>,
}

/// Keeps the endpoints of an exporter those that the addresses of one host name are.
///
/// [`run`](Self::run) looks the name up, and makes one [`Destination`] of each address: with URL, headers, credential and limit
/// of the destination that was given, and with the address as its [pinned](Destination::pinned_address) one. The client of
/// [`client_for`](crate::ExporterBuilder::client_for) connects there, so that URL, `Host` and the name in TLS stay those of the host.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`refresh_between`](Self::refresh_between) | 5 s and 5 min | above zero, the first not above the second |
/// | [`lookup_timeout`](Self::lookup_timeout) | 10 s | above zero |
/// | [`guard`](Self::guard) | none: the URL is the application's | any [`EndpointGuard`] |
///
/// - A lookup is any `Service<HostPort, Response = Addresses>`: one that knows the time to live returns it. One runs at a time.
/// - A lookup that fails, takes too long or has no address that may be used changes nothing: the addresses of before stay, and
///   the name is looked up again after a backoff.
/// - Addresses that the guard refuses are never used, and are counted. At most 64 are used.
/// - An address that is gone is left: what is in flight there ends as it would. One that stays keeps what is known of it.
pub struct DnsEndpoints {
    destination: Destination,
    shortest: Duration,
    longest: Duration,
    lookup_timeout: Duration,
    guard: Option<EndpointGuard>,
    refused: Arc<AtomicU64>,
}

/// Looks names up by the resolver of the operating system, on a thread for what blocks. It knows no time to live.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

/// More addresses of one name than that are not used.
const MOST: usize = 64;

// === impl DnsEndpoints ===

impl DnsEndpoints {
    /// The addresses of the host of `destination`.
    pub fn new(destination: impl Into<Destination>) -> Self {
        Self {
            destination: destination.into(),
            shortest: Duration::from_secs(5),
            longest: Duration::from_secs(300),
            lookup_timeout: Duration::from_secs(10),
            guard: None,
            refused: Arc::default(),
        }
    }

    /// Sets how often the name is looked up: no more often than after `shortest`, and after `longest` where its addresses have no
    /// time to live, or a longer one.
    #[must_use]
    pub fn refresh_between(mut self, shortest: Duration, longest: Duration) -> Self {
        (self.shortest, self.longest) = (shortest, longest);
        self
    }

    /// Sets how long one lookup may take.
    #[must_use]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// Uses only addresses that `guard` allows.
    #[must_use]
    pub fn guard(mut self, guard: EndpointGuard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Counts the addresses that the guard has refused so far, each at each lookup.
    #[must_use]
    pub fn refused(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.refused)
    }

    fn checked(&self) -> Result<HostPort, ConfigError> {
        if self.shortest.is_zero() || self.shortest > self.longest {
            let value = format!("{:?} and {:?}", self.shortest, self.longest);
            return Err(ConfigError::new("refresh_between", value, "above zero, the first not above the second"));
        }
        if self.lookup_timeout.is_zero() {
            return Err(ConfigError::new("lookup_timeout", "0s", "above zero"));
        }
        Ok(HostPort::of(self.destination.endpoint()?.uri()))
    }

    /// Looks the name up, now and again and again, and gives `handle` the endpoints that `spread` makes of its addresses, such as
    /// `Balance::new`. It ends only with an error; spawn it, and abort it with the exporter.
    ///
    /// # Errors
    ///
    /// Returns the [`ConfigError`] of a knob, of the destination, or of [`ExporterHandle::set_endpoints`].
    ///
    /// # Cancellation
    ///
    /// A dropped future leaves the endpoints as they are.
    pub async fn run<T, L, E>(
        self,
        handle: ExporterHandle<T>,
        mut lookup: L,
        spread: impl Fn(Vec<Destination>) -> E,
    ) -> Result<(), ConfigError>
    where
        L: Service<HostPort, Response = Addresses>,
        L::Error: Into<BoxError>,
        E: Into<Endpoints>,
    {
        let name = self.checked()?;
        let (mut schedule, mut known) = (Schedule::new(self.shortest, self.longest), Vec::new());
        loop {
            let looked_up = timeout(self.lookup_timeout, async {
                poll_fn(|cx| lookup.poll_ready(cx)).await.map_err(Into::into)?;
                lookup.call(name.clone()).await.map_err(Into::<BoxError>::into)
            });
            let next = match looked_up.await {
                Ok(Ok(found)) => self.take(&handle, found, &mut known, &mut schedule, &spread)?,
                // It failed, or took too long.
                Ok(Err(_)) | Err(_) => {
                    trace::lookup_failed(&name.host);
                    schedule.failed(now(), drawn())
                }
            };
            sleep_until(next.into()).await;
        }
    }

    fn take<T, E: Into<Endpoints>>(
        &self,
        handle: &ExporterHandle<T>,
        found: Addresses,
        known: &mut Vec<SocketAddr>,
        schedule: &mut Schedule,
        spread: impl Fn(Vec<Destination>) -> E,
    ) -> Result<Instant, ConfigError> {
        let Addresses { mut addresses, valid_for } = found;
        // In one order, so that the same addresses are the same set.
        addresses.sort_unstable();
        addresses.dedup();
        let all = addresses.len();
        addresses.retain(|address| self.guard.as_ref().is_none_or(|guard| guard.allows(address.ip())));
        let refused = all.saturating_sub(addresses.len());
        if refused > 0 {
            self.refused.fetch_add(refused as u64, Relaxed);
            trace::addresses_refused(refused);
        }
        addresses.truncate(MOST);
        if addresses.is_empty() {
            return Ok(schedule.failed(now(), drawn()));
        }
        if addresses != *known {
            let pinned = addresses.iter().map(|address| self.destination.clone().address(*address)).collect();
            handle.set_endpoints(spread(pinned))?;
            *known = addresses;
        }
        Ok(schedule.succeeded(now(), valid_for, drawn()))
    }
}

fn drawn() -> u64 {
    chance::entropy() % 1000
}

impl fmt::Debug for DnsEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsEndpoints")
            .field("destination", &self.destination)
            .field("refresh_between", &(self.shortest, self.longest))
            .finish_non_exhaustive()
    }
}

// === impl SystemLookup ===

impl Service<HostPort> for SystemLookup {
    type Response = Addresses;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Addresses, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: HostPort) -> Self::Future {
        Box::pin(async move {
            // CANCEL: the thread goes on with a lookup whose result no one reads.
            let look_up = move || (&*name.host, name.port).to_socket_addrs().map(Iterator::collect);
            let addresses = tokio::task::spawn_blocking(look_up).await??;
            Ok(Addresses { addresses, valid_for: None })
        })
    }
}

// === impl HostPort ===

impl HostPort {
    fn of(uri: &Uri) -> Self {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        Self { host: host.into(), port: uri.port_u16().unwrap_or(default) }
    }
}
