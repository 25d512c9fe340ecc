use crate::{
    Batching,
    batch_queue::{BatchQueue, Entry, Refused, ReplyPlace},
    items::discard_each,
    limit::InFlightLimit,
    next::{Look, Next, Rest, Source},
    pending::{Join, PendingBatch},
    router::Route,
};
use forebay_core::{ConfigError, Fate, panic};
use forebay_intake::{
    Charge, Epoch, Intake, IntakeOwner, Mutex, MutexGuard, Offer, Registration, Rejected, Ticket, WakerSet, lock, wake,
};
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// The queue of a batcher under its lock, and how many handles may still hand items over.
///
/// Every method takes the lock once, for a few instructions. User code runs and drops without it: a waker is cloned before the
/// lock is taken, and wakers and items are woken and dropped after it is released.
#[derive(Debug)]
pub(crate) struct Shared<T, A> {
    locked: Mutex<Locked<T, A>>,
}

#[derive(Debug)]
pub(crate) struct Locked<T, A> {
    pub(crate) queue: BatchQueue<T, A>,
    /// The last handle that is dropped closes the queue.
    handles: usize,
}

/// The sealed batches of a queue, as its worker takes them: the lock is held for one batch at a time.
pub(crate) struct Sealed<'a, T, A> {
    shared: &'a Arc<Shared<T, A>>,
    /// The worker, to wake it when there is more.
    waker: &'a Waker,
}

// === impl Shared ===

impl<T, A> Shared<T, A> {
    /// With one handle.
    pub(crate) fn new(queue: BatchQueue<T, A>) -> Self {
        Self { locked: Mutex::new(Locked { queue, handles: 1 }) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked<T, A>> {
        // CORRECTNESS: no user code runs under the lock, so a panic cannot leave what it guards half changed.
        lock(&self.locked)
    }

    /// Admits an item, or hands it back.
    ///
    /// Inlined on purpose: an out-of-line call spills the item to the stack and reloads it with wider loads, which defeats store
    /// forwarding.
    #[inline(always)]
    pub(crate) fn offer(&self, item: T, route: Route, asks: bool) -> Result<ReplyPlace<A>, Rejected<T>> {
        let mut locked = self.lock();
        let Some(epoch) = locked.queue.admit_simply(route.meta) else {
            drop(locked);
            return self.offer_at_limit(Entry { item, route, asks });
        };
        let (place, waker) = locked.queue.enter(item, route, epoch, asks);
        // CORRECTNESS: a waker may run its task at once, and that task takes this lock.
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(place)
    }

    #[cold]
    fn offer_at_limit(&self, entry: Entry<T>) -> Result<ReplyPlace<A>, Rejected<T>> {
        // Evicted items are counted and their callers have their replies under the lock; they are dropped here, without it.
        let mut evicted = Vec::new();
        let mut wakes = WakerSet::None;
        let offered = self.lock().queue.offer(entry, &mut evicted, &mut wakes);
        wakes.wake();
        discard_each(evicted);
        offered
    }

    /// Admits the entry if it need not wait for room.
    pub(crate) fn offer_unless_wait(&self, entry: Entry<T>) -> Result<ReplyPlace<A>, Entry<T>> {
        // CORRECTNESS: the guard lives until the end of this statement, so the waker below is woken without the lock.
        let (place, waker) = self.lock().queue.offer_unless_wait(entry)?;
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(place)
    }

    /// Admits the offer if there is room for it and no sender waits in line; leaves it where it is if not.
    ///
    /// Inlined on purpose, as [`offer`](Self::offer) is.
    #[inline(always)]
    pub(crate) fn offer_simply(&self, offer: &mut Option<Offer<T>>, route: Route) -> bool {
        if offer.is_none() {
            return false;
        }
        let mut locked = self.lock();
        // The offer is moved out only once it is admitted, so that a refusal leaves the caller its item.
        let Some(epoch) = locked.queue.admit_simply(route.meta) else { return false };
        let Some(offer) = offer.take() else { return false };
        let (_no_reply, waker) = locked.queue.enter(offer.item, route, epoch, false);
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        true
    }

    /// `Pending` means that the entry is in `entry` again, and waits in line with `ticket`.
    pub(crate) fn poll_offer(
        &self,
        cx: &Context<'_>,
        entry: &mut Option<Entry<T>>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<ReplyPlace<A>, Rejected<T>>> {
        let Some(taken) = entry.take() else {
            debug_assert!(false, "polled after it was ready");
            return Poll::Pending;
        };
        // CORRECTNESS: the line keeps the waker under the lock under which there was no room, so that no room is missed.
        let mut registration = Registration::new(cx.waker());
        let offered = self.lock().queue.offer_or_wait(taken, ticket.take(), &mut registration);
        match offered {
            Ok((place, wakes)) => {
                wakes.wake();
                Poll::Ready(Ok(place))
            }
            Err(Refused::Rejected(rejected, wakes)) => {
                wakes.wake();
                Poll::Ready(Err(rejected))
            }
            Err(Refused::Wait(again, place, wakes)) => {
                wakes.wake();
                *entry = Some(again);
                *ticket = Some(place);
                Poll::Pending
            }
        }
    }

    /// Counts the fates of items that left together, and frees their slots; tasks that wait for a slot or a flush are woken.
    pub(crate) fn settle(&self, settled: &[(Charge, Fate)], keys: &[Option<u64>]) {
        let mut wakes = WakerSet::None;
        self.lock().queue.settle(settled, keys, &mut wakes);
        wakes.wake();
    }

    /// What the worker sees at `now`.
    pub(crate) fn look(&self, now: Instant, limit: &mut InFlightLimit) -> Look {
        let (batching, max_age) = {
            let locked = self.lock();
            (locked.queue.batching(), locked.queue.max_age)
        };
        Look { now, batching, in_flight: limit.in_force(batching.in_flight(), now), max_age }
    }

    pub(crate) fn batching(&self) -> Batching {
        self.lock().queue.batching()
    }

    pub(crate) fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        batching.validate()?;
        // A smaller limit may make the open batch full, or a shorter delay may be over already: the worker looks again.
        let waker = self.lock().queue.set_batching(batching);
        WakerSet::one(waker).wake();
        Ok(())
    }

    pub(crate) fn add_handle(&self) {
        self.lock().handles += 1;
    }

    /// The last handle closes the batcher: what is in it is sent.
    pub(crate) fn remove_handle(&self) {
        let mut locked = self.lock();
        locked.handles -= 1;
        // CORRECTNESS: counted and closed under one lock, so that no clone can be made from a handle between the two.
        let wakes = if locked.handles == 0 { locked.queue.close() } else { WakerSet::None };
        drop(locked);
        wakes.wake();
    }
}

impl<T, A> Shared<T, A> {
    /// Has the worker give all that is here to the spool, for lack of time; needs a spool.
    pub(crate) fn spool_rest(&self) {
        let waker = self.lock().queue.spool_rest();
        WakerSet::one(waker).wake();
    }

    /// Whether all that is here goes to the spool.
    pub(crate) fn spools_rest(&self) -> bool {
        self.lock().queue.spools_rest()
    }
}

// === impl Sealed ===

impl<'a, T, A> Sealed<'a, T, A> {
    pub(crate) fn new(shared: &'a Arc<Shared<T, A>>, waker: &'a Waker) -> Self {
        Self { shared, waker }
    }

    /// Looks at the queue, which may keep the waker of the worker.
    ///
    /// CORRECTNESS: the look and the waker are under one lock, so that no item enters unseen in between. A waker is code of its
    /// executor: it is cloned before the lock is taken, and the one that it replaces is dropped after it is released.
    fn with_waker<R>(&self, run: impl FnOnce(&mut BatchQueue<T, A>, &mut Option<Waker>) -> R) -> R {
        let mut waker = Some(self.waker.clone());
        let seen = run(&mut self.shared.lock().queue, &mut waker);
        panic::discard(waker);
        seen
    }

    /// From here on the worker owes the fates of its items.
    fn taken(&self, mut batch: PendingBatch<T, A>) -> PendingBatch<T, A> {
        batch.owed_to = Some(Arc::clone(self.shared));
        batch
    }
}

impl<T, A> Sealed<'_, T, A> {
    /// The batch that leaves first because the queue is nearly full, apart from what `leaving` holds.
    pub(crate) fn spill(&self, leaving: Charge, now: Instant) -> Option<PendingBatch<T, A>> {
        let batch = self.shared.lock().queue.spill(leaving, now);
        batch.map(|batch| self.taken(batch))
    }

    /// All that is queued.
    pub(crate) fn take_all(&self, now: Instant) -> Vec<PendingBatch<T, A>> {
        let all = self.shared.lock().queue.take_all(now);
        all.into_iter().map(|batch| self.taken(batch)).collect()
    }
}

impl<T, A> Source<T, A> for Sealed<'_, T, A> {
    fn next(&mut self, now: Instant) -> Next<T, A> {
        match self.with_waker(|queue, waker| queue.next(now, waker)) {
            Next::Send(batch) => Next::Send(self.taken(batch)),
            rest @ Next::Rest(_) => rest,
        }
    }

