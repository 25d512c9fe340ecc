use crate::{
    Abandoned,
    call::{Call, CallQueue},
    in_hand::{Done, InHand, Item},
    parked::{Attempt, Parked, Parking},
    replies::Reply,
    trace,
};
use forebay_core::{Deadline, DropReason, Fate, Seen, Settle, Settlement, adaptive::Gate, panic, time::saturating_add};
use forebay_intake::{self as intake, DeadlineRule, Registration, Ticket, Timer, WakerSet};
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A worker's end of the queue: takes items off, parks them, and gives them their fate.
///
/// A shell: each method takes the lock for a few instructions, and user code runs and drops without it.
pub(crate) struct CallReceiver<T, Res> {
    pub(crate) shared: Arc<CallQueue<T, Res>>,
    /// What the builder asked for.
    pub(crate) orders: Orders<T>,
    /// The place among the workers that are woken when the queue is abandoned. It is kept from item to item, so that a worker
    /// registers once.
    busy: Option<Ticket>,
    /// Wakes an idle worker when a parked item is due. It is kept, so that its allocation is used again.
    timer: Timer,
}

/// What a worker does with items that are not simply processed once.
pub(crate) struct Orders<T> {
    /// Lets workers take items, where their number tunes itself.
    pub(crate) gate: Option<Gate>,
    /// How retryable items are parked; `None` where they are not.
    pub(crate) parking: Option<Parking<T>>,
    /// Items whose callers do not wait any more are processed as well.
    pub(crate) run_cancelled: bool,
    /// Where an item keeps its deadline; `None` where items have none.
    pub(crate) deadline: Option<DeadlineRule<T>>,
}

/// What a worker finds in the queue.
pub(crate) enum Next<T> {
    /// The next item: its request, and the rest.
    Item(T, Item),
    /// There is none.
    Rest(Rest),
}

/// Why a worker finds no item.
pub(crate) enum Rest {
    /// Items were skipped, since their callers do not wait any more, and there may be others.
    Skipped,
    /// There is none now; the worker waits in line.
    Wait(Ticket),
    /// There is none, and there will be none.
    End,
}

/// How many items without a waiting caller are taken off under one lock.
const CANCELLED_AT_ONCE: usize = 64;

// === impl CallReceiver ===

impl<T, Res> CallReceiver<T, Res> {
    /// Is one receiver of the queue; its maker has counted it.
    pub(crate) fn new(shared: Arc<CallQueue<T, Res>>, orders: Orders<T>) -> Self {
        Self { shared, orders, busy: None, timer: Timer::default() }
    }

