use crate::intake::Candidate;
use forebay_core::{Footprint, Priority};

/// An item with what the queue must know of it.
///
/// Any `T` that knows its [`Footprint`] is an offer of normal priority that weighs that; any other `T` is
/// [weighed](Offer::weighing) by its user.
///
/// ```
/// use forebay_queue::{Limits, Offer, channel};
/// use forebay_core::{Footprint, Priority};
///
/// let (sender, mut receiver) = channel(Limits::new()).unwrap();
/// sender.try_send("first".to_owned()).unwrap();
/// sender.try_send(Offer::weighing("urgent".to_owned(), 30).priority(Priority::High)).unwrap();
/// assert_eq!(*receiver.try_recv().unwrap(), "urgent");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Offer<T> {
    pub(crate) item: T,
    pub(crate) bytes: usize,
    pub(crate) priority: Priority,
    pub(crate) key: Option<u64>,
}

// === impl Offer ===

impl<T> Offer<T> {
    /// `item`, of normal priority, weighing its [`Footprint`], without a fair-share key.
    #[must_use]
    #[inline]
    pub fn new(item: T) -> Self
    where
        T: Footprint,
    {
        let bytes = item.footprint();
        Self::weighing(item, bytes)
    }

    /// `item`, of normal priority, weighing `bytes` (heap included), without a fair-share key.
    #[must_use]
    #[inline]
    pub const fn weighing(item: T, bytes: usize) -> Self {
        Self { item, bytes, priority: Priority::Normal, key: None }
    }

    /// The item's weight in bytes, heap included.
    #[must_use]
    #[inline]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// The item's lane.
    #[must_use]
    #[inline]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Whose fair share the item counts against: a hash of the key, from a hasher with random keys.
    #[must_use]
    #[inline]
    pub const fn fair_share_key(mut self, hash: u64) -> Self {
        self.key = Some(hash);
        self
    }

    /// The offer without its item, as an intake sees it.
    #[must_use]
    #[inline]
    pub const fn candidate(&self) -> Candidate {
        Candidate { bytes: self.bytes, priority: self.priority, key: self.key }
    }

    /// The item.
    #[must_use]
    #[inline]
    pub fn into_item(self) -> T {
        self.item
    }

    #[inline]
    pub(crate) fn from_parts(item: T, candidate: Candidate) -> Self {
        let Candidate { bytes, priority, key } = candidate;
        Self { item, bytes, priority, key }
    }

    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Offer<U> {
        let Self { item, bytes, priority, key } = self;
        Offer { item: with(item), bytes, priority, key }
    }
}

impl<T: Footprint> From<T> for Offer<T> {
    #[inline]
    fn from(item: T) -> Self {
        Self::new(item)
    }
}
