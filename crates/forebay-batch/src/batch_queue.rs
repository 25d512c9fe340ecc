use crate::{
    Batching,
    knobs::Defaults,
    next::{Next, Rest, earlier},
    open::{OpenBatch, OpenBatches, SealedBatch},
    pending::{Join, Partition, PendingBatch, expires_at},
    router::Route,
    waiters::ReplyCells,
};
use forebay_core::{BoxError, DropReason, Fate, Priority, time::saturating_add};
use forebay_intake::{
    AdmitError, Charge, Epoch, Evicted, Intake, LaneScheduler, Lifecycle, OfferMeta, Overflow, Registration, Rejected,
    Slot, Ticket, WakerSet,
};
use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// A batcher without its lock: its admission, the open batches, and the line of sealed ones. Pure state.
#[derive(Debug)]
pub(crate) struct BatchQueue<T, A> {
    pub(crate) intake: Intake,
    batching: Batching,
    /// What holds where `batching` does not say it.
    defaults: Defaults,
    open: OpenBatches<T, A>,
    /// Sealed batches that hold an item of high priority, in the order in which they were sealed.
    high: VecDeque<SealedBatch<T, A>>,
    /// Sealed batches of items of normal priority, in the order in which they were sealed.
    normal: VecDeque<SealedBatch<T, A>>,
    /// Decides which of the two lanes is next.
    lanes: LaneScheduler,
    /// Whether single items may be evicted, so that their weights are recorded.
    evicts: bool,
    /// The worker, if it found nothing to do.
    worker: Option<Waker>,
    /// How many batches were opened so far.
    opened: u64,
    /// How many items the last batch had: the next one is likely to have as many.
    usual: usize,
    /// How old a batch may get before it is dropped.
    pub(crate) max_age: Option<Duration>,
    /// Items that were not sent when the batcher was aborted, for the report of a drain.
    recovered: Vec<T>,
    /// The worker has to drop all that it has, for this reason.
    discard: Option<DropReason>,
    /// Whether a spool takes what there is no room for, so that the worker is woken for it.
    spills: bool,
    /// Whether a spool takes all that is here.
    spools_rest: bool,
}

/// An item on its way in.
pub(crate) struct Entry<T> {
    pub(crate) item: T,
    pub(crate) route: Route,
    /// Whether a caller waits for a reply to it.
    pub(crate) asks: bool,
}

/// Where a caller finds its reply; `None` if it waits for none.
pub(crate) type ReplyPlace<A> = Option<(Arc<ReplyCells<A>>, u32)>;

/// Why an entry that may wait did not enter.
pub(crate) enum Refused<T> {
    Wait(Entry<T>, Ticket, WakerSet),
    Rejected(Rejected<T>, WakerSet),
}

// === impl BatchQueue ===

impl<T, A> BatchQueue<T, A> {
    pub(crate) fn new(
        intake: Intake,
        (batching, defaults): (Batching, Defaults),
        overflow: Overflow,
        max_partitions: Option<usize>,
        max_age: Option<Duration>,
        spills: bool,
    ) -> Self {
        Self {
            intake,
            batching,
            defaults,
            open: OpenBatches::new(max_partitions),
            high: VecDeque::new(),
            normal: VecDeque::new(),
            lanes: LaneScheduler::default(),
            evicts: overflow == Overflow::DropOldest,
            worker: None,
            opened: 0,
            usual: 0,
            max_age,
            recovered: Vec::new(),
            discard: None,
            spills,
            spools_rest: false,
        }
    }

    /// Admits an item like `meta`, if nothing is left to do then but to [`enter`](Self::enter) it.
    ///
    /// The item itself is not passed, so that it is moved just once, into its place.
    #[inline]
    pub(crate) fn admit_simply(&mut self, meta: OfferMeta) -> Option<Epoch> {
        if self.intake.has_senders() { None } else { self.intake.admit(meta).ok() }
    }

