use crate::{Items, callers::Callers, shared::Shared, split::Split};
use forebay_core::{BoxError, DropReason, Fate, Priority};
use forebay_intake::{Charge, Epoch, Panicked};
use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// Which batch an item goes into: a hash of its key with random keys, wide enough that no two keys meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Partition(pub(crate) u128);

/// A batch that still takes items.
#[derive(Debug)]
pub(crate) struct OpenLot<T, A> {
    items: Vec<T>,
    /// The weight of each item; only where single items may be evicted.
    weights: VecDeque<u32>,
    bytes: usize,
    epoch: Epoch,
    callers: Option<Callers<A>>,
    /// The fair-share key of each item, if it has one; empty where no shares are kept.
    keys: Vec<Option<u64>>,
    /// The most important of its items.
    priority: Priority,
    /// When the worker first saw it.
    opened: Option<Instant>,
    /// How many batches were opened before.
    pub(crate) number: u64,
}

/// A batch on its way: it has its items until they have met their fates.
///
/// One that the worker has in hand is a guard: dropped before its items have fates, as by a panic that unwinds through the
/// worker, it settles them as [`DropReason::Panicked`] and answers its callers with that.
#[derive(Debug)]
pub(crate) struct Lot<T, A> {
    /// `None` while the inner service has them and they are not kept.
    pub(crate) items: Option<Items<T>>,
    pub(crate) charge: Charge,
    pub(crate) callers: Option<Callers<A>>,
    /// As in the open lot: one for each item, or none at all.
    pub(crate) keys: Vec<Option<u64>>,
    pub(crate) partition: Partition,
    pub(crate) priority: Priority,
    /// When its first item was seen; the worker stamps it if nobody did before.
    pub(crate) opened: Option<Instant>,
    /// How often it was given to the inner service.
    pub(crate) attempts: u32,
    pub(crate) split: Split,
    /// The ledger that still expects the fates of the items, while the worker has them in hand.
    pub(crate) owed_to: Option<Arc<Shared<T, A>>>,
}

/// Items that were taken out of a lot: what they held, their fair-share keys, and they themselves.
pub(crate) type Narrowed<T> = (Charge, Vec<Option<u64>>, Items<T>);

/// When lots that wait are sent as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    /// How much younger than the first a lot may be: both expire with the older one.
    pub(crate) max_apart: Duration,
}

// === impl OpenLot ===

impl<T, A> OpenLot<T, A> {
    pub(crate) fn new(capacity: usize, epoch: Epoch, number: u64) -> Self {
        Self {
            items: Vec::with_capacity(capacity),
            weights: VecDeque::new(),
            bytes: 0,
            epoch,
            callers: None,
            keys: Vec::new(),
            priority: Priority::Normal,
            opened: None,
            number,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, item: T, bytes: usize, priority: Priority) {
        if self.items.len() == self.items.capacity() {
            self.grow();
        }
        self.items.push(item);
        self.bytes += bytes;
        if priority > self.priority {
            self.priority = priority;
        }
    }

    /// Makes room for a quarter more. Doubling would leave up to half of the memory unused, of which no limit knows.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.items.reserve_exact((self.items.len() / 4).max(8));
    }

    /// Notes of the last item what only some batchers have to know: its weight, and whose fair share it is.
    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    pub(crate) fn note(&mut self, bytes: Option<usize>, key: Option<Option<u64>>) {
        self.weights.extend(bytes.map(|bytes| bytes as u32));
        self.keys.extend(key);
    }

