use forebay_core::{Footprint, Priority};
use std::{fmt, hash::Hash, marker::PhantomData};

/// Groups events by key, and turns each group into items.
///
/// `place` and `weigh` run before the lock of the aggregator is taken, `open` and `add` under it, and all others after it is
/// released. None may block; a panic costs the events that were passed to the method, which are counted.
///
/// [`FoldFn`] makes a fold of two closures, for a few events that are kept as they are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot fold `{Event}`s into items",
    note = "implement `Fold<{Event}>`, or use `FoldFn::new(place, finish)`"
)]
pub trait Fold<Event> {
    /// The key of related events: a statement, a session, a request.
    type Key: Clone + Eq + Hash;
    /// The state of a key while it is open.
    type Held;
    /// The item that is passed to the sink.
    type Item;

    /// The key of `event`, and its role there.
    fn place(&self, event: &Event) -> Place<Self::Key>;

    /// How many bytes `event` adds to the state of its key, heap included: 0 for an event that is only counted, and
    /// [`event.footprint()`](Footprint::footprint) for one that is kept as it is.
    fn weigh(&self, event: &Event) -> usize;

    /// The state of `key` before its first event.
    fn open(&self, key: &Self::Key) -> Self::Held;

    /// Adds an event to the state of its key.
    fn add(&self, held: &mut Self::Held, event: Event);

    /// The item of an event without a key; `None` filters the event.
    fn alone(&self, event: Event) -> Option<Self::Item>;

    /// Handles an error of an ended key, oldest first and before [`finish`](Self::finish).
    ///
    /// By default each error is an item of its own. A fold that reports errors only of failed keys checks `end`.
    fn error(&self, key: &Self::Key, held: &mut Self::Held, event: Event, end: End) -> Folded<Self::Item> {
        _ = (key, held, end);
        self.alone(event).map_or(Folded::Unwanted, Folded::Out)
    }

    /// The item of an ended key; `None` filters its events.
    ///
    /// It is not called for a key that had only errors, unless one of them was folded [in](Folded::In).
    fn finish(&self, key: Self::Key, held: Self::Held, end: End) -> Option<Self::Item>;
}

/// The key of an event, and the role of the event there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<K> {
    /// The event has no key, and is an item at once, in this lane.
    Alone(Priority),
    /// The event belongs to this key, and more events follow.
    Part(K),
    /// The event is the last of this key, which is then complete.
    Last(K),
    /// The event is a temporary error, which waits with its key. Without a key it is an item at once.
    Retryable(Option<K>),
    /// The event is a permanent error: its key ends, and all its items are passed on at once, in the high lane.
    Terminal(Option<K>),
}

/// Why a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Its last event arrived, or a caller completed it.
    Complete,
    /// A permanent error arrived.
    Terminal,
    /// It was open for the greatest time that is allowed.
    Expired,
    /// It was the oldest, and a new key needed room.
    Evicted,
    /// The aggregator was closed.
    Closed,
}

/// The result of folding one error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded<Item> {
    /// The error is an item of its own.
    Out(Item),
    /// The item of its key includes the error; without such an item, the error shares the fate of the key's other events.
    In,
    /// The error is not wanted, and counts as [filtered](forebay_core::DropReason::Filtered).
    Unwanted,
}

/// Keeps the events of a key as they are, and makes one item of all of them. An event weighs its [`Footprint`].
///
/// ```
/// use forebay_collect::{FoldFn, Gathered, Place};
///
/// // (statement, rows; the last chunk has none)
/// let fold = FoldFn::new(
///     |&(statement, rows): &(u64, u32)| if rows == 0 { Place::Last(statement) } else { Place::Part(statement) },
///     |all: Gathered<u64, (u64, u32)>| Some((all.key, all.events.iter().map(|event| event.1).sum::<u32>())),
/// );
/// # drop(fold);
/// ```
pub struct FoldFn<P, F, K> {
    place: P,
    finish: F,
    key: PhantomData<fn() -> K>,
}

/// All events of an ended key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered<K, Event> {
    /// Their key; `None` for an event without a key.
    pub key: Option<K>,
    /// The events, oldest first. Errors of a key are passed one by one, before the others.
    pub events: Vec<Event>,
    /// Why the key ended; `None` for an event without a key.
    pub end: Option<End>,
}

// === impl FoldFn ===

impl<P, F, K> FoldFn<P, F, K> {
    /// A fold whose `place` gives the key of an event, and whose `finish` makes the item.
    #[must_use]
    pub fn new<Event, Item>(place: P, finish: F) -> Self
    where
        P: Fn(&Event) -> Place<K>,
        F: Fn(Gathered<K, Event>) -> Option<Item>,
    {
        Self { place, finish, key: PhantomData }
    }
}

impl<Event, Item, K, P, F> Fold<Event> for FoldFn<P, F, K>
where
    Event: Footprint,
    K: Clone + Eq + Hash,
    P: Fn(&Event) -> Place<K>,
    F: Fn(Gathered<K, Event>) -> Option<Item>,
{
    type Key = K;
    type Held = Vec<Event>;
    type Item = Item;

    fn place(&self, event: &Event) -> Place<K> {
        (self.place)(event)
    }

    fn weigh(&self, event: &Event) -> usize {
        event.footprint()
    }

    fn open(&self, _: &K) -> Vec<Event> {
        Vec::new()
    }

    fn add(&self, held: &mut Vec<Event>, event: Event) {
        held.push(event);
    }

    fn alone(&self, event: Event) -> Option<Item> {
        (self.finish)(Gathered { key: None, events: vec![event], end: None })
    }

    fn error(&self, key: &K, _: &mut Vec<Event>, event: Event, end: End) -> Folded<Item> {
        let one = Gathered { key: Some(key.clone()), events: vec![event], end: Some(end) };
        (self.finish)(one).map_or(Folded::Unwanted, Folded::Out)
    }

    fn finish(&self, key: K, events: Vec<Event>, end: End) -> Option<Item> {
        (self.finish)(Gathered { key: Some(key), events, end: Some(end) })
    }
}

impl<P, F, K> fmt::Debug for FoldFn<P, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FoldFn")
    }
}

// === impl End ===

impl End {
    /// Whether the key ended before it was complete.
    #[must_use]
    pub const fn is_early(self) -> bool {
        matches!(self, Self::Expired | Self::Evicted | Self::Closed)
    }

    /// The lane of the items of an ended key.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Terminal => Priority::High,
            Self::Complete | Self::Expired | Self::Evicted | Self::Closed => Priority::Normal,
        }
    }
}
