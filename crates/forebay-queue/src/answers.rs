use crate::registration::Registration;
use forebay_core::BoxError;
use std::{
    mem,
    task::{Poll, Waker},
};

/// The answers of a service's calls, each in its place until it is fetched. Pure state.
///
/// It stands beside the queue, under the same lock: settling an item, answering it and taking the next is one step, and
/// no call allocates a channel of its own.
#[derive(Debug)]
pub(crate) struct Answers<Res> {
    places: Vec<Place<Res>>,
    /// The first of the free places, each of which knows the next; beyond the last place when there is none.
    free: Index,
}

/// Where a call finds its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Index(u32);

/// The answer to a call.
pub(crate) type Answer<Res> = Result<Res, BoxError>;

#[derive(Debug)]
enum Place<Res> {
    /// The next free one.
    Free(Index),
    Expected(Option<Waker>),
    Here(Answer<Res>),
    /// Nobody waits for it any more.
    Unwanted,
}

/// What was in the place of a caller who is gone: a waker, or the answer. Both are the user's.
#[derive(Debug)]
pub(crate) struct Unwanted<Res>(Place<Res>);

// === impl Answers ===

impl<Res> Answers<Res> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Index(0) }
    }

    /// A place for one answer; `None` when there are four billion.
    #[inline]
    pub(crate) fn expect(&mut self) -> Option<Index> {
        let index = self.free;
        match self.places.get_mut(index.0 as usize) {
            Some(place) => {
                if let Place::Free(next) = *place {
                    self.free = next;
                }
                *place = Place::Expected(None);
            }
            None => self.add_place()?,
        }
        Some(index)
    }

    /// There is no free place: the next free one is the one after this new one.
    #[cold]
    fn add_place(&mut self) -> Option<()> {
        self.free = Index(self.free.0.checked_add(1)?);
        self.places.push(Place::Expected(None));
        Some(())
    }

    /// Nobody will answer: the item was not accepted. What is returned is dropped without the lock.
    #[must_use = "it is dropped without the lock"]
    pub(crate) fn cancel(&mut self, index: Index) -> Unwanted<Res> {
        Unwanted(self.vacate(index))
    }

    #[inline]
    fn vacate(&mut self, index: Index) -> Place<Res> {
        let was = mem::replace(&mut self.places[index.0 as usize], Place::Free(self.free));
        self.free = index;
        was
    }

    /// Frees the place of a caller who is gone; `false` if it still waits.
    #[inline]
    pub(crate) fn reclaim(&mut self, index: Index) -> bool {
        let unwanted = self.is_unwanted(index);
        if unwanted {
            // Such a place is empty.
            drop(self.vacate(index));
        }
        unwanted
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_unwanted(&self, index: Index) -> bool {
        matches!(self.places[index.0 as usize], Place::Unwanted)
    }

    /// Fetches the answer, and frees its place with that.
    #[inline]
    pub(crate) fn poll(&mut self, index: Index, registration: &mut Registration<'_>) -> Poll<Answer<Res>> {
        match &mut self.places[index.0 as usize] {
            Place::Expected(waker) => registration.store(waker),
            Place::Here(_) => {
                if let Place::Here(answer) = self.vacate(index) {
                    return Poll::Ready(answer);
                }
            }
            Place::Free(_) | Place::Unwanted => debug_assert!(false, "an answer is fetched once"),
        }
        Poll::Pending
    }

    /// Puts the answer in its place.
    ///
    /// # Errors
    ///
    /// The answer, for the caller to drop without the lock, when nobody waits for it any more.
    #[inline]
    pub(crate) fn answer(&mut self, index: Index, answer: Answer<Res>) -> Result<Option<Waker>, Answer<Res>> {
        let place = &mut self.places[index.0 as usize];
        match place {
            Place::Expected(waker) => {
                let waker = waker.take();
                *place = Place::Here(answer);
                return Ok(waker);
            }
            // Such a place is empty.
            Place::Unwanted => drop(self.vacate(index)),
            Place::Here(_) | Place::Free(_) => debug_assert!(false, "a call is answered once"),
        }
        Err(answer)
    }

    /// Nobody waits any more. What is returned is dropped without the lock.
    #[must_use = "it is dropped without the lock"]
    pub(crate) fn forget(&mut self, index: Index) -> Unwanted<Res> {
        let place = &mut self.places[index.0 as usize];
        match place {
            Place::Expected(_) => Unwanted(mem::replace(place, Place::Unwanted)),
            Place::Here(_) => self.cancel(index),
            Place::Unwanted | Place::Free(_) => {
                debug_assert!(false, "an answer is forgotten once");
                Unwanted(Place::Unwanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_once_its_answer_was_fetched_or_forgotten() {
        let waker = &mut Registration::new(Waker::noop());
        let mut answers = Answers::new();
        let first = answers.expect().unwrap();
        assert!(answers.poll(first, waker).is_pending());
        assert!(answers.answer(first, Ok(1)).unwrap().is_some());
        assert!(matches!(answers.poll(first, waker), Poll::Ready(Ok(1))));

        let second = answers.expect().unwrap();
        assert_eq!(second, first);
        assert!(matches!(answers.forget(second).0, Place::Expected(None)));
        let third = answers.expect().unwrap();
        assert_ne!(third, second, "its answer is still to come");
        assert!(matches!(answers.answer(second, Ok(2)), Err(Ok(2))));
        assert_eq!(answers.expect().unwrap(), second);

        assert!(answers.answer(third, Ok(3)).unwrap().is_none());
        assert!(matches!(answers.forget(third).0, Place::Here(Ok(3))));
        assert_eq!(answers.expect().unwrap(), third);
    }
}
