use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// The number of this thread: the first to ask is 0, the second 1, and so on. It chooses the stripe of a counter.
///
/// A thread that is being torn down has the number of the first.
#[inline]
#[must_use]
pub fn thread_number() -> usize {
    NUMBER.try_with(|number| *number).unwrap_or(0)
}
