//! The task that closes what has been idle for long enough. It lives only while there is something to look at.

use crate::{
    bounds::{Client, Config, Key},
    inner::Inner,
};
use std::sync::{Arc, Weak};

/// The right to sweep.
pub(crate) struct Sweeper<K: Key, C: Client, G: Config> {
    /// Held only during a sweep, so that the sweeper never keeps a registry alive.
    inner: Weak<Inner<K, C, G>>,
    /// Whether the registry knows already that there is no sweeper.
    finished: bool,
}

impl<K: Key, C: Client, G: Config> Sweeper<K, C, G> {
    pub(crate) fn new(inner: &Arc<Inner<K, C, G>>) -> Self {
        Self { inner: Arc::downgrade(inner), finished: false }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let Some(inner) = self.inner.upgrade() else { break };
            let Some(wait) = inner.sweep() else { break };
            let timer = inner.runtime.timer(wait);
            // CORRECTNESS: the pointer is dropped before the wait, or the sweeper would keep the registry alive.
            drop(inner);
            // CANCEL: see `Drop`.
            timer.await;
        }
        self.finished = true;
    }
}

/// CANCEL: a runtime that shuts down drops the sweeper, perhaps before its first poll; the next client gets another one.
impl<K: Key, C: Client, G: Config> Drop for Sweeper<K, C, G> {
    fn drop(&mut self) {
        if !self.finished
            && let Some(inner) = self.inner.upgrade()
        {
            inner.sweeper_dropped();
        }
    }
}
