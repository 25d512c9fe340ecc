use crate::{KeyLabel, Mode, Reason, State};
use std::time::Duration;

/// What an observer of a breaker receives; see [`BreakerBuilder::observe`](crate::BreakerBuilder::observe).
///
/// Events are emitted after the lock of the key is released. Two events of one key may therefore reach the
/// observer in the wrong order when two threads make them at once; `generation` says which came first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerEvent {
    /// The state of a key changed.
    Changed {
        /// Of which key.
        key: KeyLabel,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why.
        reason: Reason,
        /// The mode it changed in; in [`Mode::ObserveOnly`] nothing is rejected whatever the state.
        mode: Mode,
        /// Counts the states of this key; it goes up with each change but `Ramping` to `Closed`, and starts again
        /// after two million.
        generation: u32,
    },
    /// A call was rejected, or, in [`Mode::ObserveOnly`], would have been.
    Rejected {
        /// Of which key.
        key: KeyLabel,
        /// By which state.
        state: State,
        /// How long until a call may go through, as the caller learns.
        retry_in: Duration,
        /// The mode it was decided in.
        mode: Mode,
    },
    /// Probes outlived their leases: others may go, and the results of these will be ignored.
    ProbesLost {
        /// Of which key.
        key: KeyLabel,
        /// How many.
        probes: u32,
    },
    /// A key would have opened, but as many others are open as
    /// [`max_open_share`](crate::BreakerBuilder::max_open_share) allows.
    HeldBack {
        /// Which key.
        key: KeyLabel,
        /// Why it would have opened.
        reason: Reason,
    },
    /// A call came for a new key when there was no room for one; the overflow bucket took it.
    Overflow {
        /// Which key.
        key: KeyLabel,
    },
}

/// The label of the overflow bucket in events of its own state.
pub const OVERFLOW: &str = "(overflow)";
