//! Several endpoints of one exporter: which of them an attempt goes to, and what is known of each.
//!
//! [`Selector`] decides, and is pure: time, chance, circuits and limits come in. [`Router`] is the shell around it, below the retry
//! layer: each attempt of a batch is one choice. What an attempt finds is of its endpoint alone: the circuit, the pause that it has
//! asked for, its limit in flight, the sizes that it takes, its credential.

mod destination;
mod dns;
mod error;
mod latency;
mod opens;
mod route;
mod router;
mod schedule;
mod selector;
mod set;
mod size;
mod status;

pub use self::{
    destination::Destination,
    dns::{Addresses, DnsEndpoints, HostPort, SystemLookup},
    error::{EndpointFailed, EndpointsAway, EndpointsBusy},
    set::{Balance, Endpoints, Failover},
    status::EndpointStatus,
};
pub(crate) use self::{
    route::{Route, Several, Way},
    router::{LiveEndpoints, MakeClient, Router, RouterParts, Tried},
    selector::Strategy,
    set::Checked,
};
