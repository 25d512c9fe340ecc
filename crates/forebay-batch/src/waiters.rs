use forebay_core::{BoxError, panic};
use forebay_intake::{Mutex, MutexGuard, Panicked, wake};
use std::{
    mem,
    sync::{Arc, PoisonError},
    task::{Poll, Waker},
};

/// Where the callers of one batch look for their replies: one lock and one allocation for all of them.
#[derive(Debug)]
pub(crate) struct ReplyCells<A> {
    cells: Mutex<Cells<A>>,
}

#[derive(Debug)]
struct Cells<A> {
    /// One for each caller; grows when one is looked at for the first time.
    all: Vec<Reply<A>>,
    /// How many callers dropped their futures before the reply was there.
    forgotten: usize,
}

/// The callers that wait for a reply to an item of one batch.
#[derive(Debug)]
pub(crate) struct Waiters<A> {
    replies: Arc<ReplyCells<A>>,
    /// In the order of their items.
    at: Vec<Waiter>,
    /// Those of the batches that joined this one, whose replies are in other cells. These have no joined ones of their own.
    joined: Vec<Self>,
}

/// A caller that waits for the reply to an item.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    /// The place of the item in the batch.
    item: u32,
    /// The place of the reply in the cells.
    cell: u32,
    /// What the item is charged for.
    bytes: u32,
}

#[derive(Debug)]
enum Reply<A> {
    /// Not there yet; the waker of the caller, once it has polled.
    Expected(Option<Waker>),
    Here(Result<A, BoxError>),
    /// Fetched, or no caller waits for it any more.
    Over,
}

// === impl ReplyCells ===

impl<A> ReplyCells<A> {
    fn lock(&self) -> MutexGuard<'_, Cells<A>> {
        // No user code runs under the lock, so what it guards is whole.
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the reply in `cell`, or waits for it with `waker`.
    pub(crate) fn poll(&self, cell: u32, waker: &Waker) -> Poll<Result<A, BoxError>> {
        // A waker is code of its executor, which may call back into this very batch: it is cloned and dropped without the lock.
        let mut own = None;
        loop {
            let mut cells = self.lock();
            let reply = cells.open(cell);
            match reply {
                Reply::Expected(Some(known)) if known.will_wake(waker) => return Poll::Pending,
                Reply::Expected(known) => {
                    if own.is_some() {
                        let before = mem::replace(known, own.take());
                        drop(cells);
                        panic::discard(before);
                        return Poll::Pending;
                    }
                }
                Reply::Here(_) => {
                    let here = mem::replace(reply, Reply::Over);
                    drop(cells);
                    if let Reply::Here(reply) = here {
                        return Poll::Ready(reply);
                    }
                    return Poll::Pending;
                }
                Reply::Over => {
                    debug_assert!(false, "polled after it was ready");
                    return Poll::Pending;
                }
            }
            drop(cells);
            // CORRECTNESS: the reply may arrive before the lock is taken again; the loop looks for it again.
            own = Some(waker.clone());
        }
    }

    /// The caller that waits for the reply in `cell` has dropped its future.
    pub(crate) fn forget(&self, cell: u32) {
        // CANCEL: the number of callers that have left is counted, so that a batch without any is sent without a look at each cell.
        let mut cells = self.lock();
        let unwanted = mem::replace(cells.open(cell), Reply::Over);
        cells.forgotten += usize::from(matches!(unwanted, Reply::Expected(_)));
        drop(cells);
        // A waker, or a reply that came too late: both are the user's, and dropped without the lock.
        panic::discard(unwanted);
    }
}

// === impl Cells ===

impl<A> Cells<A> {
    /// The cell at this place, which may be looked at for the first time.
    fn open(&mut self, cell: u32) -> &mut Reply<A> {
        let cell = cell as usize;
        if self.all.len() <= cell {
            self.all.resize_with(cell + 1, || Reply::Expected(None));
        }
        &mut self.all[cell]
    }
}

/// Runs the user's code that makes a reply; a panic in it is the reply, to this caller alone.
fn caught<A>(reply: impl FnOnce() -> Option<Result<A, BoxError>>) -> Option<Result<A, BoxError>> {
    panic::catch(reply).unwrap_or_else(|_reported| Some(Err(Panicked::new().into())))
}

// === impl Waiters ===

impl<A> Waiters<A> {
    /// No waiters yet.
    pub(crate) fn new() -> Self {
        let cells = Cells { all: Vec::new(), forgotten: 0 };
        Self { replies: Arc::new(ReplyCells { cells: Mutex::new(cells) }), at: Vec::new(), joined: Vec::new() }
    }

    /// Adds those of a batch that joins this one behind its first `items` items.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items")]
    pub(crate) fn append(&mut self, mut more: Self, items: usize) {
        let joined = mem::take(&mut more.joined);
        for mut waiters in std::iter::once(more).chain(joined) {
            waiters.at.iter_mut().for_each(|waiter| waiter.item += items as u32);
            self.joined.push(waiters);
        }
    }

