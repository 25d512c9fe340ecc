//! The permits of a layer, and who waits for one.

use crate::{Adaptive, Limiter, Sample};
use forebay_core::{Outcome, panic, time::saturating_mul};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};
use tokio::time::Instant;

/// What all services of one layer share.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    max_waiting: usize,
    adaptive: Adaptive,
}

/// Who goes, and who waits. Pure: wakers leave it before they are used.
#[derive(Debug)]
struct State {
    limiter: Limiter,
    /// Permits that are taken: by attempts, by services that are ready, and by those in `granted`.
    taken: usize,
    /// Attempts that are under way. A service that is ready and does not call is no load.
    running: usize,
    next: u64,
    /// Who waits, the first one first; the tickets grow.
    waiting: VecDeque<(u64, Waker)>,
    /// Who has a permit and does not know it yet; the tickets grow.
    granted: VecDeque<u64>,
    /// The mean time of the latest attempts, for those that are refused.
    mean: Duration,
}

/// The right to one attempt. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    /// When the attempt started, and how many were in flight then, itself included.
    started: Option<(Instant, usize)>,
    /// How it ended; not there if it was given up before.
    outcome: Option<Outcome>,
}

/// A place in the line of those that wait. It is left when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    ticket: u64,
}

/// What becomes of one who asks for a permit.
pub(crate) enum Asked {
    Granted(Permit),
    Waits(Place),
    /// As many wait as may.
    Refused,
}

/// What can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) limit: usize,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) retry_in: Duration,
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(adaptive: Adaptive, max_waiting: usize) -> Self {
        let state = State {
            limiter: Limiter::new(&adaptive, Instant::now()),
            taken: 0,
            running: 0,
            next: 0,
            waiting: VecDeque::new(),
            granted: VecDeque::new(),
            mean: Duration::ZERO,
        };
        Self { state: Mutex::new(state), max_waiting, adaptive }
    }

    pub(crate) const fn adaptive(&self) -> Adaptive {
        self.adaptive
    }

    /// A permit, if there is room and nobody waits for it.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        self.state().try_take().then(|| Permit { gate: Arc::clone(self), started: None, outcome: None })
    }

    /// A permit now, or a place in the line.
    pub(crate) fn ask(self: &Arc<Self>, waker: Waker) -> Asked {
        // CORRECTNESS: whether there is room and the place in the line are decided under one lock, so that no permit is given
        // back between the two. The waker, if it is not kept, is dropped after the lock is released.
        let mut unused = None;
        let asked = {
            let mut state = self.state();
            if state.try_take() {
                unused = Some(waker);
                Asked::Granted(Permit { gate: Arc::clone(self), started: None, outcome: None })
            } else if state.waiting.len() >= self.max_waiting {
                unused = Some(waker);
                Asked::Refused
            } else {
                let ticket = state.next;
                state.next += 1;
                state.waiting.push_back((ticket, waker));
                Asked::Waits(Place { gate: Arc::clone(self), ticket })
            }
        };
        if let Some(waker) = unused {
            panic::discard(waker);
        }
        asked
    }

    pub(crate) fn seen(&self) -> Seen {
        let state = self.state();
        let limit = state.limiter.limit();
        // One of `limit` attempts ends in that time, on average; a millisecond is the least that is worth a timer.
        let retry_in = state.mean.checked_div(u32::try_from(limit).unwrap_or(u32::MAX)).unwrap_or_default();
        Seen {
            limit,
            in_flight: state.running,
            waiting: state.waiting.len(),
            retry_in: retry_in.max(Duration::from_millis(1)),
        }
    }

    /// Gives a permit back, and what is free to who waits.
    fn give_back(&self, ran: bool, sample: Option<Sample>) {
        let mut next = {
            let mut state = self.state();
            state.taken -= 1;
            state.running -= usize::from(ran);
            if let Some(sample) = sample {
                let time = sample.finished.saturating_duration_since(sample.started);
                // A sixteenth of the way: enough to say when a retry is sensible.
                state.mean = if state.mean.is_zero() {
                    time
                } else {
                    saturating_mul(state.mean.saturating_mul(15).saturating_add(time), 1.0 / 16.0)
                };
                state.limiter.sampled(sample);
            }
            state.grant()
        };
        // CORRECTNESS: a waker is foreign code: it is woken without the lock, and a panic in it neither keeps the others asleep
        // nor aborts a drop that is part of another panic. Each round gives at most one permit away, so the loop ends.
        while let Some(waker) = next {
            // The panic hook has reported it, and the one who waits is its owner's to poll.
            let _reported = panic::catch(|| waker.wake());
            next = self.state().grant();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in the lock panics, and if it did, the counts would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Takes a permit, unless one who waits should have it.
    fn try_take(&mut self) -> bool {
        let room = self.waiting.is_empty() && self.taken < self.limiter.limit();
        self.taken += usize::from(room);
        room
    }

    /// Gives a free permit to the first who waits.
    fn grant(&mut self) -> Option<Waker> {
        if self.taken >= self.limiter.limit() {
            return None;
        }
        let (ticket, waker) = self.waiting.pop_front()?;
        self.taken += 1;
        self.granted.push_back(ticket);
        Some(waker)
    }
}

// === impl Place ===

impl Place {
    /// Whether its turn has come: then it is a permit. Otherwise `waker` is woken when it has.
    pub(crate) fn poll(self, waker: &Waker) -> Result<Permit, Self> {
        // CORRECTNESS: the waker is cloned and the old one dropped outside of the lock: both are foreign code.
        let mut other = Some(waker.clone());
        let granted = {
            let mut state = self.gate.state();
            if let Ok(index) = state.granted.binary_search(&self.ticket) {
                state.granted.remove(index);
                true
            } else {
                if let Ok(index) = state.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket)
                    && let (Some((_, kept)), Some(new)) = (state.waiting.get_mut(index), &mut other)
                {
                    std::mem::swap(kept, new);
                }
                false
            }
        };
        panic::discard(other);
        if !granted {
            return Err(self);
        }
        let permit = Permit { gate: Arc::clone(&self.gate), started: None, outcome: None };
        // The ticket is used up: what its drop looks for is not there any more.
        drop(self);
        Ok(permit)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // CANCEL: one who leaves the line leaves no waker behind, and passes on a permit that it was given meanwhile.
        let (waker, granted) = {
            let mut state = self.gate.state();
            let granted = state.granted.binary_search(&self.ticket).ok().and_then(|index| state.granted.remove(index));
            let index = state.waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket).ok();
            (index.and_then(|index| state.waiting.remove(index)), granted.is_some())
        };
        if let Some((_, waker)) = waker {
            panic::discard(waker);
        }
        if granted {
            self.gate.give_back(false, None);
        }
    }
}

// === impl Permit ===

impl Permit {
    /// The attempt starts now.
    pub(crate) fn start(&mut self) {
        let now = Instant::now();
        let in_flight = {
            let mut state = self.gate.state();
            state.running += 1;
            state.running
        };
        self.started = Some((now, in_flight));
    }

    /// The attempt has ended; the permit is given back.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // CANCEL: an attempt that was given up, or that panicked, gives its permit back too. How long it took says nothing.
        let sample = self.started.zip(self.outcome).map(|((started, in_flight), outcome)| Sample {
            started,
            finished: Instant::now(),
            in_flight,
            outcome,
        });
        self.gate.give_back(self.started.is_some(), sample);
    }
}
