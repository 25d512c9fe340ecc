use crate::{
    Abandoned, Panicked,
    answers::{Answer, Index},
    clock::{self, Timer},
    intake::Held,
    job::{Calls, Job},
    parked::{Attempt, Delays, Parked, Parking},
    shared::Discarded,
    state::Empty,
    trace,
    wait::Ticket,
    wakes::Wakes,
    worker::isolate,
};
use forebay_core::{BoxError, DropReason, Fate, Seen, Settle, Settlement, time::saturating_add};
use std::{
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

/// The end of the queue, and the item that was taken off it.
pub(crate) struct Hands<T, Res> {
    pub(crate) shared: Arc<Calls<T, Res>>,
    /// In line for an item.
    idle: Option<Ticket>,
    /// Where a worker with an item in flight hears that it is to be let go.
    busy: Option<Ticket>,
    /// Taken, and waiting for the inner service to be ready.
    pub(crate) next: Option<T>,
    answer: Option<Index>,
    pub(crate) orders: Orders<T>,
    /// A request like the one the inner service has, for another attempt.
    pub(crate) kept: Option<T>,
    /// The waits that an item has left that was parked before.
    delays: Option<Delays>,
    /// Where those who wait learn what became of the attempt; `None` if it is a first one.
    attempt: Option<Attempt>,
    timer: Timer,
    /// The slot of the item, from when it is taken until it is settled.
    pub(crate) held: Option<Held>,
    /// Empty but for a moment; kept, so that nothing is dropped on the way.
    expired: Discarded<Job<T>>,
    /// As `expired`, for items whose callers are gone.
    cancelled: Discarded<Job<T>>,
}

/// What a worker does with items that are not simply worked off once.
pub(crate) struct Orders<T> {
    pub(crate) parking: Option<Parking<T>>,
    /// Items whose callers are gone are worked off as well.
    pub(crate) run_cancelled: bool,
}

/// How many items whose callers are gone are taken off under one lock.
const CANCELLED_AT_ONCE: usize = 64;

/// What a worker has of an item that has met its fate: that, and the answer.
pub(crate) type Done<Res> = Option<(Fate, Answer<Res>)>;

// === impl Hands ===

impl<T, Res> Hands<T, Res> {
    pub(crate) fn new(shared: Arc<Calls<T, Res>>, orders: Orders<T>) -> Self {
        Self {
            shared,
            idle: None,
            busy: None,
            next: None,
            answer: None,
            orders,
            kept: None,
            delays: None,
            attempt: None,
            timer: Timer::default(),
            held: None,
            expired: Discarded::new(),
            cancelled: Discarded::new(),
        }
    }

    /// Settles and answers what is `done`, and takes the next item in hand, in one step; `false` at the end.
    ///
    /// After some items whose callers are gone there may be none in hand, and more to take.
    #[inline]
    pub(crate) fn poll_take(&mut self, done: Done<Res>, cx: &mut Context<'_>) -> Poll<bool> {
        let taken = self.poll_take_once(done, cx);
        if taken.is_pending() && self.orders.parking.is_some() { self.poll_take_parked(cx) } else { taken }
    }

    /// Nothing can be taken now: waits also for what is parked.
    #[cold]
    fn poll_take_parked(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            // CORRECTNESS: it stands in line already, so whoever parks an item after this look wakes it.
            let due = self.shared.lock().state.next_due();
            ready!(self.timer.poll(due, cx));
            if let Poll::Ready(taken) = self.poll_take_once(None, cx) {
                return Poll::Ready(taken);
            }
        }
    }

    #[inline]
    fn poll_take_once(&mut self, done: Done<Res>, cx: &Context<'_>) -> Poll<bool> {
        let now = self.shared.now();
        let (mut wakes, mut caller, mut unwanted) = (Wakes::None, None, None);
        let mut locked = self.shared.lock();
        if let (Some((fate, answer)), Some(held)) = (done, self.held.take()) {
            locked.state.settle(held, fate, &mut wakes);
            if let Some(index) = self.answer.take() {
                match locked.aside.answer(index, answer) {
                    Ok(waker) => caller = waker,
                    Err(answer) => unwanted = Some(answer),
                }
            }
        }
        if let Some(attempt) = self.attempt.take() {
            locked.state.unparked(attempt, &mut wakes);
        }
        let parked = if locked.state.has_parked() { locked.state.unpark(clock::now(), &mut wakes) } else { None };
        let skips = !self.orders.run_cancelled;
        if let Some(Parked { item, held, delays }) = parked {
            locked.state.stop_waiting(&mut self.idle);
            if skips && item.answer.is_some_and(|index| locked.aside.reclaim(index)) {
                locked.state.withdraw(held, &mut wakes);
                drop(locked);
                wakes.wake();
                caller.into_iter().for_each(Waker::wake);
                drop((unwanted, item, delays));
                return Poll::Ready(true);
            }
            (self.next, self.answer, self.held) = (Some(item.request), item.answer, Some(held));
            (self.delays, self.attempt) = (Some(delays), Some(Attempt::UnderWay));
            drop(locked);
            wakes.wake();
            caller.into_iter().for_each(Waker::wake);
            drop(unwanted);
            return Poll::Ready(true);
        }
        let taken = loop {
            break match locked.state.next(now, &mut self.expired, &mut wakes) {
                Some((job, held)) if skips && job.answer.is_some_and(|index| locked.aside.reclaim(index)) => {
                    locked.state.settle(held, Fate::Dropped(DropReason::Cancelled), &mut wakes);
                    self.cancelled.push(job);
                    if self.cancelled.len() < CANCELLED_AT_ONCE {
                        continue;
                    }
                    locked.state.stop_waiting(&mut self.idle);
                    Poll::Ready(true)
                }
                Some((job, held)) => {
                    locked.state.stop_waiting(&mut self.idle);
                    self.next = Some(job.request);
                    self.answer = job.answer;
                    self.held = Some(held);
                    Poll::Ready(true)
                }
                None if locked.state.wait(&mut self.idle, cx.waker()) == Empty::ForNow => Poll::Pending,
                None => Poll::Ready(false),
            };
        };
        drop(locked);
        wakes.wake();
        if let Some(caller) = caller {
            caller.wake();
        }
        // Whoever asked has gone; the fate of the item is in the ledger all the same.
        drop(unwanted);
        if !self.expired.is_empty() {
            self.discard_expired();
        }
        if !self.cancelled.is_empty() {
            self.cancelled.clear();
        }
        taken
    }

    #[cold]
    fn discard_expired(&mut self) {
        for job in self.expired.drain(..) {
            drop(self.shared.discard(job, DropReason::Expired));
        }
    }

    /// Whether the caller of the item in hand, which the inner service has not got, is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        let Some(index) = self.answer else { return false };
        !self.orders.run_cancelled && self.next.is_some() && self.shared.lock().aside.is_unwanted(index)
    }

    /// Ready when what is in flight is to be let go.
    pub(crate) fn poll_abandoned(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.shared.poll_abandoned(cx, &mut self.busy)
    }

    /// What the result of the inner service, or the want of one, means for the item and its caller; `None` if the item
    /// waits for another attempt.
    #[inline]
    pub(crate) fn conclude(
        &mut self,
        settle: &impl Settle<Res>,
        result: Result<Result<Res, BoxError>, DropReason>,
    ) -> Done<Res> {
        let result = match result {
            Ok(result) => result,
            Err(reason) => return Some(self.lost(reason)),
        };
        let Poll::Ready(Ok(settlement)) = isolate(|| Poll::Ready(Ok(settle.settle(&result, 1)))) else {
            return Some(self.lost(DropReason::Panicked));
        };
        if self.orders.parking.is_some() && self.waits_for(&settlement) {
            return None;
        }
        self.next = None;
        Some((settlement.fate_of_one(), result))
    }

    /// There is no result: the inner service has panicked, was let go, or was not asked.
    #[cold]
    fn lost(&mut self, reason: DropReason) -> (Fate, Answer<Res>) {
        let error: BoxError = match reason {
            DropReason::Panicked => {
                trace::panicked();
                Panicked::new().into()
            }
            _ => Abandoned::new(self.seen()).into(),
        };
        self.forget(if reason == DropReason::Cancelled { Attempt::Withdrawn } else { Attempt::Failed });
        self.next = None;
        (Fate::Dropped(reason), Err(error))
    }

    /// Whether the item was parked for another attempt.
    fn waits_for(&mut self, settlement: &Settlement) -> bool {
        let Settlement::Retry { after, .. } = settlement else {
            self.forget(Attempt::Taken);
            return false;
        };
        self.attempt = self.attempt.map(|_| Attempt::Failed);
        let parked = self.park(*after);
        if !parked {
            self.forget(Attempt::Failed);
        }
        parked
    }

    /// The item is done with, and so is what was kept for another attempt.
    fn forget(&mut self, attempt: Attempt) {
        self.attempt = self.attempt.map(|_| attempt);
        // A panic of a request that is dropped stays with it.
        let _dropped = isolate(|| {
            (self.kept, self.delays) = (None, None);
            Poll::Ready(Ok(()))
        });
    }

    /// Lets the item wait for another attempt; `false` if it has had all that it gets.
    fn park(&mut self, hint: Option<Duration>) -> bool {
        let Some(parking) = &self.orders.parking else { return false };
        let mut delays = self.delays.take();
        // Code of the user, as is the iterator.
        let wait = isolate(|| Poll::Ready(Ok(delays.get_or_insert_with(|| parking.delays()).next())));
        let (Poll::Ready(Ok(Some(wait))), Some(delays)) = (wait, delays) else { return false };
        // One that was never called is still here itself.
        let (Some(request), Some(held)) = (self.kept.take().or_else(|| self.next.take()), self.held.take()) else {
            return false;
        };
        let (now, hint) = (clock::now(), hint.unwrap_or_default().min(parking.max_hint));
        let parked = Parked { item: Job { request, answer: self.answer.take() }, held, delays };
        let (mut evicted, mut wakes) = (Vec::new(), Wakes::None);
        let mut locked = self.shared.lock();
        let hint = locked.state.max_age.map_or(hint, |most| hint.min(most));
        let due = saturating_add(now, wait.max(hint));
        let refused = locked.state.park(parked, due, parking.max_bytes, &mut evicted, &mut wakes);
        drop(locked);
        wakes.wake();
        evicted.into_iter().for_each(|job| drop(self.shared.discard(job, DropReason::Evicted)));
        let Err(Parked { item, held, .. }) = refused else { return true };
        // The queue was abandoned: what it came back with is final.
        (self.answer, self.held) = (item.answer, Some(held));
        false
    }

    fn seen(&self) -> Seen {
        if self.next.is_some() { Seen::No } else { Seen::Maybe }
    }
}

impl<T, Res> Drop for Hands<T, Res> {
    fn drop(&mut self) {
        let mut lost = 0;
        if let Some(held) = self.held.take() {
            lost += 1;
            self.shared.settle(held, Fate::Dropped(DropReason::Shutdown));
            self.shared.answer(self.answer, Err(Abandoned::new(self.seen()).into()));
        }
        if self.attempt.is_some() {
            let mut wakes = Wakes::None;
            self.shared.lock().state.unparked(Attempt::Failed, &mut wakes);
            wakes.wake();
        }
        if let Some(ticket) = self.idle {
            self.shared.stop_receiving(ticket);
        }
        if let Some(ticket) = self.busy {
            self.shared.lock().state.stop_being_busy(ticket);
        }
        let queued = self.shared.remove_receiver();
        lost += queued.len();
        for job in queued {
            drop(self.shared.discard(job, DropReason::Shutdown));
        }
        if lost > 0 {
            trace::closed(lost);
        }
    }
}

// === impl Orders ===

impl<T> Clone for Orders<T> {
    fn clone(&self) -> Self {
        Self { parking: self.parking.clone(), run_cancelled: self.run_cancelled }
    }
}
