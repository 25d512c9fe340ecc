//! Release, close, and the end of everything.

use super::{Hub, Landed, Map, Smith, State};
use crate::{
    CloseEnd, CloseReport, Event, Snapshot,
    bounds::{Client, Config, Key},
    close::{CloseTask, Closing},
    edge::now,
    lease::Live,
    panics::guarded,
    snapshot::EntryState,
    sweep::Broom,
    sync::Strong,
    table::{Forget, Retired},
};
use std::{
    future::{Future, poll_fn},
    hash::Hash,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

impl<K: Key, C: Client, G: Config> Hub<K, C, G> {
    /// The last lease of `generation` has ended; what is returned is to be closed.
    pub(super) fn released(&self, key: &K, generation: u64, client: C) -> Retired<K, C> {
        let (retired, stale) = {
            let mut state = self.state.lock();
            let retired = state.table.released(key, generation, client);
            // What is published of clients that have gone holds memory, so it is bounded by what is there.
            let stale = (state.published > 2 * state.table.len() + 8).then(|| self.publish(&mut state));
            (retired, stale)
        };
        drop(stale);
        retired
    }

    /// The registry's own lease of `generation`, if it is the last.
    pub(super) fn give_up(&self, key: &K, generation: u64) -> Option<Strong<Live<C>>> {
        self.state.lock().table.close_idle(key, generation)
    }

    /// Nobody has a handle any more, so nobody can ask again for a client that is idle.
    pub(crate) fn keep_nothing(&self) {
        let keeps = self.state.lock().table.keep_nothing();
        drop(keeps);
    }

    /// A client has left the table.
    pub(crate) fn begin_close(self: &Arc<Self>, retired: Retired<K, C>) {
        let Retired { key, generation, reason, .. } = &retired;
        self.hooks.emit(&Event::Closing { key, generation: *generation, reason: *reason });
        self.run_close(retired);
    }

    /// Runs the close hook as a task, or keeps the client until there is a runtime.
    pub(super) fn run_close(self: &Arc<Self>, retired: Retired<K, C>) {
        if !self.hooks.closes() {
            let began = now();
            let Retired { key, generation, client, .. } = retired;
            let end = guarded(|| drop(client)).map_or_else(CloseEnd::Panicked, |()| CloseEnd::Done);
            self.close_ended(&key, generation, now().saturating_duration_since(began), &end);
            return;
        }
        if self.edge.is_here() {
            let task = CloseTask::of(Arc::clone(self), retired);
            // CANCEL: a runtime that shuts down drops the task, which then reports `Aborted` itself.
            let _spawned = self.edge.spawn(Box::pin(async move { drop(task.await) }));
            return;
        }
        let (key, generation) = (retired.key.clone(), retired.generation);
        let enders = {
            let mut state = self.state.lock();
            state.deferred.push(retired);
            state.table.counts.deferred += 1;
            // Whoever closes the registry runs the hook, if nobody else can.
            mem::take(&mut state.enders)
        };
        self.hooks.emit(&Event::Deferred { key: &key, generation });
        enders.into_iter().for_each(Waker::wake);
    }

    /// Closes a client in the future that is returned.
    pub(super) fn close_here(self: &Arc<Self>, retired: Retired<K, C>) -> Closing {
        let Retired { key, generation, reason, .. } = &retired;
        self.hooks.emit(&Event::Closing { key, generation: *generation, reason: *reason });
        Closing::new(Box::pin(CloseTask::of(Arc::clone(self), retired)), Arc::clone(&self.edge))
    }

    /// The close of one client has ended.
    pub(crate) fn close_ended(self: &Arc<Self>, key: &K, generation: u64, took: Duration, end: &CloseEnd) {
        let forget = self.state.lock().table.closed(key, end, now(), &mut Smith(self));
        self.hooks.emit(&Event::Closed { key, generation, took, end });
        self.settle(forget);
    }

    /// Runs `on_vacant` if a key has lost its last client, and tells those who wait for the end of everything.
    pub(super) fn settle(self: &Arc<Self>, forget: Option<Forget<K>>) {
        if let Some(forget) = forget {
            // CORRECTNESS: the entry is `Forgetting` until `forgotten`, so no client of this key can be made that
            // would lose its breaker or its credentials to the end of an older one.
            let ran = self.hooks.vacant(&forget.key);
            let flight = self.state.lock().table.forgotten(&forget);
            if let Some(flight) = flight {
                flight.land(Landed::Again);
            }
            self.hooks.emit(&Event::Vacant { key: &forget.key, panicked: ran.is_err() });
        }
        let enders = {
            let mut state = self.state.lock();
            if state.is_over() { mem::take(&mut state.enders) } else { Vec::new() }
        };
        enders.into_iter().for_each(Waker::wake);
    }

    /// Sees to it that somebody sweeps, if there is something to sweep.
    pub(super) fn watch_idle(self: &Arc<Self>) {
        if !self.edge.keeps_time() {
            return;
        }
        {
            let mut state = self.state.lock();
            if state.sweeping || state.table.next_sweep().is_none() {
                return;
            }
            state.sweeping = true;
        }
        // CANCEL: a sweeper that is dropped with its runtime says so, and the next call that makes a client starts another one.
        let _spawned = self.edge.spawn(Box::pin(Broom::new(self).sweep()));
    }

    /// One round of the sweeper. It ends with `None`: then there is nothing to wait for.
    pub(crate) fn sweep(self: &Arc<Self>) -> Option<Duration> {
        let now = now();
        let (keeps, wait) = {
            let mut state = self.state.lock();
            let keeps = state.table.sweep(now);
            let next = state.table.next_sweep();
            // CORRECTNESS: under the lock that `watch_idle` takes, so the next client starts a sweeper.
            state.sweeping = next.is_some();
            (keeps, next.map(|next| next.saturating_duration_since(now)))
        };
        drop(keeps);
        wait
    }

    pub(crate) fn sweeper_gone(&self) {
        self.state.lock().sweeping = false;
    }

    pub(crate) fn snapshot(&self) -> Snapshot<K> {
        let now = now();
        let state = self.state.lock();
        Snapshot {
            entries: state.table.describe(now),
            closing: state.table.closing(),
            deferred: state.deferred.len(),
            counts: state.table.counts,
        }
    }

    /// Closes the registry: nothing comes in, idle clients leave, and deferred closes get their turn.
    pub(crate) fn shut(self: &Arc<Self>) -> Vec<CloseTask<K, C, G>> {
        let (keeps, deferred, stale) = {
            let mut state = self.state.lock();
            let keeps = state.table.shut();
            let deferred = mem::take(&mut state.deferred);
            state.misses = 0;
            state.published = 0;
            (keeps, deferred, self.published.replace(Map::default()))
        };
        drop((keeps, stale));
        let mut here = Vec::new();
        for retired in deferred {
            if self.edge.is_here() {
                self.run_close(retired);
            } else {
                here.push(CloseTask::of(Arc::clone(self), retired));
            }
        }
        here
    }

    /// Waits for the end of everything, at most until `deadline` has passed.
    pub(crate) async fn ended(self: Arc<Self>, mut here: Vec<CloseTask<K, C, G>>, deadline: Duration) {
        let mut timer = self.edge.timer(deadline);
        poll_fn(move |cx| {
            loop {
                here.retain_mut(|task| Pin::new(task).poll(cx).is_pending());
                // Outside a runtime, what is released meanwhile is closed here too.
                let more = mem::take(&mut self.state.lock().deferred);
                if more.is_empty() {
                    break;
                }
                here.extend(more.into_iter().map(|retired| CloseTask::of(Arc::clone(&self), retired)));
            }
            if self.poll_over(cx).is_ready() {
                return Poll::Ready(());
            }
            Pin::new(&mut timer).poll(cx)
        })
        .await;
    }

    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_over() {
            return Poll::Ready(());
        }
        if !state.enders.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.enders.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(crate) fn report(&self) -> CloseReport<K> {
        let Snapshot { entries, closing, counts, .. } = self.snapshot();
        let pending = entries.iter().filter(|entry| entry.state == EntryState::Pending).count();
        let leased = entries
            .into_iter()
            .filter(|entry| matches!(entry.state, EntryState::Leased | EntryState::Draining))
            .collect();
        CloseReport { leased, closing, pending, counts }
    }
}

impl<K: Hash + Eq + Clone, C, G> State<K, C, G> {
    fn is_over(&self) -> bool {
        self.table.is_closed() && self.table.outstanding() == 0
    }
}
