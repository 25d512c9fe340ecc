//! What is said of a request that no endpoint has taken.

use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// One of several endpoints has failed, or has refused the request. Its source leads to the reason.
#[derive(Clone, Debug)]
pub struct EndpointFailed {
    name: Arc<str>,
    verdict: Verdict,
}

/// All endpoints of an exporter are away: their circuits are open, or they have asked for a pause. Nothing was sent.
#[derive(Clone, Debug)]
pub struct EndpointsAway {
    retry_in: Duration,
    /// Whether the one that returns first has asked for a pause.
    throttled: bool,
    verdict: Verdict,
}

/// Each endpoint that is not away has had as many requests in flight as it takes, for as long as an attempt may take. Nothing was
/// sent.
#[derive(Clone, Debug)]
pub struct EndpointsBusy {
    verdict: Verdict,
}

// === impl EndpointFailed ===

impl EndpointFailed {
    /// The endpoint `name` has failed with `error`; `advice` is for the whole set of endpoints.
    pub(crate) fn new(name: Arc<str>, error: BoxError, advice: Advice) -> Self {
        let (reason, seen) = Verdict::of(&*error)
            .map_or_else(|| (DropReason::Failed, Seen::of(&*error)), |verdict| (verdict.reason(), verdict.seen()));
        Self { name, verdict: Verdict::new(reason, seen, advice).caused_by(error) }
    }

    /// The name by which the endpoint is known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for EndpointFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the endpoint {} did not take it", self.name)
    }
}

impl Error for EndpointFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl EndpointsAway ===

impl EndpointsAway {
    pub(crate) fn new(retry_in: Duration, throttled: bool) -> Self {
        let verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::RetryAfter(retry_in));
        Self { retry_in, throttled, verdict }
    }

    /// How long until the first of them may be sent to again.
    #[must_use]
    pub fn retry_in(&self) -> Duration {
        self.retry_in
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.throttled
    }
}

impl fmt::Display for EndpointsAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all endpoints are away")
    }
}

impl Error for EndpointsAway {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl EndpointsBusy ===

impl EndpointsBusy {
    pub(crate) fn new() -> Self {
        Self { verdict: Verdict::new(DropReason::Failed, Seen::No, Advice::Retry) }
    }
}

impl fmt::Display for EndpointsBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no endpoint had room for it in time")
    }
}

impl Error for EndpointsBusy {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
