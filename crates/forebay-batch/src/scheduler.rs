use crate::{
    Batching, Discarded,
    bisect::{Bisection, KnownBad},
    knobs::Knobs,
    parking::Backoffs,
    pending::{Join, Partition, PendingBatch},
    sizes::SizeLimits,
};
use forebay_core::{BoxError, DropReason, SplitCause};
use forebay_intake::{Evicted, Expired};
use std::time::{Duration, Instant};

/// Decides which batch the worker sends next. Pure state: time is an argument, and so are the sealed batches.
///
/// Parked batches whose wait is over are sent first, then the parts of batches that were split, then the sealed ones.
#[derive(Debug)]
pub(crate) struct Scheduler<T, A> {
    bisection: Bisection<T, A>,
    backoffs: Backoffs<T, A>,
    /// How large a request may be, for partitions where one was too large.
    sizes: SizeLimits,
    /// Since a batch was parked, batches may pile up behind it: until none does, they are joined before they are sent.
    has_backlog: bool,
    /// Whether all items go into the same batch.
    has_one_partition: bool,
    /// Whether an item is sent although its caller has dropped the future.
    run_cancelled: bool,
}

/// What may be changed while the batcher runs, as of one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) batching: Batching,
    /// How old a batch may get before it is dropped.
    pub(crate) max_age: Option<Duration>,
}

/// What the worker does next.
pub(crate) enum Next<T, A> {
    /// It gives this batch to the inner service.
    Send(PendingBatch<T, A>),
    /// It sends nothing now.
    Rest(Rest),
}

/// Why the worker sends nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// There is nothing to do before this instant, or before the worker is woken.
    Wait(Option<Instant>),
    /// Nothing enters any more: the worker ends once nothing is in flight.
    End,
    /// The worker gives up everything, and ends.
    Abort,
    /// The worker drops everything that it has for this reason, and goes on.
    Discard(DropReason),
}

/// The sealed batches that no worker has taken: a queue under its lock, or a list in a test.
pub(crate) trait Source<T, A> {
    /// The next batch to send.
    fn next(&mut self, now: Instant) -> Next<T, A>;

    /// The batch behind `batch`, if the two may be sent as one.
    fn next_to_join(&mut self, batch: &PendingBatch<T, A>, join: &Join, now: Instant) -> Option<PendingBatch<T, A>>;

    /// Only watches the ages of the batches, while none may be sent.
    fn watch(&mut self, now: Instant) -> Rest;

    /// Takes out the batches that have outlived the age limit.
    fn expired(&mut self, now: Instant) -> Vec<PendingBatch<T, A>>;
}

/// A batch that is dropped without a result of the inner service.
pub(crate) struct Dropped<T, A> {
    pub(crate) batch: PendingBatch<T, A>,
    pub(crate) reason: DropReason,
    /// What its callers get.
    pub(crate) error: BoxError,
}

// === impl Scheduler ===

impl<T, A> Scheduler<T, A> {
    pub(crate) fn new(knobs: &Knobs, has_one_partition: bool) -> Self {
        Self {
            bisection: Bisection::new(knobs.split_budget),
            backoffs: Backoffs::new(knobs.park.clone()),
            sizes: SizeLimits::default(),
            has_backlog: false,
            has_one_partition,
            run_cancelled: knobs.run_cancelled,
        }
    }

