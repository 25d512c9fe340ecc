//! What the table keeps and hands out, and a client's way back to it.

use super::{Hub, Shared};
use crate::{
    bounds::{Client, Config, Key},
    close::Closing,
    flight::Flight,
    lease::{Home, Live},
    sync::{Strong, Weak},
    table::Forge,
};
use std::sync::Arc;

/// A client's way back.
struct HomeOf<K, C, G> {
    hub: Arc<Hub<K, C, G>>,
    key: K,
}

/// Makes what the table of a hub keeps.
pub(super) struct Smith<'a, K, C, G>(pub(super) &'a Arc<Hub<K, C, G>>);

// === impl Smith ===

impl<K: Key, C: Client, G: Config> Forge<K, Arc<G>, C, Weak<Live<C>>, Shared<C, G>> for Smith<'_, K, C, G> {
    fn flight(&mut self, key: &K, build: Option<&Arc<G>>) -> Shared<C, G> {
        match build {
            Some(config) => Flight::of(self.0.make(key.clone(), Arc::clone(config))),
            None => Flight::awaited(),
        }
    }

    fn lease(&mut self, key: &K, _: &Arc<G>, generation: u64, client: C) -> (Weak<Live<C>>, Strong<Live<C>>) {
        let home = HomeOf { hub: Arc::clone(self.0), key: key.clone() };
        let live = Strong::new(Live::new(client, generation, Arc::new(home)));
        (Strong::downgrade(&live), live)
    }
}

// === impl HomeOf ===

impl<K: Key, C: Client, G: Config> Home<C> for HomeOf<K, C, G> {
    fn released(&self, generation: u64, client: C) {
        let retired = self.hub.released(&self.key, generation, client);
        self.hub.begin_close(retired);
    }

    fn close(&self, generation: u64, client: C) -> Closing {
        let retired = self.hub.released(&self.key, generation, client);
        self.hub.close_here(retired)
    }

    fn give_up(&self, generation: u64) -> Option<Strong<Live<C>>> {
        self.hub.give_up(&self.key, generation)
    }
}
