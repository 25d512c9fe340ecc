//! The clock of an age limit.

use std::time::Instant;

/// The time, which tests may pause.
#[cfg(not(loom))]
#[expect(clippy::unnecessary_wraps, reason = "the model checker has no clock")]
pub(crate) fn now() -> Option<Instant> {
    Some(tokio::time::Instant::now().into_std())
}

/// The model checker has no clock: nothing grows old under it.
#[cfg(loom)]
pub(crate) fn now() -> Option<Instant> {
    None
}
