use crate::{
    Rejected,
    drained::DrainBuf,
    entry::{Entry, Refused},
    lanes::Lanes,
    parked::{Attempt, Delays, Parked, ParkedItems},
    slots::SlotRuns,
};
use forebay_core::{DropReason, Fate, Priority, panic};
use forebay_intake::{
    AdmitError, Charge, DelayControl, Epoch, Intake, Lifecycle, OfferMeta, Registration, Slot, Ticket, WaitLine,
    WakerSet,
};
use std::{
    task::Waker,
    time::{Duration, Instant},
};

/// A queue without its lock: the items in it, the order in which they leave, and the tasks that wait for them. Pure state.
#[derive(Debug)]
pub(crate) struct QueueState<T> {
    /// Admission, lifecycle and ledger.
    pub(crate) intake: Intake,
    /// The items that wait.
    lanes: Lanes<T>,
    /// What each entry of the high lane holds, in step with it.
    high: SlotRuns,
    /// What each entry of the normal lane holds, in step with it.
    normal: SlotRuns,
    /// The age and key of each entry, in step with `lanes`; `None` in queues without age limit, delay control and fair shares.
    tracked: Option<Lanes<Tracked>>,
    /// Items that wait for another attempt; empty unless the queue parks.
    parked: ParkedItems<T>,
    /// Bytes that wait in the high lane.
    high_bytes: usize,
    /// Bytes that have left the lanes and are not settled.
    in_hand: usize,
    /// The age limit; `None` in a queue that was built without one.
    pub(crate) max_age: Option<Duration>,
    /// Says which items are shed; `None` in a queue that was built without it.
    delay: Option<DelayControl>,
    /// Receivers that found no item.
    idle: WaitLine,
    /// Workers with an item in flight, which are woken when the queue is abandoned.
    busy: WaitLine,
    /// How many ends there are where items enter; the last one closes the queue.
    pub(crate) senders: usize,
    /// How many ends there are where items leave; the last one abandons the queue.
    pub(crate) receivers: usize,
    /// Items that workers let go, for a drain to return.
    pub(crate) recovered: Vec<T>,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    /// When the item was admitted; `None` without age limit and delay control.
    admitted: Option<Instant>,
    /// The key whose fair share the item takes.
    key: Option<u64>,
}

/// What was in a queue when it was abandoned.
pub(crate) struct Leftover<T> {
    pub(crate) items: Vec<T>,
    /// User code, which is dropped without the lock.
    delays: Vec<Delays>,
}

// === impl QueueState ===

impl<T> QueueState<T> {
    /// An empty queue, with one sender and one receiver.
    pub(crate) const fn new(
        intake: Intake,
        max_age: Option<Duration>,
        delay: Option<DelayControl>,
        fair_shares: bool,
    ) -> Self {
        let tracks = max_age.is_some() || delay.is_some() || fair_shares;
        Self {
            intake,
            lanes: Lanes::new(),
            high: SlotRuns::new(),
            normal: SlotRuns::new(),
            tracked: if tracks { Some(Lanes::new()) } else { None },
            parked: ParkedItems::new(),
            high_bytes: 0,
            in_hand: 0,
            max_age,
            delay,
            idle: WaitLine::new(),
            busy: WaitLine::new(),
            senders: 1,
            receivers: 1,
            recovered: Vec::new(),
        }
    }

    /// Admits an item of this meta, if then it only has to be [pushed](Self::push).
    ///
    /// The item itself is not passed, so that it is moved just once, into its place.
    #[inline]
    pub(crate) fn admit_simply(&mut self, meta: OfferMeta) -> Option<Epoch> {
        if self.tracked.is_some() || self.intake.has_senders() {
            return None;
        }
        // No shares are kept here, so there is no key.
        self.intake.admit(OfferMeta { key: None, ..meta }).ok()
    }

    /// Admits `entry`, or hands it back and counts the refusal. Evicted items are put into `evicted`.
    pub(crate) fn offer(
        &mut self,
        entry: Entry<T>,
        now: Option<Instant>,
        evicted: &mut Vec<T>,
        wakers: &mut WakerSet,
    ) -> Result<(), Rejected<T>> {
        let evictable = Charge {
            items: self.lanes.normal.len() as u64,
            bytes: self.intake.admission.bytes() - self.in_hand - self.high_bytes,
            ..Charge::default()
        };
        let Self { intake, lanes, normal, tracked, .. } = self;
        let evict = || {
            let item = lanes.normal.pop()?;
            let (bytes, epoch) = normal.pop();
            let tracked = tracked.as_mut().and_then(|tracked| tracked.normal.pop());
            evicted.push(item);
            Some(Slot::new(bytes, epoch, tracked.and_then(|tracked| tracked.key)))
        };
        match intake.admit_or_evict(entry.meta, evictable, evict, wakers) {
            Ok(epoch) => {
                self.enter(entry, epoch, now, wakers);
                Ok(())
            }
            Err(reason) => Err(Rejected::new(entry.item, reason)),
        }
    }