    /// Admits `entry`, or hands it back and counts that. Evicted items are put into `evicted`.
    pub(crate) fn offer(
        &mut self,
        entry: Entry<T>,
        evicted: &mut Vec<T>,
        wakes: &mut WakerSet,
    ) -> Result<ReplyPlace<A>, Rejected<T>> {
        let mut evictable = Charge::default();
        for batch in &self.normal {
            evictable.items += batch.len() as u64;
            evictable.bytes += batch.bytes();
        }
        let mut to_wake = Vec::new();
        let normal = &mut self.normal;
        let evict = || {
            let batch = normal.front_mut()?;
            let (item, bytes, epoch, key) = batch.evict()?;
            if let Some(waiters) = batch.waiters() {
                to_wake.extend(waiters.remove_first(1, || BoxError::from(Evicted::new())));
            }
            if batch.len() == 0 {
                normal.pop_front();
            }
            evicted.push(item);
            Some(Slot::new(bytes, epoch, key))
        };
        let admitted = self.intake.admit_or_evict(entry.route.meta, evictable, evict, wakes);
        if !to_wake.is_empty() {
            wakes.add(WakerSet::Many(to_wake));
        }
        match admitted {
            Ok(epoch) => {
                let (place, waker) = self.enter(entry.item, entry.route, epoch, entry.asks);
                wakes.add(WakerSet::one(waker));
                Ok(place)
            }
            Err(reason) => {
                wakes.add(self.wake_to_spill());
                Err(Rejected::new(entry.item, reason))
            }
        }
    }

    /// The worker, which makes room, if there is a spool to make room with.
    fn wake_to_spill(&mut self) -> WakerSet {
        if self.spills { WakerSet::one(self.worker.take()) } else { WakerSet::None }
    }

    /// Admits `entry` if there is room for it and no other sender waits in line before it.
    pub(crate) fn offer_unless_wait(&mut self, entry: Entry<T>) -> Result<(ReplyPlace<A>, Option<Waker>), Entry<T>> {
        match self.intake.admit_unless_wait(entry.route.meta) {
            Some(epoch) => Ok(self.enter(entry.item, entry.route, epoch, entry.asks)),
            None => Err(entry),
        }
    }

