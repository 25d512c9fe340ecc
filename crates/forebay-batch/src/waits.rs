//! The waits between the attempts of a batch or a partition: user code, behind a guard.

use forebay_core::panic;
use std::{fmt, sync::Arc, time::Duration};

/// The user's backoff, of which each batch that waits for itself, and each partition that is held, gets a fresh one.
#[derive(Clone)]
pub(crate) struct MakeWaits(Arc<dyn Fn() -> Waits + Send + Sync>);

/// The waits of one batch, or of one partition. All of it is user code, which is guarded: a backoff that panics has ended.
pub(crate) struct Waits(Option<Box<dyn Iterator<Item = Duration> + Send>>);

// === impl MakeWaits ===

impl MakeWaits {
    pub(crate) fn new<B>(backoff: B) -> Self
    where
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        Self(Arc::new(move || {
            let waits = panic::catch(|| Box::new(backoff.clone().into_iter()) as Box<dyn Iterator<Item = _> + Send>);
            Waits(waits.ok())
        }))
    }

    pub(crate) fn make(&self) -> Waits {
        (self.0)()
    }
}

impl fmt::Debug for MakeWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeWaits").finish_non_exhaustive()
    }
}

// === impl Waits ===

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let waits = self.0.as_mut()?;
        if let Ok(wait) = panic::catch(|| waits.next()) {
            return wait;
        }
        panic::discard(self.0.take());
        None
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        panic::discard(self.0.take());
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").finish_non_exhaustive()
    }
}
