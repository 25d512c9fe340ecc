use crate::{
    Answer, BatchFailed, Discarded,
    delivery::Delivery,
    fates::Fates,
    flight::Landed,
    lot::{Join, Lot, Partition},
    recovery::Hold,
    shared::Shared,
    sizes::Sizes,
    split::Verdict,
    state::Next,
    trace,
    trouble::Troubles,
};
use forebay_core::{
    BoxError, DropReason, Fate, ItemFate, Seen, Settle, Settlement, SplitCause, panic, time::saturating_add,
};
use forebay_intake::{Evicted, Expired, Panicked};
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// What the worker decides: which lot is next, and what the result of one means for it. It has no inner service and no
/// timer; time comes in as an argument.
pub(crate) struct Desk<T, Se, P, An, B: IntoIterator, A> {
    pub(crate) shared: Arc<Shared<T, A>>,
    pub(crate) delivery: Delivery<Se, P, An, B>,
    /// Whether all items go into the same batch.
    one_partition: bool,
    /// Parts of lots that were cut; the last is next, and goes before all else.
    parts: Vec<Lot<T, A>>,
    /// The part of a cut that is under way: the other one waits for what becomes of it.
    part_under_way: bool,
    troubles: Troubles<T, A, B>,
    /// Since a lot came back, lots may wait that pile up behind it: until none does, they are joined before they are sent.
    has_backlog: bool,
    /// What was learned of how large a request may be; only of partitions where one was too large.
    sizes: Sizes,
    cuts: u64,
}

/// What the worker is to do.
pub(crate) enum Choice<T, A> {
    Send(Lot<T, A>),
    /// Nothing before this instant, or before it is woken.
    Wait(Option<Instant>),
    /// Nothing ever again, once all that is under way has landed.
    End,
    /// Let go of everything.
    Abandoned,
    /// Drop all that was taken, and go on.
    Discard(DropReason),
}

// === impl Desk ===

