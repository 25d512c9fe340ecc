//! How large a request one endpoint takes, where that was learned.

use std::time::{Duration, Instant};

/// What was learned of the sizes that one endpoint takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SizeLimit {
    /// The smallest body that was too large, in bytes, and when that was learned.
    too_large: Option<(usize, Instant)>,
}

/// After this time a larger request is tried again: the server may have changed.
const REMEMBERED: Duration = Duration::from_secs(600);

// === impl SizeLimit ===

impl SizeLimit {
    /// A body of `bytes` was too large.
    pub(super) fn refused(&mut self, now: Instant, bytes: usize) {
        let known = self.most(now).map_or(usize::MAX, |most| most.saturating_add(1));
        self.too_large = Some((bytes.min(known), now));
    }

    /// The most bytes that are not known to be too many; `None` while nothing is known.
    pub(super) fn most(&self, now: Instant) -> Option<usize> {
        let (bytes, at) = self.too_large?;
        (now.saturating_duration_since(at) < REMEMBERED).then(|| bytes.saturating_sub(1))
    }

    pub(super) fn takes(&self, now: Instant, bytes: usize) -> bool {
        self.most(now).is_none_or(|most| bytes <= most)
    }
}
