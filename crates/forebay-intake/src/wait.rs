use crate::registration::Registration;
use std::{collections::VecDeque, task::Waker};

/// Tasks that wait in line, first come first served. Pure state.
///
/// A waiter that was released and finds no room returns to its place. When one leaves the line, or is admitted, the owner
/// releases the next with [`release`](Self::release) as long as there is room.
#[derive(Debug, Default)]
pub struct WaitLine {
    /// The waiters in their order, each with its place.
    line: VecDeque<(Ticket, Waker)>,
    /// The number of the ticket that was given last.
    last: u64,
}

/// A place in a [`WaitLine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

// === impl WaitLine ===

impl WaitLine {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self { line: VecDeque::new(), last: 0 }
    }

    /// Waits: at the end of the line without a `ticket`, else at its place, which it keeps if it was released.
    pub fn wait(&mut self, ticket: Option<Ticket>, registration: &mut Registration<'_>) -> Ticket {
        let Some(ticket) = ticket else {
            self.last += 1;
            let ticket = Ticket(self.last);
            self.line.push_back((ticket, registration.take()));
            return ticket;
        };
        match self.line.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            Some((_, known)) => registration.replace(known),
            None => {
                // Several may have been released, and return in any order.
                let place = self.line.partition_point(|(waiting, _)| waiting.0 < ticket.0);
                self.line.insert(place, (ticket, registration.take()));
            }
        }
        ticket
    }

    /// Leaves the line, and returns the waker, which is dropped without the lock. `None` if the ticket was released already: the
    /// owner then gives its turn to the next.
    #[must_use = "a waker is dropped without the lock, and a turn is passed on"]
    #[inline]
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        if self.line.is_empty() { None } else { self.remove(ticket) }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waker> {
        let place = self.line.iter().position(|(waiting, _)| *waiting == ticket)?;
        self.line.remove(place).map(|(_, waker)| waker)
    }

    /// Releases the first in line; the owner wakes it without the lock.
    #[must_use = "a waker that is not woken is a task that sleeps for ever"]
    #[inline]
    pub fn release(&mut self) -> Option<Waker> {
        // The line is empty in nearly all calls, so only this look is inlined.
        if self.line.is_empty() { None } else { self.release_first() }
    }

    #[inline(never)]
    fn release_first(&mut self) -> Option<Waker> {
        self.line.pop_front().map(|(_, waker)| waker)
    }

    /// Releases all, as on close.
    #[must_use = "a waker that is not woken is a task that sleeps for ever"]
    pub fn release_all(&mut self) -> Vec<Waker> {
        self.line.drain(..).map(|(_, waker)| waker).collect()
    }

    /// Whether no task waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::Wake,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), count.into())
    }

    fn wait(line: &mut WaitLine, ticket: Option<Ticket>, waker: &Waker) -> Ticket {
        line.wait(ticket, &mut Registration::new(waker))
    }

    #[test]
    fn first_come_first_served_and_back_to_the_front() {
        let ((first, first_waker), (second, second_waker)) = (waker(), waker());
        let mut line = WaitLine::new();
        let ticket = wait(&mut line, None, &first_waker);
        wait(&mut line, None, &second_waker);
        line.release().unwrap().wake();
        assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (1, 0));
        wait(&mut line, Some(ticket), &first_waker);
        line.release().unwrap().wake();
        assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (2, 0), "it kept its place");
        line.release().unwrap().wake();
        assert_eq!(second.0.load(SeqCst), 1);
        assert!(line.is_empty());
    }

    #[test]
    fn released_waiters_that_return_in_another_order_keep_their_places() {
        let ((first, first_waker), (_, waker)) = (waker(), waker());
        let mut line = WaitLine::new();
        let (one, two) = (wait(&mut line, None, &first_waker), wait(&mut line, None, &waker));
        assert!(line.release().is_some() && line.release().is_some());
        wait(&mut line, Some(one), &first_waker);
        wait(&mut line, Some(two), &waker);
        line.release().unwrap().wake();
        assert_eq!(first.0.load(SeqCst), 1);
    }

    #[test]
    fn a_released_waiter_that_leaves_passes_its_turn_on() {
        let (_, waker) = waker();
        let mut line = WaitLine::new();
        let first = wait(&mut line, None, &waker);
        let second = wait(&mut line, None, &waker);
        assert!(line.release().is_some());
        assert!(line.leave(first).is_none(), "it was released");
        assert!(line.leave(second).is_some());
        assert!(line.leave(second).is_none());
    }
}
