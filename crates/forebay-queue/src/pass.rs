//! What a worker needs before it takes an item, where the number of workers tunes itself.

use forebay_core::{
    BoxError, Fate, Outcome, Settle, Settlement,
    adaptive::{Adaptive, Attempt, Gate, Place},
};
use forebay_intake::now;
use std::{
    cell::Cell,
    task::{Context, Poll},
    time::Instant,
};

/// How many items are processed at a time: a number of workers, or one that tunes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workers {
    /// So many.
    Fixed(usize),
    /// As many as the inner service takes, between a floor and a ceiling.
    Adaptive(Adaptive),
}

/// The place of a worker among those that may take items.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// `None` where each worker may.
    place: Option<Place>,
    /// The call of the inner service that it works on.
    attempt: Option<Attempt>,
}

/// Settles a result, and reports it as the end of an attempt.
pub(crate) struct Sampled<'a, Se> {
    settle: &'a Se,
    attempt: Cell<Option<Attempt>>,
}

// === impl Workers ===

impl Workers {
    /// How many workers there are, most of which wait where the number tunes itself.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Fixed(workers) => workers,
            Self::Adaptive(adaptive) => adaptive.ceiling(),
        }
    }

    pub(crate) fn gate(self) -> Option<Gate> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive(adaptive) => Some(Gate::new(&adaptive, now())),
        }
    }
}

impl From<usize> for Workers {
    fn from(workers: usize) -> Self {
        Self::Fixed(workers)
    }
}

impl From<Adaptive> for Workers {
    fn from(adaptive: Adaptive) -> Self {
        Self::Adaptive(adaptive)
    }
}

// === impl Pass ===

impl Pass {
    pub(crate) fn new(gate: Option<&Gate>) -> Self {
        Self { place: gate.map(Gate::place), attempt: None }
    }

    /// Whether a limit is in force.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.place.is_some()
    }

    /// Whether the worker has given its place back, because more work than may.
    pub(crate) fn is_withdrawn(&mut self) -> bool {
        self.place.as_mut().is_some_and(Place::leave_if_over)
    }

    /// Ready when the worker may take an item.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.place.as_mut().map_or(Poll::Ready(()), |place| place.poll_enter(cx))
    }

    /// The inner service was called at `began`.
    pub(crate) fn start(&mut self, began: Instant) {
        self.attempt = self.place.as_ref().map(|place| place.gate().start(began));
    }

    /// The call has ended without a result, which says nothing of the server's load.
    pub(crate) fn forget(&mut self) {
        self.attempt = None;
    }

    /// Settles the result of the call.
    #[inline]
    pub(crate) fn settling<'a, Se>(&mut self, settle: &'a Se) -> Sampled<'a, Se> {
        Sampled { settle, attempt: Cell::new(self.attempt.take()) }
    }
}

// === impl Sampled ===

impl<Res, Se: Settle<Res>> Settle<Res> for Sampled<'_, Se> {
    #[inline(always)]
    fn settle(&self, result: &Result<Res, BoxError>, items: usize) -> Settlement {
        let settlement = self.settle.settle(result, items);
        if let Some(attempt) = self.attempt.take() {
            attempt.end(now(), outcome_of(&settlement));
        }
        settlement
    }
}

/// What the limit learns from a settlement: a refusal for what is in an item says nothing about the load.
fn outcome_of(settlement: &Settlement) -> Outcome {
    match settlement {
        Settlement::Retry { after, .. } => Outcome::Retryable { after: *after },
        Settlement::All(Fate::Delivered) => Outcome::Success,
        _ => Outcome::Terminal,
    }
}
