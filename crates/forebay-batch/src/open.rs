use crate::{
    Items,
    pending::{Join, Partition, PendingBatch},
    router::Due,
    waiters::Waiters,
};
use forebay_core::Priority;
use forebay_intake::{Charge, Epoch};
use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::Instant,
};

/// The batches that still take items: one, or one per partition. Pure state.
#[derive(Debug)]
pub(crate) enum OpenBatches<T, A> {
    /// One batch for all items.
    One(Option<OpenBatch<T, A>>),
    /// A batch for each partition, at most `most` of them.
    Many { batches: HashMap<Partition, OpenBatch<T, A>>, most: usize },
}

/// A batch that still takes items.
#[derive(Debug)]
pub(crate) struct OpenBatch<T, A> {
    items: Vec<T>,
    /// The weight of each item; only where single items may be evicted.
    weights: VecDeque<u32>,
    /// What its items are charged for, together.
    bytes: usize,
    /// The flush that it belongs to.
    epoch: Epoch,
    /// The callers that wait for a reply; `None` until there is one.
    waiters: Option<Waiters<A>>,
    /// The fair-share key of each item, if it has one; empty where no shares are kept.
    keys: Vec<Option<u64>>,
    /// The highest priority of its items.
    priority: Priority,
    /// When the worker first saw it.
    opened: Option<Instant>,
    /// The earliest deadline of its items, and when it closes for that; `None` where none has one.
    due: Option<Due>,
    /// How many batches were opened before it.
    pub(crate) number: u64,
}

/// A batch that takes no more items and waits for the worker.
#[derive(Debug)]
pub(crate) struct SealedBatch<T, A> {
    /// Those of `open`: the oldest may be evicted.
    items: VecDeque<T>,
    /// All that the open batch knew, without its items.
    open: OpenBatch<T, A>,
    partition: Partition,
}

/// Kept out of line: most batchers have one batch for all, and this would stand at each place where an item is handed over.
#[inline(never)]
fn look_up<T, A>(
    batches: &mut HashMap<Partition, OpenBatch<T, A>>,
    partition: Partition,
) -> Option<&mut OpenBatch<T, A>> {
    batches.get_mut(&partition)
}

// === impl OpenBatches ===

impl<T, A> OpenBatches<T, A> {
    /// One batch for all, or at most `max_partitions`, each for the items of one key.
    pub(crate) fn new(max_partitions: Option<usize>) -> Self {
        match max_partitions {
            None => Self::One(None),
            Some(most) => Self::Many { batches: HashMap::new(), most },
        }
    }