    /// As [`offer`](Self::offer), but waits in line while there is no room.
    #[expect(clippy::result_large_err, reason = "an item is handed back as it came, without an allocation")]
    pub(crate) fn offer_or_wait(
        &mut self,
        entry: Entry<T>,
        ticket: Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> Result<(ReplyPlace<A>, WakerSet), Refused<T>> {
        match self.intake.admit_or_wait(entry.route.meta, ticket, registration) {
            Ok((epoch, mut wakes)) => {
                let (place, waker) = self.enter(entry.item, entry.route, epoch, entry.asks);
                wakes.add(WakerSet::one(waker));
                Ok((place, wakes))
            }
            // The worker is woken by the caller once it has released the lock, if it can make room.
            Err(AdmitError::Waits(ticket, mut wakes)) => {
                wakes.add(self.wake_to_spill());
                Err(Refused::Wait(entry, ticket, wakes))
            }
            Err(AdmitError::Refused(reason, wakes)) => Err(Refused::Rejected(Rejected::new(entry.item, reason), wakes)),
        }
    }

    /// Puts an item that was admitted into its batch, and names the worker to wake.
    #[inline(always)]
    pub(crate) fn enter(&mut self, item: T, route: Route, epoch: Epoch, asks: bool) -> (ReplyPlace<A>, Option<Waker>) {
        let Route { meta: OfferMeta { bytes, priority, key }, partition, flush, due } = route;
        let Batching { max_items, max_bytes, close_on_high, .. } = self.batching;
        let fits = match self.open.get(partition) {
            Some(batch) => batch.bytes().saturating_add(bytes) <= max_bytes,
            None => false,
        };
        if !fits {
            self.open_batch(partition, epoch);
        }
        // It is open now.
        let Some(batch) = self.open.get(partition) else { return (None, None) };
        batch.push(item, bytes, priority);
        let place = asks.then(|| {
            let last = batch.len() - 1;
            batch.waiters().add(last, bytes)
        });
        if self.evicts || key.is_some() {
            batch.note(self.evicts.then_some(bytes), key.map(|key| (priority == Priority::Normal).then_some(key)));
        }
        let hurries = due.is_some_and(|due| batch.note_due(due));
        let seals = batch.len() >= max_items || batch.bytes() >= max_bytes || flush;
        if seals || (close_on_high && priority == Priority::High) {
            self.seal(partition);
            return (place, self.worker.take());
        }
        // CORRECTNESS: the worker is woken for the first item of a batch, whose age it has to watch, for one that closes it earlier,
        // and for a batch that is sealed. In between it has nothing to do and sleeps on.
        (place, if fits && !hurries { None } else { self.worker.take() })
    }

    /// Opens a batch, after sealing the one of the same partition, or the oldest to make room for it.
    #[inline(never)]
    fn open_batch(&mut self, partition: Partition, epoch: Epoch) {
        self.seal(partition);
        if let Some(oldest) = self.open.make_room() {
            self.seal(oldest);
        }
        self.opened += 1;
        // With a batch for each key, the last one says nothing about how many items this one will have.
        let capacity = if self.open.is_one() { self.usual } else { 0 };
        self.open.open(partition, OpenBatch::new(capacity, epoch, self.opened));
    }

    #[inline(never)]
    fn seal(&mut self, partition: Partition) {
        let Some(batch) = self.open.take(partition) else { return };
        self.usual = batch.len();
        match batch.priority() {
            Priority::High => self.high.push_back(batch.seal(partition)),
            Priority::Normal => self.normal.push_back(batch.seal(partition)),
        }
    }

    /// Seals the open batches that `which` says, from the oldest on, so that batches leave in the order in which they were
    /// opened.
    fn seal_each(&mut self, mut which: impl FnMut(&mut OpenBatch<T, A>) -> bool) {
        let open = self.open.iter_mut();
        let mut chosen: Vec<_> =
            open.filter_map(|(partition, batch)| which(batch).then_some((batch.number, partition))).collect();
        chosen.sort_unstable_by_key(|(number, _)| *number);
        chosen.into_iter().for_each(|(_, partition)| self.seal(partition));
    }

    /// The next batch to send at `now`, or until when to wait; `waker` is kept to wake the worker earlier, as
    /// [`wait`](Self::wait) says.
    pub(crate) fn next(&mut self, now: Instant, waker: &mut Option<Waker>) -> Next<T, A> {
        if let Some(rest) = self.interruption() {
            return Next::Rest(rest);
        }
        let mut due = self.seal_what_is_due(now);
        if self.high.is_empty() && self.normal.is_empty() && self.batching_delay().is_zero() {
            // A batch may be sent, and no other waits for that: the one that was opened first closes for it.
            if let Some(first) = self.open.first_opened() {
                self.seal(first);
            }
        }
        if self.high.is_empty() && !self.normal.is_empty() {
            // What is open and holds an item of high priority does not wait for company while others are sent.
            self.seal_each(|batch| batch.priority() == Priority::High);
            due = self.due(now);
        }
        if let Some(lane) = self.lanes.take(!self.high.is_empty(), !self.normal.is_empty()) {
            let batch = match lane {
                Priority::High => self.high.pop_front(),
                Priority::Normal => self.normal.pop_front(),
            };
            if let Some(batch) = batch {
                let mut batch = batch.into_pending();
                batch.opened.get_or_insert(now);
                return Next::Send(batch);
            }
        }
        self.wait(waker);
        if self.intake.lifecycle() != Lifecycle::Open {
            debug_assert_eq!(self.open.len(), 0);
            return Next::Rest(Rest::End);
        }
        Next::Rest(Rest::Wait(due))
    }

    /// The batch behind `batch`, which [`next`](Self::next) has returned, if the two may be sent as one.
    pub(crate) fn next_to_join(
        &mut self,
        batch: &PendingBatch<T, A>,
        join: &Join,
        now: Instant,
    ) -> Option<PendingBatch<T, A>> {
        if self.intake.lifecycle() == Lifecycle::Aborted || self.discard.is_some() {
            return None;
        }
        let lane = match batch.priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
        };
        let mut next = lane.front()?.may_join(batch, join).then(|| lane.pop_front())??.into_pending();
        next.opened.get_or_insert(now);
        Some(next)
    }

    /// As [`next`](Self::next), while no batch may be sent: only watches the ages of those that are open.
    pub(crate) fn watch(&mut self, now: Instant, waker: &mut Option<Waker>) -> Rest {
        if let Some(rest) = self.interruption() {
            return rest;
        }
        let due = self.seal_what_is_due(now);
        self.wait(waker);
        Rest::Wait(earlier(due, self.expires()))
    }

    /// What the worker has to do before it sends anything else.
    fn interruption(&mut self) -> Option<Rest> {
        if self.intake.lifecycle() == Lifecycle::Aborted {
            return Some(Rest::Abort);
        }
        self.discard.take().map(Rest::Discard)
    }

