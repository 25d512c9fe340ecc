use crate::intake::OfferMeta;
use forebay_core::Priority;

/// An item with what its caller states of it: its weight, its lane, the key of its fair share.
///
/// The layer's settings (`weigh`, `priority`, `fair_share_key`) decide what an offer does not state. So every item is an offer as it
/// is, and a caller that knows more states more:
///
/// ```
/// use forebay_core::Priority;
/// use forebay_intake::Offer;
///
/// let first: Offer<&str> = "first".into();
/// assert_eq!((first.bytes, first.priority), (None, None));
///
/// let urgent = Offer::new("urgent").weight(30).priority(Priority::High);
/// assert_eq!((urgent.bytes, urgent.priority), (Some(30), Some(Priority::High)));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Offer<T> {
    /// The item itself.
    pub item: T,
    /// What the item is charged for, in bytes, heap included. `None`: the layer weighs it.
    pub bytes: Option<usize>,
    /// The lane of the item. `None`: the layer chooses it.
    pub priority: Option<Priority>,
    /// The hash of the key whose fair share the item counts against. `None`: the layer's key, if it has one.
    pub key: Option<u64>,
}

// === impl Offer ===

impl<T> Offer<T> {
    /// `item`, with everything else left to the layer.
    #[must_use]
    #[inline(always)]
    pub const fn new(item: T) -> Self {
        Self { item, bytes: None, priority: None, key: None }
    }

    /// Charges the item for `bytes`, heap included, in the place of what the layer would weigh it.
    #[must_use]
    #[inline(always)]
    pub const fn weight(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Puts the item into the lane of `priority`, in the place of the one that the layer would choose.
    #[must_use]
    #[inline(always)]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Counts the item against the fair share of a key, where the layer keeps fair shares.
    ///
    /// `hash` is a hash of the key from a hasher with random keys, so that a peer that chooses keys cannot make them collide.
    #[must_use]
    #[inline(always)]
    pub const fn fair_share_key(mut self, hash: u64) -> Self {
        self.key = Some(hash);
        self
    }

    /// What admission needs to know, as far as the offer states it; the rest is the default: normal priority, and no key.
    #[must_use]
    #[inline(always)]
    pub(crate) fn meta_or(&self, bytes: impl FnOnce(&T) -> usize) -> OfferMeta {
        let Self { item, bytes: said, priority, .. } = self;
        let bytes = said.unwrap_or_else(|| bytes(item));
        OfferMeta { bytes, priority: priority.unwrap_or_default(), key: None }
    }
}

impl<T> From<T> for Offer<T> {
    #[inline(always)]
    fn from(item: T) -> Self {
        Self::new(item)
    }
}