    /// Adds a waiter for the item at `item` of so many bytes, which is behind those of all waiters before. Takes no lock: the
    /// cell opens when it is first looked at.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items, each below 4 GiB")]
    pub(crate) fn add(&mut self, item: usize, bytes: usize) -> (Arc<ReplyCells<A>>, u32) {
        let cell = self.at.len() as u32;
        self.at.push(Waiter { item: item as u32, cell, bytes: bytes as u32 });
        (Arc::clone(&self.replies), cell)
    }

    /// The first `items` items have left the batch: their waiters get `error`, and are to be woken.
    #[must_use = "a waker that is not woken is a task that sleeps for ever"]
    pub(crate) fn remove_first(&mut self, items: usize, error: impl Fn() -> BoxError) -> Vec<Waker> {
        debug_assert!(self.joined.is_empty(), "a batch loses its first items before it joins another");
        let to_wake = self.put(|item| (item < items).then(|| Err(error())));
        self.at.retain_mut(|waiter| match (waiter.item as usize).checked_sub(items) {
            Some(place) => {
                #[expect(clippy::cast_possible_truncation, reason = "smaller than before")]
                let place = place as u32;
                waiter.item = place;
                true
            }
            None => false,
        });
        to_wake
    }

    /// The items whose callers have dropped their futures, and what each is charged for.
    pub(crate) fn cancelled(&self) -> Vec<(usize, usize)> {
        let mut cancelled = self.own_cancelled();
        self.joined.iter().for_each(|waiters| cancelled.extend(waiters.own_cancelled()));
        cancelled
    }

    fn own_cancelled(&self) -> Vec<(usize, usize)> {
        let mut cells = self.replies.lock();
        if cells.forgotten == 0 {
            return Vec::new();
        }
        // None of these has got a reply, so a cell that is over was forgotten.
        let forgotten = self.at.iter().filter(|waiter| matches!(cells.open(waiter.cell), Reply::Over));
        forgotten.map(|waiter| (waiter.item as usize, waiter.bytes as usize)).collect()
    }

    /// Puts the replies of those whose item `reply` has one for into their cells, and wakes them.
    ///
    /// `reply` runs without the lock: it is user code.
    pub(crate) fn reply(&self, reply: impl FnMut(usize) -> Option<Result<A, BoxError>>) {
        self.put(reply).into_iter().for_each(wake);
    }

    fn put(&self, mut reply: impl FnMut(usize) -> Option<Result<A, BoxError>>) -> Vec<Waker> {
        let mut wakers = self.put_own(&mut reply);
        self.joined.iter().for_each(|waiters| wakers.extend(waiters.put_own(&mut reply)));
        wakers
    }

    fn put_own(&self, reply: &mut impl FnMut(usize) -> Option<Result<A, BoxError>>) -> Vec<Waker> {
        let replied = |waiter: &Waiter| Some((waiter.cell, caught(|| reply(waiter.item as usize))?));
        let replies: Vec<_> = self.at.iter().filter_map(replied).collect();
        let mut wakers = Vec::with_capacity(replies.len());
        let mut unwanted = Vec::new();
        // CORRECTNESS: all replies are made before this lock is taken, since making one is user code.
        let mut cells = self.replies.lock();
        for (cell, reply) in replies {
            let cell = cells.open(cell);
            match mem::replace(cell, Reply::Over) {
                Reply::Expected(waker) => {
                    *cell = Reply::Here(reply);
                    wakers.extend(waker);
                }
                Reply::Over => unwanted.push(reply),
                Reply::Here(first) => {
                    debug_assert!(false, "an item gets one reply");
                    *cell = Reply::Here(first);
                }
            }
        }
        drop(cells);
        // The callers have dropped their futures; the fates of the items are in the ledger all the same.
        unwanted.into_iter().for_each(panic::discard);
        wakers
    }

    /// The waiters of the first `at` items, and of the rest.
    pub(crate) fn split_at(mut self, at: usize) -> (Self, Self) {
        let place = self.at.partition_point(|waiter| (waiter.item as usize) < at);
        let mut rest = self.at.split_off(place);
        #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2^32 items")]
        rest.iter_mut().for_each(|waiter| waiter.item -= at as u32);
        let joined = mem::take(&mut self.joined).into_iter().map(|waiters| waiters.split_at(at));
        let (own, joined): (Vec<_>, Vec<_>) = joined.unzip();
        self.joined = own;
        let rest = Self { replies: Arc::clone(&self.replies), at: rest, joined };
        (self, rest)
    }

    /// The waiters of the `chosen` items, which close ranks; they are to be removed from these.
    pub(crate) fn of(&self, chosen: &[bool]) -> Self {
        let joined = self.joined.iter().map(|waiters| waiters.of(chosen)).collect();
        let mut others = Self { replies: Arc::clone(&self.replies), at: self.at.clone(), joined: Vec::new() };
        others.retain(chosen);
        others.joined = joined;
        others
    }