    /// The next batch to send at `now`, or why there is none. What is not worth sending any more is put into `dropped`.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        settings: &Settings,
        sealed: &mut impl Source<T, A>,
        dropped: &mut Vec<Dropped<T, A>>,
    ) -> Next<T, A> {
        self.expire(now, settings, sealed, dropped);
        loop {
            let batch = if let Some(batch) = self.backoffs.next(now) {
                batch
            } else if let Some(part) = self.bisection.next() {
                let Some(part) = self.unless_held(part, now, settings) else { continue };
                part
            } else {
                match self.next_sealed(now, sealed) {
                    Next::Send(batch) => {
                        let Some(batch) = self.unless_held(batch, now, settings) else { continue };
                        self.joined(batch, now, settings, sealed)
                    }
                    Next::Rest(rest) => return Next::Rest(self.rest(rest, now, settings)),
                }
            };
            if let Some(batch) = self.admit_to_send(batch, now, settings, dropped) {
                return Next::Send(batch);
            }
        }
    }

    /// As [`next`](Self::next), while no batch may be sent.
    pub(crate) fn watch(
        &mut self,
        now: Instant,
        settings: &Settings,
        sealed: &mut impl Source<T, A>,
        dropped: &mut Vec<Dropped<T, A>>,
    ) -> Rest {
        self.expire(now, settings, sealed, dropped);
        let rest = sealed.watch(now);
        self.rest(rest, now, settings)
    }

    fn next_sealed(&mut self, now: Instant, sealed: &mut impl Source<T, A>) -> Next<T, A> {
        // Where all batches go to the same server and it is away, the rest stays in the queue, where its bounds hold.
        if self.has_one_partition && self.backoffs.holds(Partition::default(), now) {
            return Next::Rest(sealed.watch(now));
        }
        let next = sealed.next(now);
        if matches!(next, Next::Rest(Rest::Wait(_))) {
            self.has_backlog = self.has_backlog && self.backoffs.has_waiting();
        }
        next
    }

    /// What the sealed batches say, together with those in here.
    fn rest(&self, rest: Rest, now: Instant, settings: &Settings) -> Rest {
        let due = || self.backoffs.due(now, settings.max_age);
        match rest {
            Rest::Wait(until) => Rest::Wait(earlier(until, due())),
            Rest::End if !self.bisection.is_empty() || self.backoffs.has_waiting() => Rest::Wait(due()),
            Rest::End | Rest::Abort | Rest::Discard(_) => rest,
        }
    }

    /// `batch`, unless its server is away: then it waits behind those of its partition.
    fn unless_held(
        &mut self,
        batch: PendingBatch<T, A>,
        now: Instant,
        settings: &Settings,
    ) -> Option<PendingBatch<T, A>> {
        if !self.backoffs.holds(batch.partition, now) {
            return Some(batch);
        }
        let join = self.join(batch.partition, settings);
        self.backoffs.hold(batch, &join)
    }

    /// How much of what waits may be sent as one batch.
    fn join(&self, partition: Partition, settings: &Settings) -> Join {
        let Batching { max_items, max_bytes, .. } = settings.batching;
        Join {
            max_items,
            max_bytes: self.sizes.most(partition).map_or(max_bytes, |most| most.min(max_bytes)),
            // Those that join an older one expire with it: too early by a tenth of their time at most.
            max_apart: settings.max_age.map_or(Duration::MAX, |age| age.checked_div(10).unwrap_or(age)),
        }
    }

    /// `batch` together with those behind it, as far as they are one batch: what had to wait leaves in as few requests as
    /// possible, and the fewer they are, the fewer can fail.
    fn joined(
        &mut self,
        mut batch: PendingBatch<T, A>,
        now: Instant,
        settings: &Settings,
        sealed: &mut impl Source<T, A>,
    ) -> PendingBatch<T, A> {
        if !self.has_backlog || batch.is_expired(now, settings.max_age) {
            return batch;
        }
        let join = self.join(batch.partition, settings);
        while let Some(next) = sealed.next_to_join(&batch, &join, now) {
            if let Some(next) = batch.absorb(next, &join) {
                self.bisection.push(next);
                break;
            }
        }
        batch
    }

    /// `batch` as it is sent, unless it is not sent at all: it may be too old, without callers, or at fault. One that is too
    /// large is sent in parts.
    fn admit_to_send(
        &mut self,
        batch: PendingBatch<T, A>,
        now: Instant,
        settings: &Settings,
        dropped: &mut Vec<Dropped<T, A>>,
    ) -> Option<PendingBatch<T, A>> {
        // ## to be sent => dropped: it is too old.
        if batch.is_expired(now, settings.max_age) {
            dropped.push(Dropped::expired(batch));
            return None;
        }
        // ## to be sent => dropped: no caller waits for any of its items.
        let batch = self.without_cancelled(batch, dropped)?;
        // ## to be sent => (dropped | two parts): it is at fault, or nothing may be spent on it any more.
        if batch.split.is_known_bad() || !batch.split.can_pay() {
            let at_fault = self.bisection.bisect(batch, SplitCause::BadItem, DropReason::Rejected);
            dropped.extend(at_fault.map(|(batch, reason)| Dropped { batch, reason, error: KnownBad.into() }));
            return None;
        }
        // ## to be sent => the first part, then the rest: it is too large for its server.
        Some(match self.sizes.most(batch.partition) {
            Some(most) => self.bisection.shrink(batch, most),
            None => batch,
        })
    }

    /// `batch` without the items whose callers have dropped their futures, which are put into `dropped`; `None` if it has no
    /// others.
    ///
    /// A batch that was sent before stays as it was: the server may have seen its items.
    pub(crate) fn without_cancelled(
        &self,
        mut batch: PendingBatch<T, A>,
        dropped: &mut Vec<Dropped<T, A>>,
    ) -> Option<PendingBatch<T, A>> {
        if !self.run_cancelled
            && batch.attempts == 0
            && let Some(cancelled) = batch.take_cancelled()
        {
            dropped.push(Dropped::cancelled(cancelled));
            if batch.len() == 0 {
                // It has no item left that a ledger could expect a fate for.
                batch.owed_to = None;
                return None;
            }
        }
        Some(batch)
    }

    fn expire(
        &mut self,
        now: Instant,
        settings: &Settings,
        sealed: &mut impl Source<T, A>,
        dropped: &mut Vec<Dropped<T, A>>,
    ) {
        let Some(age) = settings.max_age else { return };
        let expired = sealed.expired(now).into_iter().chain(self.backoffs.expired(now, age));
        dropped.extend(expired.map(Dropped::expired));
    }

    /// A batch is given to the inner service; the generation that it belongs to.
    pub(crate) fn sent(&mut self, batch: &mut PendingBatch<T, A>) -> u64 {
        batch.attempts += 1;
        self.bisection.sent(batch);
        self.backoffs.sent(batch.partition)
    }

    /// A batch has come back from the inner service.
    pub(crate) fn returned(&mut self, batch: &PendingBatch<T, A>) {
        self.bisection.returned(batch);
    }

    /// The server has responded to a batch, other than by a failure that may pass.
    pub(crate) fn responded(&mut self, batch: &PendingBatch<T, A>, generation: u64, settings: &Settings) {
        self.backoffs.responded(batch.partition, generation, settings.batching.max_in_flight);
    }

    /// The server took a batch, or some of it: what was learned of its size stands.
    pub(crate) fn delivered(&mut self, batch: &PendingBatch<T, A>, whole: bool) {
        self.sizes.passed(batch.partition, batch.charge.bytes);
        if whole {
            self.bisection.delivered(batch);
        }
    }

    /// Whether items that came back retryable may wait for another attempt.
    pub(crate) fn parks(&self) -> bool {
        self.backoffs.is_on()
    }

    /// A batch was not taken, and may be sent again: it waits, or is returned if there is no other attempt for it.
    ///
    /// [`evict`](Self::evict) then says what is dropped to make room.
    pub(crate) fn park(
        &mut self,
        batch: PendingBatch<T, A>,
        generation: u64,
        hint: Option<Duration>,
        now: Instant,
        settings: &Settings,
    ) -> Option<PendingBatch<T, A>> {
        let given_up = self.backoffs.park(batch, generation, hint, now, settings.max_age);
        self.has_backlog |= given_up.is_none();
        given_up
    }

    /// A parked batch that is dropped, since more bytes are parked than may be.
    pub(crate) fn evict(&mut self) -> Option<Dropped<T, A>> {
        self.backoffs.evict().map(Dropped::evicted)
    }

    /// A batch was refused for what is in it: it is sent in parts, or returned with the reason to drop it.
    pub(crate) fn bisect(
        &mut self,
        batch: PendingBatch<T, A>,
        cause: SplitCause,
        otherwise: DropReason,
    ) -> Option<(PendingBatch<T, A>, DropReason)> {
        if cause == SplitCause::TooLarge && self.bisection.is_on() && !batch.split.is_known_bad() {
            self.sizes.refused(batch.partition, batch.charge.bytes);
        }
        self.bisection.bisect(batch, cause, otherwise)
    }

    /// Every batch in here.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, A>> {
        let mut all = self.backoffs.take_all();
        all.append(&mut self.bisection.take_all());
        all
    }

    /// Goes on after a panic that unwound through the scheduler: the batch that it had in hand has settled itself, and only those
    /// of `in_flight` are in flight, each with the generation that it belongs to.
    pub(crate) fn recount<'a>(&mut self, in_flight: impl Iterator<Item = (&'a PendingBatch<T, A>, u64)>)
    where
        T: 'a,
        A: 'a,
    {
        let mut has_part = false;
        let in_flight = in_flight.map(|(batch, generation)| {
            has_part |= batch.split.is_part();
            (batch.partition, generation)
        });
        let in_flight: Vec<_> = in_flight.collect();
        self.bisection.recount(has_part);
        self.backoffs.recount(&in_flight);
    }
}

// === impl Dropped ===

impl<T, A> Dropped<T, A> {
    pub(crate) fn expired(batch: PendingBatch<T, A>) -> Self {
        Self { batch, reason: DropReason::Expired, error: Expired::new().into() }
    }

    fn evicted(batch: PendingBatch<T, A>) -> Self {
        Self { batch, reason: DropReason::Evicted, error: Evicted::new().into() }
    }

    /// Items whose callers have dropped their futures: none of them gets the error.
    fn cancelled(batch: PendingBatch<T, A>) -> Self {
        let (reason, seen) = (DropReason::Cancelled, batch.seen());
        Self { batch, reason, error: Discarded::new(reason, seen).into() }
    }

    pub(crate) fn discarded(batch: PendingBatch<T, A>, reason: DropReason) -> Self {
        let error = Discarded::new(reason, batch.seen()).into();
        Self { batch, reason, error }
    }
}

/// The earlier of two instants, of which each may be missing.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
