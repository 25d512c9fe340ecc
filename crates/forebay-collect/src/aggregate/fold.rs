use forebay_core::{Footprint, Priority};
use std::{fmt, hash::Hash, marker::PhantomData};

/// Says which events belong together, and turns them into items.
///
/// `place` and `weigh` run before the lock of the aggregator is taken, `open` and `add` under it, all others after it was
/// given back. None may block; one that panics costs the events it had in its hands, which are counted.
///
/// [`FoldFn`] makes one of two closures, for events that are few and kept as they are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot fold `{Event}`s into items",
    note = "implement `Fold<{Event}>`, or use `FoldFn::new(place, finish)`"
)]
pub trait Fold<Event> {
    /// What an event belongs to: a statement, a session, a request.
    type Key: Clone + Eq + Hash;
    /// What is held of a key while it is open.
    type Held;
    /// What goes on to the queue.
    type Item;

    /// Where `event` belongs.
    fn place(&self, event: &Event) -> Place<Self::Key>;

    /// How many bytes `event` adds to what its key holds until it ends, heap included: 0 for one that is only added up, and
    /// [`event.footprint()`](Footprint::footprint) for one that is kept as it is.
    fn weigh(&self, event: &Event) -> usize;

    /// The first event of `key` has come.
    fn open(&self, key: &Self::Key) -> Self::Held;

    /// Takes in one more event of a key.
    fn add(&self, held: &mut Self::Held, event: Event);

    /// The item of an event that belongs to nothing; `None` if it is not wanted.
    fn alone(&self, event: Event) -> Option<Self::Item>;

    /// An error of a key that has ended, oldest first and before [`finish`](Self::finish).
    ///
    /// By default each is an item of its own. A fold that reports errors only where the key has failed looks at `end`.
    fn error(&self, key: &Self::Key, held: &mut Self::Held, event: Event, end: End) -> Folded<Self::Item> {
        _ = (key, held, end);
        self.alone(event).map_or(Folded::Unwanted, Folded::Out)
    }

    /// The item of a key that has ended; `None` if it is not wanted.
    ///
    /// It is not asked for a key that had nothing but errors, unless one of them went [in](Folded::In).
    fn finish(&self, key: Self::Key, held: Self::Held, end: End) -> Option<Self::Item>;
}

/// Where an event belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<K> {
    /// To nothing: it is an item at once, in this lane.
    Alone(Priority),
    /// To this key, and there is more to come.
    Part(K),
    /// To this key, which is complete with it.
    Last(K),
    /// It is an error that may pass: it waits with its key. Without a key it is an item at once.
    Retryable(Option<K>),
    /// It is an error that will not pass: its key ends, and all of it leaves at once, in the high lane.
    Terminal(Option<K>),
}

/// Why a key has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Its last event has come, or somebody outside has said that it is complete.
    Complete,
    /// An error came that will not pass.
    Terminal,
    /// It was open for as long as a key may be.
    Expired,
    /// It was the oldest, and there was no room for a new one.
    Evicted,
    /// The aggregator was closed.
    Closed,
}

/// What became of one error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded<Item> {
    /// It is an item of its own.
    Out(Item),
    /// The item of its key will tell of it; if there is none, it shares the fate of the key's other events.
    In,
    /// Nobody wants to know: counted as [filtered](forebay_core::DropReason::Filtered).
    Unwanted,
}

/// Keeps the events of a key as they are, and makes an item of all of them at once. An event weighs its [`Footprint`].
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

/// All events of what has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered<K, Event> {
    /// The key they belong to; `None` for an event that stands alone.
    pub key: Option<K>,
    /// The events, oldest first. Errors of a key come one by one, before the others.
    pub events: Vec<Event>,
    /// Why the key has ended; `None` for an event that stands alone.
    pub end: Option<End>,
}

// === impl FoldFn ===

impl<P, F, K> FoldFn<P, F, K> {
    /// `place` says where an event belongs, `finish` makes the item.
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

    /// The lane in which what it ends goes on.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Terminal => Priority::High,
            Self::Complete | Self::Expired | Self::Evicted | Self::Closed => Priority::Normal,
        }
    }
}
