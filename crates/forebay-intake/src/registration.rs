use forebay_core::panic;
use std::task::Waker;

/// The waker of a task that may have to wait, on its way under a lock and out of it.
///
/// To clone or to drop a waker runs code of an executor, which may call into the very queue that holds the lock. So the
/// clone is made before the lock is taken, and replaced wakers are dropped after it is released: an owner declares the
/// registration before its guard.
#[derive(Debug)]
pub struct Registration<'a> {
    /// The waker of the task that is polled.
    waker: &'a Waker,
    /// The clone to store; `None` before it is made, and once it is stored.
    clone: Option<Waker>,
    /// Whether a clone was needed and there was none.
    is_short: bool,
    /// Wakers that were replaced, or whose tasks wait no longer.
    retired: Vec<Waker>,
}

// === impl Registration ===

impl<'a> Registration<'a> {
    /// A registration with a clone of `waker`; call it without a lock.
    #[must_use]
    pub fn new(waker: &'a Waker) -> Self {
        let mut registration = Self::without_clone(waker);
        registration.prepare();
        registration
    }

    /// A registration without a clone, for a task that most likely does not wait: [`prepare`](Self::prepare) makes one.
    #[inline]
    #[must_use]
    pub const fn without_clone(waker: &'a Waker) -> Self {
        Self { waker, clone: None, is_short: false, retired: Vec::new() }
    }

    /// Whether there is a clone to store.
    #[inline]
    #[must_use]
    pub const fn is_prepared(&self) -> bool {
        self.clone.is_some()
    }

    /// Makes a clone, if there is none, and drops the replaced wakers; call it without a lock.
    #[inline]
    pub fn prepare(&mut self) {
        self.is_short = false;
        if self.clone.is_none() {
            self.clone = Some(self.waker.clone());
        }
        if !self.retired.is_empty() {
            self.drop_retired();
        }
    }

    /// Whether a clone was needed and there was none, so that nothing was stored: [`prepare`](Self::prepare), and ask again.
    #[inline]
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.is_short
    }

    /// Puts the waker into `place`, unless one that wakes the same task is there.
    #[inline]
    pub fn store(&mut self, place: &mut Option<Waker>) {
        if place.as_ref().is_some_and(|known| known.will_wake(self.waker)) {
            return;
        }
        match self.clone.take() {
            Some(clone) => self.retired.extend(place.replace(clone)),
            None => self.is_short = true,
        }
    }

    /// The waker, for a task that is new in a line.
    pub(crate) fn take(&mut self) -> Waker {
        debug_assert!(self.clone.is_some(), "a clone is made before the lock is taken");
        self.clone.take().unwrap_or_else(|| self.waker.clone())
    }

    /// Replaces `known` by the waker, unless `known` wakes the same task.
    pub(crate) fn replace(&mut self, known: &mut Waker) {
        if !known.will_wake(self.waker) {
            let new = self.take();
            self.retired.push(std::mem::replace(known, new));
        }
    }

    /// Takes the waker of a task that waits no longer, and drops it after the lock is released.
    #[inline]
    pub fn retire(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.retired.push(waker);
        }
    }

    #[cold]
    fn drop_retired(&mut self) {
        // A waker that panics when it is dropped is that of a task that does not wait here any more.
        self.retired.drain(..).for_each(panic::discard);
    }
}

impl Drop for Registration<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(unused) = self.clone.take() {
            panic::discard(unused);
        }
        if !self.retired.is_empty() {
            self.drop_retired();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, task::Wake};

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn f22_a_place_takes_a_clone_once_and_gives_the_old_one_back() {
        let (one, two) = (Arc::new(Task), Arc::new(Task));
        let (first, second) = (Waker::from(Arc::clone(&one)), Waker::from(Arc::clone(&two)));
        let mut place = None;
        let mut registration = Registration::without_clone(&first);
        registration.store(&mut place);
        assert!(registration.is_short() && place.is_none());
        registration.prepare();
        registration.store(&mut place);
        assert!(place.is_some() && !registration.is_short() && !registration.is_prepared());
        // The same task again: nothing is needed.
        registration.store(&mut place);
        assert!(!registration.is_short());
        drop(registration);

        let mut registration = Registration::new(&second);
        registration.store(&mut place);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (3, 3), "the old one is not dropped yet");
        drop(registration);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (2, 3));
    }
}
