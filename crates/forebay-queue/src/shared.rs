use crate::{
    Limits, Overflow, Rejected,
    drained::Burst,
    state::{Empty, Entry, Leftover, Refused, State},
};
use forebay_core::{ConfigError, Fate, Priority, Totals};
use forebay_intake::{
    self as intake, Admission, Charge, Held, Intake, Mutex, MutexGuard, OfferMeta, Registration, Ticket, WakerSet,
    lock, wake,
};
use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// The state of a queue under its lock, and who holds an end of it.
///
/// Every method takes the lock once, for a few instructions, and wakes and drops after it is gone.
#[derive(Debug)]
pub(crate) struct Shared<T, A = ()> {
    locked: Mutex<Locked<T, A>>,
    /// Whether the queue was built with an age limit: without one no clock is ever read.
    has_age_limit: bool,
}

#[derive(Debug)]
pub(crate) struct Locked<T, A> {
    pub(crate) state: State<T>,
    /// What else stands under the lock: the answers of a service, nothing for a channel.
    pub(crate) aside: A,
    senders: usize,
    receivers: usize,
}

/// How a queue is built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) overflow: Overflow,
    pub(crate) max_age: Option<Duration>,
    pub(crate) fair_shares: bool,
    /// The longest that a server's hint may let a parked item wait; `None` is the default.
    pub(crate) max_hint: Option<Duration>,
    /// Whether the inner service also gets items whose callers are gone.
    pub(crate) run_cancelled: bool,
}

/// Items that left without being worked off: to be dropped, or answered, by whoever asked.
pub(crate) type Discarded<T> = Vec<T>;

// === impl Shared ===

