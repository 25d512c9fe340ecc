use crate::{
    ExportError,
    meters::{Meters, Stopwatch},
    trace::{self, Bell},
};
use forebay_core::{Observe, panic};
use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The telemetry of one exporter about itself: its metrics, its events, its last error and its observer.
pub(crate) struct Telemetry {
    /// Distinguishes the exporter from the others of the process.
    pub(crate) name: Arc<str>,
    pub(crate) meters: Meters,
    /// Rung when an item is lost where the worker cannot see it.
    pub(crate) bell: Bell,
    /// The last export that failed.
    last: Mutex<Option<ExportError>>,
    /// User code: it runs outside every lock, and a panic of it is caught.
    observer: Option<Box<Observer>>,
}

/// Sees each failed export.
pub(crate) type Observer = dyn Observe<ExportError> + Send + Sync;

// === impl Telemetry ===

impl Telemetry {
    pub(crate) fn new(name: Arc<str>, observer: Option<Box<Observer>>) -> Self {
        let (meters, bell) = (Meters::new(&name), Bell::default());
        Self { name, meters, bell, last: Mutex::default(), observer }
    }

    fn last(&self) -> MutexGuard<'_, Option<ExportError>> {
        // CORRECTNESS: only moves and clones of an `Arc` run under this lock, so a poisoned one guards a whole value.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a failed export, whether or not it came to a request.
    pub(crate) fn export_failed(&self, error: &ExportError) {
        // The source of the previous error belongs to the client, so it is dropped without the lock.
        let last = Some(error.clone());
        let previous = mem::replace(&mut *self.last(), last);
        panic::discard(previous);
        trace::export_failed(&self.name, error);
        if let Some(observer) = &self.observer {
            // The panic hook has reported the panic of an observer; it must not cost the batch.
            let _reported = panic::catch(|| {
                if observer.enabled() {
                    observer.observe(error);
                }
            });
        }
    }

    /// Reports the end of an export, all its retries included.
    #[inline]
    pub(crate) fn export_ended(&self, took: Stopwatch, error: Option<&ExportError>) {
        self.meters.export_ended(took, error.map(ExportError::kind));
        if let Some(error) = error {
            self.export_failed(error);
        }
    }

    /// The last export that failed, if any has.
    pub(crate) fn last_error(&self) -> Option<ExportError> {
        self.last().clone()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("name", &self.name).field("last", &self.last_error()).finish_non_exhaustive()
    }
}
