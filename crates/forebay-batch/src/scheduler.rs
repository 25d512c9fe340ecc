use crate::{
    Batching, Discarded,
    bisect::{Bisection, KnownBad},
    knobs::Knobs,
    next::{Look, Next, Rest, Source, earlier},
    parking::Backoffs,
    pending::{Join, Partition, PendingBatch},
    sizes::SizeLimits,
};
use forebay_core::{BoxError, DropReason, SplitCause};
use forebay_intake::{DeadlineRule, Evicted, Expired};
use std::{
    mem,
    time::{Duration, Instant},
};

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
    /// Where an item keeps its deadline; `None` where items have none.
    deadline: Option<DeadlineRule<T>>,
    /// What is not worth sending any more, until the worker has settled it.
    dropped: Vec<Dropped<T, A>>,
}

/// A batch that is dropped without a result of the inner service.
#[derive(Debug)]
pub(crate) struct Dropped<T, A> {
    pub(crate) batch: PendingBatch<T, A>,
    pub(crate) reason: DropReason,
    /// What its callers get.
    pub(crate) error: BoxError,
    /// Whether it is dropped only because it could not be delivered in time, so that a spool may keep it.
    pub(crate) undelivered: bool,
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
            deadline: None,
            dropped: Vec::new(),
        }
    }

    /// Sends no item whose deadline has passed.
    pub(crate) fn deadline(mut self, rule: Option<DeadlineRule<T>>) -> Self {
        self.deadline = rule;
        self
    }

    /// The next batch to send, or why there is none. [`take_dropped`](Self::take_dropped) has what is not worth sending any more.
    pub(crate) fn next(&mut self, look: &Look, sealed: &mut impl Source<T, A>) -> Next<T, A> {
        self.expire(look, sealed);
        loop {
            let batch = if let Some(batch) = self.backoffs.next(look.now) {
                let join = self.join(batch.partition, look);
                self.backoffs.joined(batch, &join)
            } else if let Some(part) = self.bisection.next() {
                let Some(part) = self.unless_held(part, look) else { continue };
                part
            } else {
                match self.next_sealed(look, sealed) {
                    Next::Send(batch) => {
                        let Some(batch) = self.unless_held(batch, look) else { continue };
                        self.joined(batch, look, sealed)
                    }
                    Next::Rest(rest) => return Next::Rest(self.rest(rest, look)),
                }
            };
            if let Some(batch) = self.admit_to_send(batch, look) {
                return Next::Send(batch);
            }
        }
    }

    /// As [`next`](Self::next), while no batch may be sent.
    pub(crate) fn watch(&mut self, look: &Look, sealed: &mut impl Source<T, A>) -> Rest {
        self.expire(look, sealed);
        let rest = sealed.watch(look.now);
        self.rest(rest, look)
    }

    fn next_sealed(&mut self, look: &Look, sealed: &mut impl Source<T, A>) -> Next<T, A> {
        // Where all batches go to the same server and it is away, the rest stays in the queue, where its bounds hold.
        if self.has_one_partition && self.backoffs.holds(Partition::default(), look.now) {
            return Next::Rest(sealed.watch(look.now));
        }
        let next = sealed.next(look.now);
        if matches!(next, Next::Rest(Rest::Wait(_))) {
            self.has_backlog = self.has_backlog && self.backoffs.has_waiting();
        }
        next
    }

    /// What the sealed batches say, together with those in here.
    fn rest(&self, rest: Rest, look: &Look) -> Rest {
        let due = || self.backoffs.due(look.now, look.max_age);
        match rest {
            Rest::Wait(until) => Rest::Wait(earlier(until, due())),
            Rest::End if !self.bisection.is_empty() || self.backoffs.has_waiting() => Rest::Wait(due()),
            Rest::End | Rest::Abort | Rest::Discard(_) => rest,
        }
    }

    /// `batch`, unless its server is away: then it waits behind those of its partition.
    fn unless_held(&mut self, batch: PendingBatch<T, A>, look: &Look) -> Option<PendingBatch<T, A>> {
        if !self.backoffs.holds(batch.partition, look.now) {
            return Some(batch);
        }
        let join = self.join(batch.partition, look);
        self.backoffs.hold(batch, &join)
    }

    /// How much of what waits may be sent as one batch.
    fn join(&self, partition: Partition, look: &Look) -> Join {
        let Batching { max_items, max_bytes, .. } = look.batching;
        let max_apart = match look.max_age {
            // Those that join an older one expire with it: too early by a tenth of their time at most, while the server is away.
            Some(age) if !self.backoffs.responds(partition) => age.checked_div(10).unwrap_or(age),
            // Once the server responds again, what has piled up leaves in as few requests as possible: many clients that each sent
            // ten would be a storm. Should the server fail again at once, the younger of one batch may expire with its oldest.
            Some(_) | None => Duration::MAX,
        };
        let max_bytes = self.sizes.most(partition).map_or(max_bytes, |most| most.min(max_bytes));
        Join { max_items, max_bytes, max_apart }
    }

    /// `batch` together with those behind it, as far as they are one batch: what had to wait leaves in as few requests as
    /// possible, and the fewer they are, the fewer can fail.
    fn joined(
        &mut self,
        mut batch: PendingBatch<T, A>,
        look: &Look,
        sealed: &mut impl Source<T, A>,
    ) -> PendingBatch<T, A> {
        if !self.has_backlog || batch.is_expired(look.now, look.max_age) {
            return batch;
        }
        let join = self.join(batch.partition, look);
        while let Some(next) = sealed.next_to_join(&batch, &join, look.now) {
            if let Some(next) = batch.absorb(next, &join) {
                self.bisection.push(next);
                break;
            }
        }
        batch
    }

    /// `batch` as it is sent, unless it is not sent at all: it may be too old, without callers, or at fault. One that is too
    /// large is sent in parts.
    fn admit_to_send(&mut self, batch: PendingBatch<T, A>, look: &Look) -> Option<PendingBatch<T, A>> {
        // ## to be sent => dropped: it is too old.
        if batch.is_expired(look.now, look.max_age) {
            self.dropped.push(Dropped::expired(batch));
            return None;
        }
        // ## to be sent => dropped: no caller waits for any of its items, or it is too late for them.
        let batch = self.without_unwanted(batch, look.now)?;
        // ## to be sent => (dropped | two parts): it is at fault, or nothing may be spent on it any more.
        if batch.split.is_known_bad() || !batch.split.can_pay() {
            let at_fault = self.bisection.bisect(batch, SplitCause::BadItem, DropReason::Rejected);
            self.dropped.extend(at_fault.map(|(batch, reason)| Dropped {
                batch,
                reason,
                error: KnownBad.into(),
                undelivered: false,
            }));
            return None;
        }
        // ## to be sent => the first part, then the rest: it is too large for its server.
        Some(match self.sizes.most(batch.partition) {
            Some(most) => self.bisection.shrink(batch, most),
            None => batch,
        })
    }

    /// `batch` without the items whose callers have dropped their futures, and without those whose deadline has passed, which are
    /// dropped; `None` if it has no others.
    ///
    /// A batch that was sent before stays as it was, unless it is too late for all of it: the server may have seen its items.
    pub(crate) fn without_unwanted(
        &mut self,
        mut batch: PendingBatch<T, A>,
        now: Instant,
    ) -> Option<PendingBatch<T, A>> {
        if let Some(rule) = &self.deadline
            && let Some(late) = batch.take_late(rule, now)
        {
            self.dropped.push(Dropped::expired(late));
            if batch.len() == 0 {
                // As below.
                batch.owed_to = None;
                return None;
            }
        }
        if !self.run_cancelled
            && batch.attempts == 0
            && let Some(cancelled) = batch.take_cancelled()
        {
            self.dropped.push(Dropped::cancelled(cancelled));
            if batch.len() == 0 {
                // It has no item left that a ledger could expect a fate for.
                batch.owed_to = None;
                return None;
            }
        }
        Some(batch)
    }

    fn expire(&mut self, look: &Look, sealed: &mut impl Source<T, A>) {
        let Some(age) = look.max_age else { return };
        let expired = sealed.expired(look.now).into_iter().chain(self.backoffs.expired(look.now, age));
        self.dropped.extend(expired.map(Dropped::expired));
    }

    /// A batch is given to the inner service.
    pub(crate) fn sent(&mut self, batch: &mut PendingBatch<T, A>) {
        batch.attempts += 1;
        batch.generation = self.backoffs.sent(batch.partition);
        self.bisection.sent(batch);
    }

    /// A batch has come back from the inner service.
    pub(crate) fn returned(&mut self, batch: &PendingBatch<T, A>) {
        self.bisection.returned(batch);
    }

    /// The server has responded to a batch, other than by a failure that may pass.
    pub(crate) fn responded(&mut self, batch: &PendingBatch<T, A>, look: &Look) {
        self.backoffs.responded(batch, look.in_flight);
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
    pub(crate) fn park(
        &mut self,
        batch: PendingBatch<T, A>,
        hint: Option<Duration>,
        look: &Look,
    ) -> Option<PendingBatch<T, A>> {
        let given_up = self.backoffs.park(batch, hint, look);
        self.has_backlog |= given_up.is_none();
        while let Some(oldest) = self.backoffs.evict() {
            self.dropped.push(Dropped::evicted(oldest));
        }
        given_up
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

    /// The worker drops a batch that it could not deliver, or gives it to the spool.
    pub(crate) fn drop_later(&mut self, dropped: Dropped<T, A>) {
        self.dropped.push(dropped);
    }

    /// What is not worth sending any more.
    pub(crate) fn take_dropped(&mut self) -> Vec<Dropped<T, A>> {
        mem::take(&mut self.dropped)
    }

    /// Every batch in here.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, A>> {
        let mut all = self.backoffs.take_all();
        all.append(&mut self.bisection.take_all());
        all.extend(self.take_dropped().into_iter().map(|dropped| dropped.batch));
        all
    }

    /// Goes on after a panic that unwound through the scheduler: the batch that it had in hand has settled itself, and only those
    /// of `in_flight` are in flight.
    pub(crate) fn recount(&mut self, in_flight: &[&PendingBatch<T, A>]) {
        self.bisection.recount(in_flight);
        self.backoffs.recount(in_flight);
    }
}

