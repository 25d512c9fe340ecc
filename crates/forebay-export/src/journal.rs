use crate::{
    ExportError,
    meters::{Meters, Stopwatch},
    trace::{self, Bell, Loudness},
};
use forebay_core::panic;
use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

/// What an exporter says of itself, and to whom.
pub(crate) struct Journal {
    /// Tells it from the others of this process.
    pub(crate) name: Arc<str>,
    pub(crate) meters: Meters,
    /// At which level lost items are said.
    pub(crate) loudness: Loudness,
    /// Rung when an item is lost where the worker cannot see it.
    pub(crate) bell: Bell,
    last: Mutex<Option<ExportError>>,
    observer: Option<Box<OnFailure>>,
}

/// Is told of each failed export.
pub(crate) type OnFailure = dyn Fn(&ExportError) + Send + Sync;

// === impl Journal ===

impl Journal {
    pub(crate) fn new(name: Arc<str>, loudness: Loudness, observer: Option<Box<OnFailure>>) -> Self {
        let (meters, bell) = (Meters::new(&name), Bell::default());
        Self { name, meters, loudness, bell, last: Mutex::default(), observer }
    }

    /// An export was not even begun.
    pub(crate) fn add(&self, error: &ExportError) {
        // The source of the last one is an error of the client: it is dropped without the lock.
        let last = Some(error.clone());
        let before = mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), last);
        panic::discard(before);
        trace::export_failed(&self.name, error);
        if let Some(observer) = &self.observer {
            // A panic of the host's own code was reported by the panic hook, and must not cost the batch.
            let _reported = panic::catch(|| observer(error));
        }
    }

    /// An export has ended, with all its retries.
    #[inline]
    pub(crate) fn ended(&self, took: Stopwatch, error: Option<&ExportError>) {
        self.meters.export_ended(took, error.map(ExportError::kind));
        if let Some(error) = error {
            self.add(error);
        }
    }

    pub(crate) fn last(&self) -> Option<ExportError> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("name", &self.name).field("last", &self.last()).finish_non_exhaustive()
    }
}
