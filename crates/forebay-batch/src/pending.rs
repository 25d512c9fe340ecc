use crate::{Items, bisect::Split, shared::Shared, waiters::Waiters, waits::Waits};
use forebay_core::{BoxError, Deadline, DropReason, Fate, Priority, Seen, time::saturating_add};
use forebay_intake::{Charge, DeadlineRule, Panicked};
use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// Which batch an item goes into: a hash of its key with random keys, wide enough that no two keys meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Partition(pub(crate) u128);

/// A sealed batch in the hands of the worker: it owns its items until they have met their fates.
///
/// It is a guard: dropped before its items have fates, as by a panic that unwinds through the worker, it settles them as
/// [`DropReason::Panicked`] and replies with that to its waiters.
#[derive(Debug)]
pub(crate) struct PendingBatch<T, A> {
    /// `None` while the inner service has them and they are not retained.
    pub(crate) items: Option<Items<T>>,
    /// The slots that its items hold.
    pub(crate) charge: Charge,
    /// The callers that wait for a reply to an item of it.
    pub(crate) waiters: Option<Waiters<A>>,
    /// The fair-share key of each item, if it has one; empty where no shares are kept.
    pub(crate) keys: Vec<Option<u64>>,
    pub(crate) partition: Partition,
    /// The lane that it was queued in.
    pub(crate) priority: Priority,
    /// When the worker first saw it: its age counts from here.
    pub(crate) opened: Option<Instant>,
    /// The earliest deadline of its items that are known to have one.
    pub(crate) deadline: Option<Instant>,
    /// How often it was given to the inner service.
    pub(crate) attempts: u32,
    /// Which failure of its partition was known when it was sent last; zero if none was.
    pub(crate) generation: u64,
    /// The waits that are left to it, once it has waited for itself.
    pub(crate) waits: Option<Waits>,
    /// What is known of it as a part of a larger batch.
    pub(crate) split: Split,
    /// The ledger that still expects the fates of the items, while the worker has them.
    pub(crate) owed_to: Option<Arc<Shared<T, A>>>,
}

/// When batches that wait are sent as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    /// By how much the ages of two batches may differ: both expire with the older one.
    pub(crate) max_apart: Duration,
}

// === impl PendingBatch ===

impl<T, A> PendingBatch<T, A> {
    /// A batch that was not sent yet, and of which no ledger expects a fate from the worker.
    pub(crate) fn new(
        items: Items<T>,
        charge: Charge,
        waiters: Option<Waiters<A>>,
        keys: Vec<Option<u64>>,
        partition: Partition,
        priority: Priority,
        opened: Option<Instant>,
    ) -> Self {
        let (items, split) = (Some(items), Split::default());
        Self {
            items,
            charge,
            waiters,
            keys,
            partition,
            priority,
            opened,
            deadline: None,
            attempts: 0,
            generation: 0,
            waits: None,
            split,
            owed_to: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.charge.items).unwrap_or(usize::MAX)
    }

    /// Whether the server may have seen its items.
    pub(crate) fn seen(&self) -> Seen {
        if self.attempts > 0 { Seen::Maybe } else { Seen::No }
    }

    /// Whether it has outlived `max_age` at `now`.
    pub(crate) fn is_expired(&self, now: Instant, max_age: Option<Duration>) -> bool {
        match (self.opened, max_age) {
            (Some(opened), Some(max_age)) => now.saturating_duration_since(opened) > max_age,
            _ => false,
        }
    }

    /// Takes its items out; none, if the inner service has them or a clone of them is read elsewhere.
    pub(crate) fn take_items(&mut self) -> Vec<T> {
        self.items.take().and_then(|items| items.into_vec().ok()).unwrap_or_default()
    }

    /// Sends the same error to every waiter; call it without a lock.
    pub(crate) fn reply_to_all(&self, error: impl Fn() -> BoxError) {
        if let Some(waiters) = &self.waiters {
            waiters.reply(|_| Some(Err(error())));
        }
    }