    /// Whether the wait of a parked item is over; sets the timer if not.
    ///
    /// CORRECTNESS: the worker stands in line already, so an item that is parked after this look wakes it.
    #[inline]
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        self.orders.parking.is_some() && self.is_parked_item_due(cx)
    }

    #[cold]
    fn is_parked_item_due(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.shared.lock().state.next_due();
        self.timer.poll(due, cx).is_ready()
    }

    /// Takes the next item, or waits in line, in one step with the end of what is `done`.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        waiter: Option<Ticket>,
        done: Option<(&Item, Done<T, Res>)>,
        registration: &mut Registration<'_>,
    ) -> Next<T> {
        // CORRECTNESS: wakers, results and items are user values: they are cloned before the lock is taken, and woken and dropped
        // after it is released.
        registration.prepare();
        let now = self.shared.now();
        let (mut wakes, mut late, mut cancelled) = (WakerSet::None, Vec::new(), Vec::new());
        // The waits of a parked item, apart from what every item has.
        let (mut delays, mut withdrawn) = (None, None);
        let mut locked = self.shared.lock();
        let put = done.map_or(Ok(None), |(item, done)| locked.finish(item, done, &mut wakes));
        let skips = !self.orders.run_cancelled;
        let parked = if locked.state.has_parked() { locked.state.unpark(intake::now(), &mut wakes) } else { None };
        let found = if let Some(Parked { item: call, slot, delays: left }) = parked {
            locked.state.stop_waiting(waiter, registration);
            if skips && call.reply.is_some_and(|id| locked.replies.reclaim(id)) {
                locked.state.withdraw(slot, &mut wakes);
                cancelled.push(call);
                withdrawn = Some(left);
                Err(Rest::Skipped)
            } else {
                delays = Some(left);
                Ok((call, slot))
            }
        } else {
            loop {
                match locked.state.next(now, &mut late, &mut wakes) {
                    Some((call, slot)) if skips && call.reply.is_some_and(|id| locked.replies.reclaim(id)) => {
                        locked.state.settle(slot, Fate::Dropped(DropReason::Cancelled), &mut wakes);
                        cancelled.push(call);
                        if cancelled.len() == CANCELLED_AT_ONCE {
                            locked.state.stop_waiting(waiter, registration);
                            break Err(Rest::Skipped);
                        }
                    }
                    Some(found) => {
                        locked.state.stop_waiting(waiter, registration);
                        break Ok(found);
                    }
                    // CORRECTNESS: the look and the wait are under one lock, so that no item is missed between the two.
                    None => break Err(locked.state.wait(waiter, registration).map_or(Rest::End, Rest::Wait)),
                }
            }
        };
        drop(locked);
        wakes.wake();
        self.shared.wake_or_discard(put);
        for (call, reason) in late {
            panic::discard(self.shared.dismiss(call, reason));
        }
        // CANCEL: their callers have dropped the futures of their calls, and their fates are in the ledger.
        cancelled.into_iter().for_each(panic::discard);
        if let Some(delays) = withdrawn {
            panic::discard(delays);
        }
        match found {
            Ok((Call { request, reply }, slot)) => Next::Item(request, Item { slot, reply, delays }),
            Err(rest) => Next::Rest(rest),
        }
    }

    /// Whether no caller waits any more for an item that the inner service has not got.
    pub(crate) fn is_cancelled(&self, item: &Item) -> bool {
        let skips = !self.orders.run_cancelled;
        // One lock for an item that has waited for the inner service: its caller may have left since it was taken.
        skips && item.reply.is_some_and(|id| self.shared.lock().replies.is_abandoned(id))
    }

    /// Whether the deadline of a request has passed. Runs a function of the user; call it without a lock.
    #[inline]
    pub(crate) fn is_too_late(&self, request: &T) -> bool {
        self.orders.deadline_of(request).is_some_and(|deadline| deadline.instant() <= intake::now())
    }

    /// Ready when the deadline of a request passes, if it has one; wakes the task then.
    #[inline]
    pub(crate) fn poll_deadline(&mut self, request: &T, cx: &mut Context<'_>) -> Poll<()> {
        match self.orders.deadline_of(request) {
            Some(deadline) => self.timer.poll(Some(deadline.instant()), cx),
            None => Poll::Pending,
        }
    }

    /// The end of an abandoned queue, which ends the work in flight.
    ///
    /// CORRECTNESS: the worker registers here only when the inner service has registered for its own progress.
    pub(crate) fn poll_abandoned(&mut self, registration: &mut Registration<'_>) -> Poll<()> {
        self.shared.poll_abandoned(registration, &mut self.busy)
    }

    /// What the result of the inner service means for the item and its caller; `None` if it is parked for another attempt, or
    /// finished already.
    ///
    /// Inlined on purpose, with all that stands between it and the lock: out of line, results are moved from one enum to another
    /// in other pieces than they were written in, and each such move waits for the one before.
    #[inline(always)]
    pub(crate) fn conclude(
        &self,
        settle: &impl Settle<Res>,
        result: Reply<Res>,
        request: InHand<T>,
        item: &mut Item,
    ) -> Option<Done<T, Res>> {
        // Only what is asked of the settlement leaves the catch: moved as a whole, it is read back in other pieces than it was
        // written in, and waits for them.
        let asked = panic::catch(|| {
            let settlement = settle.settle(&result, 1);
            let after = match settlement {
                Settlement::Retry { after, .. } => Some(after.unwrap_or_default()),
                _ => None,
            };
            (settlement.fate_of_one(), after)
        });
        let Ok((fate, after)) = asked else {
            panic::discard(result);
            self.lose(DropReason::Panicked, request, item);
            return None;
        };
        let Some(after) = after else {
            return Some(Done::with_result(fate, Attempt::Taken, result, request.into_request(), item));
        };
        match (&self.orders.parking, request.into_request()) {
            (Some(parking), Some(request)) => {
                self.park(parking, after, fate, result, request, item);
                None
            }
            (_, request) => Some(Done::with_result(fate, Attempt::Failed, result, request, item)),
        }
    }

    /// Parks the item, if it gets another attempt; otherwise the result is final, and its fate is `fate`.
    #[cold]
    fn park(&self, parking: &Parking<T>, hint: Duration, fate: Fate, result: Reply<Res>, request: T, item: &mut Item) {
        let is_again = item.delays.is_some();
        let delays = item.delays.take().map_or_else(|| panic::catch(|| parking.delays()), Ok);
        let Ok(mut delays) = delays else {
            let done = Done::with_result(fate, Attempt::Failed, result, Some(request), item);
            return self.finish(item, done);
        };
        let Ok(Some(wait)) = panic::catch(|| delays.next()) else {
            if is_again {
                item.delays = Some(delays);
            } else {
                panic::discard(delays);
            }
            let done = Done::with_result(fate, Attempt::Failed, result, Some(request), item);
            return self.finish(item, done);
        };
        let (now, mut evicted, mut wakes) = (intake::now(), Vec::new(), WakerSet::None);
        let hint = hint.min(parking.max_hint);
        // An attempt that would begin at the deadline is not begun.
        let ends = self.orders.deadline_of(&request).map(Deadline::instant);
        if ends.is_some_and(|ends| saturating_add(now, wait.max(hint)) >= ends) {
            if is_again {
                item.delays = Some(delays);
            } else {
                panic::discard(delays);
            }
            let done = Done::with_result(fate, Attempt::Failed, result, Some(request), item);
            return self.finish(item, done);
        }
        let Item { slot, reply, .. } = *item;
        let parked = Parked { item: Call { request, reply }, slot, delays };
        // CORRECTNESS: the earlier attempt ends and the item is parked under one lock, so that no other attempt is made between.
        let mut locked = self.shared.lock();
        let hint = hint.min(locked.state.max_age.unwrap_or(Duration::MAX));
        let due = saturating_add(now, wait.max(hint));
        if is_again {
            locked.state.unparked(Attempt::Failed, &mut wakes);
        }
        let refused = locked.state.park(parked, due, parking.max_bytes, &mut evicted, &mut wakes);
        drop(locked);
        wakes.wake();
        for Parked { item, delays, .. } in evicted {
            panic::discard(self.shared.dismiss(item, DropReason::Evicted));
            panic::discard(delays);
        }
        match refused {
            Ok(()) => panic::discard(result),
            Err(Parked { item: call, delays, .. }) => {
                panic::discard(delays);
                self.finish(item, Done::let_go(call.request, result));
            }
        }
    }

    /// An item has its fate without a result of the inner service.
    ///
    /// Such an end is rare, and takes a lock of its own: if it were carried to the next look as others are, what is carried would
    /// be in memory for all of them.
    #[cold]
    pub(crate) fn lose(&self, reason: DropReason, request: InHand<T>, item: &mut Item) {
        let done = Done::without_result(reason, request, item);
        self.finish(item, done);
    }

    /// Finishes what is `done` by itself.
    #[cold]
    pub(crate) fn finish(&self, item: &Item, done: Done<T, Res>) {
        let mut wakes = WakerSet::None;
        let put = self.shared.lock().finish(item, done, &mut wakes);
        wakes.wake();
        self.shared.wake_or_discard(put);
    }

    /// The worker waits in line no longer, and stays a receiver. An item that it was woken for is for the next one.
    #[cold]
    pub(crate) fn leave_line(&self, ticket: Ticket) {
        let wakes = self.shared.lock().state.stop_receiving(ticket);
        wakes.wake();
    }

    /// The worker leaves the queue: what it has in hand is `done`, and the last worker takes with it what is queued.
    ///
    /// CORRECTNESS: every item that is left behind has its fate, its caller has a reply, and a drain returns it; user code that
    /// panics when it is dropped here does not end that half-way.
    pub(crate) fn leave(&mut self, waiter: Option<Ticket>, done: Option<(&Item, Done<T, Res>)>) {
        let (mut lost, mut wakes) = (usize::from(done.is_some()), WakerSet::None);
        let mut locked = self.shared.lock();
        let put = done.map_or(Ok(None), |(item, done)| locked.finish(item, done, &mut wakes));
        if let Some(waiter) = waiter {
            wakes.add(locked.state.stop_receiving(waiter));
        }
        if let Some(busy) = self.busy.take() {
            wakes.add(locked.state.stop_being_busy(busy));
        }
        let mut left = locked.state.remove_receiver(&mut wakes);
        lost += left.items.len();
        let callers: Vec<_> = left.items.iter_mut().filter_map(|call| call.reply.take()).collect();
        // CORRECTNESS: in one step with the fates. A drain that sees these items settled ends at once, and then returns them.
        locked.state.recovered.append(&mut left.items);
        drop(locked);
        wakes.wake();
        self.shared.wake_or_discard(put);
        for caller in callers {
            self.shared.reply(Some(caller), Err(Abandoned::new(Seen::No).into()));
        }
        if lost > 0 {
            trace::closed(lost);
        }
    }
}

// === impl Orders ===

impl<T> Orders<T> {
    #[inline]
    fn deadline_of(&self, request: &T) -> Option<Deadline> {
        self.deadline.as_ref()?.of(request)
    }
}

impl<T> Clone for Orders<T> {
    fn clone(&self) -> Self {
        let Self { gate, parking, run_cancelled, deadline } = self;
        Self { gate: gate.clone(), parking: parking.clone(), run_cancelled: *run_cancelled, deadline: deadline.clone() }
    }
}
