//! The task that closes what has been idle for long enough. It lives only while something is idle.

use crate::{
    bounds::{Client, Config, Key},
    hub::Hub,
};
use std::sync::{Arc, Weak};

/// The right to sweep. Says that nobody sweeps any more when the runtime drops the sweeper, even before its first poll.
pub(crate) struct Broom<K: Key, C: Client, G: Config> {
    hub: Weak<Hub<K, C, G>>,
    finished: bool,
}

impl<K: Key, C: Client, G: Config> Broom<K, C, G> {
    pub(crate) fn new(hub: &Arc<Hub<K, C, G>>) -> Self {
        Self { hub: Arc::downgrade(hub), finished: false }
    }

    /// It holds the registry only while it sweeps, so that it never keeps it alive.
    pub(crate) async fn sweep(mut self) {
        loop {
            let Some(hub) = self.hub.upgrade() else { break };
            let Some(wait) = hub.sweep() else { break };
            let timer = hub.edge.timer(wait);
            drop(hub);
            timer.await;
        }
        self.finished = true;
    }
}

impl<K: Key, C: Client, G: Config> Drop for Broom<K, C, G> {
    fn drop(&mut self) {
        if !self.finished
            && let Some(hub) = self.hub.upgrade()
        {
            hub.sweeper_gone();
        }
    }
}
