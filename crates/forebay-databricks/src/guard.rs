//! The observer of a driver may panic; its telemetry goes on.

use crate::{Notice, telemetry::Observer};
use forebay_core::{Observe, panic};

/// An observer whose panics end here.
pub(crate) struct Guarded(pub(crate) Box<Observer>);

// === impl Guarded ===

impl Observe<Notice<'_>> for Guarded {
    fn enabled(&self) -> bool {
        panic::catch(|| self.0.enabled()).unwrap_or(false)
    }

    fn observe(&self, notice: &Notice<'_>) {
        // The panic hook has reported it; no log is lost by it.
        let _reported = panic::catch(|| self.0.observe(notice));
    }
}
