//! Release, close, and the end of everything.

use super::{Inner, Map, Retired};
use crate::{
    CloseEnd, CloseReason, CloseReport, RegistryEvent, Snapshot,
    bounds::{Client, Config, Key},
    close::CloseTask,
    lease::{CloseWait, Live},
    runtime::{Strong, now},
    snapshot::EntryState,
    sweep::Sweeper,
    table::Forget,
};
use forebay_core::{panic::catch, single_flight::WaiterId};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

impl<K: Key, C: Client, G: Config> Inner<K, C, G> {
    /// The last lease of `generation` has ended.
    pub(super) fn released(&self, generation: u64) -> CloseReason {
        // CORRECTNESS: the client leaves the table and the list of clients in one step, so that no call finds it in one alone.
        let (reason, _client, _stale) = self.locked(|state| {
            let reason = state.table.released(generation);
            let client = state.clients.0.remove(&generation);
            // What is published of clients that have left holds memory, so it is bounded by what is there.
            let stale = (state.published > 2 * state.table.len() + 8).then(|| self.publish(state));
            (reason, client, stale)
        });
        reason
    }

    /// The registry's own lease of `generation`, if it is the last.
    pub(super) fn give_up(&self, generation: u64) -> Option<Strong<Live<C>>> {
        // CORRECTNESS: the count is read under the lock, where no call can take a lease from the registry's own.
        self.locked(|state| {
            let idle = state.table.close_idle(generation, &state.clients);
            if idle { state.clients.take_keep(generation) } else { None }
        })
    }

    /// The last handle was dropped, so that no call can ask for a client that is idle.
    pub(crate) fn keep_nothing(&self) {
        let _keeps = self.locked(|state| {
            state.table.keep_nothing();
            state.clients.take_keeps()
        });
    }

    /// Closes a client that has left the table: as a task, if there is a hook.
    pub(super) fn close(self: &Arc<Self>, retired: Retired<K, C>, wait: Option<CloseWait>) {
        let Retired { key, generation, reason, .. } = &retired;
        self.settings.emit_event(&RegistryEvent::Closing { key, generation: *generation, reason: *reason });
        if self.settings.on_close.is_some() {
            // A task: the hook may wait, and this may be the destructor of a lease.
            self.runtime.spawn(CloseTask::new(Arc::clone(self), retired, wait));
            return;
        }
        let (began, Retired { key, generation, client, .. }) = (now(), retired);
        let end = catch(|| drop(client)).map_or_else(CloseEnd::Panicked, |()| CloseEnd::Done);
        self.close_ended(&key, generation, now().saturating_duration_since(began), &end);
        if let Some(wait) = wait {
            wait.complete(end);
        }
    }

    /// The close of one client has ended.
    pub(crate) fn close_ended(self: &Arc<Self>, key: &K, generation: u64, took: Duration, end: &CloseEnd) {
        let forget = self.locked(|state| state.table.closed(key, end, now()));
        self.settings.emit_event(&RegistryEvent::Closed { key, generation, took, end });
        self.settle(forget);
    }

    /// Runs `on_vacant` if a key has lost its last client, and wakes those that wait for the end of everything.
    pub(super) fn settle(self: &Arc<Self>, forget: Option<Forget<K>>) {
        if let Some(Forget { key, id }) = forget {
            // CORRECTNESS: the entry is `Forgetting` until `forgotten`, so no client of this key can be made that would lose
            // its breaker or its credentials to the end of an older one.
            let ran = self.settings.run_on_vacant(&key);
            let waiting = self.locked(|state| {
                let forgot = state.table.forgotten(id);
                if forgot { state.in_flight.remove(&id) } else { None }
            });
            if let Some(waiting) = waiting {
                waiting.complete(super::Completion::Again);
            }
            self.settings.emit_event(&RegistryEvent::Vacant { key: &key, panicked: ran.is_err() });
        }
        // CORRECTNESS: after the change of the state. A waiter registers before it looks, so it sees the end or is woken here.
        if self.is_over() {
            self.over.notify_all();
        }
    }

    fn is_over(&self) -> bool {
        self.state.lock().table.is_over()
    }

    /// Starts a sweeper if there is something to sweep.
    pub(super) fn ensure_sweeper(self: &Arc<Self>) {
        // Time stands still in a model.
        let needed = !cfg!(any(loom, shuttle))
            && self.locked(|state| {
                let needed = !state.sweeping && state.table.next_sweep().is_some();
                state.sweeping |= needed;
                needed
            });
        if needed {
            self.runtime.spawn(Sweeper::new(self).run());
        }
    }

    /// One round of the sweeper; `None` if there is nothing to wait for, and the sweeper ends.
    pub(crate) fn sweep(&self) -> Option<Duration> {
        let now = now();
        let (wait, _keeps) = self.locked(|state| {
            let swept = state.table.sweep(now, &state.clients);
            let keeps: Vec<_> = swept.into_iter().filter_map(|id| state.clients.take_keep(id)).collect();
            let next = state.table.next_sweep();
            // CORRECTNESS: under the lock that `ensure_sweeper` takes, so that the next client starts a sweeper.
            state.sweeping = next.is_some();
            (next.map(|next| next.saturating_duration_since(now)), keeps)
        });
        wait
    }

    pub(crate) fn sweeper_dropped(&self) {
        self.state.lock().sweeping = false;
    }

    pub(crate) fn snapshot(&self) -> Snapshot<K> {
        let now = now();
        self.locked(|state| Snapshot {
            entries: state.table.describe(now, &state.clients),
            closing: state.table.closing(),
            counts: state.table.counts,
        })
    }

    /// Closes the registry, and waits for the end of everything, at most until `deadline` has passed.
    pub(crate) async fn close_all(self: Arc<Self>, deadline: Duration) -> CloseReport<K> {
        drop(self.locked(|state| {
            state.table.close();
            (state.misses, state.published) = (0, 0);
            (state.clients.take_keeps(), self.published.swap(Arc::new(Map::default())))
        }));
        let (mut timer, mut waiter) = (self.runtime.timer(deadline), WaiterId::default());
        // CANCEL: the waiter is dropped; the registry stays closed, and the hooks go on as tasks.
        poll_fn(|cx| {
            self.over.register(&mut waiter, cx.waker());
            if self.is_over() { Poll::Ready(()) } else { Pin::new(&mut timer).poll(cx) }
        })
        .await;
        let Snapshot { entries, closing, counts } = self.snapshot();
        let pending = entries.iter().filter(|entry| entry.state == EntryState::Pending).count();
        let is_leased = |state| matches!(state, EntryState::Leased | EntryState::Draining);
        let leased = entries.into_iter().filter(|entry| is_leased(entry.state)).collect();
        CloseReport { leased, closing, pending, counts }
    }
}
