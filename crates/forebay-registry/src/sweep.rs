//! The task that closes what has been idle for long enough. It lives only while something is idle.

use crate::{
    bounds::{Client, Config, Key},
    hub::Hub,
};
use std::sync::Weak;

/// Says that nobody sweeps any more, if the runtime drops the sweeper.
struct Broom<K: Key, C: Client, G: Config> {
    hub: Weak<Hub<K, C, G>>,
    finished: bool,
}

/// It holds the registry only while it sweeps, so that it never keeps it alive.
pub(crate) async fn sweep<K: Key, C: Client, G: Config>(hub: Weak<Hub<K, C, G>>) {
    let mut broom = Broom { hub, finished: false };
    loop {
        let Some(hub) = broom.hub.upgrade() else { break };
        let Some(wait) = hub.sweep() else { break };
        let timer = hub.edge.timer(wait);
        drop(hub);
        timer.await;
    }
    broom.finished = true;
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
