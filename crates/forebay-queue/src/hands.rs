use crate::{
    Abandoned, Panicked,
    answers::{Answer, Index},
    clock::{self, Timer},
    intake::Held,
    job::{Calls, Job},
    parked::{Attempt, Delays, Parked, Parking},
    registration::Registration,
    shared::Discarded,
    state::Empty,
    trace,
    wait::Ticket,
    wakes::Wakes,
};
use forebay_core::{BoxError, DropReason, Fate, Seen, Settle, Settlement, panic, time::saturating_add};
use std::{
    sync::Arc,
    task::{Context, Poll, ready},
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
    /// The item that was let go, until it is settled.
    unsent: Option<T>,
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

/// What becomes of an item whose result is there.
enum Next {
    /// It waits for another attempt.
    Waits,
    /// Its result is final.
    Final,
    /// There might have been another attempt, but the queue was abandoned.
    LetGo,
}

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
            unsent: None,
        }
    }

    /// Settles and answers what is `done`, and takes the next item in hand, in one step; `false` at the end.
    ///
    /// After some items whose callers are gone there may be none in hand, and more to take.
    #[inline]
    pub(crate) fn poll_take(
        &mut self,
        done: Done<Res>,
        cx: &mut Context<'_>,
        registration: &mut Registration<'_>,
    ) -> Poll<bool> {
        let taken = self.poll_take_once(done, registration);
        if taken.is_pending() && self.orders.parking.is_some() {
            self.poll_take_parked(cx, registration)
        } else {
            taken
        }
    }

    /// Nothing can be taken now: waits also for what is parked.
    #[cold]
    fn poll_take_parked(&mut self, cx: &mut Context<'_>, registration: &mut Registration<'_>) -> Poll<bool> {
        loop {
            // CORRECTNESS: it stands in line already, so whoever parks an item after this look wakes it.
            let due = self.shared.lock().state.next_due();
            ready!(self.timer.poll(due, cx));
            if let Poll::Ready(taken) = self.poll_take_once(None, registration) {
                return Poll::Ready(taken);
            }
        }
    }

    #[inline]
    fn poll_take_once(&mut self, done: Done<Res>, registration: &mut Registration<'_>) -> Poll<bool> {
        registration.prepare();
        let now = self.shared.now();
        let (mut wakes, mut caller, mut unwanted) = (Wakes::None, None, None);
        let mut locked = self.shared.lock();
        if let (Some((fate, answer)), Some(held)) = (done, self.held.take()) {
            locked.state.settle(held, fate, &mut wakes);
            if let Some(request) = self.unsent.take() {
                // CORRECTNESS: in one step with its fate. A drain that sees the item settled ends at once, and then returns
                // what is recovered.
                locked.state.recovered.push(Job { request, answer: None });
            }
            let answered = match self.answer.take() {
                Some(index) => locked.aside.answer(index, answer),
                None => Err(answer),
            };
            match answered {
                Ok(waker) => caller = waker,
                Err(answer) => unwanted = Some(answer),
            }
        }
        if let Some(attempt) = self.attempt.take() {
            locked.state.unparked(attempt, &mut wakes);
        }
        let (mut withdrawn, skips) = (None, !self.orders.run_cancelled);
        let parked = if locked.state.has_parked() { locked.state.unpark(clock::now(), &mut wakes) } else { None };
        let taken = if let Some(parked) = parked {
            locked.state.stop_waiting(&mut self.idle, registration);
            if skips && parked.item.answer.is_some_and(|index| locked.aside.reclaim(index)) {
                locked.state.withdraw(parked.held, &mut wakes);
                withdrawn = Some(parked);
            } else {
                let Parked { item, held, delays } = parked;
                (self.next, self.answer, self.held) = (Some(item.request), item.answer, Some(held));
                (self.delays, self.attempt) = (Some(delays), Some(Attempt::UnderWay));
            }
            Poll::Ready(true)
        } else {
            loop {
                break match locked.state.next(now, &mut self.expired, &mut wakes) {
                    Some((job, held)) if skips && job.answer.is_some_and(|index| locked.aside.reclaim(index)) => {
                        locked.state.settle(held, Fate::Dropped(DropReason::Cancelled), &mut wakes);
                        self.cancelled.push(job);
                        if self.cancelled.len() < CANCELLED_AT_ONCE {
                            continue;
                        }
                        locked.state.stop_waiting(&mut self.idle, registration);
                        Poll::Ready(true)
                    }
                    Some((job, held)) => {
                        locked.state.stop_waiting(&mut self.idle, registration);
                        self.next = Some(job.request);
                        self.answer = job.answer;
                        self.held = Some(held);
                        Poll::Ready(true)
                    }
                    None if locked.state.wait(&mut self.idle, registration) == Empty::ForNow => Poll::Pending,
                    None => Poll::Ready(false),
                };
            }
        };
        drop(locked);
        wakes.wake();
        Wakes::one(caller).wake();
        if let Some(unwanted) = unwanted {
            // Its caller has gone, or there was none; the fate of the item is in the ledger all the same.
            panic::discard(unwanted);
        }
        if !self.expired.is_empty() || !self.cancelled.is_empty() || withdrawn.is_some() {
            self.discard_skipped(withdrawn);
        }
        taken
    }

    #[cold]
    fn discard_skipped(&mut self, withdrawn: Option<Parked<Job<T>>>) {
        for job in self.expired.drain(..) {
            panic::discard(self.shared.discard(job, DropReason::Expired));
        }
        self.cancelled.drain(..).for_each(panic::discard);
        if let Some(Parked { item, delays, .. }) = withdrawn {
            panic::discard(item);
            panic::discard(delays);
        }
    }

    /// Whether the caller of the item in hand, which the inner service has not got, is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        let Some(index) = self.answer else { return false };
        !self.orders.run_cancelled && self.next.is_some() && self.shared.lock().aside.is_unwanted(index)
    }

    /// Ready when what is in flight is to be let go.
    pub(crate) fn poll_abandoned(&mut self, registration: &mut Registration<'_>) -> Poll<()> {
        self.shared.poll_abandoned(registration, &mut self.busy)
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
        let Ok(settlement) = panic::catch(|| settle.settle(&result, 1)) else {
            panic::discard(result);
            return Some(self.lost(DropReason::Panicked));
        };
        if self.orders.parking.is_some() {
            match self.wait_or_end(&settlement) {
                Next::Waits => {
                    panic::discard(result);
                    return None;
                }
                Next::LetGo => return Some((Fate::Dropped(DropReason::Shutdown), result)),
                Next::Final => {}
            }
        }
        self.discard_next();
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
        if reason == DropReason::Shutdown {
            self.unsent = self.next.take().or_else(|| self.kept.take());
        }
        self.forget(if reason == DropReason::Cancelled { Attempt::Withdrawn } else { Attempt::Failed });
        self.discard_next();
        (Fate::Dropped(reason), Err(error))
    }

    /// Lets an item wait that may get another attempt.
    fn wait_or_end(&mut self, settlement: &Settlement) -> Next {
        let Settlement::Retry { after, .. } = settlement else {
            self.forget(Attempt::Taken);
            return Next::Final;
        };
        self.attempt = self.attempt.map(|_| Attempt::Failed);
        let next = self.park(*after);
        if matches!(next, Next::Final) {
            self.forget(Attempt::Failed);
        }
        next
    }

    /// The item is done with, and so is what was kept for another attempt.
    fn forget(&mut self, attempt: Attempt) {
        self.attempt = self.attempt.map(|_| attempt);
        panic::discard(self.kept.take());
        panic::discard(self.delays.take());
    }

    /// The item that the inner service has not got, as it was never ready for it, is done with.
    #[inline]
    fn discard_next(&mut self) {
        if let Some(next) = self.next.take() {
            panic::discard(next);
        }
    }

    /// Lets the item wait for another attempt, if it gets one.
    fn park(&mut self, hint: Option<Duration>) -> Next {
        let Some(parking) = &self.orders.parking else { return Next::Final };
        // Code of the user, as is the iterator.
        let waits = panic::catch(|| self.delays.get_or_insert_with(|| parking.delays()).next());
        let (Ok(Some(wait)), Some(held)) = (waits, self.held) else { return Next::Final };
        // One that was never called is still here itself.
        let Some(request) = self.kept.take().or_else(|| self.next.take()) else { return Next::Final };
        let Some(delays) = self.delays.take() else { return Next::Final };
        let (now, hint) = (clock::now(), hint.unwrap_or_default().min(parking.max_hint));
        let parked = Parked { item: Job { request, answer: self.answer.take() }, held, delays };
        let (mut evicted, mut wakes) = (Vec::new(), Wakes::None);
        let mut locked = self.shared.lock();
        let hint = locked.state.max_age.map_or(hint, |most| hint.min(most));
        let due = saturating_add(now, wait.max(hint));
        let refused = locked.state.park(parked, due, parking.max_bytes, &mut evicted, &mut wakes);
        drop(locked);
        wakes.wake();
        for Parked { item, delays, .. } in evicted {
            panic::discard(self.shared.discard(item, DropReason::Evicted));
            panic::discard(delays);
        }
        let Err(Parked { item, delays, .. }) = refused else {
            self.held = None;
            return Next::Waits;
        };
        panic::discard(delays);
        (self.answer, self.unsent) = (item.answer, Some(item.request));
        Next::LetGo
    }

    fn seen(&self) -> Seen {
        if self.next.is_some() { Seen::No } else { Seen::Maybe }
    }
}

