use forebay_core::{Deadline, DeadlineOf, panic};
use std::{fmt, sync::Arc};

/// Says of an item until when it is worth anything: a function of the user.
pub struct DeadlineRule<T>(Arc<dyn DeadlineOf<T> + Send + Sync>);

// === impl DeadlineRule ===

impl<T> DeadlineRule<T> {
    /// The rule of a builder.
    #[must_use]
    pub fn new(rule: impl DeadlineOf<T> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// The deadline of `item`; none, where the function panics. Runs user code; call it without a lock.
    #[must_use]
    #[inline]
    pub fn of(&self, item: &T) -> Option<Deadline> {
        panic::catch(|| self.ask(item)).unwrap_or_default()
    }

    /// The deadline of `item`. Runs user code, which may panic.
    #[must_use]
    #[inline]
    pub fn ask(&self, item: &T) -> Option<Deadline> {
        self.0.deadline_of(item)
    }
}

impl<T> Clone for DeadlineRule<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for DeadlineRule<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineRule").finish_non_exhaustive()
    }
}
