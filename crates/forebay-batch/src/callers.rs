use forebay_core::{BoxError, panic};
use forebay_queue::{
    Panicked,
    parts::{Mutex, MutexGuard, wake},
};
use std::{
    mem,
    sync::{Arc, PoisonError},
    task::{Poll, Waker},
};

/// Where the callers of one batch look for their answers: one lock and one allocation for all of them.
#[derive(Debug)]
pub(crate) struct Replies<A> {
    slots: Mutex<Slots<A>>,
}

#[derive(Debug)]
struct Slots<A> {
    all: Vec<Slot<A>>,
    /// How many callers dropped their futures before the reply was there.
    forgotten: usize,
}

/// The callers among the items of a lot.
#[derive(Debug)]
pub(crate) struct Callers<A> {
    replies: Arc<Replies<A>>,
    /// In the order of their items.
    at: Vec<Caller>,
    /// Those of the lots that joined this one, which look elsewhere for their answers. These have none of their own.
    joined: Vec<Self>,
}

/// One who waits for the reply to an item.
#[derive(Clone, Copy, Debug)]
struct Caller {
    /// The place of the item in the lot.
    item: u32,
    slot: u32,
    /// What the item is charged for.
    bytes: u32,
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
    fn lock(&self) -> MutexGuard<'_, Slots<A>> {
        // Nothing of a user runs under the lock, so what it guards is whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the reply in `slot`, or waits for it with `waker`.
    pub(crate) fn poll(&self, slot: u32, waker: &Waker) -> Poll<Result<A, BoxError>> {
        // A waker is code of its executor, which may come back to this very batch: it is cloned and dropped without the lock.
        let mut own = None;
        loop {
            let mut slots = self.lock();
            let slot = slots.open(slot);
            match slot {
                Slot::Expected(Some(known)) if known.will_wake(waker) => return Poll::Pending,
                Slot::Expected(known) => {
                    if own.is_some() {
                        let before = mem::replace(known, own.take());
                        drop(slots);
                        panic::discard(before);
                        return Poll::Pending;
                    }
                }
                Slot::Here(_) => {
                    let here = mem::replace(slot, Slot::Over);
                    drop(slots);
                    if let Slot::Here(reply) = here {
                        return Poll::Ready(reply);
                    }
                    return Poll::Pending;
                }
                Slot::Over => {
                    debug_assert!(false, "polled after it was ready");
                    return Poll::Pending;
                }
            }
            drop(slots);
            // CORRECTNESS: the reply may come before the lock is taken again; the loop looks for it again.
            own = Some(waker.clone());
        }
    }

    /// The caller that waits for `slot` has dropped its future.
    pub(crate) fn forget(&self, slot: u32) {
        let mut slots = self.lock();
        let unwanted = mem::replace(slots.open(slot), Slot::Over);
        slots.forgotten += usize::from(matches!(unwanted, Slot::Expected(_)));
        drop(slots);
        // A waker, or a reply that came too late: both are the user's, and dropped without the lock.
        panic::discard(unwanted);
    }
}

// === impl Slots ===

impl<A> Slots<A> {
    /// The slot, which may be looked at for the first time.
    fn open(&mut self, slot: u32) -> &mut Slot<A> {
        let slot = slot as usize;
        if self.all.len() <= slot {
            self.all.resize_with(slot + 1, || Slot::Expected(None));
        }
        &mut self.all[slot]
    }
}

/// Runs the user's code that makes an answer; a panic in it is the answer, to this caller alone.
fn caught<A>(answer: impl FnOnce() -> Option<Result<A, BoxError>>) -> Option<Result<A, BoxError>> {
    panic::catch(answer).unwrap_or_else(|_reported| Some(Err(Panicked::new().into())))
}

// === impl Callers ===

impl<A> Callers<A> {
    /// No callers yet.
    pub(crate) fn new() -> Self {
        let slots = Slots { all: Vec::new(), forgotten: 0 };
        Self { replies: Arc::new(Replies { slots: Mutex::new(slots) }), at: Vec::new(), joined: Vec::new() }
    }

    /// Those of a lot that joins this one behind its first `items` items.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items")]
    pub(crate) fn append(&mut self, mut more: Self, items: usize) {
        let joined = mem::take(&mut more.joined);
        for mut callers in std::iter::once(more).chain(joined) {
            callers.at.iter_mut().for_each(|caller| caller.item += items as u32);
            self.joined.push(callers);
        }
    }

