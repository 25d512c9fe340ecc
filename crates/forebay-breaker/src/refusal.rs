use crate::{Mode, State, word::Word};
use std::{num::NonZeroU64, time::Duration};

/// Why a call is refused and for how long: the state, the mode and the wait, packed so that an `Option` of it is one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(NonZeroU64);

// === impl Refusal ===

impl Refusal {
    /// By `word`, for so many microseconds.
    #[inline(always)]
    pub(crate) fn new(word: Word, micros: u64) -> Self {
        let (mode, wait) = (word.mode(), micros.clamp(1, u64::MAX >> 4));
        let bits = wait << 4 | (mode as u64) << 2 | mode.shows(word.state()) as u64;
        // Never 0, since the wait is not.
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn state(self) -> State {
        State::from_bits(self.0.get())
    }

    pub(crate) fn mode(self) -> Mode {
        Mode::from_bits(self.0.get() >> 2)
    }

    /// How long until a call may go, in microseconds.
    pub(crate) fn micros(self) -> u64 {
        self.0.get() >> 4
    }

    pub(crate) fn wait(self) -> Duration {
        Duration::from_micros(self.micros())
    }
}
