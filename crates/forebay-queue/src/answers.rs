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
    free: Vec<Index>,
}

/// Where a call finds its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Index(u32);

/// The answer to a call.
pub(crate) type Answer<Res> = Result<Res, BoxError>;

#[derive(Debug)]
enum Place<Res> {
    Free,
    Expected(Option<Waker>),
    Here(Answer<Res>),
    /// Nobody waits for it any more.
    Unwanted,
}

// === impl Answers ===

impl<Res> Answers<Res> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// A place for one answer; `None` when there are four billion.
    #[inline]
    pub(crate) fn expect(&mut self) -> Option<Index> {
        if let Some(index) = self.free.pop() {
            self.places[index.0 as usize] = Place::Expected(None);
            return Some(index);
        }
        let index = u32::try_from(self.places.len()).ok()?;
        self.places.push(Place::Expected(None));
        Some(Index(index))
    }

    /// Nobody will answer: the item was not accepted.
    pub(crate) fn cancel(&mut self, index: Index) {
        self.places[index.0 as usize] = Place::Free;
        self.free.push(index);
    }

    /// Fetches the answer, and frees its place with that.
    #[inline]
    pub(crate) fn poll(&mut self, index: Index, waker: &Waker) -> Poll<Answer<Res>> {
        let place = &mut self.places[index.0 as usize];
        match place {
            Place::Expected(Some(known)) => known.clone_from(waker),
            Place::Expected(none) => *none = Some(waker.clone()),
            Place::Here(_) => {
                if let Place::Here(answer) = mem::replace(place, Place::Free) {
                    self.free.push(index);
                    return Poll::Ready(answer);
                }
            }
            Place::Free | Place::Unwanted => debug_assert!(false, "an answer is fetched once"),
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
        match mem::replace(place, Place::Free) {
            Place::Expected(waker) => {
                *place = Place::Here(answer);
                Ok(waker)
            }
            Place::Unwanted | Place::Free => {
                self.free.push(index);
                Err(answer)
            }
            Place::Here(first) => {
                debug_assert!(false, "a call is answered once");
                *place = Place::Here(first);
                Err(answer)
            }
        }
    }

    /// Nobody waits any more. An answer that is here already is returned, to be dropped without the lock.
    pub(crate) fn forget(&mut self, index: Index) -> Option<Answer<Res>> {
        let place = &mut self.places[index.0 as usize];
        match mem::replace(place, Place::Unwanted) {
            Place::Expected(_) | Place::Unwanted => None,
            Place::Here(answer) => {
                *place = Place::Free;
                self.free.push(index);
                Some(answer)
            }
            Place::Free => {
                *place = Place::Free;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_once_its_answer_was_fetched_or_forgotten() {
        let waker = Waker::noop();
        let mut answers = Answers::new();
        let first = answers.expect().unwrap();
        assert!(answers.poll(first, waker).is_pending());
        assert!(answers.answer(first, Ok(1)).unwrap().is_some());
        assert!(matches!(answers.poll(first, waker), Poll::Ready(Ok(1))));

        let second = answers.expect().unwrap();
        assert_eq!(second, first);
        assert!(answers.forget(second).is_none());
        let third = answers.expect().unwrap();
        assert_ne!(third, second, "its answer is still to come");
        assert!(matches!(answers.answer(second, Ok(2)), Err(Ok(2))));
        assert_eq!(answers.expect().unwrap(), second);

        assert!(answers.answer(third, Ok(3)).unwrap().is_none());
        assert!(matches!(answers.forget(third), Some(Ok(3))));
        assert_eq!(answers.expect().unwrap(), third);
    }
}
