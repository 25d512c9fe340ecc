use crate::{
    Batching, Discarded,
    describe::Label,
    items::discard_each,
    lot::{Join, Lot},
    state::{Entry, Next, Place, Refused, State},
};
use forebay_core::{BoxError, ConfigError, DropReason, Fate, Priority, Seen, Totals, panic};
use forebay_intake::{
    Abandoned, Charge, Control, Epoch, Limits, Mutex, MutexGuard, Offer, Registration, Rejected, Ticket, WakerSet,
    lock, wake,
};
use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// The state of a batcher under its lock, and how many may still hand items over.
///
/// Every method takes the lock once, for a few instructions. Code of a user runs and drops without it: a waker is cloned
/// before the lock is taken, and wakers and items are woken and dropped after it is released.
#[derive(Debug)]
pub(crate) struct Shared<T, A> {
    locked: Mutex<Locked<T, A>>,
}

#[derive(Debug)]
struct Locked<T, A> {
    state: State<T, A>,
    handles: usize,
}

// === impl Shared ===

impl<T, A> Shared<T, A> {
    /// With one handle.
    pub(crate) fn new(state: State<T, A>) -> Self {
        Self { locked: Mutex::new(Locked { state, handles: 1 }) }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Locked<T, A>> {
        // No code of a user runs under the lock.
        lock(&self.locked)
    }

    /// Takes an item in, or hands it back.
    ///
    /// Always inlined: a call would lay the item into memory first, only to read it again in other pieces than it was
    /// written in, and that stall takes longer than all that is done here.
    #[inline(always)]
    pub(crate) fn offer(&self, item: T, label: Label, asks: bool) -> Result<Place<A>, Rejected<T>> {
        let mut locked = self.lock();
        let Some(epoch) = locked.state.admit_simply(label.candidate) else {
            drop(locked);
            return self.offer_at_limit(Entry { item, label, asks });
        };
        let (place, waker) = locked.state.enter(item, label, epoch, asks);
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(place)
    }

    #[cold]
    fn offer_at_limit(&self, entry: Entry<T>) -> Result<Place<A>, Rejected<T>> {
        // Evicted items are counted, their callers are told, and they are dropped here, after the lock is gone.
        let mut evicted = Vec::new();
        let mut wakes = WakerSet::None;
        let offered = self.lock().state.offer(entry, &mut evicted, &mut wakes);
        wakes.wake();
        discard_each(evicted);
        offered
    }

    /// Takes the entry in if it need not wait for room.
    pub(crate) fn offer_unless_wait(&self, entry: Entry<T>) -> Result<Place<A>, Entry<T>> {
        let (place, waker) = self.lock().state.offer_unless_wait(entry)?;
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(place)
    }

    /// Takes the item in if there is room for it and nobody waits in line; leaves it where it is if not.
    ///
    /// Always inlined, as [`offer`](Self::offer) is.
    #[inline(always)]
    pub(crate) fn offer_simply(&self, offer: &mut Option<Offer<T>>, label: Label) -> bool {
        if offer.is_none() {
            return false;
        }
        let mut locked = self.lock();
        let Some(epoch) = locked.state.admit_simply(label.candidate) else { return false };
        let Some(offer) = offer.take() else { return false };
        let (_no_reply, waker) = locked.state.enter(offer.item, label, epoch, false);
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
    ) -> Poll<Result<Place<A>, Rejected<T>>> {
        let Some(taken) = entry.take() else {
            debug_assert!(false, "polled after it was ready");
            return Poll::Pending;
        };
        let mut registration = Registration::new(cx.waker());
        let offered = self.lock().state.offer_or_wait(taken, ticket.take(), &mut registration);
        match offered {
            Ok((place, wakes)) => {
                wakes.wake();
                Poll::Ready(Ok(place))
            }
            Err(Refused::Rejected(rejected, wakes)) => {
                wakes.wake();
                Poll::Ready(Err(rejected))
            }
            Err(Refused::Wait(again, place)) => {
                *entry = Some(again);
                *ticket = Some(place);
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_room(&self, cx: &Context<'_>, ticket: &mut Option<Ticket>) -> Poll<()> {
        if ticket.is_none() && self.lock().state.intake.has_room_or_ended() {
            return Poll::Ready(());
        }
        let mut registration = Registration::new(cx.waker());
        let waited = self.lock().state.intake.wait_for_room(ticket.take(), &mut registration);
        match waited {
            Ok(wakes) => {
                wakes.wake();
                Poll::Ready(())
            }
            Err(place) => {
                *ticket = Some(place);
                Poll::Pending
            }
        }
    }

    pub(crate) fn stop_waiting(&self, ticket: Ticket, priority: Priority) {
        let wakes = self.lock().state.intake.stop_waiting(ticket, priority);
        wakes.wake();
    }

    pub(crate) fn next(&self, now: Instant, waker: &Waker) -> Next<T, A> {
        let mut waker = Some(waker.clone());
        let next = self.lock().state.next(now, &mut waker);
        panic::discard(waker);
        next
    }

    pub(crate) fn next_to_join(&self, lot: &Lot<T, A>, join: &Join, now: Instant) -> Option<Lot<T, A>> {
        self.lock().state.next_to_join(lot, join, now)
    }

    pub(crate) fn watch(&self, now: Instant, waker: &Waker) -> Next<T, A> {
        let mut waker = Some(waker.clone());
        let next = self.lock().state.watch(now, &mut waker);
        panic::discard(waker);
        next
    }

    pub(crate) fn expired(&self, now: Instant) -> Vec<Lot<T, A>> {
        self.lock().state.expired(now)
    }

    pub(crate) fn settle(&self, settled: &[(Charge, Fate)], keys: &[Option<u64>]) {
        let mut wakes = WakerSet::None;
        self.lock().state.settle(settled, keys, &mut wakes);
        wakes.wake();
    }

    /// Lets go of a lot that the worker has in hand: it is counted, its items are kept for the handle, and its callers are
    /// answered.
    pub(crate) fn let_go(&self, mut lot: Lot<T, A>, seen: Seen) {
        lot.owed_to = None;
        let items = lot.items.take().and_then(|items| items.into_vec().ok()).unwrap_or_default();
        let mut wakes = WakerSet::None;
        let mut locked = self.lock();
        // CORRECTNESS: in one step. A drain that sees these items settled ends at once, and then reports those kept here.
        locked.state.recovered.extend(items);
        locked.state.settle(&[(lot.charge, Fate::Dropped(DropReason::Shutdown))], &lot.keys, &mut wakes);
        drop(locked);
        wakes.wake();
        if let Some(callers) = &lot.callers {
            callers.answer(|_| Some(Err(BoxError::from(Abandoned::new(seen)))));
        }
    }

    /// Nothing is sent any more: what was queued is kept for the handle, and its callers are answered.
    pub(crate) fn abandon_and_recover(&self) {
        let mut locked = self.lock();
        let (mut lots, wakes) = locked.state.abandon();
        for lot in &mut lots {
            // CORRECTNESS: in one step with the fates, as in `let_go`. These items are all of their memory, so that none is
            // dropped here.
            let items = lot.items.take().and_then(|items| items.into_vec().ok()).unwrap_or_default();
            locked.state.recovered.extend(items);
        }
        drop(locked);
        wakes.wake();
        lots.into_iter().for_each(|lot| drop(let_go(lot, Seen::No)));
    }

    pub(crate) fn max_in_flight(&self) -> usize {
        self.lock().state.batching().max_in_flight
    }

    pub(crate) fn max_wait(&self) -> Option<Duration> {
        self.lock().state.max_wait
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().state.intake.admission.totals()
    }

    pub(crate) fn batching(&self) -> Batching {
        self.lock().state.batching()
    }

    pub(crate) fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        batching.validate()?;
        let waker = self.lock().state.set_batching(batching);
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
        let wakes = if locked.handles == 0 { locked.state.close_intake() } else { WakerSet::None };
        drop(locked);
        wakes.wake();
    }

    /// Drops everything for `reason`, and goes on.
    pub(crate) fn discard(&self, reason: DropReason) {
        // The items are dropped after the lock is gone, and after their callers were told.
        let (lots, wakes) = self.lock().state.discard(reason);
        wakes.wake();
        for lot in lots {
            if let Some(callers) = &lot.callers {
                callers.answer(|_| Some(Err(BoxError::from(Discarded::new(reason, Seen::No)))));
            }
        }
    }

    /// Nothing is sent any more: the items that were queued, whose callers are told.
    pub(crate) fn abandon_all(&self) -> Vec<T> {
        let (lots, wakes) = self.lock().state.abandon();
        wakes.wake();
        lots.into_iter().flat_map(|lot| let_go(lot, Seen::No)).collect()
    }
}

/// Tells the callers of a lot that it was let go, and returns its items, as far as they are to be had.
fn let_go<T, A>(mut lot: Lot<T, A>, seen: Seen) -> Vec<T> {
    if let Some(callers) = &lot.callers {
        callers.answer(|_| Some(Err(BoxError::from(Abandoned::new(seen)))));
    }
    // Whoever still reads the items keeps them.
    lot.items.take().and_then(|items| items.into_vec().ok()).unwrap_or_default()
}

impl<T: Send + Sync, A: Send> Control<T> for Shared<T, A> {
    fn totals(&self) -> Totals {
        self.totals()
    }

    fn queued(&self) -> usize {
        self.lock().state.queued()
    }

    fn bytes(&self) -> usize {
        self.lock().state.intake.admission.bytes()
    }

    fn fullness(&self) -> f64 {
        self.lock().state.intake.admission.fullness()
    }

    fn max_items(&self) -> u64 {
        self.lock().state.intake.admission.max_items()
    }

    fn max_bytes(&self) -> usize {
        self.lock().state.intake.admission.max_bytes()
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), ConfigError> {
        let mut locked = self.lock();
        locked.state.intake.admission.set_limits(limits)?;
        let wakes = locked.state.intake.wake_senders();
        drop(locked);
        wakes.wake();
        Ok(())
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.lock().state.max_wait = Some(age);
        Ok(())
    }

    fn close(&self) {
        let wakes = self.lock().state.close_intake();
        wakes.wake();
    }

    fn abandon(&self) -> Vec<T> {
        self.abandon_all()
    }

    fn recovered(&self) -> Vec<T> {
        std::mem::take(&mut self.lock().state.recovered)
    }

    fn flush(&self) -> Epoch {
        let (epoch, waker) = self.lock().state.flush();
        WakerSet::one(waker).wake();
        epoch
    }

    fn is_flushed(&self, epoch: Epoch, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        let mut registration = Registration::new(waker);
        self.lock().state.intake.flushed_or_wait(epoch, ticket, &mut registration)
    }

    fn stop_flushing(&self, ticket: Ticket) {
        let wakes = self.lock().state.intake.stop_flushing(ticket);
        wakes.wake();
    }
}
