use super::Filter;
use arc_swap::ArcSwap;
use std::{fmt, sync::Arc};

/// A [`Filter`] that can be swapped while it is used. Clones share it.
///
/// A swap applies to the next name, in all clones at once; each name is checked by one filter.
#[derive(Clone)]
pub struct LiveFilter(Arc<ArcSwap<Filter>>);

// === impl LiveFilter ===

impl LiveFilter {
    /// A live filter that starts with `filter`.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(filter)))
    }

    /// Whether this name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        // Lock-free: a swap never delays a check.
        self.0.load().wants(name)
    }

    /// Swaps the filter.
    pub fn set(&self, filter: Filter) {
        self.0.store(Arc::new(filter));
    }

    /// The current filter, for all names of a report.
    #[must_use]
    pub fn now(&self) -> Filter {
        Filter::clone(&self.0.load())
    }
}

impl Default for LiveFilter {
    /// Wants everything.
    fn default() -> Self {
        Self::new(Filter::all())
    }
}

impl From<Filter> for LiveFilter {
    fn from(filter: Filter) -> Self {
        Self::new(filter)
    }
}

impl fmt::Debug for LiveFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveFilter").field(&self.now()).finish()
    }
}