    /// Admits `entry` if there is room for it and no sender waits in line before it.
    pub(crate) fn offer_unless_wait(
        &mut self,
        entry: Entry<T>,
        now: Option<Instant>,
        wakers: &mut WakerSet,
    ) -> Result<(), Entry<T>> {
        let Some(epoch) = self.intake.admit_unless_wait(entry.meta) else { return Err(entry) };
        self.enter(entry, epoch, now, wakers);
        Ok(())
    }

    /// As [`offer`](Self::offer), but the sender waits in line where there is no room.
    pub(crate) fn offer_or_wait(
        &mut self,
        entry: Entry<T>,
        now: Option<Instant>,
        ticket: Option<Ticket>,
        registration: &mut Registration<'_>,
        wakers: &mut WakerSet,
    ) -> Result<(), Refused<T>> {
        match self.intake.admit_or_wait(entry.meta, ticket, registration) {
            Ok((epoch, woken)) => {
                wakers.add(woken);
                self.enter(entry, epoch, now, wakers);
                Ok(())
            }
            Err(AdmitError::Waits(ticket, woken)) => {
                wakers.add(woken);
                Err(Refused::Wait(entry, ticket))
            }
            Err(AdmitError::Refused(reason, woken)) => {
                wakers.add(woken);
                Err(Refused::Rejected(Rejected::new(entry.item, reason)))
            }
        }
    }

    /// Stores an entry that was admitted.
    fn enter(&mut self, entry: Entry<T>, epoch: Epoch, now: Option<Instant>, wakers: &mut WakerSet) {
        let Entry { item, meta } = entry;
        if let Some(tracked) = &mut self.tracked {
            let key = if meta.priority == Priority::Normal { meta.key } else { None };
            tracked.push(Tracked { admitted: now, key }, meta.priority);
        }
        wakers.add(WakerSet::one(self.push(item, meta, epoch)));
    }

    /// Puts an item that was admitted into its lane, and returns the receiver to wake.
    #[inline]
    pub(crate) fn push(&mut self, item: T, meta: OfferMeta, epoch: Epoch) -> Option<Waker> {
        let OfferMeta { bytes, priority, .. } = meta;
        self.lanes.push(item, priority);
        match priority {
            Priority::Normal => self.normal.push(bytes, epoch),
            Priority::High => {
                self.high.push(bytes, epoch);
                self.high_bytes += bytes;
            }
        }
        self.idle.release()
    }

