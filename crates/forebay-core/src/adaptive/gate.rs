//! A limiter with a line of tasks that wait for it.

use super::{Adaptive, Attempt, SharedLimiter};
use crate::{panic, support::lock::Mutex};
use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// Lets as many tasks in as a [`SharedLimiter`] says, in the order in which they came; a clone is the same gate.
///
/// Support for the crates of this family, and no part of the stable interface.
#[derive(Clone, Debug)]
pub struct Gate {
    limiter: SharedLimiter,
    line: Arc<Mutex<Line>>,
}

/// Who is inside, and who waits. Pure state.
#[derive(Debug, Default)]
struct Line {
    inside: usize,
    /// The number of the next place that waits.
    next: u64,
    /// The places that wait, the first one at the front. Who is let in is taken out.
    waiting: VecDeque<(u64, Waker)>,
}

/// The place of one task before a gate, or inside.
///
/// CANCEL: a place that is dropped is free for the next one.
#[derive(Debug)]
pub struct Place {
    gate: Gate,
    position: Position,
}

#[derive(Clone, Copy, Debug)]
enum Position {
    Outside,
    /// In line, or let in since it was looked at.
    Waiting(u64),
    Inside,
}

// === impl Gate ===

impl Gate {
    /// A gate before a server of which nothing is known, from `now` on.
    #[must_use]
    pub fn new(adaptive: &Adaptive, now: Instant) -> Self {
        Self { limiter: SharedLimiter::new(adaptive, now), line: Arc::new(Mutex::new(Line::default())) }
    }

    /// How many may be inside now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limiter.limit()
    }

    /// A place outside.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { gate: self.clone(), position: Position::Outside }
    }

    /// An attempt of a task that is inside starts.
    pub fn start(&self, now: Instant) -> Attempt {
        self.limiter.start(now)
    }

    /// Changes the line, and lets in who may enter then.
    fn change<R>(&self, change: impl FnOnce(&mut Line, usize) -> R) -> R {
        let mut line = self.line.lock();
        // CORRECTNESS: read under the lock of the line, so that of two changes the later one sees the newer limit.
        let limit = self.limiter.limit();
        let changed = change(&mut line, limit);
        let let_in = line.let_in(limit);
        drop(line);
        // CORRECTNESS: woken without the lock, as a waker is code of its executor. The panic hook has reported its panic.
        for waker in let_in {
            let _reported = panic::catch(|| waker.wake());
        }
        changed
    }
}

// === impl Line ===

impl Line {
    /// Lets in as many as there is room for, and returns their wakers.
    fn let_in(&mut self, limit: usize) -> Vec<Waker> {
        let room = limit.saturating_sub(self.inside).min(self.waiting.len());
        self.inside += room;
        self.waiting.drain(..room).map(|(_, waker)| waker).collect()
    }

    fn position_of(&self, number: u64) -> Option<usize> {
        self.waiting.iter().position(|(waiting, _)| *waiting == number)
    }
}

// === impl Place ===

impl Place {
    /// Ready inside, at once or when it is this task's turn.
    pub fn poll_enter(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Position::Inside = self.position {
            return Poll::Ready(());
        }
        // CORRECTNESS: wakers are code of their executor: this one is cloned before the lock is taken, and the one that it replaces
        // is dropped after it is released.
        let mut waker = Some(cx.waker().clone());
        let position = self.position;
        let position = self.gate.change(|line, limit| match position {
            Position::Waiting(number) => match line.position_of(number) {
                Some(index) => {
                    if let (Some((_, old)), Some(waker)) = (line.waiting.get_mut(index), &mut waker) {
                        mem::swap(old, waker);
                    }
                    position
                }
                None => Position::Inside,
            },
            // A new task never overtakes those that already wait.
            _ if line.waiting.is_empty() && line.inside < limit => {
                line.inside += 1;
                Position::Inside
            }
            _ => {
                let number = line.next;
                line.next = number.wrapping_add(1);
                line.waiting.extend(waker.take().map(|waker| (number, waker)));
                Position::Waiting(number)
            }
        });
        self.position = position;
        panic::discard(waker);
        if let Position::Inside = position { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Enters although the limit may not allow it.
    pub fn enter_anyway(&mut self) {
        self.leave();
        self.gate.change(|line, _| line.inside += 1);
        self.position = Position::Inside;
    }

    /// Whether it is inside, as far as it has looked.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        matches!(self.position, Position::Inside)
    }

    /// Leaves if more are inside than may be. `true` if it has left.
    pub fn leave_if_over(&mut self) -> bool {
        let Position::Inside = self.position else { return false };
        let is_over = self.gate.change(|line, limit| {
            let is_over = line.inside > limit;
            line.inside -= usize::from(is_over);
            is_over
        });
        if is_over {
            self.position = Position::Outside;
        }
        is_over
    }

    /// Leaves, or waits no longer.
    pub fn leave(&mut self) {
        let number = match mem::replace(&mut self.position, Position::Outside) {
            Position::Outside => return,
            Position::Waiting(number) => Some(number),
            Position::Inside => None,
        };
        let waker = self.gate.change(|line, _| {
            let index = number.and_then(|number| line.position_of(number));
            // Who was in line and is not any more was let in.
            line.inside -= usize::from(index.is_none());
            index.and_then(|index| line.waiting.remove(index))
        });
        panic::discard(waker);
    }

    /// The gate that it belongs to.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn gate(places: usize) -> Gate {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: no attempt is made")]
        let now = Instant::now();
        #[expect(clippy::unwrap_used, reason = "test code")]
        let adaptive = Adaptive::builder().floor(places).ceiling(places).build().unwrap();
        Gate::new(&adaptive, now)
    }

    fn enters(place: &mut Place) -> bool {
        place.poll_enter(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn places_are_let_in_in_the_order_in_which_they_came() {
        let gate = gate(1);
        let mut places: Vec<_> = (0..4).map(|_| gate.place()).collect();
        let [first, second, third, last] = &mut places[..] else { unreachable!() };
        assert!(enters(first) && !enters(second) && !enters(third) && !enters(last));
        // Who waits no longer is not let in, and who was let in without looking gives its turn back.
        second.leave();
        first.leave();
        assert!(!enters(first) && !enters(last));
        third.leave();
        assert!(!enters(first) && enters(last));
        last.leave();
        assert!(enters(first));
        first.leave();
        assert_eq!(gate.line.lock().inside, 0);
    }

    #[test]
    fn who_enters_anyway_leaves_first_when_too_many_are_inside() {
        let gate = gate(1);
        let (mut one, mut more, mut waits) = (gate.place(), gate.place(), gate.place());
        assert!(enters(&mut one));
        more.enter_anyway();
        assert!(!enters(&mut waits));
        assert!(more.leave_if_over() && !more.leave_if_over() && !one.leave_if_over());
        assert!(!enters(&mut waits));
        drop(one);
        assert!(enters(&mut waits));
    }
}