    /// The callers, to add the one of the last item.
    pub(crate) fn callers(&mut self) -> &mut Callers<A> {
        self.callers.get_or_insert_with(Callers::new)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn priority(&self) -> Priority {
        self.priority
    }

    /// When its first item was seen: now, if nobody has looked before.
    pub(crate) fn opened(&mut self, now: Instant) -> Instant {
        *self.opened.get_or_insert(now)
    }

    /// Takes no more items.
    pub(crate) fn close(mut self, partition: Partition) -> ClosedLot<T, A> {
        let mut items = mem::take(&mut self.items);
        // A batch may wait for long, and the room that it does not use is memory of which no limit knows.
        if items.capacity() - items.len() > items.len() / 8 {
            items.shrink_to_fit();
        }
        // Takes the buffer over.
        let items = VecDeque::from(items);
        ClosedLot { items, open: self, partition }
    }
}

/// A batch that is full, or old enough, and waits for the worker.
#[derive(Debug)]
pub(crate) struct ClosedLot<T, A> {
    /// Those of `open`: the oldest may be evicted.
    items: VecDeque<T>,
    open: OpenLot<T, A>,
    partition: Partition,
}

// === impl ClosedLot ===

impl<T, A> ClosedLot<T, A> {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.open.bytes
    }

    /// When its first item was seen, if anybody has looked.
    pub(crate) fn opened(&self) -> Option<Instant> {
        self.open.opened
    }

    /// Whether it may be sent as one batch with `lot`, which is before it.
    pub(crate) fn may_join<B>(&self, lot: &Lot<T, B>, join: &Join) -> bool {
        let Self { items, open, partition } = self;
        let charge = Charge { items: items.len() as u64, bytes: open.bytes, epoch: open.epoch };
        lot.may_take(*partition, open.priority, charge, open.opened, join)
    }

    /// Notes that it is seen; `false` if it was seen before.
    pub(crate) fn stamp(&mut self, now: Instant) -> bool {
        let first = self.open.opened.is_none();
        self.open.opened(now);
        first
    }

    /// Takes its oldest item out, with its weight and epoch; needs the weights.
    pub(crate) fn evict(&mut self) -> Option<(T, usize, Epoch, Option<u64>)> {
        let (open, item) = (&mut self.open, self.items.pop_front()?);
        let bytes = open.weights.pop_front().map_or(0, |bytes| bytes as usize);
        open.bytes -= bytes;
        let key = if open.keys.is_empty() { None } else { open.keys.remove(0) };
        Some((item, bytes, open.epoch, key))
    }

    /// The callers, to tell the one of an evicted item.
    pub(crate) fn callers(&mut self) -> Option<&mut Callers<A>> {
        self.open.callers.as_mut()
    }

    /// What the worker sends.
    pub(crate) fn into_lot(self) -> Lot<T, A> {
        let Self { items, open, partition } = self;
        let OpenLot { bytes, epoch, callers, keys, priority, opened, .. } = open;
        let charge = Charge { items: items.len() as u64, bytes, epoch };
        // Costs nothing but where single items were evicted.
        let items = Some(Items::new(Vec::from(items)));
        Lot {
            items,
            charge,
            callers,
            keys,
            partition,
            priority,
            opened,
            attempts: 0,
            split: Split::default(),
            owed_to: None,
        }
    }
}

// === impl Lot ===

