use crate::intake::OfferMeta;
use forebay_core::{Footprint, Priority};

/// An item with what the queue must know of it.
///
/// Any `T` that knows its [`Footprint`] is an offer of normal priority that weighs that; any other `T` is
/// [weighed](Offer::weighing) by its user.
///
/// ```
/// use forebay_core::Priority;
/// use forebay_intake::Offer;
///
/// let first: Offer<String> = "first".to_owned().into();
/// let urgent = Offer::weighing("urgent".to_owned(), 30).priority(Priority::High);
/// assert!(first.bytes > "first".len());
/// assert_eq!((urgent.bytes, urgent.priority), (30, Priority::High));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Offer<T> {
    /// The item itself.
    pub item: T,
    /// What it is charged for, in bytes, heap included.
    pub bytes: usize,
    /// Its lane.
    pub priority: Priority,
    /// Whose fair share it counts against.
    pub key: Option<u64>,
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
    pub const fn meta(&self) -> OfferMeta {
        OfferMeta { bytes: self.bytes, priority: self.priority, key: self.key }
    }

    /// The item.
    #[must_use]
    #[inline]
    pub fn into_item(self) -> T {
        self.item
    }

    /// The offer of `item`, as an intake sees it.
    #[must_use]
    #[inline]
    pub fn from_parts(item: T, candidate: OfferMeta) -> Self {
        let OfferMeta { bytes, priority, key } = candidate;
        Self { item, bytes, priority, key }
    }

    /// The offer of what `with` makes of the item.
    #[must_use]
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Offer<U> {
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
