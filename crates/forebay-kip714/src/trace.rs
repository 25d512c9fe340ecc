//! The end of a client for good, as a `tracing` event. Without the feature there is none.

use crate::session::Stopped;

/// A client has stopped for good. The first one of the process is a warning; a program has many clients, and the others, which
/// most likely stopped for the same reason, are said at debug.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn stopped(why: Stopped) {
    use forebay_core::panic;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    const TARGET: &str = "forebay_kip714";
    static WARNED: AtomicBool = AtomicBool::new(false);

    // A subscriber that panics does not end the task. No lock is held.
    let _reported = panic::catch(|| match WARNED.swap(true, Relaxed) {
        false => tracing::warn!(target: TARGET, why = %why, "client telemetry stopped"),
        true => tracing::debug!(target: TARGET, why = %why, "client telemetry stopped"),
    });
}

#[cfg(not(feature = "tracing"))]
#[inline(always)]
pub(crate) fn stopped(_: Stopped) {}
