//! A new client in the place of an old one.

use super::{Completion, Found, Inner, Retired, failure};
use crate::{
    AcquireError, RegistryEvent,
    bounds::{Client, Config, Key},
    runtime::{Strong, now},
    table::Swapped,
};
use std::{sync::Arc, time::Duration};

/// A replacement that is being made: while there is one, its key is not vacant.
pub(crate) struct Swap<'a, K: Key, C: Client, G: Config> {
    inner: &'a Arc<Inner<K, C, G>>,
    key: &'a K,
    /// Orders the replacements of a key, and becomes the number of the client.
    ticket: u64,
    ended: bool,
}

// === impl Swap ===

impl<'a, K: Key, C: Client, G: Config> Swap<'a, K, C, G> {
    /// `None`: there is nothing to replace, and a client like any other will do.
    pub(crate) fn begin(inner: &'a Arc<Inner<K, C, G>>, key: &'a K) -> Option<Self> {
        let ticket = inner.locked(|state| state.table.begin_swap(key))?;
        Some(Self { inner, key, ticket, ended: false })
    }

    /// It could not be made, after `took`: the old client stays.
    pub(crate) fn failed(mut self, error: AcquireError, took: Duration) -> Option<Found<C>> {
        self.ended = true;
        // CORRECTNESS: the key is released in the step that counts the failure; `on_vacant` may run for it from then on.
        let forget = self.inner.locked(|state| {
            state.table.counts.attempt_failed(&error);
            state.table.abandon_swap(self.key, now())
        });
        self.inner.settings.emit_event(&failure(self.key, &error, took));
        self.inner.settle(forget);
        Some(Err(error))
    }

    /// It has its client, after `took`; `None` if a newer one is there.
    pub(crate) fn made(mut self, config: &Arc<G>, client: C, took: Duration) -> Option<Found<C>> {
        self.ended = true;
        let Self { inner, key, ticket, .. } = &self;
        let (key, generation) = (*key, *ticket);
        let retire = |client, reason| Retired { key: key.clone(), generation, client, reason };
        let (swapped, _keeps, _stale) = inner.locked(|state| {
            let swapped = state.table.swap(key, generation, config, now(), &state.clients);
            match swapped {
                Swapped::Superseded(reason) => (Err((None, retire(client, reason))), [None, None], None),
                Swapped::Refused(error, reason) => (Err((Some(error), retire(client, reason))), [None, None], None),
                Swapped::Done { from, evicted, waiting } => {
                    let live = inner.admit(state, key, generation, client);
                    let waiting = waiting.and_then(|id| state.in_flight.remove(&id));
                    let keeps = [from, evicted].map(|id| state.clients.take_keep(id?));
                    // CORRECTNESS: what is published still has the old client, which its leases keep alive. It goes before
                    // a caller can learn that the swap is done.
                    (Ok((live, from, waiting)), keeps, Some(inner.publish(state)))
                }
            }
        });
        inner.settings.emit_event(&RegistryEvent::Created { key, generation, took });
        match swapped {
            Ok((live, from, waiting)) => {
                if let Some(waiting) = waiting {
                    waiting.complete(Completion::Client { live: Strong::clone(&live), config: Arc::clone(config) });
                }
                inner.settings.emit_event(&RegistryEvent::Swapped { key, from, to: generation });
                inner.ensure_sweeper();
                Some(Ok(live))
            }
            Err((error, retired)) => {
                inner.close(retired, None);
                let error = error?;
                inner.settings.emit_event(&RegistryEvent::Refused { key, error: &error });
                Some(Err(error))
            }
        }
    }
}

/// CANCEL: the old client stays, and nothing holds the key for the new one any more.
impl<K: Key, C: Client, G: Config> Drop for Swap<'_, K, C, G> {
    fn drop(&mut self) {
        if !self.ended {
            let forget = self.inner.locked(|state| state.table.abandon_swap(self.key, now()));
            self.inner.settle(forget);
        }
    }
}
