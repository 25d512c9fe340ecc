use forebay_core::BoxError;
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Where the callers of one batch look for their answers: one lock and one allocation for all of them.
#[derive(Debug)]
pub(crate) struct Replies<A> {
    slots: Mutex<Vec<Slot<A>>>,
}

/// The callers among the items of a lot.
#[derive(Debug)]
pub(crate) struct Callers<A> {
    replies: Arc<Replies<A>>,
    /// Which item of the lot each caller waits for, ascending, and its slot.
    at: Vec<(u32, u32)>,
}

#[derive(Debug)]
enum Slot<A> {
    Expected(Option<Waker>),
    Here(Result<A, BoxError>),
    /// Fetched, or nobody waits for it any more.
    Over,
}

// === impl Replies ===

impl<A> Replies<A> {
    fn lock(&self) -> MutexGuard<'_, Vec<Slot<A>>> {
        // Nothing of a user runs under the lock, so what it guards is whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the answer in `slot`.
    pub(crate) fn poll(&self, slot: u32, waker: &Waker) -> Poll<Result<A, BoxError>> {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(slot as usize) else {
            debug_assert!(false, "a slot that was never opened");
            return Poll::Pending;
        };
        match slot {
            Slot::Expected(Some(known)) => known.clone_from(waker),
            Slot::Expected(none) => *none = Some(waker.clone()),
            Slot::Here(_) => {
                if let Slot::Here(answer) = mem::replace(slot, Slot::Over) {
                    return Poll::Ready(answer);
                }
            }
            Slot::Over => debug_assert!(false, "polled after it was ready"),
        }
        Poll::Pending
    }

    /// Nobody waits for `slot` any more.
    pub(crate) fn forget(&self, slot: u32) {
        // Bound to a name, so that an answer that is here already is dropped without the lock.
        let _unwanted = self.lock().get_mut(slot as usize).map(|slot| mem::replace(slot, Slot::Over));
    }
}

// === impl Callers ===

impl<A> Callers<A> {
    /// No callers yet.
    pub(crate) fn new() -> Self {
        Self { replies: Arc::new(Replies { slots: Mutex::default() }), at: Vec::new() }
    }

    /// A caller for the item at `item`, which comes after those of all callers before.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items")]
    pub(crate) fn add(&mut self, item: usize) -> (Arc<Replies<A>>, u32) {
        let mut slots = self.replies.lock();
        let slot = slots.len() as u32;
        slots.push(Slot::Expected(None));
        drop(slots);
        self.at.push((item as u32, slot));
        (Arc::clone(&self.replies), slot)
    }

    /// Puts the answers of those whose item `answer` has one for into their slots, and wakes them.
    ///
    /// `answer` runs without the lock: it is the user's.
    pub(crate) fn answer(&self, mut answer: impl FnMut(usize) -> Option<Result<A, BoxError>>) {
        let answers: Vec<_> =
            self.at.iter().filter_map(|(item, slot)| Some((*slot, answer(*item as usize)?))).collect();
        let mut wakers = Vec::with_capacity(answers.len());
        let mut unwanted = Vec::new();
        let mut slots = self.replies.lock();
        for (slot, answer) in answers {
            match slots.get_mut(slot as usize) {
                Some(slot @ Slot::Expected(_)) => {
                    if let Slot::Expected(Some(waker)) = mem::replace(slot, Slot::Here(answer)) {
                        wakers.push(waker);
                    }
                }
                _ => unwanted.push(answer),
            }
        }
        drop(slots);
        // Whoever asked has gone; the fates of the items are in the ledger all the same.
        drop(unwanted);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The callers of the first `at` items, and of the rest.
    pub(crate) fn split_at(mut self, at: usize) -> (Self, Self) {
        let place = self.at.partition_point(|(item, _)| (*item as usize) < at);
        let mut rest = self.at.split_off(place);
        #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items")]
        rest.iter_mut().for_each(|(item, _)| *item -= at as u32);
        let rest = Self { replies: Arc::clone(&self.replies), at: rest };
        (self, rest)
    }

    /// The callers of the items that `keep` says, which close ranks.
    pub(crate) fn retain(&mut self, keep: &[bool]) {
        let mut place = 0;
        let places: Vec<u32> = keep
            .iter()
            .map(|kept| {
                place += u32::from(*kept);
                place - u32::from(*kept)
            })
            .collect();
        self.at.retain_mut(|(item, _)| {
            let index = *item as usize;
            *item = places.get(index).copied().unwrap_or_default();
            keep.get(index).copied().unwrap_or(false)
        });
    }
}