    fn next_to_join(&mut self, batch: &PendingBatch<T, A>, join: &Join, now: Instant) -> Option<PendingBatch<T, A>> {
        let next = self.shared.lock().queue.next_to_join(batch, join, now);
        next.map(|batch| self.taken(batch))
    }

    fn watch(&mut self, now: Instant) -> Rest {
        self.with_waker(|queue, waker| queue.watch(now, waker))
    }

    fn expired(&mut self, now: Instant) -> Vec<PendingBatch<T, A>> {
        let expired = self.shared.lock().queue.expired(now);
        expired.into_iter().map(|batch| self.taken(batch)).collect()
    }
}

// === impl IntakeOwner ===

impl<T, A> IntakeOwner for Shared<T, A> {
    type Item = T;

    fn with_intake<R>(&self, act: impl FnOnce(&mut Intake) -> R) -> R {
        act(&mut self.lock().queue.intake)
    }

    fn queued(&self) -> usize {
        self.lock().queue.queued()
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.lock().queue.max_age = Some(age);
        Ok(())
    }

    fn close(&self) {
        let wakes = self.lock().queue.close();
        wakes.wake();
    }

    fn abandon(&self) -> Vec<T> {
        self.abort();
        self.recovered()
    }

    fn recovered(&self) -> Vec<T> {
        self.lock().queue.take_recovered()
    }

    fn flush(&self) -> Epoch {
        let (epoch, waker) = self.lock().queue.flush();
        WakerSet::one(waker).wake();
        epoch
    }
}
