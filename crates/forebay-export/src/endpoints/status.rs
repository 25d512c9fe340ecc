use crate::{Endpoint, State};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// What is known of one of several endpoints at one moment: see
/// [`ExporterHandle::endpoints`](crate::ExporterHandle::endpoints).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The name by which the endpoint is known.
    pub name: Arc<str>,
    /// Its URL; `Display` leaves the query out.
    pub endpoint: Endpoint,
    /// The address that its client connects to, where that was set.
    pub address: Option<SocketAddr>,
    /// Its share of the load, relative to that of the others.
    pub weight: u32,
    /// The state of its circuit.
    pub circuit: State,
    /// How long nothing is sent to it, since its circuit is open or it has asked for a pause; `None` if it may be sent to.
    pub away_for: Option<Duration>,
    /// Requests that are under way.
    pub in_flight: usize,
    /// How many requests may be under way now: its limit, or less while the load comes back to it.
    pub limit: usize,
    /// How long a request takes, where that is known: at once more with a slower one or a failure, and less within a few responses.
    pub latency: Option<Duration>,
    /// Requests that were sent to it so far.
    pub requests: u64,
    /// The requests among them that failed through the endpoint's own fault, and not for what is in them.
    pub failures: u64,
    /// How often its circuit has opened so far; a probe that fails is an opening too.
    pub opens: u64,
    /// Whether it is the one that a [`Failover`](crate::Failover) sends to.
    pub is_current: bool,
}
