use std::fmt;

/// The one end of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The server took it.
    Delivered,
    /// It is kept in a durable spool and will be delivered from there.
    Spooled,
    /// It was dropped, for this reason.
    Dropped(DropReason),
}

/// Why an item was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue was above its soft limit, and the item was not of high priority.
    SoftLimit,
    /// The queue held as many items as it may.
    Full,
    /// The queue held as many bytes as it may.
    Bytes,
    /// The item alone is larger than what may ever be held or sent.
    TooLarge,
    /// The item's key had its share of the queue already.
    FairShare,
    /// The item grew older than its limit before it could be delivered.
    Expired,
    /// A newer item took its place.
    Evicted,
    /// The item could not be encoded.
    Encode,
    /// The server saw the item and refused it.
    Rejected,
    /// The server did not take it in as many attempts, or as much time, as were allowed.
    RetriesExhausted,
    /// A retry would have exceeded the retry budget.
    Budget,
    /// The circuit of the server was open.
    CircuitOpen,
    /// The service that worked on the item panicked.
    Panicked,
    /// The pipeline ended before the item could be delivered.
    Shutdown,
    /// The pipeline was switched off.
    Disabled,
    /// The service failed, and no layer said why.
    Failed,
    /// A rule of the host, such as a filter or a fold, left it out.
    Filtered,
    /// Its caller no longer waited for the response, and the work had not begun.
    Cancelled,
    /// The queue was overloaded, and the item waited in it for too long.
    Shed,
    /// The queues that share a byte budget held as many bytes together as they may.
    ByteBudget,
}

// === impl Fate ===

impl Fate {
    /// Whether the item was dropped.
    #[must_use]
    pub const fn is_dropped(self) -> bool {
        matches!(self, Self::Dropped(_))
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Spooled => f.write_str("spooled"),
            Self::Dropped(reason) => write!(f, "dropped ({reason})"),
        }
    }
}

// === impl DropReason ===

impl DropReason {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 20] = [
        Self::SoftLimit,
        Self::Full,
        Self::Bytes,
        Self::TooLarge,
        Self::FairShare,
        Self::Expired,
        Self::Evicted,
        Self::Encode,
        Self::Rejected,
        Self::RetriesExhausted,
        Self::Budget,
        Self::CircuitOpen,
        Self::Panicked,
        Self::Shutdown,
        Self::Disabled,
        Self::Failed,
        Self::Filtered,
        Self::Cancelled,
        Self::Shed,
        Self::ByteBudget,
    ];

    /// The name under which the reason is reported, in `snake_case`; stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SoftLimit => "soft_limit",
            Self::Full => "full",
            Self::Bytes => "bytes",
            Self::TooLarge => "too_large",
            Self::FairShare => "fair_share",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Encode => "encode",
            Self::Rejected => "rejected",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Budget => "budget",
            Self::CircuitOpen => "circuit_open",
            Self::Panicked => "panicked",
            Self::Shutdown => "shutdown",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
            Self::Filtered => "filtered",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::ByteBudget => "byte_budget",
        }
    }

    /// The place of this reason in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_lists_every_reason_at_its_index() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