    /// A caller for the item at `item` of so many bytes, which comes after those of all callers before. Takes no lock: the slot
    /// opens when it is first looked at.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items, each below 4 GiB")]
    pub(crate) fn add(&mut self, item: usize, bytes: usize) -> (Arc<Replies<A>>, u32) {
        let slot = self.at.len() as u32;
        self.at.push(Caller { item: item as u32, slot, bytes: bytes as u32 });
        (Arc::clone(&self.replies), slot)
    }

    /// The first `items` items are gone, and with them their callers, who hear `error` and are to be woken.
    #[must_use = "a waker that is not woken is a task that sleeps for ever"]
    pub(crate) fn remove_first(&mut self, items: usize, error: impl Fn() -> BoxError) -> Vec<Waker> {
        debug_assert!(self.joined.is_empty(), "a lot loses its first items before it joins another");
        let told = self.put(|item| (item < items).then(|| Err(error())));
        self.at.retain_mut(|caller| match (caller.item as usize).checked_sub(items) {
            Some(place) => {
                #[expect(clippy::cast_possible_truncation, reason = "smaller than before")]
                let place = place as u32;
                caller.item = place;
                true
            }
            None => false,
        });
        told
    }

    /// The items whose callers have dropped their futures, and what each is charged for.
    pub(crate) fn cancelled(&self) -> Vec<(usize, usize)> {
        let mut cancelled = self.own_cancelled();
        self.joined.iter().for_each(|callers| cancelled.extend(callers.own_cancelled()));
        cancelled
    }

    fn own_cancelled(&self) -> Vec<(usize, usize)> {
        let mut slots = self.replies.lock();
        if slots.forgotten == 0 {
            return Vec::new();
        }
        // None of these was answered, so a slot that is over was forgotten.
        let gone = self.at.iter().filter(|caller| matches!(slots.open(caller.slot), Slot::Over));
        gone.map(|caller| (caller.item as usize, caller.bytes as usize)).collect()
    }

    /// Puts the answers of those whose item `answer` has one for into their slots, and wakes them.
    ///
    /// `answer` runs without the lock: it is the user's.
    pub(crate) fn answer(&self, answer: impl FnMut(usize) -> Option<Result<A, BoxError>>) {
        self.put(answer).into_iter().for_each(wake);
    }

    fn put(&self, mut answer: impl FnMut(usize) -> Option<Result<A, BoxError>>) -> Vec<Waker> {
        let mut wakers = self.put_own(&mut answer);
        self.joined.iter().for_each(|callers| wakers.extend(callers.put_own(&mut answer)));
        wakers
    }

    fn put_own(&self, answer: &mut impl FnMut(usize) -> Option<Result<A, BoxError>>) -> Vec<Waker> {
        let replied = |caller: &Caller| Some((caller.slot, caught(|| answer(caller.item as usize))?));
        let answers: Vec<_> = self.at.iter().filter_map(replied).collect();
        let mut wakers = Vec::with_capacity(answers.len());
        let mut unwanted = Vec::new();
        let mut slots = self.replies.lock();
        for (slot, answer) in answers {
            let slot = slots.open(slot);
            match mem::replace(slot, Slot::Over) {
                Slot::Expected(waker) => {
                    *slot = Slot::Here(answer);
                    wakers.extend(waker);
                }
                Slot::Over => unwanted.push(answer),
                Slot::Here(first) => {
                    debug_assert!(false, "an item is answered once");
                    *slot = Slot::Here(first);
                }
            }
        }
        drop(slots);
        // Whoever asked has gone; the fates of the items are in the ledger all the same.
        unwanted.into_iter().for_each(panic::discard);
        wakers
    }

    /// The callers of the first `at` items, and of the rest.
    pub(crate) fn split_at(mut self, at: usize) -> (Self, Self) {
        let place = self.at.partition_point(|caller| (caller.item as usize) < at);
        let mut rest = self.at.split_off(place);
        #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items")]
        rest.iter_mut().for_each(|caller| caller.item -= at as u32);
        let joined = mem::take(&mut self.joined).into_iter().map(|callers| callers.split_at(at));
        let (own, joined): (Vec<_>, Vec<_>) = joined.unzip();
        self.joined = own;
        let rest = Self { replies: Arc::clone(&self.replies), at: rest, joined };
        (self, rest)
    }

