//! Batches that came back retryable and wait, each for itself, while others of their partition are sent.

use crate::pending::{PendingBatch, expires_at};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::{Duration, Instant},
};

/// The batches that wait for the end of their own backoff. Pure state.
///
/// Each step takes the logarithm of their number: in a brown-out there may be thousands, and every look asks for them.
#[derive(Debug)]
pub(crate) struct Resting<T, A> {
    /// By the end of the wait, then in the order in which they came.
    by_due: BTreeMap<(Instant, u64), PendingBatch<T, A>>,
    /// The same batches by their age: when they were opened, and their key.
    by_age: BTreeSet<(Instant, (Instant, u64))>,
    /// How many came so far: the number of the next one.
    came: u64,
}

// === impl Resting ===

impl<T, A> Resting<T, A> {
    pub(crate) const fn new() -> Self {
        Self { by_due: BTreeMap::new(), by_age: BTreeSet::new(), came: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_due.is_empty()
    }

    /// `batch` waits until `due`.
    pub(crate) fn rest(&mut self, batch: PendingBatch<T, A>, due: Instant) {
        let key = (due, self.came);
        self.came += 1;
        self.by_age.insert((opened(&batch, key), key));
        self.by_due.insert(key, batch);
    }

    /// A batch whose wait is over at `now`, from the earliest end on.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<PendingBatch<T, A>> {
        let first = self.by_due.first_entry().filter(|first| first.key().0 <= now)?;
        let (key, batch) = first.remove_entry();
        self.by_age.remove(&(opened(&batch, key), key));
        Some(batch)
    }

    /// When the oldest was opened.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.by_age.first().map(|(opened, _)| *opened)
    }

    pub(crate) fn take_oldest(&mut self) -> Option<PendingBatch<T, A>> {
        let (_, key) = self.by_age.pop_first()?;
        self.by_due.remove(&key)
    }

    /// A batch that has outlived `max_age` at `now`.
    pub(crate) fn take_expired(&mut self, now: Instant, max_age: Duration) -> Option<PendingBatch<T, A>> {
        let (_, key) = self.by_age.first()?;
        let is_expired = self.by_due.get(key).is_some_and(|batch| batch.is_expired(now, Some(max_age)));
        if is_expired { self.take_oldest() } else { None }
    }

    /// The next instant after `now` at which a wait ends, or the oldest outlives `max_age`.
    pub(crate) fn due(&self, now: Instant, max_age: Option<Duration>) -> Option<Instant> {
        let ends = self.by_due.range((now, u64::MAX)..).next().map(|((due, _), _)| *due);
        let expires = self.oldest().zip(max_age).map(|(opened, age)| expires_at(opened, age));
        [ends, expires].into_iter().flatten().filter(|due| *due > now).min()
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = PendingBatch<T, A>> {
        self.by_age.clear();
        mem::take(&mut self.by_due).into_values()
    }
}

/// When `batch` was opened. One that no worker has seen has no age, and counts as opened when its wait ends.
fn opened<T, A>(batch: &PendingBatch<T, A>, key: (Instant, u64)) -> Instant {
    batch.opened.unwrap_or(key.0)
}