    /// Appends the items of `more`, so that both are one batch; `more` is returned if they have to stay apart.
    pub(crate) fn absorb(&mut self, mut more: Self, join: &Join) -> Option<Self> {
        let was_sent = more.attempts > 0 || more.split.is_part();
        if was_sent || !self.may_take(more.partition, more.priority, more.charge, more.opened, join) {
            return Some(more);
        }
        let (Some(own), Some(items)) = (&mut self.items, more.items.take()) else { return Some(more) };
        if let Err(items) = own.append(items) {
            more.items = Some(items);
            return Some(more);
        }
        // From here on the items belong to this batch, and so do their fates.
        more.owed_to = None;
        let before = self.len();
        self.charge.items += more.charge.items;
        self.charge.bytes += more.charge.bytes;
        self.keys.append(&mut more.keys);
        if let Some(waiters) = more.waiters.take() {
            self.waiters.get_or_insert_with(Waiters::new).append(waiters, before);
        }
        self.opened = [self.opened, more.opened].into_iter().flatten().min();
        self.deadline = [self.deadline, more.deadline].into_iter().flatten().min();
        None
    }

    /// Whether this batch and such a one may be sent as one. Neither was ever sent: what the server may have seen is sent again
    /// unchanged, so that the server can recognize it.
    pub(crate) fn may_take(
        &self,
        partition: Partition,
        priority: Priority,
        charge: Charge,
        opened: Option<Instant>,
        join: &Join,
    ) -> bool {
        let apart = match (self.opened, opened) {
            (Some(own), Some(opened)) => {
                own.saturating_duration_since(opened).max(opened.saturating_duration_since(own))
            }
            _ => Duration::ZERO,
        };
        let items = self.charge.items.saturating_add(charge.items);
        self.attempts == 0
            && !self.split.is_part()
            && (self.partition, self.priority, self.charge.epoch) == (partition, priority, charge.epoch)
            && usize::try_from(items).is_ok_and(|items| items <= join.max_items)
            && self.charge.bytes.saturating_add(charge.bytes) <= join.max_bytes
            && apart <= join.max_apart
    }

    /// The first `at` items and the rest, each a batch of its own; needs the items.
    pub(crate) fn split_at(mut self, at: usize) -> (Self, Self) {
        let all = self.len().max(1);
        let mut right = self.sibling();
        // The weights of single items are not known: each part is charged its share, and both together all of it.
        let left = Charge { items: at as u64, bytes: share(self.charge.bytes, at, all), epoch: self.charge.epoch };
        right.charge.items = self.charge.items - left.items;
        right.charge.bytes = self.charge.bytes - left.bytes;
        self.charge = left;
        (self.items, right.items) = unzip(self.items.take().map(|items| items.split_at(at)));
        (self.waiters, right.waiters) = unzip(self.waiters.take().map(|waiters| waiters.split_at(at)));
        right.keys = self.keys.split_off(at.min(self.keys.len()));
        (self, right)
    }

    /// A batch without any item that otherwise equals this one.
    fn sibling(&self) -> Self {
        Self {
            items: None,
            charge: Charge { epoch: self.charge.epoch, ..Charge::default() },
            waiters: None,
            keys: Vec::new(),
            waits: None,
            split: self.split.clone(),
            owed_to: self.owed_to.clone(),
            ..*self
        }
    }

    /// Takes out the items whose callers have dropped their futures, as a batch of its own; `None` if there are none, or the
    /// items are not here.
    pub(crate) fn take_cancelled(&mut self) -> Option<Self> {
        let cancelled = self.waiters.as_ref()?.cancelled();
        let mut keep = vec![true; self.len()];
        for (item, _) in &cancelled {
            *keep.get_mut(*item)? = false;
        }
        let bytes = cancelled.iter().map(|(_, bytes)| bytes).sum();
        if cancelled.is_empty() { None } else { self.retain(&keep, Some(bytes)) }
    }

