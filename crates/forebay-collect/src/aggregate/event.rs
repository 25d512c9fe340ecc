use super::End;
use forebay_core::{Advice, DropReason, Fate, Priority, Seen, Verdict};
use std::{error::Error, fmt};

/// An item on its way to whoever sends it, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emission<Item> {
    /// The item.
    pub item: Item,
    /// The lane it takes: high for all that a terminal error brings with it.
    pub priority: Priority,
    /// Why its key has ended; `None` for an event that stands alone.
    pub end: Option<End>,
    /// How many events it tells of.
    pub events: u64,
}

/// What an observer of an aggregator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AggregatorEvent {
    /// A key has ended.
    Ended {
        /// Why.
        end: End,
        /// Events that were folded into it.
        parts: u64,
        /// Errors that waited with it.
        errors: u64,
    },
    /// Events are gone, and no item tells of them.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many.
        events: u64,
    },
    /// An event was refused and handed back; not reported while the aggregator is switched off.
    Refused {
        /// Why.
        reason: DropReason,
    },
}

/// An event was not taken, and is handed back.
///
/// Nobody has seen it. Offering it again is of no use: the aggregator is closed or switched off, the event is larger than
/// all that may be held, or the fold panicked on it. The refusal is in the ledger.
#[derive(Clone)]
#[non_exhaustive]
pub struct Refused<Event> {
    /// The event.
    pub event: Event,
    /// Why it was not taken.
    pub reason: DropReason,
    verdict: Verdict,
}

/// What a sink says about an item: `()` for one that it took over, or its [`Fate`].
pub trait Handed {
    /// The fate of the item.
    fn fate(self) -> Fate;
}

// === impl Emission ===

impl Emission<()> {
    pub(crate) fn with<Item>(self, item: Item) -> Emission<Item> {
        let Self { item: (), priority, end, events } = self;
        Emission { item, priority, end, events }
    }
}

// === impl Handed ===

impl Handed for () {
    fn fate(self) -> Fate {
        Fate::Delivered
    }
}

impl Handed for Fate {
    fn fate(self) -> Fate {
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
            DropReason::Disabled => "refused: the aggregator is switched off, or at work in this very thread",
            DropReason::TooLarge => "refused: the event is larger than all that may be held",
            DropReason::Panicked => "refused: the fold panicked",
            reason => return write!(f, "refused: {reason}"),
        })
    }
}

impl<Event> fmt::Debug for Refused<Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The event may be large, secret, or no `Debug`.
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<Event> Error for Refused<Event> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
