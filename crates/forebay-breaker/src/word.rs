//! What every call reads: mode, state, generation and the one number that matters in that state, in 64 bits.
//!
//! ```text
//!  63   62 61   60   59  58          38 37                                        0
//! ┌───────┬───────┬──────┬─────────────┬───────────────────────────────────────────┐
//! │ mode  │ state │ held │ generation  │ payload                                   │
//! └───────┴───────┴──────┴─────────────┴───────────────────────────────────────────┘
//!   closed, ramping   bits 0..16: failures in a row; bit 16: every result must be timed or recorded;
//!                     bit 17: a count window waits for successes
//!   open              when it ends, in milliseconds
//!   half-open         until when all probes are out, in milliseconds; 0 when one more may go
//! ```

use crate::{Mode, State, policy::Policy, state::Done};

/// The packed state of one key. A copy is a consistent view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

/// What a call may do, as far as the word alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// Go ahead; the result counts.
    Admit,
    /// Go ahead; the result counts for nothing.
    Bypass,
    /// Not for this many microseconds.
    Refuse(u64),
    /// The rest of the state must be asked, under the lock.
    Ask,
}

/// What a result does to the word of a closed breaker, as far as the word alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortcut {
    /// Nothing at all.
    Nothing,
    /// This word takes its place, unless it has changed meanwhile.
    Swap(Word),
    /// The rest of the state must be asked, under the lock.
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
const UNSETTLED: u64 = 1 << 17;

/// What a caller is told to wait where nobody can know: while probes are out, or while traffic ramps up.
pub(crate) const SOON: u64 = 1_000_000;

// === impl Word ===

impl Word {
    /// The latest deadline that a word can hold, in milliseconds: 8.7 years.
    pub(crate) const LATEST: u64 = PAYLOAD;

    /// Set while the holder of the lock works on the state: nobody else may change the word then.
    pub(crate) const HELD: u64 = 1 << HELD_BIT;

    /// The payload of a closed state with nothing counted.
    pub(crate) const fn fresh(policy: &Policy) -> u64 {
        (if policy.timed { TIMED } else { 0 }) | (if policy.rings > 0 { UNSETTLED } else { 0 })
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

    pub(crate) const fn is_held(self) -> bool {
        self.0 & Self::HELD != 0
    }

    /// Closed in normal mode: the one case that a call must decide fast.
    #[inline(always)]
    pub(crate) const fn is_plainly_closed(self) -> bool {
        self.0 >> STATE_BIT == 0
    }

    /// Nothing is counted and nothing need be: the success of an ordinary call changes nothing.
    #[inline(always)]
    pub(crate) const fn is_pristine(self) -> bool {
        self.payload() == 0
    }

    /// Closed in normal mode with nothing counted, and nobody changes it: no success changes anything.
    #[inline(always)]
    pub(crate) const fn is_plainly_pristine(self) -> bool {
        self.0 & !(GENERATION << PAYLOAD_BITS) == 0
    }

    /// Closed in normal mode with nothing counted in the word, and nobody changes it: a success concerns windows over a
    /// time alone.
    #[inline(always)]
    pub(crate) const fn is_plainly_timed(self) -> bool {
        self.0 & !(GENERATION << PAYLOAD_BITS) == TIMED
    }

    /// Open in normal mode, and nobody changes it: until when is all that matters.
    #[inline(always)]
    pub(crate) const fn is_plainly_open(self) -> bool {
        self.0 >> HELD_BIT == (State::Open as u64) << 1
    }

    /// Nothing is counted in the word, and no count window waits: a success concerns windows over a time alone.
    #[inline(always)]
    pub(crate) const fn is_only_timed(self) -> bool {
        self.payload() == TIMED && self.counts()
    }

    /// Results of ordinary calls are counted in this state.
    pub(crate) const fn counts(self) -> bool {
        matches!(self.state(), State::Closed | State::Ramping)
    }

    /// Open or half-open: what a fleet guard limits.
    pub(crate) const fn is_tripped(self) -> bool {
        matches!(self.state(), State::Open | State::HalfOpen)
    }

    /// Failures in a row; only where [`counts`](Self::counts).
    pub(crate) const fn streak(self) -> u16 {
        (self.0 & STREAK) as u16
    }

    pub(crate) const fn with_streak(self, streak: u16) -> Self {
        Self(self.0 & !STREAK | streak as u64)
    }

    /// Whether some count window is not yet full, or holds a bad result: it waits for successes.
    pub(crate) const fn is_unsettled(self) -> bool {
        self.0 & UNSETTLED != 0
    }

    pub(crate) const fn with_unsettled(self, unsettled: bool) -> Self {
        Self(self.0 & !UNSETTLED | if unsettled { UNSETTLED } else { 0 })
    }

    /// When the state ends by itself, in microseconds: the open time, or until when all probes are out.
    pub(crate) const fn until(self) -> u64 {
        self.payload() * 1000
    }

    /// What a call at `now` may do.
    pub(crate) fn peek(self, now: impl FnOnce() -> u64, policy: &Policy) -> Peek {
        match self.mode() {
            Mode::ForcedClosed => return Peek::Bypass,
            Mode::ForcedOpen => return Peek::Refuse(policy.open.base),
            Mode::Normal | Mode::ObserveOnly => {}
        }
        let wait = match self.state() {
            State::Closed => return Peek::Admit,
            State::Ramping => return Peek::Ask,
            State::Open => self.until().saturating_sub(now()),
            State::HalfOpen if self.payload() == 0 => return Peek::Ask,
            State::HalfOpen => self.until().saturating_sub(now()).min(SOON),
        };
        match wait {
            0 => Peek::Ask,
            wait => Peek::Refuse(wait),
        }
    }

    /// What the result of an ordinary call of this generation does.
    pub(crate) fn shortcut(self, done: &Done, policy: &Policy) -> Shortcut {
        let streak = match done.streak_after(self.streak(), policy) {
            _ if self.is_held() => return Shortcut::Ask,
            // Count windows live under the lock.
            _ if policy.rings > 0 && (self.is_unsettled() || policy.is_bad(done)) => return Shortcut::Ask,
            Some(streak) if streak >= policy.streak => return Shortcut::Ask,
            Some(streak) => streak,
            None => return Shortcut::Nothing,
        };
        if streak == self.streak() { Shortcut::Nothing } else { Shortcut::Swap(self.with_streak(streak)) }
    }
}
