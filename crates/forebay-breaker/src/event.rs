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
        /// The key whose state changed.
        key: KeyLabel,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why the state changed.
        reason: Reason,
        /// The mode it changed in; in [`Mode::ObserveOnly`] nothing is rejected whatever the state.
        mode: Mode,
        /// Counts the states of this key; it goes up with each change but `Ramping` to `Closed`, and starts again
        /// after two million.
        generation: u32,
    },
    /// A call was rejected, or, in [`Mode::ObserveOnly`], would have been.
    Rejected {
        /// The key of the call.
        key: KeyLabel,
        /// The state that rejected it.
        state: State,
        /// How long until a call may go through, as the caller learns.
        retry_in: Duration,
        /// The mode it was decided in.
        mode: Mode,
    },
    /// Probes outlived their leases: others may go, and the results of these will be ignored.
    ProbesLost {
        /// The key of the probes.
        key: KeyLabel,
        /// How many probes were lost.
        probes: u32,
    },
    /// A key would have opened, but as many others are open as
    /// [`max_open_share`](crate::BreakerBuilder::max_open_share) allows.
    HeldBack {
        /// The key that stays closed.
        key: KeyLabel,
        /// Why it would have opened.
        reason: Reason,
    },
    /// A call for a new key found no room for it; the overflow bucket took the call.
    Overflow {
        /// The key that has no state of its own.
        key: KeyLabel,
    },
}

/// The label of the overflow bucket in events of its own state.
pub const OVERFLOW: &str = "(overflow)";
