//! How everything that a batcher holds ends before its time: an abort, a drop of the worker, or a discard on demand.

use crate::{
    Discarded, IntoRequest, Respond,
    in_flight::InFlight,
    pending::PendingBatch,
    scheduler::Dropped,
    shared::Shared,
    trace,
    worker::{Progress, State, Worker},
};
use forebay_core::{DropReason, Seen};
use forebay_intake::{Abandoned, IntakeOwner, WakerSet};
use std::{mem, pin::Pin};
use tower_service::Service;

impl<T, A> Shared<T, A> {
    /// From now on nothing enters and nothing is sent: what is queued is counted as dropped by shutdown, its items are kept for
    /// the report of a drain, and its callers get an error. The worker gives up what it has when it is polled next.
    pub(crate) fn abort(&self) {
        // CORRECTNESS: from this lock on no offer is admitted, so what is taken here is all there will be. The fates are counted under
        // it; wake-ups and replies follow without it.
        let (batches, wakes) = self.lock().queue.abort();
        wakes.wake();
        batches.iter().for_each(|batch| batch.reply_to_all(|| Abandoned::new(Seen::No).into()));
    }

    /// Gives up a batch that the worker has: as [`abort`](Self::abort) does with those that are queued.
    pub(crate) fn give_up(&self, mut batch: PendingBatch<T, A>) {
        // `recover` counts the fate together with what a drain returns; the batch must not count it again when it is dropped.
        batch.owed_to = None;
        let items = batch.take_items();
        let mut wakes = WakerSet::None;
        self.lock().queue.recover(&batch, items, &mut wakes);
        wakes.wake();
        let seen = batch.seen();
        batch.reply_to_all(|| Abandoned::new(seen).into());
    }

    /// Drops everything for `reason`, and goes on: what is queued now, and what the worker has when it is polled next.
    pub(crate) fn discard(&self, reason: DropReason) {
        let (batches, wakes) = self.lock().queue.discard(reason);
        wakes.wake();
        // The items are dropped with their batches, after the callers have their replies.
        batches.iter().for_each(|batch| batch.reply_to_all(|| Discarded::new(reason, Seen::No).into()));
    }
}

impl<T, S, Se, P, R> Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
    /// Every batch that the worker has, wherever it is, without those on their way into a spool. The futures of the inner service are dropped first: they may still read
    /// the items.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, R::Reply>> {
        let mut all = Vec::new();
        if let State::Readying { batch, .. } = mem::replace(&mut self.state, State::Idle) {
            all.push(batch);
        }
        all.extend(Pin::new(&mut self.in_flight).iter_pin_mut().filter_map(InFlight::cancel));
        self.in_flight.clear();
        all.append(&mut self.scheduler.take_all());
        all
    }

    /// Drops everything that the worker has for `reason`, and goes on.
    pub(crate) fn discard(&mut self, reason: DropReason) -> Progress {
        let all = self.take_all();
        self.settler.drop_all::<S::Response>(all.into_iter().map(|batch| Dropped::discarded(batch, reason)));
        Progress::Made
    }

    /// Gives up everything that the worker has.
    pub(crate) fn give_up_all(&mut self) -> Progress {
        let all = self.take_all().into_iter().chain(self.spooling.take_all());
        all.for_each(|batch| self.settler.shared.give_up(batch));
        Progress::Ended
    }
}

impl<T, S, Se, P, R> Drop for Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
    /// CANCEL: what the worker has and what is queued is counted as dropped by shutdown, the callers get an error, and a drain
    /// that waits reports the items.
    fn drop(&mut self) {
        // The futures in flight end before their items, which they may still read.
        let _ended = self.give_up_all();
        self.settler.shared.abort();
        trace::closed(|| self.settler.shared.totals());
    }
}
