use crate::{
    ByteBudget, Limits, Overflow, Rejected,
    drained::DrainBuf,
    entry::{Entry, Refused},
    state::QueueState,
};
use forebay_core::{ConfigError, Fate, panic};
use forebay_intake::{
    self as intake, Admission, Charge, Intake, Mutex, MutexGuard, OfferMeta, Registration, Slot, Ticket, WakerSet,
    lock, wake,
};
use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// The state of a queue under its lock.
///
/// Every method takes the lock once, for a few instructions. CORRECTNESS: user code runs and drops without it: a waker is cloned
/// before the lock is taken, and wakers and items are woken and dropped after it is released.
#[derive(Debug)]
pub(crate) struct Shared<T, A = ()> {
    locked: Mutex<Locked<T, A>>,
    /// Whether the ages of items count; if not, no clock is read.
    reads_clock: bool,
}

#[derive(Debug)]
pub(crate) struct Locked<T, A> {
    pub(crate) state: QueueState<T>,
    /// What else stands under the lock: the replies of a service, nothing for a channel.
    pub(crate) replies: A,
}

/// How a queue is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    /// What it draws from beside others.
    pub(crate) byte_budget: Option<ByteBudget>,
    pub(crate) overflow: Overflow,
    pub(crate) max_age: Option<Duration>,
    pub(crate) fair_shares: bool,
}

// === impl Shared ===

impl<T, A> Shared<T, A> {
    /// With one sender and one receiver.
    pub(crate) fn new(setup: Setup, replies: A) -> Result<Self, ConfigError> {
        let Setup { limits, byte_budget, overflow, max_age, fair_shares } = setup;
        overflow.validate()?;
        let delay = overflow.delay_control();
        let reads_clock = max_age.is_some() || delay.is_some();
        let mut admission = Admission::new(&limits)?;
        if let Some(budget) = &byte_budget {
            admission = admission.byte_budget(budget);
        }
        let state = QueueState::new(Intake::new(admission, overflow), max_age, delay, fair_shares);
        let locked = Locked { state, replies };
        Ok(Self { locked: Mutex::new(locked), reads_clock })
    }

