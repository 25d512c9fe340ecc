use crate::{
    Limits, Offer, Overflow, Rejected,
    drained::Burst,
    state::{Leftover, Refused, State},
};
use forebay_core::{ConfigError, Fate, Priority, Totals};
use forebay_intake::{
    self as intake, Admission, Charge, Held, Intake, Mutex, MutexGuard, Registration, Ticket, WakerSet, lock, wake,
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
}

// === impl Shared ===

impl<T, A> Shared<T, A> {
    /// With one sender and one receiver.
    pub(crate) fn new(setup: Setup, aside: A) -> Result<Self, ConfigError> {
        let Setup { limits, overflow, max_age, fair_shares } = setup;
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

    /// Takes the offer in, or hands it back; what it evicts is given to `discard`, without the lock.
    ///
    /// Always inlined: a call would lay the item into memory first, only to read it again in other pieces than it was
    /// written in, and that stall takes longer than all that is done here.
    #[inline(always)]
    pub(crate) fn offer(&self, offer: Offer<T>, discard: impl FnOnce(Vec<T>)) -> Result<(), Rejected<T>> {
        // In parts, and put together again only where it is refused: an item that never had to have an address of its
        // own is made up in the very place where it waits.
        let (candidate, item) = (offer.meta(), offer.item);
        let mut locked = self.lock();
        let Some(epoch) = locked.state.admit_simply(candidate) else {
            drop(locked);
            return self.offer_at_limit(Offer::from_parts(item, candidate), discard);
        };
        let waker = locked.state.push(item, candidate, epoch);
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn offer_at_limit(&self, offer: Offer<T>, discard: impl FnOnce(Vec<T>)) -> Result<(), Rejected<T>> {
        let now = self.now();
        let (mut evicted, mut wakes) = (Vec::new(), WakerSet::None);
        let offered = self.lock().state.offer(offer, now, &mut evicted, &mut wakes);
        wakes.wake();
        discard(evicted);
        offered
    }

    /// Takes the offer in if it need not wait for room.
    pub(crate) fn offer_unless_wait(&self, offer: Offer<T>) -> Result<(), Offer<T>> {
        let now = self.now();
        let wakes = self.lock().state.offer_unless_wait(offer, now)?;
        wakes.wake();
        Ok(())
    }

    /// `Pending` means that the offer is in `offer` again, and waits in line with `ticket`.
    pub(crate) fn poll_offer(
        &self,
        cx: &Context<'_>,
        offer: &mut Option<Offer<T>>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<(), Rejected<T>>> {
        let Some(taken) = offer.take() else {
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
                *offer = Some(again);
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

    pub(crate) fn try_next(&self, expired: &mut Vec<T>) -> Option<(T, Held)> {
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
        expired: &mut Vec<T>,
    ) -> Poll<Option<(T, Held)>> {
        let now = self.now();
        let (mut wakes, mut registration) = (WakerSet::None, Registration::without_clone(waker));
        let mut locked = self.lock();
        let next = loop {
            break match locked.state.next(now, expired, &mut wakes) {
                Some(next) => {
                    locked.state.stop_waiting(ticket.take(), &mut registration);
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
                    *ticket = locked.state.wait(ticket.take(), &mut registration);
                    if ticket.is_some() { Poll::Pending } else { Poll::Ready(None) }
                }
            };
        };
        drop(locked);
        wakes.wake();
        next
    }

    #[inline]
    pub(crate) fn drain(&self, most: usize, burst: &mut Burst<T>) -> Vec<T> {
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

    pub(crate) fn abandon(&self) -> Vec<T> {
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
}

// === impl Locked ===

impl<T, A> Locked<T, A> {
    /// What is left if it was the last one.
    pub(crate) fn remove_receiver(&mut self) -> (Leftover<T>, WakerSet) {
        self.receivers -= 1;
        if self.receivers == 0 { self.state.abandon() } else { (Leftover::default(), WakerSet::None) }
    }
}