    /// Keeps `waker`, and leaves in its place what the caller drops after it has released the lock: the waker that was
    /// replaced, or this one if the task is known already.
    ///
    /// CORRECTNESS: called under the same lock as the look at the batches, so that no item can enter unseen in between.
    pub(crate) fn wait(&mut self, waker: &mut Option<Waker>) {
        match (&self.worker, &*waker) {
            (Some(known), Some(own)) if known.will_wake(own) => {}
            _ => mem::swap(&mut self.worker, waker),
        }
    }

    /// Takes out the sealed batches that have outlived the age limit at `now`, whether or not they could be sent.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<PendingBatch<T, A>> {
        let Some(age) = self.max_age else { return Vec::new() };
        let mut expired = Vec::new();
        for lane in [&mut self.high, &mut self.normal] {
            // They were sealed in the order in which they are sent, and the first is the oldest, or nearly so.
            while lane.front().and_then(SealedBatch::opened).is_some_and(|opened| saturating_add(opened, age) < now) {
                expired.extend(lane.pop_front().map(SealedBatch::into_pending));
            }
        }
        expired
    }

    /// When the first of the sealed batches will have outlived the age limit.
    fn expires(&self) -> Option<Instant> {
        let age = self.max_age?;
        let fronts = [self.high.front(), self.normal.front()].into_iter().flatten();
        fronts.filter_map(SealedBatch::opened).map(|opened| expires_at(opened, age)).min()
    }

    /// How long a batch stays open for more items; zero: until a batch may be sent.
    fn batching_delay(&self) -> Duration {
        self.batching.max_delay.unwrap_or(self.defaults.delay)
    }

    /// How long a batch stays open: not until it is too old to be sent. `None`: until a batch may be sent.
    fn max_delay(&self) -> Option<Duration> {
        let delay = Some(self.batching_delay()).filter(|delay| !delay.is_zero());
        match (delay, self.max_age) {
            (Some(delay), Some(age)) => Some(delay.min(age)),
            (delay, age) => delay.or(age),
        }
    }

    /// Seals the batches that were open for long enough at `now`; returns when the next one will have been.
    fn seal_what_is_due(&mut self, now: Instant) -> Option<Instant> {
        if self.max_age.is_some() {
            // Those that were filled and sealed since the last look stand last.
            for lane in [&mut self.high, &mut self.normal] {
                let _seen_before = lane.iter_mut().rev().all(|batch| batch.stamp(now));
            }
        }
        if self.intake.lifecycle() != Lifecycle::Open {
            self.seal_each(|_| true);
            return None;
        }
        let (max_delay, mut due) = (self.max_delay(), None);
        self.seal_each(|batch| {
            // Its age counts from here, whether or not it ends the batch.
            let opened = batch.opened(now);
            let delayed = max_delay.map(|max_delay| saturating_add(opened, max_delay));
            let Some(seals) = earlier(delayed, batch.close_by()) else { return false };
            if seals > now {
                due = earlier(due, Some(seals));
            }
            seals <= now
        });
        due
    }

    fn due(&mut self, now: Instant) -> Option<Instant> {
        let max_delay = self.max_delay();
        let closes = |batch: &mut OpenBatch<T, A>| {
            let opened = batch.opened(now);
            earlier(max_delay.map(|max_delay| saturating_add(opened, max_delay)), batch.close_by())
        };
        self.open.iter_mut().filter_map(|(_, batch)| closes(batch)).min()
    }

    /// Counts the fates of items that left together, and frees their slots.
    pub(crate) fn settle(&mut self, settled: &[(Charge, Fate)], keys: &[Option<u64>], wakes: &mut WakerSet) {
        keys.iter().flatten().for_each(|key| self.intake.admission.free_share(*key));
        settled.iter().for_each(|(charge, fate)| self.intake.settle_charge(*charge, *fate, wakes));
    }

    /// Seals what is open, and ends the epoch.
    pub(crate) fn flush(&mut self) -> (Epoch, Option<Waker>) {
        self.seal_each(|_| true);
        (self.intake.admission.end_epoch(), self.worker.take())
    }

    /// From now on nothing enters; what is here is sent.
    pub(crate) fn close(&mut self) -> WakerSet {
        let mut wakes = self.intake.close();
        self.seal_each(|_| true);
        wakes.add(WakerSet::one(self.worker.take()));
        wakes
    }

    /// From now on nothing enters and nothing is sent. What is queued is settled, its items are kept for the report of a
    /// drain, and the batches are returned for their waiters.
    pub(crate) fn abort(&mut self) -> (Vec<PendingBatch<T, A>>, WakerSet) {
        let mut wakes = self.intake.abandon();
        let mut batches = self.settle_queued(DropReason::Shutdown, &mut wakes);
        // A queued batch owns its items alone, so that none is dropped here.
        batches.iter_mut().for_each(|batch| self.recovered.extend(batch.take_items()));
        (batches, wakes)
    }

    /// Settles a batch that the worker gives up in a shutdown, and keeps its `items` for the report of a drain.
    ///
    /// CORRECTNESS: both in one step. A drain that sees these items settled ends at once, and then reports those kept here.
    pub(crate) fn recover(&mut self, batch: &PendingBatch<T, A>, items: Vec<T>, wakes: &mut WakerSet) {
        self.recovered.extend(items);
        self.settle(&[(batch.charge, Fate::Dropped(DropReason::Shutdown))], &batch.keys, wakes);
    }

    /// The items that were not sent, for the report of a drain.
    pub(crate) fn take_recovered(&mut self) -> Vec<T> {
        mem::take(&mut self.recovered)
    }

    /// Drops what is queued, and has the worker drop what it took; what enters later is not affected.
    pub(crate) fn discard(&mut self, reason: DropReason) -> (Vec<PendingBatch<T, A>>, WakerSet) {
        let mut wakes = WakerSet::None;
        let batches = self.settle_queued(reason, &mut wakes);
        self.discard = Some(reason);
        (batches, wakes)
    }

    /// Takes out everything that is queued, settles it as dropped for `reason`, and wakes the worker.
    fn settle_queued(&mut self, reason: DropReason, wakes: &mut WakerSet) -> Vec<PendingBatch<T, A>> {
        self.seal_each(|_| true);
        let batches: Vec<_> = self.high.drain(..).chain(self.normal.drain(..)).map(SealedBatch::into_pending).collect();
        for batch in &batches {
            self.settle(&[(batch.charge, Fate::Dropped(reason))], &batch.keys, wakes);
        }
        wakes.add(WakerSet::one(self.worker.take()));
        batches
    }

    /// The batch that leaves first because the queue is nearly full, apart from what `leaving` holds: the oldest of normal
    /// priority, open ones included.
    pub(crate) fn spill(&mut self, leaving: Charge, now: Instant) -> Option<PendingBatch<T, A>> {
        if !self.intake.admission.is_under_pressure(leaving) {
            return None;
        }
        if self.normal.is_empty() && self.high.is_empty() {
            self.seal_each(|_| true);
        }
        let mut batch = self.normal.pop_front().or_else(|| self.high.pop_front())?.into_pending();
        batch.opened.get_or_insert(now);
        Some(batch)
    }

    /// All that is queued.
    pub(crate) fn take_all(&mut self, now: Instant) -> Vec<PendingBatch<T, A>> {
        self.seal_each(|_| true);
        let all = self.high.drain(..).chain(self.normal.drain(..)).map(SealedBatch::into_pending);
        all.map(|mut batch| {
            batch.opened.get_or_insert(now);
            batch
        })
        .collect()
    }

    /// From now on a spool takes all that is here. Of no effect without a spool.
    pub(crate) fn spool_rest(&mut self) -> Option<Waker> {
        self.spools_rest = self.spills;
        self.worker.take()
    }

    pub(crate) fn spools_rest(&self) -> bool {
        self.spools_rest
    }

    /// Changes when batches close; those that are open obey at their next item or look.
    pub(crate) fn set_batching(&mut self, batching: Batching) -> Option<Waker> {
        self.batching = batching;
        self.worker.take()
    }

    pub(crate) fn batching(&self) -> Batching {
        self.batching.max_in_flight_by_default(self.defaults.in_flight)
    }

    /// How many items wait in here.
    pub(crate) fn queued(&self) -> usize {
        self.open.items() + self.high.iter().chain(&self.normal).map(SealedBatch::len).sum::<usize>()
    }
}
