//! What every call reads: mode, state, generation and the one number that matters in that state, in 64 bits.
//!
//! ```text
//!  63   62 61   60   59  58          38 37                                        0
//! ┌───────┬───────┬──────┬─────────────┬───────────────────────────────────────────┐
//! │ mode  │ state │ held │ generation  │ payload                                   │
//! └───────┴───────┴──────┴─────────────┴───────────────────────────────────────────┘
//!   closed, ramping   bits 0..16: failures in a row; bit 16: every result is timed or recorded;
//!                     bit 17: a count window waits for successes
//!   open              when it ends, in milliseconds
//!   half-open         until when all probes are out, in milliseconds; 0 when one more may go
//! ```

use crate::{
    Mode, State,
    decision::{Decision, Pass, Ticket},
    observation::Observation,
    policy::Policy,
    refusal::Refusal,
};

/// The packed state of one key. A copy is a consistent view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

/// What some bits of a word must be. A fast path is one mask and one comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    mask: u64,
    bits: u64,
}

/// What a result does to the word of a closed breaker, as far as the word alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// Nothing at all.
    Nothing,
    /// This word takes its place, unless it has changed meanwhile.
    Swap(Word),
    /// The rest of the state decides, under the lock.
    Ask,
}

const PAYLOAD_BITS: u32 = 38;
const GENERATION_BITS: u32 = 21;
const HELD_BIT: u32 = PAYLOAD_BITS + GENERATION_BITS;
const STATE_BIT: u32 = HELD_BIT + 1;
const MODE_BIT: u32 = STATE_BIT + 2;

const PAYLOAD: u64 = (1 << PAYLOAD_BITS) - 1;
const GENERATION: u64 = (1 << GENERATION_BITS) - 1;
const STREAK: u64 = 0xffff;
const TIMED: u64 = 1 << 16;

/// The wait that a caller learns where none can be known: while probes are out, or while traffic ramps up.
pub(crate) const SOON: u64 = 1_000_000;

// === impl Pattern ===

impl Pattern {
    /// Normal mode and closed, held or not: a call goes at sight.
    pub(crate) const CLOSED: Self = Self { mask: u64::MAX << STATE_BIT, bits: 0 };

    /// `CLOSED`, not held, and nothing counted, in whichever generation: no success changes anything.
    pub(crate) const PRISTINE: Self = Self { mask: !(GENERATION << PAYLOAD_BITS), bits: 0 };

    /// `CLOSED`, not held, and nothing counted in the word: a success concerns windows over a time alone.
    pub(crate) const TIMED: Self = Self { mask: !(GENERATION << PAYLOAD_BITS), bits: TIMED };

    /// Whatever the mode and the state: nothing is counted, and no result needs the clock.
    pub(crate) const EMPTY: Self = Self { mask: PAYLOAD, bits: 0 };

    /// As `EMPTY`, but every result is recorded in windows over a time.
    pub(crate) const EMPTY_TIMED: Self = Self { mask: PAYLOAD, bits: TIMED };

    /// Normal mode, open, and not held: until when is all that matters.
    pub(crate) const OPEN: Self = Self { mask: u64::MAX << HELD_BIT, bits: (State::Open as u64) << STATE_BIT };
}

// === impl Word ===

impl Word {
    /// The latest deadline that a word can hold, in milliseconds: 8.7 years.
    pub(crate) const LATEST: u64 = PAYLOAD;

    /// The holder of the lock works on the state: no other thread changes the word meanwhile.
    pub(crate) const HELD: u64 = 1 << HELD_BIT;

    /// Some count window is not yet full, or holds a bad result: it waits for successes.
    pub(crate) const UNSETTLED: u64 = 1 << 17;

    /// The payload of a closed state with nothing counted.
    pub(crate) const fn fresh(policy: &Policy) -> u64 {
        (if policy.timed { TIMED } else { 0 }) | (if policy.rings > 0 { Self::UNSETTLED } else { 0 })
    }

    const fn new(mode: Mode, state: State, generation: u32, payload: u64) -> Self {
        Self(
            (mode as u64) << MODE_BIT
                | (state as u64) << STATE_BIT
                | (generation as u64 & GENERATION) << PAYLOAD_BITS
                | (if payload > PAYLOAD { PAYLOAD } else { payload }),
        )
    }

