//! What is told to `tracing`; without the feature nothing is.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{listens, tell};
#[cfg(feature = "tracing")]
pub(crate) use self::on::{listens, tell};

#[cfg(feature = "tracing")]
mod on {
    use crate::BreakerEvent;
    use tracing::{Level, debug, enabled};

    const TARGET: &str = "forebay_breaker";

    /// Whether anybody wants to hear of it: one load, where nobody does.
    #[inline]
    pub(crate) fn listens() -> bool {
        enabled!(target: TARGET, Level::DEBUG)
    }

    /// Called without any lock. What happens to single calls is not told: there may be millions of them.
    pub(crate) fn tell(event: &BreakerEvent) {
        match event {
            BreakerEvent::Changed { key, from, to, reason, mode, generation } => debug!(
                target: TARGET,
                key = key.as_str(),
                from = from.as_str(),
                to = to.as_str(),
                reason = %reason,
                mode = mode.as_str(),
                generation,
                "breaker changed state",
            ),
            BreakerEvent::ProbesLost { key, probes } => {
                debug!(target: TARGET, key = key.as_str(), probes, "probes lost");
            }
            BreakerEvent::HeldBack { key, reason } => {
                debug!(target: TARGET, key = key.as_str(), reason = %reason, "breaker held back");
            }
            BreakerEvent::Rejected { .. } | BreakerEvent::Overflow { .. } => {}
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::BreakerEvent;

    #[inline(always)]
    pub(crate) fn listens() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn tell(_: &BreakerEvent) {}
}
