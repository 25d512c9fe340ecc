use crate::routed::Routed;
use forebay_core::{Deadline, DeadlineOf, panic};
use std::{fmt, sync::Arc};

/// Says of a request until when it is worth anything: a function of the user.
pub(crate) struct DeadlineRule<T>(Arc<dyn DeadlineOf<T> + Send + Sync>);

/// The deadline of a routed request is that of the request.
struct ByRequest<T>(DeadlineRule<T>);

// === impl DeadlineRule ===

impl<T> DeadlineRule<T> {
    pub(crate) fn new(rule: impl DeadlineOf<T> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// The same for requests that are stored with their services.
    pub(crate) fn for_routed<S>(self) -> DeadlineRule<Routed<T, S>>
    where
        T: 'static,
    {
        DeadlineRule::new(ByRequest(self))
    }

    /// The deadline of `request`; none, where the function panics. Runs user code; call it without a lock.
    #[inline]
    pub(crate) fn of(&self, request: &T) -> Option<Deadline> {
        panic::catch(|| self.0.deadline_of(request)).unwrap_or_default()
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

// === impl ByRequest ===

impl<T, S> DeadlineOf<Routed<T, S>> for ByRequest<T> {
    fn deadline_of(&self, routed: &Routed<T, S>) -> Option<Deadline> {
        self.0.of(&routed.request)
    }
}
