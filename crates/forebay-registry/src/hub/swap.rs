//! A new client in the place of an old one.

use super::{Hub, Landed, Replaced, Smith, failure};
use crate::{
    AcquireError, Event,
    bounds::{Client, Config, Key},
    edge::now,
    sync::Strong,
    table::Swapped,
};
use std::{borrow::Borrow, hash::Hash, sync::Arc, time::Duration};

impl<K: Key, C: Client, G: Config> Hub<K, C, G> {
    pub(crate) fn begin_swap<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.state.lock().table.begin_swap(key)
    }

    pub(crate) fn abandon_swap(self: &Arc<Self>, key: &K) {
        let forget = self.state.lock().table.abandon_swap(key, now(), &mut Smith(self));
        self.settle(forget);
    }

    /// A replacement could not be made: the old client stays.
    pub(crate) fn swap_failed(self: &Arc<Self>, key: &K, error: &AcquireError, took: Duration) {
        let forget = {
            let mut state = self.state.lock();
            state.table.counts.attempt_failed(error);
            state.table.abandon_swap(key, now(), &mut Smith(self))
        };
        self.hooks.emit(&failure(key, error, took));
        self.settle(forget);
    }

    /// The replacement `ticket` has its client, after `took`.
    pub(crate) fn swap(
        self: &Arc<Self>,
        key: &K,
        ticket: u64,
        config: &Arc<G>,
        client: C,
        took: Duration,
    ) -> Replaced<C> {
        let (swapped, stale) = {
            let mut state = self.state.lock();
            let swapped = state.table.swap(key, ticket, config, client, now(), &mut Smith(self));
            // CORRECTNESS: what is published still has the old client, which its leases keep alive. It goes before
            // anybody can learn that the swap is done.
            let stale = matches!(swapped, Swapped::Done { .. }).then(|| self.publish(&mut state));
            (swapped, stale)
        };
        drop(stale);
        self.hooks.emit(&Event::Created { key, generation: ticket, took });
        match swapped {
            Swapped::Done { lease, from, keep, flight } => {
                if let Some(flight) = flight {
                    flight.land(Landed::Client { live: Strong::clone(&lease), config: Arc::clone(config) });
                }
                self.hooks.emit(&Event::Swapped { key, from, to: ticket });
                drop(keep);
                self.watch_idle();
                Replaced::Lease(lease)
            }
            Swapped::Superseded(retired) => {
                self.begin_close(retired);
                Replaced::Superseded
            }
            Swapped::Refused(error, retired) => {
                self.begin_close(retired);
                self.hooks.emit(&Event::Refused { key, error: &error });
                Replaced::Refused(error)
            }
        }
    }
}