    /// Whether there is one batch for all.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self, Self::One(_))
    }

    /// The batch of `partition`, if it is open.
    #[inline]
    pub(crate) fn get(&mut self, partition: Partition) -> Option<&mut OpenBatch<T, A>> {
        match self {
            Self::One(batch) => batch.as_mut(),
            Self::Many { batches, .. } => look_up(batches, partition),
        }
    }

    /// Adds `batch`; none may be open for the partition.
    pub(crate) fn open(&mut self, partition: Partition, batch: OpenBatch<T, A>) {
        let before = match self {
            Self::One(place) => place.replace(batch),
            Self::Many { batches, .. } => batches.insert(partition, batch),
        };
        debug_assert!(before.is_none());
    }

    /// The batch that was opened first, if as many are open as may be.
    pub(crate) fn make_room(&self) -> Option<Partition> {
        match self {
            Self::Many { batches, most } if batches.len() >= *most => self.first_opened(),
            Self::One(_) | Self::Many { .. } => None,
        }
    }

    /// The batch that was opened first.
    pub(crate) fn first_opened(&self) -> Option<Partition> {
        match self {
            Self::One(batch) => batch.as_ref().map(|_| Partition::default()),
            Self::Many { batches, .. } => {
                batches.iter().min_by_key(|(_, batch)| batch.number).map(|(partition, _)| *partition)
            }
        }
    }

    /// Takes the batch of `partition` out.
    #[inline]
    pub(crate) fn take(&mut self, partition: Partition) -> Option<OpenBatch<T, A>> {
        match self {
            Self::One(batch) => batch.take(),
            Self::Many { batches, .. } => batches.remove(&partition),
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Partition, &mut OpenBatch<T, A>)> {
        let (one, many) = match self {
            Self::One(batch) => (batch.as_mut().map(|batch| (Partition::default(), batch)), None),
            Self::Many { batches, .. } => {
                (None, Some(batches.iter_mut().map(|(partition, batch)| (*partition, batch))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(batch) => usize::from(batch.is_some()),
            Self::Many { batches, .. } => batches.len(),
        }
    }

    /// The number of items in all of them.
    pub(crate) fn items(&self) -> usize {
        match self {
            Self::One(batch) => batch.as_ref().map_or(0, OpenBatch::len),
            Self::Many { batches, .. } => batches.values().map(OpenBatch::len).sum(),
        }
    }
}

// === impl OpenBatch ===

impl<T, A> OpenBatch<T, A> {
    pub(crate) fn new(capacity: usize, epoch: Epoch, number: u64) -> Self {
        Self {
            items: Vec::with_capacity(capacity),
            weights: VecDeque::new(),
            bytes: 0,
            epoch,
            waiters: None,
            keys: Vec::new(),
            priority: Priority::Normal,
            opened: None,
            due: None,
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

    /// Makes room for a quarter more. Doubling would leave up to half of the memory unused, which no limit counts.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.items.reserve_exact((self.items.len() / 4).max(8));
    }

    /// Records of the last item what only some batchers need: its weight, and its fair-share key.
    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    pub(crate) fn note(&mut self, bytes: Option<usize>, key: Option<Option<u64>>) {
        self.weights.extend(bytes.map(|bytes| bytes as u32));
        self.keys.extend(key);
    }

    /// Records until when the last item is worth anything; whether the batch closes earlier for it.
    #[cold]
    pub(crate) fn note_due(&mut self, due: Due) -> bool {
        let before = self.close_by();
        self.due = Some(self.due.map_or(due, |known| known.earlier(due)));
        before.is_none_or(|before| due.close_by < before)
    }

    /// When it closes at the latest, for the deadlines of its items.
    pub(crate) fn close_by(&self) -> Option<Instant> {
        self.due.map(|due| due.close_by)
    }

    /// The waiters, to add the one of the last item.
    pub(crate) fn waiters(&mut self) -> &mut Waiters<A> {
        self.waiters.get_or_insert_with(Waiters::new)
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

    /// When the worker first saw it: now, if this is the first time.
    pub(crate) fn opened(&mut self, now: Instant) -> Instant {
        *self.opened.get_or_insert(now)
    }

    /// Takes no more items.
    pub(crate) fn seal(mut self, partition: Partition) -> SealedBatch<T, A> {
        let mut items = mem::take(&mut self.items);
        // A batch may wait for long, and the room that it does not use is memory that no limit counts.
        if items.capacity() - items.len() > items.len() / 8 {
            items.shrink_to_fit();
        }
        // Takes the buffer over.
        let items = VecDeque::from(items);
        SealedBatch { items, open: self, partition }
    }
}

// === impl SealedBatch ===

impl<T, A> SealedBatch<T, A> {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.open.bytes
    }

    /// When the worker first saw it, if it has.
    pub(crate) fn opened(&self) -> Option<Instant> {
        self.open.opened
    }

    /// Whether it may be sent as one batch with `batch`, which is before it.
    pub(crate) fn may_join<B>(&self, batch: &PendingBatch<T, B>, join: &Join) -> bool {
        let Self { items, open, partition } = self;
        let charge = Charge { items: items.len() as u64, bytes: open.bytes, epoch: open.epoch };
        batch.may_take(*partition, open.priority, charge, open.opened, join)
    }

    /// Records that the worker sees it at `now`; `false` if it was seen before.
    pub(crate) fn stamp(&mut self, now: Instant) -> bool {
        let first = self.open.opened.is_none();
        self.open.opened(now);
        first
    }

    /// Takes its oldest item out, with its weight, epoch and fair-share key; needs the weights.
    pub(crate) fn evict(&mut self) -> Option<(T, usize, Epoch, Option<u64>)> {
        let (open, item) = (&mut self.open, self.items.pop_front()?);
        let bytes = open.weights.pop_front().map_or(0, |bytes| bytes as usize);
        open.bytes -= bytes;
        let key = if open.keys.is_empty() { None } else { open.keys.remove(0) };
        Some((item, bytes, open.epoch, key))
    }

    /// The waiters, to remove the one of an evicted item.
    pub(crate) fn waiters(&mut self) -> Option<&mut Waiters<A>> {
        self.open.waiters.as_mut()
    }

    /// What the worker sends.
    pub(crate) fn into_pending(self) -> PendingBatch<T, A> {
        let Self { items, open, partition } = self;
        let OpenBatch { bytes, epoch, waiters, keys, priority, opened, due, .. } = open;
        let charge = Charge { items: items.len() as u64, bytes, epoch };
        // Moves no item unless single items were evicted.
        let items = Items::new(Vec::from(items)).in_lane(priority);
        let mut batch = PendingBatch::new(items, charge, waiters, keys, partition, priority, opened);
        batch.deadline = due.map(|due| due.deadline);
        batch
    }
}