    /// Takes out the items whose deadline has passed at `now`, as a batch of its own with their waiters; `None` if there are none,
    /// or the items are not here.
    ///
    /// A batch that was sent is taken out only as a whole: the server may have seen it, and gets the same items again.
    pub(crate) fn take_late(&mut self, rule: &DeadlineRule<T>, now: Instant) -> Option<Self> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return None;
        }
        let deadlines = self.items.as_ref()?.iter().map(|item| rule.of(item).map(Deadline::instant));
        let deadlines: Vec<_> = deadlines.collect();
        let late: Vec<_> = deadlines.iter().map(|deadline| deadline.is_some_and(|deadline| deadline <= now)).collect();
        let left = deadlines.into_iter().flatten().filter(|deadline| *deadline > now).min();
        let takes = if self.attempts == 0 { late.contains(&true) } else { !late.contains(&false) };
        self.deadline = left;
        if !takes {
            return None;
        }
        let keep: Vec<_> = late.iter().map(|late| !late).collect();
        let waiters = self.waiters.as_ref().map(|waiters| waiters.of(&late));
        let mut late = self.retain(&keep, None)?;
        late.waiters = waiters;
        Some(late)
    }

    /// Keeps the items that `keep` says, and returns the others as a batch without waiters; `None` if the items are not here,
    /// or a clone of them is read elsewhere.
    ///
    /// The others weigh `other_bytes`, or where that is not known, their share.
    pub(crate) fn retain(&mut self, keep: &[bool], other_bytes: Option<usize>) -> Option<Self> {
        let items = match self.items.take()?.into_vec() {
            Ok(items) => items,
            Err(shared) => {
                self.items = Some(shared);
                return None;
            }
        };
        let mut others = self.sibling();
        let all = items.len();
        let mut kept = keep.iter().copied().chain(std::iter::repeat(false));
        let (items, other_items): (Vec<T>, Vec<T>) = items.into_iter().partition(|_| kept.next().unwrap_or(false));
        let left = items.len();
        let in_lane = |items| Some(Items::new(items).in_lane(self.priority));
        (self.items, others.items) = (in_lane(items), in_lane(other_items));
        if let Some(waiters) = &mut self.waiters {
            waiters.retain(keep);
        }
        let bytes = match other_bytes {
            // A batch without items is charged nothing, whatever the weights of its parts added up to.
            Some(other_bytes) if left > 0 => self.charge.bytes.saturating_sub(other_bytes),
            _ => share(self.charge.bytes, left, all.max(1)),
        };
        others.charge.items = (all - left) as u64;
        others.charge.bytes = self.charge.bytes - bytes;
        (self.charge.items, self.charge.bytes) = (left as u64, bytes);
        let (kept, other_keys) = mem::take(&mut self.keys)
            .into_iter()
            .enumerate()
            .partition::<Vec<_>, _>(|(index, _)| keep.get(*index).copied().unwrap_or(false));
        self.keys = kept.into_iter().map(|(_, key)| key).collect();
        others.keys = other_keys.into_iter().map(|(_, key)| key).collect();
        Some(others)
    }
}

impl<T, A> Drop for PendingBatch<T, A> {
    fn drop(&mut self) {
        // Only a panic drops a batch that the ledger still expects a fate for.
        // CORRECTNESS: the ledger counts before the callers have their replies, as everywhere.
        let Some(ledger) = self.owed_to.take() else { return };
        ledger.settle(&[(self.charge, Fate::Dropped(DropReason::Panicked))], &self.keys);
        self.reply_to_all(|| BoxError::from(Panicked::new()));
    }
}

/// When a batch that was opened then is older than `max_age`: a millisecond later than it is as old as that.
pub(crate) fn expires_at(opened: Instant, max_age: Duration) -> Instant {
    saturating_add(opened, max_age.saturating_add(Duration::from_millis(1)))
}

#[cfg(test)]
impl PendingBatch<u8, ()> {
    /// A batch of these items, each of one byte, in the common partition.
    pub(crate) fn of(items: Vec<u8>) -> Self {
        let charge = Charge { items: items.len() as u64, bytes: items.len(), ..Charge::default() };
        Self::new(Items::new(items), charge, None, Vec::new(), Partition::default(), Priority::Normal, None)
    }
}

fn unzip<One, Other>(both: Option<(One, Other)>) -> (Option<One>, Option<Other>) {
    both.map_or((None, None), |(one, other)| (Some(one), Some(other)))
}

/// The share that `part` items of `all` have in `bytes`.
fn share(bytes: usize, part: usize, all: usize) -> usize {
    let share = bytes as u128 * part as u128 / all as u128;
    usize::try_from(share).unwrap_or(bytes)
}