// === impl Dropped ===

impl<T, A> Dropped<T, A> {
    pub(crate) fn expired(batch: PendingBatch<T, A>) -> Self {
        Self { batch, reason: DropReason::Expired, error: Expired::new().into(), undelivered: true }
    }

    fn evicted(batch: PendingBatch<T, A>) -> Self {
        Self { batch, reason: DropReason::Evicted, error: Evicted::new().into(), undelivered: true }
    }

    /// Items whose callers have dropped their futures: none of them gets the error.
    fn cancelled(batch: PendingBatch<T, A>) -> Self {
        let (reason, seen) = (DropReason::Cancelled, batch.seen());
        Self { batch, reason, error: Discarded::new(reason, seen).into(), undelivered: false }
    }

    pub(crate) fn discarded(batch: PendingBatch<T, A>, reason: DropReason) -> Self {
        let error = Discarded::new(reason, batch.seen()).into();
        Self { batch, reason, error, undelivered: false }
    }

    /// Items for which no attempt, no room or no time is left.
    pub(crate) fn undelivered(batch: PendingBatch<T, A>, reason: DropReason, error: BoxError) -> Self {
        Self { batch, reason, error, undelivered: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waits::MakeWaits;
    use std::{collections::VecDeque, time::Instant};

    const S: Duration = Duration::from_secs(1);

    type Batch = PendingBatch<u8, ()>;

    /// The sealed batches, without a lock.
    struct List(VecDeque<Batch>);

    impl Source<u8, ()> for List {
        fn next(&mut self, _: Instant) -> Next<u8, ()> {
            self.0.pop_front().map_or(Next::Rest(Rest::Wait(None)), Next::Send)
        }

        fn next_to_join(&mut self, batch: &Batch, join: &Join, _: Instant) -> Option<Batch> {
            let next = self.0.front()?;
            let fits = batch.may_take(next.partition, next.priority, next.charge, next.opened, join);
            fits.then(|| self.0.pop_front())?
        }

        fn watch(&mut self, _: Instant) -> Rest {
            Rest::Wait(None)
        }

        fn expired(&mut self, _: Instant) -> Vec<Batch> {
            Vec::new()
        }
    }

    struct Rig {
        scheduler: Scheduler<u8, ()>,
        list: List,
    }

    fn look(now: Instant) -> Look {
        Look { now, batching: Batching::new(), in_flight: 1, max_age: None }
    }

    impl Rig {
        fn new(batches: impl IntoIterator<Item = Vec<u8>>) -> Self {
            let mut knobs = Knobs::new();
            (knobs.split_budget, knobs.park.backoff) = (9, Some(MakeWaits::new([S, S])));
            let list = List(batches.into_iter().map(Batch::of).collect());
            Self { scheduler: Scheduler::new(&knobs, true), list }
        }

        /// The batch that is sent at `now`, or until when nothing is.
        fn send(&mut self, now: Instant) -> Result<Batch, Option<Instant>> {
            match self.scheduler.next(&look(now), &mut self.list) {
                Next::Send(mut batch) => {
                    self.scheduler.sent(&mut batch);
                    Ok(batch)
                }
                Next::Rest(Rest::Wait(due)) => Err(due),
                Next::Rest(rest) => panic!("{rest:?}"),
            }
        }

        fn deliver(&mut self, now: Instant, batch: &Batch) {
            self.scheduler.returned(batch);
            self.scheduler.responded(batch, &look(now));
            self.scheduler.delivered(batch, true);
        }
    }

    fn items(batch: &Batch) -> &[u8] {
        batch.items.as_deref().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn what_came_back_is_the_probe_and_what_waits_behind_it_leaves_as_one() {
        let (mut rig, now) = (Rig::new([vec![1, 2], vec![3], vec![4]]), start());
        let first = rig.send(now).unwrap();
        assert!(rig.scheduler.park(first, None, &look(now)).is_none());
        assert_eq!(rig.send(now).unwrap_err(), Some(now + S));
        assert_eq!(rig.list.0.len(), 2, "the rest stays in the queue");
        let probe = rig.send(now + S).unwrap();
        assert_eq!((items(&probe), probe.attempts), (&[1, 2][..], 2), "as it was");
        assert_eq!(rig.send(now + S).unwrap_err(), None, "one probe at a time");
        rig.deliver(now, &probe);
        let rest = rig.send(now + S).unwrap();
        assert_eq!(items(&rest), [3, 4]);
        rig.deliver(now, &rest);
        assert_eq!(rig.send(now + S).unwrap_err(), None);
    }

    #[test]
    fn of_two_halves_the_second_waits_for_the_first_and_is_not_sent_if_that_is_good() {
        let (mut rig, now) = (Rig::new([vec![1, 2], vec![3]]), start());
        let both = rig.send(now).unwrap();
        rig.scheduler.returned(&both);
        assert!(rig.scheduler.bisect(both, SplitCause::BadItem, DropReason::Rejected).is_none());
        let left = rig.send(now).unwrap();
        assert_eq!(items(&left), [1]);
        let next = rig.send(now).unwrap();
        assert_eq!(items(&next), [3], "the other half waits");
        rig.deliver(now, &left);
        assert_eq!(rig.send(now).unwrap_err(), None);
        let dropped = &rig.scheduler.take_dropped()[0];
        assert_eq!((items(&dropped.batch), dropped.reason), (&[2][..], DropReason::Rejected));
        assert!(dropped.error.is::<KnownBad>());
    }
}
