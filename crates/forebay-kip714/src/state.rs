use std::fmt;

/// Where a client stands in the exchange with its broker.
///
/// The names and the arrows are those of KIP-714's reference client.
///
/// | from | legal next |
/// | --- | --- |
/// | `SubscriptionNeeded`, the first | `SubscriptionInProgress`, `Terminated` |
/// | `SubscriptionInProgress` | `PushNeeded`, `SubscriptionNeeded`, `TerminatingPushNeeded`, `Terminated` |
/// | `PushNeeded` | `PushInProgress`, `SubscriptionNeeded`, `TerminatingPushNeeded`, `Terminated` |
/// | `PushInProgress` | `PushNeeded`, `SubscriptionNeeded`, `TerminatingPushNeeded`, `Terminated` |
/// | `TerminatingPushNeeded` | `TerminatingPushInProgress`, `Terminated` |
/// | `TerminatingPushInProgress` | `Terminated` |
/// | `Terminated` | none |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The broker is to be asked what it wants.
    #[default]
    SubscriptionNeeded,
    /// It has been asked.
    SubscriptionInProgress,
    /// Metrics are to be pushed when the interval is over.
    PushNeeded,
    /// A push is under way.
    PushInProgress,
    /// The last push is to be sent, now.
    TerminatingPushNeeded,
    /// The last push is under way.
    TerminatingPushInProgress,
    /// Nothing will be sent any more.
    Terminated,
}

// === impl State ===

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::SubscriptionNeeded,
        Self::SubscriptionInProgress,
        Self::PushNeeded,
        Self::PushInProgress,
        Self::TerminatingPushNeeded,
        Self::TerminatingPushInProgress,
        Self::Terminated,
    ];

    /// Whether the table above has an arrow from here to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use State::{
            PushInProgress, PushNeeded, SubscriptionInProgress, SubscriptionNeeded, Terminated,
            TerminatingPushInProgress, TerminatingPushNeeded,
        };
        match self {
            SubscriptionNeeded => matches!(next, SubscriptionInProgress | Terminated),
            SubscriptionInProgress => {
                matches!(next, PushNeeded | SubscriptionNeeded | TerminatingPushNeeded | Terminated)
            }
            PushNeeded => matches!(next, PushInProgress | SubscriptionNeeded | TerminatingPushNeeded | Terminated),
            PushInProgress => matches!(next, PushNeeded | SubscriptionNeeded | TerminatingPushNeeded | Terminated),
            TerminatingPushNeeded => matches!(next, TerminatingPushInProgress | Terminated),
            TerminatingPushInProgress => matches!(next, Terminated),
            Terminated => false,
        }
    }

    /// Whether a request is under way.
    #[must_use]
    pub const fn is_in_progress(self) -> bool {
        matches!(self, Self::SubscriptionInProgress | Self::PushInProgress | Self::TerminatingPushInProgress)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SubscriptionNeeded => "subscription needed",
            Self::SubscriptionInProgress => "subscription in progress",
            Self::PushNeeded => "push needed",
            Self::PushInProgress => "push in progress",
            Self::TerminatingPushNeeded => "terminating push needed",
            Self::TerminatingPushInProgress => "terminating push in progress",
            Self::Terminated => "terminated",
        })
    }
}
