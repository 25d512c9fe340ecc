use crate::{
    Charge, Offer, Rejected,
    drained::Burst,
    state::{Held, Next, Refused, State, Wakes},
    sync::{Mutex, lock},
    wait::Ticket,
};
use forebay_core::{ConfigError, Fate, Priority, Totals};
use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// The state of a queue under its lock, and who holds an end of it.
///
/// Every method takes the lock once, for a few instructions, and wakes and drops after it is gone.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    locked: Mutex<Locked<T>>,
    /// Whether the queue was built with an age limit: without one no clock is ever read.
    has_age_limit: bool,
}

#[derive(Debug)]
struct Locked<T> {
    state: State<T>,
    senders: usize,
    receivers: usize,
}

/// Items that left without being worked off: to be dropped, or answered, by whoever asked.
pub(crate) type Discarded<T> = Vec<T>;

// === impl Shared ===

impl<T> Shared<T> {
    /// With one sender and one receiver.
    pub(crate) fn new(state: State<T>) -> Self {
        let has_age_limit = state.max_age.is_some();
        Self { locked: Mutex::new(Locked { state, senders: 1, receivers: 1 }), has_age_limit }
    }

    fn now(&self) -> Option<Instant> {
        self.has_age_limit.then(|| tokio::time::Instant::now().into_std())
    }

    #[inline]
    pub(crate) fn offer(&self, offer: Offer<T>) -> Result<Discarded<T>, Rejected<T>> {
        let offered = lock(&self.locked).state.offer_simply(offer);
        match offered {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(waker)) => {
                waker.wake();
                Ok(Vec::new())
            }
            Err(offer) => self.offer_at_limit(offer),
        }
    }

    /// Takes the offer in if it need not wait for room.
    pub(crate) fn offer_unless_wait(&self, offer: Offer<T>) -> Result<(), Offer<T>> {
        let now = self.now();
        let wakes = lock(&self.locked).state.offer_unless_wait(offer, now)?;
        wakes.wake();
        Ok(())
    }

    #[cold]
    fn offer_at_limit(&self, offer: Offer<T>) -> Result<Discarded<T>, Rejected<T>> {
        let now = self.now();
        let mut evicted = Vec::new();
        let wakes = lock(&self.locked).state.offer(offer, now, &mut evicted)?;
        wakes.wake();
        Ok(evicted)
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
        let now = self.now();
        let offered = lock(&self.locked).state.offer_or_wait(taken, now, ticket.take(), cx.waker());
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
        let waited = lock(&self.locked).state.wait_for_room(ticket.take(), cx.waker());
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
        let wakes = lock(&self.locked).state.stop_waiting(ticket, priority);
        wakes.wake();
    }

    pub(crate) fn try_next(&self, expired: &mut Discarded<T>) -> Option<(T, Held)> {
        let now = self.now();
        let mut wakes = Wakes::default();
        let next = lock(&self.locked).state.next(now, expired, &mut wakes);
        wakes.wake();
        match next {
            Next::Item(item, held) => Some((item, held)),
            Next::Empty | Next::End => None,
        }
    }

    #[inline]
    pub(crate) fn poll_next(
        &self,
        waker: &Waker,
        ticket: &mut Option<Ticket>,
        expired: &mut Discarded<T>,
    ) -> Poll<Option<(T, Held)>> {
        let now = self.now();
        let mut wakes = Wakes::default();
        let next = lock(&self.locked).state.next_or_wait(now, ticket, waker, expired, &mut wakes);
        wakes.wake();
        match next {
            Next::Item(item, held) => Poll::Ready(Some((item, held))),
            Next::Empty => Poll::Pending,
            Next::End => Poll::Ready(None),
        }
    }

    #[inline]
    pub(crate) fn drain(&self, most: usize, burst: &mut Burst<T>) -> Discarded<T> {
        let now = self.now();
        let (mut expired, mut wakes) = (Vec::new(), Wakes::default());
        lock(&self.locked).state.drain(most, now, burst, &mut expired, &mut wakes);
        wakes.wake();
        expired
    }

    #[inline]
    pub(crate) fn settle_all(&self, charges: &[Charge], keys: &[u64], fate: Fate) {
        let wakes = lock(&self.locked).state.settle_all(charges, keys, fate);
        wakes.wake();
    }

    pub(crate) fn stop_receiving(&self, ticket: Ticket) {
        let wakes = lock(&self.locked).state.stop_receiving(ticket);
        wakes.wake();
    }

    #[inline]
    pub(crate) fn settle(&self, held: Held, fate: Fate) {
        let wakes = lock(&self.locked).state.settle(held, fate);
        wakes.wake();
    }

    /// Runs `with` under the lock.
    pub(crate) fn with<R>(&self, with: impl FnOnce(&mut State<T>) -> R) -> R {
        with(&mut lock(&self.locked).state)
    }

    pub(crate) fn close(&self) {
        let wakes = lock(&self.locked).state.close();
        wakes.wake();
    }

    pub(crate) fn abandon(&self) -> Discarded<T> {
        let (items, wakes) = lock(&self.locked).state.abandon();
        wakes.wake();
        items
    }

    pub(crate) fn poll_abandoned(&self, cx: &Context<'_>, ticket: &mut Option<Ticket>) -> Poll<()> {
        let mut locked = lock(&self.locked);
        if locked.state.abandoned_or_wait(ticket, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn totals(&self) -> Totals {
        lock(&self.locked).state.admission.totals()
    }

    pub(crate) fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        if !self.has_age_limit {
            return Err(ConfigError::new("max_age", format!("{age:?}"), "a queue that was built with an age limit"));
        }
        lock(&self.locked).state.max_age = Some(age);
        Ok(())
    }

    pub(crate) fn add_sender(&self) {
        lock(&self.locked).senders += 1;
    }

    /// The last sender closes the queue: what is in it is worked off.
    pub(crate) fn remove_sender(&self) {
        let mut locked = lock(&self.locked);
        locked.senders -= 1;
        let wakes = if locked.senders == 0 { locked.state.close() } else { Wakes::default() };
        drop(locked);
        wakes.wake();
    }

    pub(crate) fn add_receiver(&self) {
        lock(&self.locked).receivers += 1;
    }

    /// The last receiver takes the queue with it: nobody would ever work off what is in it.
    pub(crate) fn remove_receiver(&self) -> Discarded<T> {
        let mut locked = lock(&self.locked);
        locked.receivers -= 1;
        let (items, wakes) =
            if locked.receivers == 0 { locked.state.abandon() } else { (Vec::new(), Wakes::default()) };
        drop(locked);
        wakes.wake();
        items
    }
}
