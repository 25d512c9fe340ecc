//! The code of drivers may panic; their telemetry does not pass it on.

use crate::{Notice, telemetry::Observer};
use forebay_core::Observe;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the code of a driver; `None` if it panicked.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(out) => Some(out),
        Err(payload) => {
            // A payload may panic when it is dropped; there is nothing left to say about that one.
            drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
            None
        }
    }
}

/// An observer whose panics end here.
pub(crate) struct Guarded(pub(crate) Box<Observer>);

// === impl Guarded ===

impl Observe<Notice<'_>> for Guarded {
    fn enabled(&self) -> bool {
        guarded(|| self.0.enabled()).unwrap_or(false)
    }

    fn observe(&self, notice: &Notice<'_>) {
        // What an observer does wrong is its own affair.
        let _heard = guarded(|| self.0.observe(notice));
    }
}