impl<T, Se, P, An, B, A> Desk<T, Se, P, An, B, A>
where
    B: IntoIterator<Item = Duration> + Clone,
{
    pub(crate) fn new(shared: Arc<Shared<T, A>>, delivery: Delivery<Se, P, An, B>, one_partition: bool) -> Self {
        Self {
            shared,
            delivery,
            one_partition,
            parts: Vec::new(),
            part_under_way: false,
            troubles: Troubles::new(),
            has_backlog: false,
            sizes: Sizes::default(),
            cuts: 0,
        }
    }

    /// The next lot to send at `now`.
    pub(crate) fn choose<Res>(&mut self, now: Instant, waker: &Waker) -> Choice<T, A>
    where
        An: Answer<Res, Answer = A>,
    {
        let max_wait = self.shared.max_wait();
        self.expire::<Res>(now, max_wait);
        loop {
            let lot = if let Some(lot) = self.troubles.next(now) {
                lot
            } else if let Some(part) = self.next_part() {
                let Some(part) = self.unless_held(part, now) else { continue };
                part
            } else {
                // Where all go to the same far side and that is away, the rest stays in the queue, where its bounds hold.
                let held = self.one_partition && self.troubles.holds(Partition::default(), now);
                let next = if held { self.shared.watch(now, waker) } else { self.shared.next(now, waker) };
                if !held && matches!(next, Next::Wait(_)) {
                    self.has_backlog = self.has_backlog && self.troubles.has_waiting();
                }
                match next {
                    Next::Send(mut lot) => {
                        lot.owed_to = Some(Arc::clone(&self.shared));
                        let Some(lot) = self.unless_held(lot, now) else { continue };
                        self.joined(lot, now, max_wait)
                    }
                    Next::Wait(due) => return Choice::Wait(earlier(due, self.troubles.due(now, max_wait))),
                    Next::End if self.parts.is_empty() && !self.troubles.has_waiting() => return Choice::End,
                    Next::End => return Choice::Wait(self.troubles.due(now, max_wait)),
                    Next::Abandoned => return Choice::Abandoned,
                    Next::Discard(reason) => return Choice::Discard(reason),
                }
            };
            if let Some(lot) = self.examine::<Res>(lot, now, max_wait) {
                return Choice::Send(lot);
            }
        }
    }

    /// Only watches for what has to be seen while no lot may be sent.
    pub(crate) fn watch<Res>(&mut self, now: Instant, waker: &Waker) -> Choice<T, A>
    where
        An: Answer<Res, Answer = A>,
    {
        let max_wait = self.shared.max_wait();
        self.expire::<Res>(now, max_wait);
        match self.shared.watch(now, waker) {
            Next::Abandoned => Choice::Abandoned,
            Next::Discard(reason) => Choice::Discard(reason),
            Next::Wait(due) => Choice::Wait(earlier(due, self.troubles.due(now, max_wait))),
            Next::Send(_) | Next::End => Choice::Wait(None),
        }
    }

    fn next_part(&mut self) -> Option<Lot<T, A>> {
        let next = self.parts.last()?;
        if self.part_under_way && next.split.is_part() { None } else { self.parts.pop() }
    }

    /// `lot`, unless its far side is away: then it waits behind those of its partition.
    fn unless_held(&mut self, lot: Lot<T, A>, now: Instant) -> Option<Lot<T, A>> {
        if !self.troubles.holds(lot.partition, now) {
            return Some(lot);
        }
        let join = self.join(lot.partition, self.shared.max_wait());
        self.troubles.hold(lot, &join)
    }

    /// How much of what waits may be sent as one batch.
    fn join(&self, partition: Partition, max_wait: Option<Duration>) -> Join {
        let batching = self.shared.batching();
        Join {
            max_items: batching.max_items,
            max_bytes: self.sizes.most(partition).map_or(batching.max_bytes, |most| most.min(batching.max_bytes)),
            // Those that join an older one expire with it: too early by a tenth of their time at most.
            max_apart: max_wait.map_or(Duration::MAX, |wait| wait.checked_div(10).unwrap_or(wait)),
        }
    }

    /// `lot`, and with it those behind it, as far as they are one batch together: where one had to wait others have piled
    /// up, and the fewer requests they take, the fewer can fail.
    fn joined(&mut self, mut lot: Lot<T, A>, now: Instant, max_wait: Option<Duration>) -> Lot<T, A> {
        if !self.has_backlog || outlived(&lot, now, max_wait) {
            return lot;
        }
        let join = self.join(lot.partition, max_wait);
        while let Some(mut next) = self.shared.next_to_join(&lot, &join, now) {
            next.owed_to = Some(Arc::clone(&self.shared));
            if let Some(next) = lot.absorb(next, &join) {
                self.parts.push(next);
                break;
            }
        }
        lot
    }

    /// Sends `lot` on, or not at all: it may be too old, too large, or at fault.
    fn examine<Res>(&mut self, mut lot: Lot<T, A>, now: Instant, max_wait: Option<Duration>) -> Option<Lot<T, A>>
    where
        An: Answer<Res, Answer = A>,
    {
        if outlived(&lot, now, max_wait) {
            self.conclude::<Res>(lot, &Fates::All(Fate::Dropped(DropReason::Expired)), Err(Expired::new().into()));
            return None;
        }
        lot = self.without_cancelled(lot)?;
        if lot.split.is_at_fault() || !lot.split.can_pay() {
            self.cut::<Res>(lot, SplitCause::BadItem, DropReason::Rejected, Err(BoxError::from(AtFault)));
            return None;
        }
        if let Some(most) = self.sizes.most(lot.partition)
            && lot.charge.bytes > most
            && lot.len() > 1
            && lot.items.is_some()
        {
            // As many items as fit, if all are alike; at least one.
            if lot.split.is_part() {
                // Of pieces of one half, that one is good says nothing about the next.
                self.cuts += 1;
                lot.split.parts_of(self.cuts, SplitCause::TooLarge);
            }
            let share = lot.len() as u128 * most as u128 / lot.charge.bytes.max(1) as u128;
            let fits = usize::try_from(share).unwrap_or(usize::MAX).clamp(1, lot.len() - 1);
            let (first, rest) = lot.split_at(fits);
            self.parts.push(rest);
            lot = first;
        }
        Some(lot)
    }

    /// `lot` without the items whose callers have dropped their futures; `None` if it has no others.
    ///
    /// One that was sent before stays as it was: the server may have seen its items.
    pub(crate) fn without_cancelled(&self, mut lot: Lot<T, A>) -> Option<Lot<T, A>> {
        if self.delivery.knobs.run_cancelled || lot.attempts > 0 {
            return Some(lot);
        }
        let Some((charge, keys, gone)) = lot.take_cancelled() else { return Some(lot) };
        let cancelled = [(charge, Fate::Dropped(DropReason::Cancelled))];
        if lot.len() == 0 {
            lot.owed_to = None;
        }
        self.shared.settle(&cancelled, &keys);
        trace::settled(&cancelled);
        // After the ledger has counted them: their `Drop` is code of the user.
        drop(gone);
        (lot.len() > 0).then_some(lot)
    }

    fn expire<Res>(&mut self, now: Instant, max_wait: Option<Duration>)
    where
        An: Answer<Res, Answer = A>,
    {
        let Some(limit) = max_wait.and_then(|wait| now.checked_sub(wait)) else { return };
        let mut expired = self.shared.expired(now);
        expired.iter_mut().for_each(|lot| lot.owed_to = Some(Arc::clone(&self.shared)));
        if !self.troubles.is_empty() {
            expired.extend(self.troubles.expired(limit));
        }
        for lot in expired {
            self.conclude::<Res>(lot, &Fates::All(Fate::Dropped(DropReason::Expired)), Err(Expired::new().into()));
        }
    }

    /// A lot is given to the inner service; the generation it belongs to.
    pub(crate) fn sent(&mut self, lot: &mut Lot<T, A>) -> u64 {
        lot.attempts += 1;
        lot.split.pay();
        self.part_under_way |= lot.split.is_part();
        self.troubles.sent(lot.partition)
    }

    /// A lot has come back.
    pub(crate) fn landed<Res>(&mut self, landed: Landed<Res, T, A>, now: Instant)
    where
        Se: Settle<Res>,
        An: Answer<Res, Answer = A>,
    {
        let Landed { lot, generation, result } = landed;
        if lot.split.is_part() {
            self.part_under_way = false;
        }
        let items = lot.len();
        let judged = result.and_then(|result| match panic::catch(|| self.delivery.settle.settle(&result, items)) {
            Ok(settlement) => Ok((settlement, result)),
            Err(_reported) => {
                panic::discard(result);
                Err(DropReason::Panicked)
            }
        });
        let (settlement, result) = judged
            .unwrap_or_else(|reason| (Settlement::All(Fate::Dropped(reason)), Err(BoxError::from(Panicked::new()))));
        if let Settlement::Retry { after, otherwise } = settlement {
            self.retry(lot, generation, after, otherwise, result, now);
            return;
        }
        self.answered(lot.partition, generation);
        match settlement {
            Settlement::All(fate) => {
                if fate == Fate::Delivered {
                    self.delivered(&lot, true);
                }
                self.conclude(lot, &Fates::All(fate), result);
            }
            Settlement::Partial { dropped, reason } => {
                self.delivered(&lot, dropped == 0);
                self.conclude(lot, &Fates::Last { dropped, reason }, result);
            }
            Settlement::Each(fates) => self.each(lot, &fates, generation, result, now),
            Settlement::Split { cause, otherwise } => self.cut(lot, cause, otherwise, result),
            // A settlement of a newer version of the core, of which nothing is known here.
            _ => self.conclude(lot, &Fates::All(Fate::Dropped(DropReason::Failed)), result),
        }
    }

    fn answered(&mut self, partition: Partition, generation: u64) {
        if let Some(park) = &self.delivery.park
            && !self.troubles.is_empty()
        {
            self.troubles.answered(partition, generation, self.shared.max_in_flight(), &park.backoff);
        }
    }

    /// The far side took the lot: what was learned of it stands, and of two parts, if the `whole` of this one was good,
    /// the other is at fault.
    fn delivered(&mut self, lot: &Lot<T, A>, whole: bool) {
        self.sizes.passed(lot.partition, lot.charge.bytes);
        if whole && let Some(next) = self.parts.last_mut() {
            next.split.other_was_good(&lot.split);
        }
    }

    /// A lot was not taken, and may be sent again.
    fn retry<Res>(
        &mut self,
        lot: Lot<T, A>,
        generation: u64,
        hint: Option<Duration>,
        otherwise: DropReason,
        result: Result<Res, BoxError>,
        now: Instant,
    ) where
        An: Answer<Res, Answer = A>,
    {
        let (items, attempts) = (lot.len(), lot.attempts);
        // Just after it has outlived its limit, so that it is not the probe itself.
        let limit = self.shared.max_wait().map(|wait| wait.saturating_add(Duration::from_millis(1)));
        let hint = hint.map(|hint| hint.min(self.delivery.knobs.max_hint).min(limit.unwrap_or(Duration::MAX)));
        let ends = lot.opened.zip(limit).map(|(opened, limit)| saturating_add(opened, limit));
        let hold = Hold { hint, ends };
        let given_up = match &self.delivery.park {
            Some(park) if lot.items.is_some() => self.troubles.park(lot, generation, now, hold, &park.backoff),
            _ => Some(lot),
        };
        match given_up {
            Some(lot) => self.conclude(lot, &Fates::All(Fate::Dropped(otherwise)), result),
            None => {
                self.has_backlog = true;
                trace::parked(items, attempts, hint);
                panic::discard(result);
            }
        }
        let most = self.delivery.park.as_ref().map_or(0, |park| park.max_bytes);
        while self.troubles.bytes > most
            && let Some(oldest) = self.troubles.oldest()
        {
            let evicted = Fates::All(Fate::Dropped(DropReason::Evicted));
            self.conclude::<Res>(oldest, &evicted, Err(Evicted::new().into()));
        }
    }

    /// The items of a lot have met different fates; those that may be sent again are, if they can be.
    fn each<Res>(
        &mut self,
        mut lot: Lot<T, A>,
        given: &[ItemFate],
        generation: u64,
        result: Result<Res, BoxError>,
        now: Instant,
    ) where
        An: Answer<Res, Answer = A>,
    {
        let all = lot.len();
        let mut again: Vec<bool> = given.iter().map(|fate| matches!(fate, ItemFate::Retry(_))).collect();
        again.resize(all, false);
        let otherwise = given.iter().find_map(|fate| match fate {
            ItemFate::Retry(otherwise) => Some(*otherwise),
            ItemFate::Final(_) => None,
        });
        let fates = Fates::each(given, all);
        let (Some(otherwise), true) = (otherwise, self.delivery.park.is_some()) else {
            return self.conclude(lot, &fates, result);
        };
        let mut callers = lot.callers.take();
        let Some((gone, keys, gone_items)) = lot.narrow(&again, None) else {
            lot.callers = callers;
            return self.conclude(lot, &fates, result);
        };
        let finals = (0..all).filter(|index| !again[*index]).map(|index| fates.of(index, all)).collect();
        let charges = Fates::Each(finals).charges(gone);
        self.shared.settle(&charges, &keys);
        trace::settled(&charges);
        if let Some(callers) = &mut callers {
            let finals = |index: usize| !again[index];
            self.answer(callers, result, all, finals, |index| fates.of(index, all));
            callers.retain(&again);
        } else {
            panic::discard(result);
        }
        drop(gone_items);
        lot.callers = callers;
        self.retry::<Res>(lot, generation, None, otherwise, Err(BoxError::from(AtFault)), now);
    }

    /// A lot was refused for what is in it: a part of it may pass.
    fn cut<Res>(&mut self, mut lot: Lot<T, A>, cause: SplitCause, otherwise: DropReason, result: Result<Res, BoxError>)
    where
        An: Answer<Res, Answer = A>,
    {
        if cause == SplitCause::TooLarge && self.delivery.knobs.split_budget >= 2 && !lot.split.is_at_fault() {
            self.sizes.refused(lot.partition, lot.charge.bytes);
        }
        let verdict = match (self.delivery.knobs.split_budget, &lot.items) {
            (2.., Some(_)) => lot.split.judge(lot.len(), self.delivery.knobs.split_budget),
            _ => Verdict::Spent,
        };
        match verdict {
            Verdict::Cut => {
                self.cuts += 1;
                trace::cut(lot.len(), cause);
                let half = lot.len() / 2;
                lot.split.parts_of(self.cuts, cause);
                let (left, right) = lot.split_at(half);
                self.parts.push(right);
                self.parts.push(left);
            }
            Verdict::Found if cause == SplitCause::TooLarge => {
                self.conclude(lot, &Fates::All(Fate::Dropped(DropReason::TooLarge)), result);
            }
            Verdict::Found | Verdict::Spent => self.conclude(lot, &Fates::All(Fate::Dropped(otherwise)), result),
        }
    }

    /// The items of a lot have met their fates: first the ledger learns it, then the callers.
    pub(crate) fn conclude<Res>(&self, mut lot: Lot<T, A>, fates: &Fates, result: Result<Res, BoxError>)
    where
        An: Answer<Res, Answer = A>,
    {
        let all = lot.len();
        let charges = fates.charges(lot.charge);
        lot.owed_to = None;
        self.shared.settle(&charges, &lot.keys);
        trace::settled(&charges);
        match &lot.callers {
            Some(callers) => self.answer(callers, result, all, |_| true, |index| fates.of(index, all)),
            None => panic::discard(result),
        }
    }

    fn answer<Res>(
        &self,
        callers: &crate::callers::Callers<A>,
        result: Result<Res, BoxError>,
        items: usize,
        of: impl Fn(usize) -> bool,
        fate: impl Fn(usize) -> Fate,
    ) where
        An: Answer<Res, Answer = A>,
    {
        match panic::catch(|| self.delivery.answer.prepare(result.map_err(BatchFailed::new), items)) {
            Ok(mut prepared) => {
                callers.answer(|index| of(index).then(|| self.delivery.answer.take(&mut prepared, index, fate(index))));
                panic::discard(prepared);
            }
            Err(_reported) => callers.answer(|index| of(index).then(|| Err(BoxError::from(Panicked::new())))),
        }
    }

    /// Lets go of `lot`: it is counted, its callers are told, its items are kept for the handle.
    pub(crate) fn let_go(&self, lot: Lot<T, A>, seen: Seen) {
        self.shared.let_go(lot, seen);
    }

    /// Drops `lots` and all that waits here.
    pub(crate) fn discard<Res>(&mut self, lots: Vec<Lot<T, A>>, reason: DropReason)
    where
        An: Answer<Res, Answer = A>,
    {
        let waiting = self.troubles.take_all();
        let parts = std::mem::take(&mut self.parts);
        self.part_under_way = false;
        for lot in lots.into_iter().chain(waiting).chain(parts) {
            let seen = if lot.attempts > 0 { Seen::Maybe } else { Seen::No };
            self.conclude::<Res>(lot, &Fates::All(Fate::Dropped(reason)), Err(Discarded::new(reason, seen).into()));
        }
    }

    /// Goes on after a panic that unwound through the desk: the lot it had in hand has settled itself, and only those of
    /// `in_flight` are under way, each with the generation that it belongs to.
    pub(crate) fn resume<'a>(&mut self, in_flight: impl Iterator<Item = (&'a Lot<T, A>, u64)>)
    where
        T: 'a,
        A: 'a,
    {
        self.part_under_way = false;
        let mut under_way = Vec::new();
        for (lot, generation) in in_flight {
            self.part_under_way |= lot.split.is_part();
            under_way.push((lot.partition, generation));
        }
        self.troubles.recount(&under_way);
    }

    /// Lets go of all that waits here.
    pub(crate) fn let_all_go(&mut self) {
        let waiting = self.troubles.take_all();
        for lot in waiting.into_iter().chain(std::mem::take(&mut self.parts)) {
            let seen = if lot.attempts > 0 { Seen::Maybe } else { Seen::No };
            self.let_go(lot, seen);
        }
    }
}

fn outlived<T, A>(lot: &Lot<T, A>, now: Instant, max_wait: Option<Duration>) -> bool {
    match (lot.opened, max_wait) {
        (Some(opened), Some(wait)) => now.saturating_duration_since(opened) > wait,
        _ => false,
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The part of a batch that was not sent, as the other part was found good.
#[derive(Debug)]
struct AtFault;

impl std::fmt::Display for AtFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this part of the batch is at fault, for the other part was taken")
    }
}

impl std::error::Error for AtFault {}
