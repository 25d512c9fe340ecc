use crate::{Adaptive, gate::Gate};
use std::{fmt, sync::Arc};

/// Observes the limit that the services of one layer share.
#[derive(Clone)]
pub struct LimitHandle(Arc<Gate>);

// === impl LimitHandle ===

impl LimitHandle {
    pub(crate) const fn new(gate: Arc<Gate>) -> Self {
        Self(gate)
    }

    /// How many attempts may be in flight now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.seen().limit
    }

    /// How many are. After the limit has fallen it may be more than that.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.seen().in_flight
    }

    /// How many callers wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.seen().waiting
    }

    /// What the limit may be.
    #[must_use]
    pub fn adaptive(&self) -> Adaptive {
        self.0.adaptive()
    }
}

impl fmt::Debug for LimitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LimitHandle").field(&self.0.seen()).finish()
    }
}
