use crate::{
    Batching,
    callers::Replies,
    describe::Label,
    lot::{ClosedLot, Join, Lot, OpenLot, Partition},
    open::Open,
};
use forebay_core::{BoxError, DropReason, Fate, Priority, time::saturating_add};
use forebay_queue::{
    Evicted, Overflow, Rejected,
    parts::{Candidate, Charge, Epoch, Held, Intake, NotNow, Phase, Registration, Ticket, Turn, Wakes},
};
use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// A batcher without its lock: what is in it, which batch is next, and who waits. Pure state.
#[derive(Debug)]
pub(crate) struct State<T, A> {
    pub(crate) intake: Intake,
    batching: Batching,
    open: Open<T, A>,
    /// Closed batches that hold something of high priority, and those that do not.
    high: VecDeque<ClosedLot<T, A>>,
    normal: VecDeque<ClosedLot<T, A>>,
    turn: Turn,
    /// Whether single items may be evicted, so that their weights are noted.
    evicts: bool,
    /// The worker, when it found nothing to do.
    worker: Option<Waker>,
    /// Batches opened so far.
    opened: u64,
    /// How many items the last batch had: the next one is likely to have as many.
    usual: usize,
    pub(crate) max_wait: Option<Duration>,
    /// Items that the worker let go after the queue was abandoned.
    pub(crate) recovered: Vec<T>,
    /// The worker is to drop all that it has, for this reason.
    discard: Option<DropReason>,
}

/// An item on its way in.
pub(crate) struct Entry<T> {
    pub(crate) item: T,
    pub(crate) label: Label,
    /// Its caller wants an answer.
    pub(crate) asks: bool,
}

/// Where a caller finds its answer; `None` if it did not ask.
pub(crate) type Place<A> = Option<(Arc<Replies<A>>, u32)>;

/// What the worker is to do.
pub(crate) enum Next<T, A> {
    Send(Lot<T, A>),
    /// Nothing before this instant, or before it is woken.
    Wait(Option<Instant>),
    /// Nothing ever again but what it has taken already.
    End,
    /// Let go of everything.
    Abandoned,
    /// Drop, for this reason, all that was taken, and go on.
    Discard(DropReason),
}

/// Why an entry that may wait did not enter.
pub(crate) enum Refused<T> {
    Wait(Entry<T>, Ticket),
    Rejected(Rejected<T>, Wakes),
}

// === impl State ===

impl<T, A> State<T, A> {
    pub(crate) fn new(
        intake: Intake,
        batching: Batching,
        overflow: Overflow,
        max_partitions: Option<usize>,
        max_wait: Option<Duration>,
    ) -> Self {
        Self {
            intake,
            batching,
            open: Open::new(max_partitions),
            high: VecDeque::new(),
            normal: VecDeque::new(),
            turn: Turn::default(),
            evicts: overflow == Overflow::DropOldest,
            worker: None,
            opened: 0,
            usual: 0,
            max_wait,
            recovered: Vec::new(),
            discard: None,
        }
    }

    /// Lets an item like `candidate` in, where no more is to be done than to let it [`enter`](Self::enter).
    ///
    /// The item itself is not looked at, so that it is moved just once, into its place.
    #[inline]
    pub(crate) fn admit_simply(&mut self, candidate: Candidate) -> Option<Epoch> {
        if self.intake.has_senders() { None } else { self.intake.admit(candidate).ok() }
    }

    /// Takes `entry` in, or hands it back and counts that. Evicted items are put into `evicted`.
    pub(crate) fn offer(
        &mut self,
        entry: Entry<T>,
        evicted: &mut Vec<T>,
        wakes: &mut Wakes,
    ) -> Result<Place<A>, Rejected<T>> {
        let mut evictable = Charge::default();
        for lot in &self.normal {
            evictable.items += lot.len() as u64;
            evictable.bytes += lot.bytes();
        }
        let mut told = Vec::new();
        let normal = &mut self.normal;
        let evict = || {
            let lot = normal.front_mut()?;
            let (item, bytes, epoch, key) = lot.evict()?;
            if let Some(callers) = lot.callers() {
                told.extend(callers.remove_first(1, || BoxError::from(Evicted::new())));
            }
            if lot.len() == 0 {
                normal.pop_front();
            }
            evicted.push(item);
            Some(Held::new(bytes, epoch, key))
        };
        let admitted = self.intake.admit_or_evict(entry.label.candidate, evictable, evict, wakes);
        if !told.is_empty() {
            wakes.add(Wakes::Many(told));
        }
        match admitted {
            Ok(epoch) => {
                let (place, waker) = self.enter(entry.item, entry.label, epoch, entry.asks);
                wakes.add(Wakes::one(waker));
                Ok(place)
            }
            Err(reason) => Err(Rejected::new(entry.item, reason)),
        }
    }