impl<T, A> Shared<T, A> {
    /// With one sender and one receiver.
    pub(crate) fn new(setup: Setup, aside: A) -> Result<Self, ConfigError> {
        let Setup { limits, overflow, max_age, fair_shares, max_hint: _, run_cancelled: _ } = setup;
        let state = State::new(Intake::new(Admission::new(&limits)?, overflow), max_age, fair_shares);
        let locked = Locked { state, aside, senders: 1, receivers: 1 };
        Ok(Self { locked: Mutex::new(locked), has_age_limit: max_age.is_some() })
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked<T, A>> {
        lock(&self.locked)
    }

    #[inline]
    pub(crate) fn now(&self) -> Option<Instant> {
        self.has_age_limit.then(intake::now)
    }

    /// Admits the item, or hands it back; what it evicts is given to `discard`, without the lock.
    ///
    /// Always inlined: a call would lay the item into memory first, only to read it again in other pieces than it was
    /// written in, and that stall takes longer than all that is done here.
    #[inline(always)]
    pub(crate) fn offer(
        &self,
        item: T,
        meta: OfferMeta,
        discard: impl FnOnce(Discarded<T>),
    ) -> Result<(), Rejected<T>> {
        // The item and its meta are put together only where it is refused: an item that never needed an address of its
        // own is built in the very place where it waits.
        let mut locked = self.lock();
        let Some(epoch) = locked.state.admit_simply(meta) else {
            drop(locked);
            return self.offer_at_limit(Entry { item, meta }, discard);
        };
        let waker = locked.state.push(item, meta, epoch);
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn offer_at_limit(
        &self,
        entry: Entry<T>,
        discard: impl FnOnce(Discarded<T>),
    ) -> Result<(), Rejected<T>> {
        let now = self.now();
        let (mut evicted, mut wakes) = (Vec::new(), WakerSet::None);
        let offered = self.lock().state.offer(entry, now, &mut evicted, &mut wakes);
        wakes.wake();
        discard(evicted);
        offered
    }

    /// Admits the entry if it need not wait for room.
    pub(crate) fn offer_unless_wait(&self, entry: Entry<T>) -> Result<(), Entry<T>> {
        let now = self.now();
        let wakes = self.lock().state.offer_unless_wait(entry, now)?;
        wakes.wake();
        Ok(())
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
            // Most need not wait, and no waker is cloned for those.
            None => match self.offer_unless_wait(taken) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(taken) => taken,
            },
            Some(_) => taken,
        };
        let (now, mut registration) = (self.now(), Registration::new(cx.waker()));
        let offered = self.lock().state.offer_or_wait(taken, now, ticket.take(), &mut registration);
        match offered {
            Ok(wakes) => {
                wakes.wake();
                Poll::Ready(Ok(()))
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

    pub(crate) fn try_next(&self, expired: &mut Discarded<T>) -> Option<(T, Held)> {
        let now = self.now();
        let mut wakes = WakerSet::default();
        let next = self.lock().state.next(now, expired, &mut wakes);
        wakes.wake();
        next
    }

    /// The next item; waits for one with `ticket` where there is none.
    pub(crate) fn poll_next(
        &self,
        waker: &Waker,
        ticket: &mut Option<Ticket>,
        expired: &mut Discarded<T>,
    ) -> Poll<Option<(T, Held)>> {
        let now = self.now();
        let (mut wakes, mut registration) = (WakerSet::None, Registration::without_clone(waker));
        let mut locked = self.lock();
        let next = loop {
            break match locked.state.next(now, expired, &mut wakes) {
                Some(next) => {
                    locked.state.stop_waiting(ticket, &mut registration);
                    Poll::Ready(Some(next))
                }
                None if !registration.is_prepared() => {
                    // Only a receiver that has to wait clones its waker, and does so without the lock.
                    drop(locked);
                    registration.prepare();
                    locked = self.lock();
                    continue;
                }
                None => {
                    // CORRECTNESS: the look and the wait are under one lock, so that no item can come unseen in between.
                    let empty = locked.state.wait(ticket, &mut registration);
                    if empty == Empty::ForNow { Poll::Pending } else { Poll::Ready(None) }
                }
            };
        };
        drop(locked);
        wakes.wake();
        next
    }

    #[inline]
    pub(crate) fn drain(&self, most: usize, burst: &mut Burst<T>) -> Discarded<T> {
        let now = self.now();
        let (mut expired, mut wakes) = (Vec::new(), WakerSet::default());
        self.lock().state.drain(most, now, burst, &mut expired, &mut wakes);
        wakes.wake();
        expired
    }

    #[inline]
    pub(crate) fn settle_all(&self, charges: &[Charge], keys: &[u64], fate: Fate) {
        let mut wakes = WakerSet::None;
        self.lock().state.settle_all(charges, keys, fate, &mut wakes);
        wakes.wake();
    }

    pub(crate) fn stop_receiving(&self, ticket: Ticket) {
        let wakes = self.lock().state.stop_receiving(ticket);
        wakes.wake();
    }

    #[inline]
    pub(crate) fn settle(&self, held: Held, fate: Fate) {
        let mut wakes = WakerSet::None;
        self.lock().state.settle(held, fate, &mut wakes);
        wakes.wake();
    }

    pub(crate) fn abandon(&self) -> Discarded<T> {
        let (mut left, wakes) = self.lock().state.abandon();
        wakes.wake();
        std::mem::take(&mut left.items)
    }

    pub(crate) fn poll_abandoned(&self, registration: &mut Registration<'_>, ticket: &mut Option<Ticket>) -> Poll<()> {
        registration.prepare();
        if self.lock().state.abandoned_or_wait(ticket, registration) { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().state.intake.admission.totals()
    }

    pub(crate) fn close(&self) {
        let wakes = self.lock().state.close();
        wakes.wake();
    }

    pub(crate) fn set_limits(&self, limits: &Limits) -> Result<(), ConfigError> {
        let mut locked = self.lock();
        locked.state.intake.admission.set_limits(limits)?;
        let wakes = locked.state.intake.wake_senders();
        drop(locked);
        wakes.wake();
        Ok(())
    }

    pub(crate) fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        if !self.has_age_limit {
            return Err(ConfigError::new("max_age", format!("{age:?}"), "a queue that was built with an age limit"));
        }
        self.lock().state.max_age = Some(age);
        Ok(())
    }

    pub(crate) fn add_sender(&self) {
        self.lock().senders += 1;
    }

    /// The last sender closes the queue: what is in it is worked off.
    pub(crate) fn remove_sender(&self) {
        let mut locked = self.lock();
        locked.senders -= 1;
        let wakes = if locked.senders == 0 { locked.state.close() } else { WakerSet::default() };
        drop(locked);
        wakes.wake();
    }

    pub(crate) fn add_receiver(&self) {
        self.lock().receivers += 1;
    }

    /// The last receiver takes the queue with it: nobody would ever work off what is in it.
    ///
    /// The items are dropped here, each by itself.
    pub(crate) fn remove_receiver(&self) {
        let (left, wakes) = self.lock().remove_receiver();
        wakes.wake();
        drop(left);
    }

    /// As [`remove_receiver`](Self::remove_receiver), but a drain returns what was in the queue. Returns how many items that
    /// are. `each` sees every item under the lock, and runs no code of a user.
    pub(crate) fn remove_receiver_and_recover(&self, each: impl FnMut(&mut T)) -> usize {
        let mut locked = self.lock();
        let (mut left, wakes) = locked.remove_receiver();
        let items = left.items.len();
        left.items.iter_mut().for_each(each);
        // CORRECTNESS: in one step with the fates. A drain that sees these items settled ends at once, and then returns them.
        locked.state.recovered.append(&mut left.items);
        drop(locked);
        wakes.wake();
        items
    }
}

// === impl Locked ===

impl<T, A> Locked<T, A> {
    /// What is left if it was the last one.
    fn remove_receiver(&mut self) -> (Leftover<T>, WakerSet) {
        self.receivers -= 1;
        if self.receivers == 0 { self.state.abandon() } else { (Leftover::default(), WakerSet::None) }
    }
}