    /// As [`new`](Self::new), with limits that the builder has checked.
    #[expect(clippy::expect_used, reason = "checked by `build`")]
    pub(crate) fn checked(setup: Setup, replies: A) -> Self {
        Self::new(setup, replies).expect("limits that were checked")
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked<T, A>> {
        lock(&self.locked)
    }

    /// Runs `act` under the lock, and wakes what it adds to the wakers after it.
    #[inline]
    fn with<R>(&self, act: impl FnOnce(&mut QueueState<T>, &mut WakerSet) -> R) -> R {
        let mut wakers = WakerSet::None;
        // CORRECTNESS: a waker may run its task at once, and that task takes this lock: wakers are collected under the lock, and woken
        // after it.
        let result = act(&mut self.lock().state, &mut wakers);
        wakers.wake();
        result
    }

    /// The time, where the ages of items count.
    #[inline]
    pub(crate) fn now(&self) -> Option<Instant> {
        self.reads_clock.then(intake::now)
    }

    /// Admits the item, or hands it back. Evicted items are given to `discard`, without the lock.
    ///
    /// Inlined on purpose: an out-of-line call spills the item to the stack and reloads it with wider loads, which defeats store
    /// forwarding (`rivals --area queue`, bursts of 512).
    #[inline(always)]
    pub(crate) fn offer(&self, item: T, meta: OfferMeta, discard: impl FnOnce(Vec<T>)) -> Result<(), Rejected<T>> {
        // The item and its meta are put together only where it is refused, so that an admitted item is written once, into its
        // place.
        let mut locked = self.lock();
        let Some(epoch) = locked.state.admit_simply(meta) else {
            drop(locked);
            return self.offer_at_limit(Entry { item, meta }, discard);
        };
        let waker = locked.state.push(item, meta, epoch);
        // CORRECTNESS: as in `with`: no waker is woken under the lock.
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn offer_at_limit(&self, entry: Entry<T>, discard: impl FnOnce(Vec<T>)) -> Result<(), Rejected<T>> {
        let now = self.now();
        let (mut evicted, mut wakes) = (Vec::new(), WakerSet::None);
        // Not by `with`: what its closure captures is copied once more, in wider pieces than it was written in.
        let offered = self.lock().state.offer(entry, now, &mut evicted, &mut wakes);
        wakes.wake();
        discard(evicted);
        offered
    }

    /// Admits the entry if it need not wait for room.
    pub(crate) fn offer_unless_wait(&self, entry: Entry<T>) -> Result<(), Entry<T>> {
        let now = self.now();
        self.with(|state, wakers| state.offer_unless_wait(entry, now, wakers))
    }

    /// `Pending` means that the entry is in `entry` again, and waits in line with `ticket`.
    pub(crate) fn poll_offer(
        &self,
        cx: &Context<'_>,
        entry: &mut Option<Entry<T>>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<(), Rejected<T>>> {
        let Some(taken) = entry.take() else {
            debug_assert!(false, "polled after it was ready");
            return Poll::Pending;
        };
        let taken = match ticket {
            // Most senders need not wait, and no waker is cloned for those.
            None => match self.offer_unless_wait(taken) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(taken) => taken,
            },
            Some(_) => taken,
        };
        let (now, mut registration) = (self.now(), Registration::new(cx.waker()));
        let place = ticket.take();
        match self.with(|state, wakers| state.offer_or_wait(taken, now, place, &mut registration, wakers)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Refused::Rejected(rejected)) => Poll::Ready(Err(rejected)),
            Err(Refused::Wait(again, place)) => {
                *entry = Some(again);
                *ticket = Some(place);
                Poll::Pending
            }
        }
    }

    /// The next item, if there is one now. Items beyond the age limit are dropped without the lock, here and below; a panic of
    /// theirs does not cost the slot of the next one.
    pub(crate) fn try_next(&self) -> Option<(T, Slot)> {
        let (now, mut late) = (self.now(), Vec::new());
        let next = self.with(|state, wakers| state.next(now, &mut late, wakers));
        late.into_iter().for_each(|(item, _)| panic::discard(item));
        next
    }

    /// The next item; waits for one with `ticket` where there is none.
    pub(crate) fn poll_next(&self, waker: &Waker, ticket: &mut Option<Ticket>) -> Poll<Option<(T, Slot)>> {
        let (now, mut late) = (self.now(), Vec::new());
        let (mut wakes, mut registration) = (WakerSet::None, Registration::without_clone(waker));
        let mut locked = self.lock();
        let next = loop {
            break match locked.state.next(now, &mut late, &mut wakes) {
                Some(next) => {
                    locked.state.stop_waiting(ticket.take(), &mut registration);
                    Poll::Ready(Some(next))
                }
                None if !registration.is_prepared() => {
                    // CORRECTNESS: only a receiver that has to wait clones its waker, and does so without the lock.
                    drop(locked);
                    registration.prepare();
                    locked = self.lock();
                    continue;
                }
                None => {
                    // CORRECTNESS: the look and the wait are under one lock, so that no item is missed between the two.
                    *ticket = locked.state.wait(ticket.take(), &mut registration);
                    if ticket.is_some() { Poll::Pending } else { Poll::Ready(None) }
                }
            };
        };
        drop(locked);
        wakes.wake();
        late.into_iter().for_each(|(item, _)| panic::discard(item));
        next
    }

    #[inline]
    pub(crate) fn drain(&self, most: usize, buf: &mut DrainBuf<T>) {
        let (now, mut late) = (self.now(), Vec::new());
        self.with(|state, wakers| state.drain(most, now, buf, &mut late, wakers));
        late.into_iter().for_each(|(item, _)| panic::discard(item));
    }

    #[inline]
    pub(crate) fn settle_all(&self, charges: &[Charge], keys: &[u64], fate: Fate) {
        self.with(|state, wakers| state.settle_all(charges, keys, fate, wakers));
    }

    pub(crate) fn stop_receiving(&self, ticket: Ticket) {
        self.with(|state, wakers| wakers.add(state.stop_receiving(ticket)));
    }

    #[inline]
    pub(crate) fn settle(&self, slot: Slot, fate: Fate) {
        self.with(|state, wakers| state.settle(slot, fate, wakers));
    }

    pub(crate) fn abandon(&self) -> Vec<T> {
        let mut left = self.with(QueueState::abandon);
        std::mem::take(&mut left.items)
    }

    pub(crate) fn poll_abandoned(&self, registration: &mut Registration<'_>, ticket: &mut Option<Ticket>) -> Poll<()> {
        // CORRECTNESS: the waker is cloned before the lock is taken, since a clone is user code; the look and the registration are under
        // one lock, so that an abandonment between the two is not missed.
        registration.prepare();
        if self.lock().state.abandoned_or_wait(ticket, registration) { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn close(&self) {
        self.with(QueueState::close);
    }

    pub(crate) fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        let refused = match &mut self.lock().state.max_age {
            Some(limit) => {
                *limit = age;
                false
            }
            None => true,
        };
        if refused {
            return Err(ConfigError::new("max_age", format!("{age:?}"), "a queue that was built with an age limit"));
        }
        Ok(())
    }

    pub(crate) fn add_sender(&self) {
        self.lock().state.senders += 1;
    }

    /// The last sender closes the queue.
    pub(crate) fn remove_sender(&self) {
        self.with(QueueState::remove_sender);
    }

    pub(crate) fn add_receiver(&self) {
        self.lock().state.receivers += 1;
    }

    /// The last receiver abandons the queue; the items in it are dropped here, each in a catch of its own.
    pub(crate) fn remove_receiver(&self) {
        drop(self.with(QueueState::remove_receiver));
    }
}
