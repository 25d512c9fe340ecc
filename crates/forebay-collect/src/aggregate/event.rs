use super::End;
use forebay_core::{Advice, DropReason, Fate, Priority, Seen, Verdict};
use std::{error::Error, fmt};

/// An item for the sink, with its lane and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emission<Item> {
    /// The item.
    pub item: Item,
    /// The lane of the item: high for all items that a terminal error ends.
    pub priority: Priority,
    /// Why its key ended; `None` for an event without a key.
    pub end: Option<End>,
    /// How many events the item represents.
    pub events: u64,
}

/// An event for the observer of an aggregator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CollectEvent {
    /// A key ended.
    Ended {
        /// Why.
        end: End,
        /// Events that were folded into its item.
        parts: u64,
        /// Errors that waited with the key.
        errors: u64,
    },
    /// Events were dropped, and no item represents them.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many.
        events: u64,
    },
    /// An event was refused and returned; not reported while the aggregator is switched off.
    Refused {
        /// Why.
        reason: DropReason,
    },
}

/// An event was refused, and is returned.
///
/// The fold has not added it, and another offer would fail too: the aggregator is closed or switched off, the event is larger
/// than the limit, or the fold panicked on it. The refusal is in the ledger.
#[derive(Clone)]
#[non_exhaustive]
pub struct Refused<Event> {
    /// The event.
    pub event: Event,
    /// Why it was refused.
    pub reason: DropReason,
    verdict: Verdict,
}

/// The result of a sink: `()` for an item that it accepted, or the [`Fate`] of the item.
pub trait IntoFate {
    /// The fate of the item.
    fn into_fate(self) -> Fate;
}

// === impl Emission ===

impl Emission<()> {
    pub(crate) fn with<Item>(self, item: Item) -> Emission<Item> {
        let Self { item: (), priority, end, events } = self;
        Emission { item, priority, end, events }
    }
}

// === impl IntoFate ===

impl IntoFate for () {
    fn into_fate(self) -> Fate {
        Fate::Delivered
    }
}

impl IntoFate for Fate {
    fn into_fate(self) -> Fate {
        self
    }
}

// === impl Refused ===

impl<Event> Refused<Event> {
    pub(crate) fn new(event: Event, reason: DropReason) -> Self {
        Self { event, reason, verdict: Verdict::new(reason, Seen::No, Advice::Never) }
    }

    /// The same refusal without the event, which as an error need not be `Sync`.
    #[must_use]
    pub fn without_event(self) -> Refused<()> {
        let Self { event: _, reason, verdict } = self;
        Refused { event: (), reason, verdict }
    }
}

impl<Event> fmt::Display for Refused<Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            DropReason::Shutdown => "refused: the aggregator is closed",
            DropReason::Disabled => "refused: the aggregator is switched off, or its sink runs on this thread",
            DropReason::TooLarge => "refused: the event is larger than `max_bytes`",
            DropReason::Panicked => "refused: the fold panicked",
            reason => return write!(f, "refused: {reason}"),
        })
    }
}

impl<Event> fmt::Debug for Refused<Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The event may be large or secret, and need not be `Debug`.
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<Event> Error for Refused<Event> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
