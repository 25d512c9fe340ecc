use forebay_core::{Priority, panic};
use std::{fmt, mem, ops::Deref, ops::Range, sync::Arc};

/// The items of a batch, shared: cheap to clone, and a slice to read.
///
/// An inner service that takes `Items<T>` instead of `Vec<T>` leaves them with the batch, so that a batch that failed can
/// be sent again, split, or handed back. It should drop its clone when it has read them.
pub struct Items<T> {
    all: Arc<All<T>>,
    range: Range<usize>,
    /// The lane of the batch.
    priority: Priority,
}

/// The items of one batch. Each is dropped by itself, so that a `Drop` that panics costs none of the others.
struct All<T>(Vec<T>);

// === impl Items ===

impl<T> Items<T> {
    /// All of `items`, in the normal lane.
    #[must_use]
    pub fn new(items: Vec<T>) -> Self {
        let range = 0..items.len();
        Self { all: Arc::new(All(items)), range, priority: Priority::Normal }
    }

    /// The same items in another lane.
    pub(crate) fn in_lane(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// The lane that the batch was queued in: high if any of its items is.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The first `at` items, and the rest; both share the memory of all.
    #[must_use]
    pub fn split_at(self, at: usize) -> (Self, Self) {
        let middle = (self.range.start + at).min(self.range.end);
        let left = Self { all: Arc::clone(&self.all), range: self.range.start..middle, priority: self.priority };
        let right = Self { all: self.all, range: middle..self.range.end, priority: self.priority };
        (left, right)
    }

    /// Appends the items of `more`.
    ///
    /// `more` is returned while a clone of either is alive, or if these are a part of others.
    pub(crate) fn append(&mut self, more: Self) -> Result<(), Self> {
        let Some(All(own)) = Arc::get_mut(&mut self.all).filter(|all| self.range == (0..all.0.len())) else {
            return Err(more);
        };
        own.append(&mut more.into_vec()?);
        self.range = 0..own.len();
        Ok(())
    }

    /// The items by themselves.
    ///
    /// # Errors
    ///
    /// The same `Items`, while a clone of them is alive.
    pub fn into_vec(self) -> Result<Vec<T>, Self> {
        let Self { all, range, priority } = self;
        match Arc::try_unwrap(all) {
            Ok(mut all) => {
                let mut items = mem::take(&mut all.0);
                if range == (0..items.len()) {
                    return Ok(items);
                }
                discard_each(items.split_off(range.end));
                let own = items.split_off(range.start);
                discard_each(items);
                Ok(own)
            }
            Err(all) => Err(Self { all, range, priority }),
        }
    }
}

/// Drops each of `items`, whose `Drop` is user code.
pub(crate) fn discard_each<T>(items: Vec<T>) {
    if mem::needs_drop::<T>() {
        items.into_iter().for_each(panic::discard);
    }
}

impl<T> Drop for All<T> {
    fn drop(&mut self) {
        // The last owner of a batch drops its items, each in a catch of its own: one whose `Drop` panics does not keep the others.
        discard_each(mem::take(&mut self.0));
    }
}

impl<T> Deref for Items<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.all.0.get(self.range.clone()).unwrap_or_default()
    }
}

impl<T> Clone for Items<T> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), range: self.range.clone(), priority: self.priority }
    }
}

impl<T> From<Vec<T>> for Items<T> {
    fn from(items: Vec<T>) -> Self {
        Self::new(items)
    }
}

impl<T: fmt::Debug> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_without_a_clone_are_joined_in_order() {
        let mut items = Items::new(vec![1, 2]);
        assert!(items.append(Items::new(vec![3])).is_ok());
        assert_eq!(*items, [1, 2, 3]);
        let read = items.clone();
        assert_eq!(*items.append(Items::new(vec![4])).unwrap_err(), [4], "a clone of the first is read");
        drop(read);
        let more = Items::new(vec![4]);
        let read = more.clone();
        assert_eq!(*items.append(more).unwrap_err(), *read, "a clone of the second is read");
        let (mut part, rest) = items.split_at(1);
        assert!(part.append(Items::new(vec![4])).is_err());
        drop(rest);
        assert!(part.append(Items::new(vec![4])).is_err(), "a part is joined to nothing");
        assert_eq!(*part, [1]);
    }

    #[test]
    fn parts_share_the_memory_and_the_last_one_gets_it() {
        let (left, right) = Items::new((0..5).collect()).split_at(2);
        assert_eq!((&*left, &*right), (&[0, 1][..], &[2, 3, 4][..]));
        let right = right.into_vec().unwrap_err();
        drop(left);
        let (middle, last) = right.split_at(1);
        drop(last);
        assert_eq!(middle.into_vec().unwrap(), [2]);
        let (none, all) = Items::new(vec![1]).split_at(0);
        assert!(none.is_empty());
        assert_eq!(all.len(), 1);
    }
}