    /// The same mode in the next generation, in this state and with this payload.
    pub(crate) const fn next(self, state: State, payload: u64) -> Self {
        Self::new(self.mode(), state, self.generation().wrapping_add(1), payload)
    }

    /// The same generation in this state; the payload is kept.
    pub(crate) const fn turned(self, state: State) -> Self {
        Self::new(self.mode(), state, self.generation(), self.payload())
    }

    pub(crate) const fn with_mode(self, mode: Mode) -> Self {
        Self::new(mode, self.state(), self.generation(), self.payload())
    }

    pub(crate) const fn with_payload(self, payload: u64) -> Self {
        Self::new(self.mode(), self.state(), self.generation(), payload)
    }

    pub(crate) const fn mode(self) -> Mode {
        Mode::from_bits(self.0 >> MODE_BIT)
    }

    pub(crate) const fn state(self) -> State {
        State::from_bits(self.0 >> STATE_BIT)
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> PAYLOAD_BITS & GENERATION) as u32
    }

    pub(crate) const fn payload(self) -> u64 {
        self.0 & PAYLOAD
    }

    #[inline(always)]
    pub(crate) const fn is(self, pattern: Pattern) -> bool {
        self.0 & pattern.mask == pattern.bits
    }

    pub(crate) const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// Closed or ramping: results of ordinary calls count. In the other states the key is one that the fleet guard limits.
    pub(crate) const fn counts(self) -> bool {
        matches!(self.state(), State::Closed | State::Ramping)
    }

    /// Failures in a row; only where [`counts`](Self::counts).
    pub(crate) const fn streak(self) -> u16 {
        (self.0 & STREAK) as u16
    }

    pub(crate) const fn with_streak(self, streak: u16) -> Self {
        Self(self.0 & !STREAK | streak as u64)
    }

    pub(crate) const fn with_unsettled(self, unsettled: bool) -> Self {
        Self(self.0 & !Self::UNSETTLED | if unsettled { Self::UNSETTLED } else { 0 })
    }

    /// When the state ends by itself, in microseconds: the open time, or until when all probes are out.
    pub(crate) const fn until(self) -> u64 {
        self.payload() * 1000
    }

    pub(crate) const fn admit(self, pass: Pass) -> Decision {
        Decision::Admit(Ticket { word: self, pass })
    }

    /// Refuses a call for so many microseconds.
    #[inline(always)]
    pub(crate) fn refuse(self, wait: u64) -> Decision {
        Decision::Refuse(Refusal::new(self, wait))
    }

    /// Decides on a call, as far as the word alone decides.
    pub(crate) fn decide(self, now: impl FnOnce() -> u64, policy: &Policy) -> Decision {
        let wait = match (self.mode(), self.state()) {
            (Mode::ForcedClosed, _) => return self.admit(Pass::Bypass),
            (Mode::ForcedOpen, _) => policy.open.base,
            (_, State::Closed) => return self.admit(Pass::Ordinary),
            (_, State::Ramping) => return Decision::Undecided,
            (_, State::Open) => self.until().saturating_sub(now()),
            (_, State::HalfOpen) if self.payload() == 0 => return Decision::Undecided,
            (_, State::HalfOpen) => self.until().saturating_sub(now()).min(SOON),
        };
        if wait == 0 { Decision::Undecided } else { self.refuse(wait) }
    }

    /// What the result of an ordinary call of this generation does.
    pub(crate) fn shortcut(self, observed: &Observation, policy: &Policy) -> Shortcut {
        // Count windows live under the lock.
        let counted = policy.rings > 0 && (self.has(Self::UNSETTLED) || policy.is_bad(observed));
        if self.has(Self::HELD) || counted {
            return Shortcut::Ask;
        }
        match observed.streak_after(self.streak(), policy) {
            Some(streak) if streak >= policy.streak => Shortcut::Ask,
            Some(streak) if streak != self.streak() => Shortcut::Swap(self.with_streak(streak)),
            Some(_) | None => Shortcut::Nothing,
        }
    }
}