impl<T, A> Lot<T, A> {
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.charge.items).unwrap_or(usize::MAX)
    }

    /// Takes `more` in behind its own items, so that both are one batch; `more` comes back where they have to stay apart.
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
        // From here on they are this lot's, and so are their fates.
        more.owed_to = None;
        let before = self.len();
        self.charge.items += more.charge.items;
        self.charge.bytes += more.charge.bytes;
        self.keys.append(&mut more.keys);
        if let Some(callers) = more.callers.take() {
            self.callers.get_or_insert_with(Callers::new).append(callers, before);
        }
        self.opened = [self.opened, more.opened].into_iter().flatten().min();
        None
    }

    /// Whether these two may be one batch. Neither was ever sent: what the server may have seen is sent again as it was,
    /// so that the server can tell that it is the same.
    fn may_take(
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

    /// The first `at` items and the rest, each a lot of its own; needs the items.
    pub(crate) fn split_at(mut self, at: usize) -> (Self, Self) {
        let Self { charge, partition, priority, opened, attempts, .. } = self;
        let (items, callers, mut keys) = (self.items.take(), self.callers.take(), mem::take(&mut self.keys));
        let (split, owed_to) = (mem::take(&mut self.split), self.owed_to.take());
        let all = usize::try_from(charge.items).unwrap_or(usize::MAX).max(1);
        // The weights of single items are not kept: each part is charged its share, and both together all of it.
        let left_bytes = share(charge.bytes, at, all);
        let (left, right) = items.map_or((None, None), |items| {
            let (left, right) = items.split_at(at);
            (Some(left), Some(right))
        });
        let (left_callers, right_callers) = callers.map_or((None, None), |callers| {
            let (left, right) = callers.split_at(at);
            (Some(left), Some(right))
        });
        let right_keys = keys.split_off(at.min(keys.len()));
        let left_charge = Charge { items: at as u64, bytes: left_bytes, epoch: charge.epoch };
        let right_charge =
            Charge { items: charge.items - at as u64, bytes: charge.bytes - left_bytes, epoch: charge.epoch };
        let lot = |items, charge, callers, keys| Self {
            items,
            charge,
            callers,
            keys,
            partition,
            priority,
            opened,
            attempts,
            split: split.clone(),
            owed_to: owed_to.clone(),
        };
        (lot(left, left_charge, left_callers, keys), lot(right, right_charge, right_callers, right_keys))
    }

    /// Takes out the items whose callers have dropped their futures, and returns what they held, and them; `None` if there are
    /// none, or the items are not to be had.
    pub(crate) fn take_cancelled(&mut self) -> Option<Narrowed<T>> {
        let cancelled = self.callers.as_ref()?.cancelled();
        let mut keep = vec![true; self.len()];
        for (item, _) in &cancelled {
            *keep.get_mut(*item)? = false;
        }
        let bytes = cancelled.iter().map(|(_, bytes)| bytes).sum();
        if cancelled.is_empty() { None } else { self.narrow(&keep, Some(bytes)) }
    }

    /// Keeps the items that `keep` says, and returns what the others held, and them; `None` if the items are not to be had.
    ///
    /// The others weigh `gone_bytes`, or where that is not known, their share.
    pub(crate) fn narrow(&mut self, keep: &[bool], gone_bytes: Option<usize>) -> Option<Narrowed<T>> {
        let items = match self.items.take()?.into_vec() {
            Ok(items) => items,
            Err(shared) => {
                self.items = Some(shared);
                return None;
            }
        };
        let mut kept = keep.iter().copied().chain(std::iter::repeat(false));
        let all = items.len();
        // The others are not dropped in here, since that is code of the user.
        let (items, gone): (Vec<T>, Vec<T>) = items.into_iter().partition(|_| kept.next().unwrap_or(false));
        let left = items.len();
        self.items = Some(Items::new(items));
        if let Some(callers) = &mut self.callers {
            callers.retain(keep);
        }
        let bytes = match gone_bytes {
            // Nothing is held for no item, whatever the weights of its parts added up to.
            Some(gone) if left > 0 => self.charge.bytes.saturating_sub(gone),
            _ => share(self.charge.bytes, left, all.max(1)),
        };
        let gone_charge =
            Charge { items: (all - left) as u64, bytes: self.charge.bytes - bytes, epoch: self.charge.epoch };
        self.charge = Charge { items: left as u64, bytes, epoch: self.charge.epoch };
        let (kept, keys) = mem::take(&mut self.keys)
            .into_iter()
            .enumerate()
            .partition::<Vec<_>, _>(|(index, _)| keep.get(*index).copied().unwrap_or(false));
        self.keys = kept.into_iter().map(|(_, key)| key).collect();
        Some((gone_charge, keys.into_iter().map(|(_, key)| key).collect(), Items::new(gone)))
    }
}

impl<T, A> Drop for Lot<T, A> {
    fn drop(&mut self) {
        let Some(ledger) = self.owed_to.take() else { return };
        ledger.settle(&[(self.charge, Fate::Dropped(DropReason::Panicked))], &self.keys);
        if let Some(callers) = self.callers.take() {
            callers.answer(|_| Some(Err(BoxError::from(Panicked::new()))));
        }
    }
}

/// The share that `part` items of `all` have in `bytes`.
fn share(bytes: usize, part: usize, all: usize) -> usize {
    let share = bytes as u128 * part as u128 / all as u128;
    usize::try_from(share).unwrap_or(bytes)
}