    /// Takes `entry` in if there is room for it and nobody waits in line before it.
    pub(crate) fn offer_unless_wait(&mut self, entry: Entry<T>) -> Result<(Place<A>, Option<Waker>), Entry<T>> {
        match self.intake.admit_unless_wait(entry.label.candidate) {
            Some(epoch) => Ok(self.enter(entry.item, entry.label, epoch, entry.asks)),
            None => Err(entry),
        }
    }

    /// As [`offer`](Self::offer), but waits in line where there is no room.
    pub(crate) fn offer_or_wait(
        &mut self,
        entry: Entry<T>,
        ticket: Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> Result<(Place<A>, Wakes), Refused<T>> {
        match self.intake.admit_or_wait(entry.label.candidate, ticket, registration) {
            Ok((epoch, mut wakes)) => {
                let (place, waker) = self.enter(entry.item, entry.label, epoch, entry.asks);
                wakes.add(Wakes::one(waker));
                Ok((place, wakes))
            }
            Err(NotNow::Waits(ticket)) => Err(Refused::Wait(entry, ticket)),
            Err(NotNow::Refused(reason, wakes)) => Err(Refused::Rejected(Rejected::new(entry.item, reason), wakes)),
        }
    }

    /// Puts an item that was admitted into its batch, and names the worker to wake.
    #[inline(always)]
    pub(crate) fn enter(&mut self, item: T, label: Label, epoch: Epoch, asks: bool) -> (Place<A>, Option<Waker>) {
        let Label { candidate: Candidate { bytes, priority, key }, partition, flush } = label;
        let Batching { max_items, max_bytes, close_on_high, .. } = self.batching;
        let fits = match self.open.get(partition) {
            Some(lot) => lot.bytes().saturating_add(bytes) <= max_bytes,
            None => false,
        };
        if !fits {
            self.open_lot(partition, epoch);
        }
        // It is open now.
        let Some(lot) = self.open.get(partition) else { return (None, None) };
        lot.push(item, bytes, priority);
        let place = asks.then(|| {
            let last = lot.len() - 1;
            lot.callers().add(last, bytes)
        });
        if self.evicts || key.is_some() {
            lot.note(self.evicts.then_some(bytes), key.map(|key| (priority == Priority::Normal).then_some(key)));
        }
        let closes = lot.len() >= max_items || lot.bytes() >= max_bytes || flush;
        if closes || (close_on_high && priority == Priority::High) {
            self.close(partition);
            return (place, self.worker.take());
        }
        // CORRECTNESS: the worker is woken for the first item of a batch, whose age it must watch, and for one that is
        // closed. In between it has nothing to do, and is left alone.
        (place, if fits { None } else { self.worker.take() })
    }

    /// Opens a batch, after closing the one of the same partition, or the oldest, to make room for it.
    #[inline(never)]
    fn open_lot(&mut self, partition: Partition, epoch: Epoch) {
        self.close(partition);
        if let Some(oldest) = self.open.make_room() {
            self.close(oldest);
        }
        self.opened += 1;
        // With a batch for each key, the last one says nothing about how many items this one will have.
        let capacity = if self.open.is_one() { self.usual } else { 0 };
        self.open.open(partition, OpenLot::new(capacity, epoch, self.opened));
    }

    #[inline(never)]
    fn close(&mut self, partition: Partition) {
        let Some(lot) = self.open.take(partition) else { return };
        self.usual = lot.len();
        match lot.priority() {
            Priority::High => self.high.push_back(lot.close(partition)),
            Priority::Normal => self.normal.push_back(lot.close(partition)),
        }
    }

    fn close_all(&mut self) {
        // From the oldest on, so that batches leave in the order in which they were opened.
        let mut open: Vec<_> = self.open.iter_mut().map(|(partition, lot)| (lot.number, partition)).collect();
        open.sort_unstable_by_key(|(number, _)| *number);
        open.into_iter().for_each(|(_, partition)| self.close(partition));
    }

    /// The next batch to send at `now`, or until when to wait; `waker` is kept to wake it earlier, as [`wait`](Self::wait)
    /// says.
    pub(crate) fn next(&mut self, now: Instant, waker: &mut Option<Waker>) -> Next<T, A> {
        if self.intake.phase() == Phase::Abandoned {
            return Next::Abandoned;
        }
        if let Some(reason) = self.discard.take() {
            return Next::Discard(reason);
        }
        let mut due = self.close_what_is_due(now);
        if self.high.is_empty() && !self.normal.is_empty() {
            self.close_high();
            // What was closed is not waited for.
            due = self.due(now);
        }
        if let Some(lane) = self.turn.take(!self.high.is_empty(), !self.normal.is_empty()) {
            let lot = match lane {
                Priority::High => self.high.pop_front(),
                Priority::Normal => self.normal.pop_front(),
            };
            if let Some(lot) = lot {
                let mut lot = lot.into_lot();
                lot.opened.get_or_insert(now);
                return Next::Send(lot);
            }
        }
        self.wait(waker);
        if self.intake.phase() != Phase::Open {
            debug_assert_eq!(self.open.len(), 0);
            return Next::End;
        }
        Next::Wait(due)
    }

    /// The batch behind `lot`, which [`next`](Self::next) has returned, if the two may be sent as one.
    pub(crate) fn next_to_join(&mut self, lot: &Lot<T, A>, join: &Join, now: Instant) -> Option<Lot<T, A>> {
        if self.intake.phase() == Phase::Abandoned || self.discard.is_some() {
            return None;
        }
        let lots = match lot.priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
        };
        let mut next = lots.front()?.may_join(lot, join).then(|| lots.pop_front())??.into_lot();
        next.opened.get_or_insert(now);
        Some(next)
    }