    /// Keeps the waiters of the items that `keep` says; the items close ranks.
    pub(crate) fn retain(&mut self, keep: &[bool]) {
        self.joined.iter_mut().for_each(|waiters| waiters.retain(keep));
        let mut place = 0;
        let places: Vec<u32> = keep
            .iter()
            .map(|kept| {
                place += u32::from(*kept);
                place - u32::from(*kept)
            })
            .collect();
        self.at.retain_mut(|waiter| {
            let index = waiter.item as usize;
            waiter.item = places.get(index).copied().unwrap_or_default();
            keep.get(index).copied().unwrap_or(false)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(replies: &ReplyCells<usize>, cells: &[u32]) -> Vec<Option<usize>> {
        let poll = |cell: &u32| match replies.poll(*cell, Waker::noop()) {
            Poll::Ready(reply) => Some(reply.unwrap()),
            Poll::Pending => None,
        };
        cells.iter().map(poll).collect()
    }

    #[test]
    fn each_caller_gets_the_reply_to_its_own_item_however_the_batch_is_split() {
        let mut waiters = Waiters::new();
        let (replies, _) = waiters.add(0, 1);
        [2, 3, 5].into_iter().for_each(|item| drop(waiters.add(item, 1)));
        let (left, mut right) = waiters.split_at(3);
        left.reply(|item| Some(Ok(item)));
        assert_eq!(fetched(&replies, &[0, 1, 2, 3]), [Some(0), Some(2), None, None]);
        // Items 3, 4, 5 of the first batch are 0, 1, 2 of this one; the middle one leaves.
        right.retain(&[true, false, true]);
        right.reply(|item| Some(Ok(10 + item)));
        assert_eq!(fetched(&replies, &[2, 3]), [Some(10), Some(11)]);
    }

    #[test]
    fn each_caller_gets_the_reply_to_its_own_item_however_batches_are_joined_and_split() {
        let (mut waiters, mut second, mut third) = (Waiters::new(), Waiters::new(), Waiters::new());
        let (first_replies, _) = waiters.add(1, 1);
        let (second_replies, _) = second.add(0, 1);
        second.add(2, 1);
        let (third_replies, _) = third.add(0, 1);
        // Batches of two, three and one item: the last joins the second, and both join the first.
        second.append(third, 3);
        waiters.append(second, 2);
        let (left, mut right) = waiters.split_at(3);
        left.reply(|item| Some(Ok(item)));
        assert_eq!(fetched(&first_replies, &[0]), [Some(1)]);
        assert_eq!(fetched(&second_replies, &[0, 1]), [Some(2), None]);
        right.retain(&[false, true, true]);
        right.reply(|item| Some(Ok(10 + item)));
        assert_eq!(fetched(&second_replies, &[1]), [Some(10)]);
        assert_eq!(fetched(&third_replies, &[0]), [Some(11)]);
    }

    #[test]
    fn the_caller_of_an_evicted_item_gets_an_error_and_the_rest_closes_ranks() {
        let mut waiters = Waiters::new();
        let (replies, _) = waiters.add(0, 1);
        waiters.add(1, 1);
        assert!(waiters.remove_first(1, || "gone".into()).is_empty(), "no caller had polled");
        assert!(matches!(replies.poll(0, Waker::noop()), Poll::Ready(Err(_))));
        waiters.reply(|item| Some(Ok(item)));
        assert_eq!(fetched(&replies, &[1]), [Some(0)]);
    }

    #[test]
    fn a_forgotten_reply_is_dropped() {
        let mut waiters = Waiters::new();
        let (replies, cell) = waiters.add(0, 1);
        replies.forget(cell);
        let reply = Arc::new(7);
        waiters.reply(|_| Some(Ok(Arc::clone(&reply))));
        assert_eq!(Arc::strong_count(&reply), 1);
    }

    #[test]
    fn f15_callers_that_dropped_their_futures_are_found_however_batches_are_joined() {
        let (mut waiters, mut more) = (Waiters::<usize>::new(), Waiters::new());
        let (replies, _) = waiters.add(0, 10);
        waiters.add(2, 20);
        let (more_replies, _) = more.add(1, 30);
        waiters.append(more, 3);
        assert!(waiters.cancelled().is_empty());
        replies.forget(1);
        assert_eq!(waiters.cancelled(), [(2, 20)]);
        more_replies.forget(0);
        assert_eq!(waiters.cancelled(), [(2, 20), (4, 30)]);
        waiters.retain(&[true, true, false, true, false]);
        assert!(waiters.cancelled().is_empty());
        waiters.reply(|item| Some(Ok(item)));
        assert_eq!(fetched(&replies, &[0]), [Some(0)]);
    }
}
