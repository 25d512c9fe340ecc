//! What an observer of a registry sees.

use crate::{AcquireError, CloseEnd};
use std::time::Duration;

/// One decision of a [`Registry`](crate::Registry), as an [`Observe`](forebay_core::Observe) sees it.
///
/// A key may hold a tenant's name: an observer that logs it, or makes it a label of a metric, decides that it may.
/// `generation` names one client: it grows with each client that any key gets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistryEvent<'a, K, G = ()> {
    /// A client was made.
    Created {
        /// The key of the client.
        key: &'a K,
        /// The number of the client.
        generation: u64,
        /// The time since the first call that wanted the client.
        took: Duration,
    },
    /// The maker failed or panicked. Nothing was kept but, with `negative_ttl`, the error.
    Failed {
        /// The key of the client that was wanted.
        key: &'a K,
        /// The error that the callers got.
        error: &'a AcquireError,
        /// The time since the first call that wanted the client.
        took: Duration,
    },
    /// The maker returned [`Declined`](crate::Declined). Nothing was kept.
    Declined {
        /// The key of the client that was wanted.
        key: &'a K,
        /// The error that the callers got.
        error: &'a AcquireError,
    },
    /// A call got a client that was there, or that another call made.
    Reused {
        /// The key of the client.
        key: &'a K,
        /// The number of the client.
        generation: u64,
    },
    /// A call got a client that was made with another configuration than its own. The first one wins.
    Diverged {
        /// The key of the client.
        key: &'a K,
        /// The number of the client.
        generation: u64,
        /// The configuration it was made with.
        first: &'a G,
        /// The configuration that was asked for, and is not in force.
        given: &'a G,
    },
    /// `replace` put a new client in the place of an old one, which its leases keep until they end.
    Swapped {
        /// The key of both clients.
        key: &'a K,
        /// The number of the old one, if there was one.
        from: Option<u64>,
        /// The number of the new one.
        to: u64,
    },
    /// A client left the registry; its close hook runs next.
    Closing {
        /// The key of the client.
        key: &'a K,
        /// The number of the client.
        generation: u64,
        /// Why it left.
        reason: CloseReason,
    },
    /// A close hook has ended.
    Closed {
        /// The key of the client.
        key: &'a K,
        /// The number of the client.
        generation: u64,
        /// How long the hook ran.
        took: Duration,
        /// How it ended.
        end: &'a CloseEnd,
    },
    /// The key has no client any more, and `on_vacant` was run for it.
    Vacant {
        /// The key.
        key: &'a K,
        /// Whether `on_vacant` panicked.
        panicked: bool,
    },
    /// A call was refused without asking the maker.
    Refused {
        /// The key of the client that was wanted.
        key: &'a K,
        /// The error that the caller got.
        error: &'a AcquireError,
    },
}

/// Why a client left the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Its last lease ended.
    LastLease,
    /// It had lingered without a lease for as long as it may.
    Lingered,
    /// Another key needed its place.
    Evicted,
    /// It was replaced, and its last lease has ended.
    Replaced,
    /// It was made for a place that a newer client had taken, or for which there was no room.
    Superseded,
    /// The registry was closed.
    Shutdown,
}