    /// As [`next`](Self::next), when no batch may be sent: only watches the ages of those that are open.
    pub(crate) fn watch(&mut self, now: Instant, waker: &mut Option<Waker>) -> Next<T, A> {
        if self.intake.phase() == Phase::Abandoned {
            return Next::Abandoned;
        }
        if let Some(reason) = self.discard.take() {
            return Next::Discard(reason);
        }
        let due = self.close_what_is_due(now);
        self.wait(waker);
        Next::Wait([due, self.expires()].into_iter().flatten().min())
    }

    /// Keeps `waker`, and leaves there what the caller drops once it has released the lock: the waker that was replaced, or
    /// this one, if the task is known already.
    ///
    /// CORRECTNESS: called under the same lock as the look at the batches, so that no item can come unseen in between.
    pub(crate) fn wait(&mut self, waker: &mut Option<Waker>) {
        match (&self.worker, &*waker) {
            (Some(known), Some(own)) if known.will_wake(own) => {}
            _ => mem::swap(&mut self.worker, waker),
        }
    }

    /// Takes out the closed batches that have outlived the age limit at `now`, whether or not they could be sent.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Lot<T, A>> {
        let Some(wait) = self.max_wait else { return Vec::new() };
        let mut expired = Vec::new();
        for lots in [&mut self.high, &mut self.normal] {
            // They were closed in the order in which they are sent, and the first is the oldest, or nearly so.
            while lots.front().and_then(ClosedLot::opened).is_some_and(|opened| saturating_add(opened, wait) < now) {
                expired.extend(lots.pop_front().map(ClosedLot::into_lot));
            }
        }
        expired
    }

    /// When the first of the closed batches will have outlived the age limit.
    fn expires(&self) -> Option<Instant> {
        let wait = self.max_wait?;
        let fronts = [self.high.front(), self.normal.front()].into_iter().flatten();
        // Just after it, so that it is then older than the limit.
        fronts
            .filter_map(ClosedLot::opened)
            .map(|opened| saturating_add(opened, wait.saturating_add(Duration::from_millis(1))))
            .min()
    }

    /// How long a batch stays open: not until it is too old to be sent.
    fn max_age(&self) -> Duration {
        let max_age = self.batching.max_age;
        self.max_wait.map_or(max_age, |wait| wait.min(max_age))
    }

    /// Closes the batches that are old enough at `now`; returns when the next will be.
    fn close_what_is_due(&mut self, now: Instant) -> Option<Instant> {
        if self.max_wait.is_some() {
            // Those that were filled and closed since the last look stand last.
            for lots in [&mut self.high, &mut self.normal] {
                let _seen_before = lots.iter_mut().rev().all(|lot| lot.stamp(now));
            }
        }
        if self.intake.phase() != Phase::Open {
            self.close_all();
            return None;
        }
        let max_age = self.max_age();
        let mut due: Option<Instant> = None;
        let mut old = Vec::new();
        for (partition, lot) in self.open.iter_mut() {
            let closes = saturating_add(lot.opened(now), max_age);
            if closes <= now {
                old.push((lot.number, partition));
            } else {
                due = Some(due.map_or(closes, |due| due.min(closes)));
            }
        }
        old.sort_unstable_by_key(|(number, _)| *number);
        old.into_iter().for_each(|(_, partition)| self.close(partition));
        due
    }

    /// Closes what is open and holds something of high priority: it does not wait for company while others are sent.
    fn close_high(&mut self) {
        let open = self.open.iter_mut();
        let high = open.filter(|(_, lot)| lot.priority() == Priority::High).map(|(partition, _)| partition);
        high.collect::<Vec<_>>().into_iter().for_each(|partition| self.close(partition));
    }

    fn due(&mut self, now: Instant) -> Option<Instant> {
        let max_age = self.max_age();
        self.open.iter_mut().map(|(_, lot)| saturating_add(lot.opened(now), max_age)).min()
    }

    /// Counts the fates of items that left together, and frees their slots.
    pub(crate) fn settle(&mut self, settled: &[(Charge, Fate)], keys: &[Option<u64>], wakes: &mut Wakes) {
        keys.iter().flatten().for_each(|key| self.intake.admission.free_share(*key));
        settled.iter().for_each(|(charge, fate)| self.intake.settle_charge(*charge, *fate, wakes));
    }

    /// Closes what is open, and ends the epoch.
    pub(crate) fn flush(&mut self) -> (Epoch, Option<Waker>) {
        self.close_all();
        (self.intake.admission.end_epoch(), self.worker.take())
    }

    /// From now on nothing enters; what is here is sent.
    pub(crate) fn close_intake(&mut self) -> Wakes {
        let mut wakes = self.intake.close();
        self.close_all();
        wakes.add(Wakes::one(self.worker.take()));
        wakes
    }

    /// From now on nothing enters and nothing is sent. What was queued is settled and returned.
    pub(crate) fn abandon(&mut self) -> (Vec<Lot<T, A>>, Wakes) {
        let mut wakes = self.intake.abandon();
        self.close_all();
        let lots: Vec<_> = self.high.drain(..).chain(self.normal.drain(..)).map(ClosedLot::into_lot).collect();
        for lot in &lots {
            self.settle(&[(lot.charge, Fate::Dropped(DropReason::Shutdown))], &lot.keys, &mut wakes);
        }
        wakes.add(Wakes::one(self.worker.take()));
        (lots, wakes)
    }

    /// Drops what was queued, and has the worker drop what it took; what comes later is not meant.
    pub(crate) fn discard(&mut self, reason: DropReason) -> (Vec<Lot<T, A>>, Wakes) {
        self.close_all();
        let lots: Vec<_> = self.high.drain(..).chain(self.normal.drain(..)).map(ClosedLot::into_lot).collect();
        let mut wakes = Wakes::one(self.worker.take());
        for lot in &lots {
            self.settle(&[(lot.charge, Fate::Dropped(reason))], &lot.keys, &mut wakes);
        }
        self.discard = Some(reason);
        (lots, wakes)
    }

    /// Changes when batches close; those that are open obey at their next item or look.
    pub(crate) fn set_batching(&mut self, batching: Batching) -> Option<Waker> {
        self.batching = batching;
        self.worker.take()
    }

    pub(crate) fn batching(&self) -> Batching {
        self.batching
    }

    /// Items that wait.
    pub(crate) fn queued(&self) -> usize {
        self.open.items() + self.high.iter().chain(&self.normal).map(ClosedLot::len).sum::<usize>()
    }
}
