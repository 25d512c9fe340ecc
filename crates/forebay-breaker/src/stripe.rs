use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// The number of this thread: the first to ask is 0, the second 1, and so on.
///
/// A thread that is being torn down counts where the first does.
#[inline]
pub(crate) fn of_this_thread() -> usize {
    NUMBER.try_with(|number| *number).unwrap_or(0)
}
