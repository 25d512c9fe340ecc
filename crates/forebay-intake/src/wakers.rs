use forebay_core::panic;
use std::task::Waker;

/// Tasks to wake after the lock is released.
///
/// An enum, as nearly always there is no task to wake, or one.
#[derive(Debug, Default)]
#[must_use = "a waker that is not woken is a task that sleeps for ever"]
pub enum WakerSet {
    /// No task.
    #[default]
    None,
    /// One task.
    One(Waker),
    /// Any number of tasks.
    Many(Vec<Waker>),
    /// No task: the waker of a task that waits no longer is dropped after the lock is released.
    Retired(Waker),
}

/// Wakes one task; call it without a lock. A panic of its waker is that task's own, and reaches neither the caller nor the
/// tasks that are woken after it.
#[inline]
pub fn wake(waker: Waker) {
    // The panic hook has reported it, and the waker is consumed.
    let _reported = panic::catch(|| waker.wake());
}

// === impl WakerSet ===

impl WakerSet {
    /// The task of `waker`, if there is one.
    #[inline]
    pub fn one(waker: Option<Waker>) -> Self {
        waker.map_or(Self::None, Self::One)
    }

    /// Adds the tasks of `other`.
    #[inline]
    pub fn add(&mut self, other: Self) {
        if !matches!(other, Self::None) {
            self.add_some(other);
        }
    }

    #[inline(never)]
    fn add_some(&mut self, other: Self) {
        *self = match std::mem::take(self) {
            Self::None => other,
            some => {
                let mut all = some.into_vec();
                all.append(&mut other.into_vec());
                Self::Many(all)
            }
        };
    }

    fn into_vec(self) -> Vec<Waker> {
        match self {
            Self::None => Vec::new(),
            // A task that waits no longer may be woken beside the others: it looks, and finds nothing to do.
            Self::One(waker) | Self::Retired(waker) => vec![waker],
            Self::Many(wakers) => wakers,
        }
    }

    /// Wakes the tasks; call it without a lock.
    #[inline]
    pub fn wake(self) {
        if !matches!(self, Self::None) {
            self.wake_all();
        }
    }

    #[inline(never)]
    fn wake_all(self) {
        match self {
            Self::None => {}
            Self::One(waker) => wake(waker),
            Self::Many(wakers) => wakers.into_iter().for_each(wake),
            Self::Retired(waker) => panic::discard(waker),
        }
    }
}
