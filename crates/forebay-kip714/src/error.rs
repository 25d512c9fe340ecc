use forebay_core::{Advice, DropReason, Seen, Verdict};
use std::{error::Error, fmt};

/// The broker does not know the requests of KIP-714: it is older than 3.7, or has no receiver for telemetry.
///
/// A transport fails a request with it; the client then asks again after an interval, for brokers get upgraded.
#[derive(Clone, Debug)]
pub struct TelemetryUnsupported {
    verdict: Verdict,
}

// === impl TelemetryUnsupported ===

impl TelemetryUnsupported {
    /// Nothing was sent.
    #[must_use]
    pub fn new() -> Self {
        Self { verdict: Verdict::new(DropReason::Rejected, Seen::No, Advice::Never) }
    }
}

impl Default for TelemetryUnsupported {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TelemetryUnsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the broker takes no client telemetry")
    }
}

impl Error for TelemetryUnsupported {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
