use crate::gate::Seen as Numbers;
use forebay_core::{Advice, DropReason, Seen, Verdict};
use std::{error::Error, fmt, time::Duration};

/// The limit was reached, and as many callers waited as may: the inner service was not called.
///
/// The server has not seen the request, so sending it later cannot double it. Its [`source`](Error::source) is the [`Verdict`]
/// that says so, with [`retry_in`](Self::retry_in) as its advice.
#[derive(Clone, Debug)]
pub struct LimitReached {
    limit: usize,
    waiting: usize,
    retry_in: Duration,
    verdict: Verdict,
}

// === impl LimitReached ===

impl LimitReached {
    pub(crate) fn new(numbers: Numbers) -> Self {
        let Numbers { limit, waiting, retry_in, .. } = numbers;
        let verdict = Verdict::new(DropReason::Full, Seen::No, Advice::RetryAfter(retry_in));
        Self { limit, waiting, retry_in, verdict }
    }

    /// How many attempts could be in flight when the call was refused.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many callers waited for room then.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// In which time one attempt ends, on average: then there may be room.
    #[must_use]
    pub fn retry_in(&self) -> Duration {
        self.retry_in
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, waiting, .. } = self;
        write!(f, "{limit} requests are in flight, which is the limit, and {waiting} wait")
    }
}

impl Error for LimitReached {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
