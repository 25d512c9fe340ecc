use forebay_core::panic;
use std::{fmt, time::Duration};

/// How the worker treats the results of the inner service.
#[derive(Clone, Debug)]
pub(crate) struct Delivery<Se, P, An, B> {
    pub(crate) settle: Se,
    pub(crate) pack: P,
    pub(crate) answer: An,
    /// Where a batch waits that came back retryable; `None` drops it.
    pub(crate) park: Option<Parking<B>>,
    pub(crate) knobs: Knobs,
}

/// The settings that have no type of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knobs {
    /// How many requests may be spent on a batch that has to be cut; below 2 it is never cut.
    pub(crate) split_budget: u32,
    pub(crate) ready_timeout: Duration,
    /// The longest that a server's hint may hold a partition.
    pub(crate) max_hint: Duration,
    /// Whether an item is sent although its caller has dropped the future.
    pub(crate) run_cancelled: bool,
}

/// Where a batch waits that came back retryable.
#[derive(Clone, Debug)]
pub(crate) struct Parking<B> {
    /// A fresh backoff for each partition that gets into trouble.
    pub(crate) backoff: B,
    /// The most bytes that may wait for another attempt.
    pub(crate) max_bytes: usize,
}

/// The user's backoff, which is made and asked with every panic caught: one that panics has ended.
pub(crate) struct Guarded<B>(Option<B>);

/// The waits of a [`Guarded`] backoff.
pub(crate) struct Waits<I>(Option<I>);

// === impl Guarded ===

impl<Se, P, An, B> Delivery<Se, P, An, B> {
    pub(crate) fn guarded(self) -> Delivery<Se, P, An, Guarded<B>> {
        let Self { settle, pack, answer, park, knobs } = self;
        let park = park.map(|Parking { backoff, max_bytes }| Parking { backoff: Guarded(Some(backoff)), max_bytes });
        Delivery { settle, pack, answer, park, knobs }
    }
}

impl<B: Clone> Clone for Guarded<B> {
    fn clone(&self) -> Self {
        Self(panic::catch(|| self.0.clone()).unwrap_or_default())
    }
}

impl<B: IntoIterator<Item = Duration>> IntoIterator for Guarded<B> {
    type Item = Duration;
    type IntoIter = Waits<B::IntoIter>;

    fn into_iter(self) -> Self::IntoIter {
        Waits(self.0.and_then(|backoff| panic::catch(|| backoff.into_iter()).ok()))
    }
}

impl<B: fmt::Debug> fmt::Debug for Guarded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Waits ===

impl<I: Iterator<Item = Duration>> Iterator for Waits<I> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let waits = self.0.as_mut()?;
        if let Ok(wait) = panic::catch(|| waits.next()) {
            return wait;
        }
        panic::discard(self.0.take());
        None
    }
}

impl<I> Drop for Waits<I> {
    fn drop(&mut self) {
        panic::discard(self.0.take());
    }
}