    /// The next item. Those that waited for too long at `now` are settled and put into `late`, with the reason.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        now: Option<Instant>,
        late: &mut Vec<(T, DropReason)>,
        wakers: &mut WakerSet,
    ) -> Option<(T, Slot)> {
        loop {
            let (item, priority) = self.lanes.pop()?;
            let (bytes, epoch) = match priority {
                Priority::Normal => self.normal.pop(),
                Priority::High => {
                    let (bytes, epoch) = self.high.pop();
                    self.high_bytes -= bytes;
                    (bytes, epoch)
                }
            };
            let (key, drops) = if self.tracked.is_some() { self.pop_tracked(priority, now) } else { (None, None) };
            let slot = Slot::new(bytes, epoch, key);
            if let Some(reason) = drops {
                self.intake.settle(slot, Fate::Dropped(reason), wakers);
                late.push((item, reason));
                continue;
            }
            self.in_hand += bytes;
            return Some((item, slot));
        }
    }

    /// The key of the item that was just popped, and why it is dropped if it waited for too long at `now`.
    #[cold]
    fn pop_tracked(&mut self, priority: Priority, now: Option<Instant>) -> (Option<u64>, Option<DropReason>) {
        let tracked = self.tracked.as_mut().and_then(Lanes::pop).map(|(tracked, _)| tracked);
        let key = tracked.and_then(|tracked| tracked.key);
        let (Some(now), Some(admitted)) = (now, tracked.and_then(|tracked| tracked.admitted)) else {
            return (key, None);
        };
        let wait = now.saturating_duration_since(admitted);
        // The high lane overtakes, so its waits say nothing of the load.
        let sheds = match (priority, &mut self.delay) {
            (Priority::Normal, Some(delay)) => delay.sheds(wait, self.lanes.normal.is_empty(), now),
            _ => false,
        };
        let is_expired = self.max_age.is_some_and(|limit| wait > limit);
        (key, if is_expired { Some(DropReason::Expired) } else { sheds.then_some(DropReason::Shed) })
    }

    /// Waits for an item where there is [none](Self::next), in the line of the others; `None` if there will be none.
    #[inline]
    pub(crate) fn wait(&mut self, ticket: Option<Ticket>, registration: &mut Registration<'_>) -> Option<Ticket> {
        // A parked item may yet be for a receiver that waits.
        if self.intake.lifecycle() == Lifecycle::Open || !self.parked.is_empty() {
            return Some(self.idle.wait(ticket, registration));
        }
        self.stop_waiting(ticket, registration);
        None
    }

    /// A receiver has found an item, and waits no longer.
    #[inline]
    pub(crate) fn stop_waiting(&mut self, ticket: Option<Ticket>, registration: &mut Registration<'_>) {
        if let Some(ticket) = ticket {
            registration.retire(self.idle.leave(ticket));
        }
    }

    /// Takes up to `most` items into `buf`, by two swaps where all items may leave and nothing is tracked of them.
    #[inline]
    pub(crate) fn drain(
        &mut self,
        most: usize,
        now: Option<Instant>,
        buf: &mut DrainBuf<T>,
        late: &mut Vec<(T, DropReason)>,
        wakers: &mut WakerSet,
    ) {
        let waiting = self.lanes.len();
        if let Some(epoch) = self.intake.admission.only_epoch()
            && waiting <= most
            && self.tracked.is_none()
            && self.lanes.swap(&mut buf.high, &mut buf.normal, &mut buf.scheduler)
        {
            // All that is held and has not left the lanes before.
            let bytes = self.intake.admission.bytes() - self.in_hand;
            self.in_hand += bytes;
            self.high_bytes = 0;
            self.high.clear();
            self.normal.clear();
            buf.charges.push(Charge { items: waiting as u64, bytes, epoch });
            return;
        }
        for _ in 0..most {
            let Some((item, slot)) = self.next(now, late, wakers) else { break };
            buf.keys.extend(slot.key());
            buf.add(slot.charge());
            buf.ordered.push(item);
        }
    }

    /// A receiver that waits is dropped; the item that it was woken for is for another.
    pub(crate) fn stop_receiving(&mut self, ticket: Ticket) -> WakerSet {
        if let Some(waker) = self.idle.leave(ticket) {
            return WakerSet::Retired(waker);
        }
        let nothing = self.lanes.len() == 0 && self.parked.is_empty();
        if nothing { WakerSet::None } else { WakerSet::one(self.idle.release()) }
    }

    /// Parks an item that was taken off until `due`, with its slot; at most `max_bytes` are parked.
    ///
    /// The item is handed back when the queue is abandoned. Items beyond `max_bytes` are settled and put into `evicted`.
    pub(crate) fn park(
        &mut self,
        parked: Parked<T>,
        due: Instant,
        max_bytes: usize,
        evicted: &mut Vec<Parked<T>>,
        wakers: &mut WakerSet,
    ) -> Result<(), Parked<T>> {
        if self.intake.lifecycle() == Lifecycle::Aborted {
            return Err(parked);
        }
        self.parked.park(parked, due);
        while let Some(oldest) = self.parked.evict(max_bytes) {
            self.settle(oldest.slot, Fate::Dropped(DropReason::Evicted), wakers);
            evicted.push(oldest);
        }
        // CORRECTNESS: the worker that parks the item may be busy when it is due, so an idle one is woken to set its timer.
        wakers.add(WakerSet::one(self.idle.release()));
        Ok(())
    }

    /// Whether any item waits for another attempt.
    #[inline]
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// An item whose next attempt is due at `now`.
    pub(crate) fn unpark(&mut self, now: Instant, wakers: &mut WakerSet) -> Option<Parked<T>> {
        let parked = self.parked.take_due(now)?;
        if self.parked.is_empty() && self.intake.lifecycle() != Lifecycle::Open {
            // CORRECTNESS: receivers of a closed queue that waited for parked items have nothing to wait for any more.
            wakers.add(WakerSet::Many(self.idle.release_all()));
        } else if self.lanes.len() > 0 {
            // CORRECTNESS: the receiver may have been woken for an item of the lanes, which is for the next one.
            wakers.add(WakerSet::one(self.idle.release()));
        }
        Some(parked)
    }

    /// An attempt of an item that was parked has ended.
    pub(crate) fn unparked(&mut self, attempt: Attempt, wakers: &mut WakerSet) {
        self.parked.end_attempt(attempt);
        if !self.parked.is_empty() {
            // CORRECTNESS: another attempt may be made now, or twice as many, and needs a receiver.
            wakers.add(WakerSet::one(self.idle.release()));
        }
    }

    /// An item that was parked gets no other attempt, since no caller waits for it.
    pub(crate) fn withdraw(&mut self, slot: Slot, wakers: &mut WakerSet) {
        self.unparked(Attempt::Withdrawn, wakers);
        self.settle(slot, Fate::Dropped(DropReason::Cancelled), wakers);
    }

    /// When the next attempt of a parked item may be made.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.parked.next_due()
    }

    /// Counts the fate of an item that was taken off, and frees its slot.
    #[inline]
    pub(crate) fn settle(&mut self, slot: Slot, fate: Fate, wakers: &mut WakerSet) {
        self.in_hand -= slot.charge().bytes;
        self.intake.settle(slot, fate, wakers);
    }

    /// As [`settle`](Self::settle), for items that left together.
    pub(crate) fn settle_all(&mut self, charges: &[Charge], keys: &[u64], fate: Fate, wakers: &mut WakerSet) {
        keys.iter().for_each(|key| self.intake.admission.free_share(*key));
        for charge in charges {
            self.in_hand -= charge.bytes;
            self.intake.settle_charge(*charge, fate, wakers);
        }
    }

    /// Whether work in flight is let go; waits for that if not.
    pub(crate) fn abandoned_or_wait(
        &mut self,
        ticket: &mut Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> bool {
        if self.intake.lifecycle() == Lifecycle::Aborted {
            return true;
        }
        *ticket = Some(self.busy.wait(ticket.take(), registration));
        false
    }

    /// A worker is dropped.
    pub(crate) fn stop_being_busy(&mut self, ticket: Ticket) -> WakerSet {
        self.busy.leave(ticket).map_or(WakerSet::None, WakerSet::Retired)
    }

    /// From now on no item is admitted.
    pub(crate) fn close(&mut self, wakers: &mut WakerSet) {
        wakers.add(self.intake.close());
        wakers.add(WakerSet::Many(self.idle.release_all()));
    }

    /// From now on no item is admitted, and none is processed. The items that were queued are settled and returned.
    pub(crate) fn abandon(&mut self, wakers: &mut WakerSet) -> Leftover<T> {
        wakers.add(self.intake.abandon());
        let mut left = Leftover { items: Vec::with_capacity(self.queued()), delays: Vec::new() };
        while let Some((item, slot)) = self.next(None, &mut Vec::new(), wakers) {
            self.settle(slot, Fate::Dropped(DropReason::Shutdown), wakers);
            left.items.push(item);
        }
        while let Some(parked) = self.parked.pop() {
            self.settle(parked.slot, Fate::Dropped(DropReason::Shutdown), wakers);
            left.items.push(parked.item);
            left.delays.push(parked.delays);
        }
        wakers.add(WakerSet::Many(self.idle.release_all()));
        wakers.add(WakerSet::Many(self.busy.release_all()));
        left
    }

    /// The last sender closes the queue: the items in it are processed.
    pub(crate) fn remove_sender(&mut self, wakers: &mut WakerSet) {
        self.senders -= 1;
        if self.senders == 0 {
            self.close(wakers);
        }
    }

    /// The last receiver abandons the queue, since no item in it would ever be processed: what is left then.
    pub(crate) fn remove_receiver(&mut self, wakers: &mut WakerSet) -> Leftover<T> {
        self.receivers -= 1;
        if self.receivers == 0 { self.abandon(wakers) } else { Leftover { items: Vec::new(), delays: Vec::new() } }
    }

    /// Items that wait.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.len() + self.parked.len()
    }
}

// === impl Leftover ===

impl<T> Drop for Leftover<T> {
    fn drop(&mut self) {
        self.items.drain(..).for_each(panic::discard);
        self.delays.drain(..).for_each(panic::discard);
    }
}
