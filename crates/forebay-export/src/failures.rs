use crate::ExportError;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

/// What the host wants to know of failed exports.
#[derive(Default)]
pub(crate) struct Failures {
    last: Mutex<Option<ExportError>>,
    observer: Option<Box<OnFailure>>,
}

/// Is told of each failed export.
pub(crate) type OnFailure = dyn Fn(&ExportError) + Send + Sync;

// === impl Failures ===

impl Failures {
    pub(crate) fn new(observer: Option<Box<OnFailure>>) -> Self {
        Self { last: Mutex::default(), observer }
    }

    pub(crate) fn add(&self, error: &ExportError) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        if let Some(observer) = &self.observer {
            // A panic of the host's own code was reported by the panic hook, and must not cost the batch.
            let _reported = catch_unwind(AssertUnwindSafe(|| observer(error)));
        }
    }

    pub(crate) fn last(&self) -> Option<ExportError> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").field("last", &self.last()).finish_non_exhaustive()
    }
}
