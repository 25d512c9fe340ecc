use crate::DelayControl;
use forebay_core::ConfigError;
use std::time::Duration;

/// What a queue does with an item for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The item is handed back at once (the default).
    #[default]
    Refuse,
    /// The oldest items of normal priority are dropped until the new one fits. Where all of them would not make enough room,
    /// none is dropped and the new item is handed back.
    ///
    /// An item in flight is never dropped for a new one.
    DropOldest,
    /// The caller waits in line. A service is not ready while it is full; a call that finds it full again waits.
    ///
    /// An item above its fair share is handed back all the same, since in line it would block other keys.
    Wait,
    /// The item is handed back at once, and there is less room while the queue is slow: when the shortest wait of an `interval`
    /// was not below `target`, items of normal priority that waited for twice the target are dropped when their turn comes, as
    /// [`Shed`](crate::Shed), until one waits for less. Items of high priority are never dropped for that.
    ///
    /// The limits say how many items fit, whatever their service takes; this says how long they may wait for it. The rule is
    /// that of [`DelayControl`]. It costs two clock reads per item, and 32 bytes beside the weight of each that waits.
    ///
    /// A batcher does not take it: items that leave together have no wait of their own.
    ShedByDelay {
        /// The wait that is good for nothing when it lasts: that of a queue which only grows. Above zero; a usual one is 5 ms,
        /// or a tenth of what a caller waits for at most.
        target: Duration,
        /// How long all waits have to be at `target` or above. Above zero; a usual one is 100 ms, and a burst that is worked off
        /// in less is never shed.
        interval: Duration,
    },
}

// === impl Overflow ===

impl Overflow {
    /// Checks the durations.
    ///
    /// # Errors
    ///
    /// The first one that is zero.
    pub fn validate(self) -> Result<(), ConfigError> {
        if let Self::ShedByDelay { target, interval } = self {
            for (knob, duration) in [("target", target), ("interval", interval)] {
                if duration.is_zero() {
                    return Err(ConfigError::new(knob, "0s", "above zero"));
                }
            }
        }
        Ok(())
    }

    /// What finds out that items wait for too long, where the policy asks for it.
    #[must_use]
    pub const fn delay_control(self) -> Option<DelayControl> {
        match self {
            Self::ShedByDelay { target, interval } => Some(DelayControl::new(target, interval)),
            Self::Refuse | Self::DropOldest | Self::Wait => None,
        }
    }
}