/// CORRECTNESS: what a worker leaves behind has its fate, its callers are answered, and a drain returns it; nothing of a user
/// that is dropped here may end that half-way.
impl<T, Res> Drop for Hands<T, Res> {
    fn drop(&mut self) {
        let (mut lost, mut wakes) = (0, Wakes::None);
        if let Some(held) = self.held.take() {
            lost += 1;
            let error = Abandoned::new(self.seen());
            let unsent = self.next.take().or_else(|| self.kept.take());
            let mut locked = self.shared.lock();
            locked.state.settle(held, Fate::Dropped(DropReason::Shutdown), &mut wakes);
            // CORRECTNESS: in one step with its fate, as where it is taken.
            locked.state.recovered.extend(unsent.map(|request| Job { request, answer: None }));
            drop(locked);
            self.shared.answer(self.answer.take(), Err(error.into()));
        }
        if self.attempt.is_some() {
            self.shared.lock().state.unparked(Attempt::Failed, &mut wakes);
        }
        if let Some(ticket) = self.idle {
            self.shared.stop_receiving(ticket);
        }
        if let Some(ticket) = self.busy {
            let gone = self.shared.lock().state.stop_being_busy(ticket);
            gone.wake();
        }
        wakes.wake();
        let mut callers = Vec::new();
        lost += self.shared.remove_receiver_and_recover(|job| callers.extend(job.answer.take()));
        for caller in callers {
            self.shared.answer(Some(caller), Err(Abandoned::new(Seen::No).into()));
        }
        if lost > 0 {
            trace::closed(lost);
        }
        self.forget(Attempt::Failed);
        self.discard_next();
    }
}

// === impl Orders ===

impl<T> Clone for Orders<T> {
    fn clone(&self) -> Self {
        Self { parking: self.parking.clone(), run_cancelled: self.run_cancelled }
    }
}
