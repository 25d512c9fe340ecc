use crate::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        lock,
    },
    wait::WaitLine,
};
use forebay_core::Priority;
use std::task::Waker;

/// The senders that wait for room, a line for each lane.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Senders of items of high priority that found no room, and services that are not ready.
    high: WaitLine,
    /// Senders of items of normal priority that found no room.
    normal: WaitLine,
}

/// The lines of an intake that draws from a budget, which has a sender woken when another member gives bytes back.
///
/// They have a lock of their own, so that the other member needs not to know what this one stores, nor take its lock. It is
/// held for a look at a line, and no other lock is taken under it.
#[derive(Debug, Default)]
pub(crate) struct SenderLines {
    lines: Mutex<Lines>,
    /// Whether a sender waits. It is read without the lock, as often as items are offered.
    any: AtomicBool,
}

// === impl Lines ===

impl Lines {
    pub(crate) const fn new() -> Self {
        Self { high: WaitLine::new(), normal: WaitLine::new() }
    }

    #[inline]
    pub(crate) fn of(&mut self, priority: Priority) -> &mut WaitLine {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.high.is_empty() && self.normal.is_empty()
    }

    /// Releases all, as on close.
    pub(crate) fn release_all(&mut self) -> Vec<Waker> {
        let mut wakers = self.high.release_all();
        wakers.append(&mut self.normal.release_all());
        wakers
    }
}

// === impl SenderLines ===

impl SenderLines {
    /// Runs `act` on the lines. It runs no user code.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Lines) -> R) -> R {
        let mut lines = lock(&self.lines);
        let result = act(&mut lines);
        self.any.store(!lines.is_empty(), Relaxed);
        result
    }

    /// Whether a sender waits. One that is released at the same time may still be seen: it is about to try again.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Relaxed)
    }

    /// Releases the first sender of a lane.
    pub(crate) fn release(&self, priority: Priority) -> Option<Waker> {
        self.with(|lines| lines.of(priority).release())
    }
}