    /// The callers of the items that `keep` says, which close ranks.
    pub(crate) fn retain(&mut self, keep: &[bool]) {
        self.joined.iter_mut().for_each(|callers| callers.retain(keep));
        let mut place = 0;
        let places: Vec<u32> = keep
            .iter()
            .map(|kept| {
                place += u32::from(*kept);
                place - u32::from(*kept)
            })
            .collect();
        self.at.retain_mut(|caller| {
            let index = caller.item as usize;
            caller.item = places.get(index).copied().unwrap_or_default();
            keep.get(index).copied().unwrap_or(false)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(replies: &Replies<usize>, slots: &[u32]) -> Vec<Option<usize>> {
        let poll = |slot: &u32| match replies.poll(*slot, Waker::noop()) {
            Poll::Ready(answer) => Some(answer.unwrap()),
            Poll::Pending => None,
        };
        slots.iter().map(poll).collect()
    }

    #[test]
    fn each_caller_hears_of_its_own_item_however_the_lot_is_cut() {
        let mut callers = Callers::new();
        let (replies, _) = callers.add(0, 1);
        [2, 3, 5].into_iter().for_each(|item| drop(callers.add(item, 1)));
        let (left, mut right) = callers.split_at(3);
        left.answer(|item| Some(Ok(item)));
        assert_eq!(answers(&replies, &[0, 1, 2, 3]), [Some(0), Some(2), None, None]);
        // Items 3, 4, 5 of the first lot are 0, 1, 2 of this one; the middle one leaves.
        right.retain(&[true, false, true]);
        right.answer(|item| Some(Ok(10 + item)));
        assert_eq!(answers(&replies, &[2, 3]), [Some(10), Some(11)]);
    }

    #[test]
    fn each_caller_hears_of_its_own_item_however_lots_are_joined_and_cut() {
        let (mut callers, mut second, mut third) = (Callers::new(), Callers::new(), Callers::new());
        let (first_replies, _) = callers.add(1, 1);
        let (second_replies, _) = second.add(0, 1);
        second.add(2, 1);
        let (third_replies, _) = third.add(0, 1);
        // Lots of two, three and one item: the last joins the second, and both the first.
        second.append(third, 3);
        callers.append(second, 2);
        let (left, mut right) = callers.split_at(3);
        left.answer(|item| Some(Ok(item)));
        assert_eq!(answers(&first_replies, &[0]), [Some(1)]);
        assert_eq!(answers(&second_replies, &[0, 1]), [Some(2), None]);
        right.retain(&[false, true, true]);
        right.answer(|item| Some(Ok(10 + item)));
        assert_eq!(answers(&second_replies, &[1]), [Some(10)]);
        assert_eq!(answers(&third_replies, &[0]), [Some(11)]);
    }

    #[test]
    fn who_is_evicted_hears_of_it_and_the_rest_closes_ranks() {
        let mut callers = Callers::new();
        let (replies, _) = callers.add(0, 1);
        callers.add(1, 1);
        assert!(callers.remove_first(1, || "gone".into()).is_empty(), "nobody had looked");
        assert!(matches!(replies.poll(0, Waker::noop()), Poll::Ready(Err(_))));
        callers.answer(|item| Some(Ok(item)));
        assert_eq!(answers(&replies, &[1]), [Some(0)]);
    }

    #[test]
    fn a_forgotten_answer_is_dropped() {
        let mut callers = Callers::new();
        let (replies, slot) = callers.add(0, 1);
        replies.forget(slot);
        let answer = Arc::new(7);
        callers.answer(|_| Some(Ok(Arc::clone(&answer))));
        assert_eq!(Arc::strong_count(&answer), 1);
    }

    #[test]
    fn f15_callers_that_dropped_their_futures_are_found_however_lots_are_joined() {
        let (mut callers, mut more) = (Callers::<usize>::new(), Callers::new());
        let (replies, _) = callers.add(0, 10);
        callers.add(2, 20);
        let (more_replies, _) = more.add(1, 30);
        callers.append(more, 3);
        assert!(callers.cancelled().is_empty());
        replies.forget(1);
        assert_eq!(callers.cancelled(), [(2, 20)]);
        more_replies.forget(0);
        assert_eq!(callers.cancelled(), [(2, 20), (4, 30)]);
        callers.retain(&[true, true, false, true, false]);
        assert!(callers.cancelled().is_empty());
        callers.answer(|item| Some(Ok(item)));
        assert_eq!(answers(&replies, &[0]), [Some(0)]);
    }
}
