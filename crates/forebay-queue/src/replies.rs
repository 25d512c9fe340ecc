use forebay_core::BoxError;
use forebay_intake::Registration;
use std::{
    mem,
    task::{Poll, Waker},
};

/// The replies to the calls of a service, each in a cell until its caller fetches it. Pure state.
///
/// It stands beside the queue, under the same lock: an item gets its fate, its caller the reply, and the worker the next item in
/// one step, and no call allocates a channel of its own.
#[derive(Debug)]
pub(crate) struct ReplyTable<Res> {
    cells: Vec<Cell<Res>>,
    /// The first of the free cells, each of which knows the next; beyond the last cell when there is none.
    free: ReplyId,
}

/// The cell of one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyId(u32);

/// The value that a caller waits for.
pub(crate) type Reply<Res> = Result<Res, BoxError>;

#[derive(Debug)]
enum Cell<Res> {
    /// No call uses it; the next free cell.
    Free(ReplyId),
    /// The caller waits, with a waker once it was polled.
    Pending(Option<Waker>),
    /// The reply is here.
    Ready(Reply<Res>),
    /// The caller does not wait any more; the worker frees the cell.
    Abandoned,
}

/// What a cell held: a waker or a reply, both of which are user values.
#[derive(Debug)]
pub(crate) struct Vacated<Res>(Cell<Res>);

// === impl ReplyTable ===

impl<Res> ReplyTable<Res> {
    pub(crate) const fn new() -> Self {
        Self { cells: Vec::new(), free: ReplyId(0) }
    }

    /// Opens a cell for one reply; `None` when there are four billion.
    #[inline]
    pub(crate) fn open(&mut self) -> Option<ReplyId> {
        let id = self.free;
        match self.cells.get_mut(id.0 as usize) {
            Some(cell) => {
                if let Cell::Free(next) = *cell {
                    self.free = next;
                }
                *cell = Cell::Pending(None);
            }
            None => self.add_cell()?,
        }
        Some(id)
    }

    /// No cell is free: the next free one is the one after this new one.
    #[cold]
    fn add_cell(&mut self) -> Option<()> {
        self.free = ReplyId(self.free.0.checked_add(1)?);
        self.cells.push(Cell::Pending(None));
        Some(())
    }

    /// Frees the cell of an item that was not admitted, so that no worker will reply.
    #[must_use = "it is dropped without the lock"]
    pub(crate) fn cancel(&mut self, id: ReplyId) -> Vacated<Res> {
        Vacated(self.vacate(id))
    }

    #[inline]
    fn vacate(&mut self, id: ReplyId) -> Cell<Res> {
        let was = mem::replace(&mut self.cells[id.0 as usize], Cell::Free(self.free));
        self.free = id;
        was
    }

    /// Frees the cell of a caller that does not wait any more; `false` if the caller still waits.
    #[inline]
    pub(crate) fn reclaim(&mut self, id: ReplyId) -> bool {
        let is_abandoned = self.is_abandoned(id);
        if is_abandoned {
            // Such a cell is empty.
            drop(self.vacate(id));
        }
        is_abandoned
    }

    /// Whether no caller waits for the reply any more.
    pub(crate) fn is_abandoned(&self, id: ReplyId) -> bool {
        matches!(self.cells[id.0 as usize], Cell::Abandoned)
    }

    /// Fetches the reply, and frees its cell with that.
    #[inline]
    pub(crate) fn poll(&mut self, id: ReplyId, registration: &mut Registration<'_>) -> Poll<Reply<Res>> {
        match &mut self.cells[id.0 as usize] {
            Cell::Pending(waker) => registration.store(waker),
            Cell::Ready(_) => {
                if let Cell::Ready(reply) = self.vacate(id) {
                    return Poll::Ready(reply);
                }
            }
            Cell::Free(_) | Cell::Abandoned => debug_assert!(false, "a reply is fetched once"),
        }
        Poll::Pending
    }

    /// Puts the reply into its cell, and returns the waker of its caller.
    ///
    /// # Errors
    ///
    /// The reply, which is dropped without the lock, when no caller waits for it any more.
    #[inline]
    pub(crate) fn put(&mut self, id: ReplyId, reply: Reply<Res>) -> Result<Option<Waker>, Reply<Res>> {
        let cell = &mut self.cells[id.0 as usize];
        match cell {
            Cell::Pending(waker) => {
                let waker = waker.take();
                *cell = Cell::Ready(reply);
                return Ok(waker);
            }
            // Such a cell is empty.
            Cell::Abandoned => drop(self.vacate(id)),
            Cell::Ready(_) | Cell::Free(_) => debug_assert!(false, "a call has one reply"),
        }
        Err(reply)
    }

    /// The caller does not wait any more.
    #[must_use = "it is dropped without the lock"]
    pub(crate) fn abandon(&mut self, id: ReplyId) -> Vacated<Res> {
        let cell = &mut self.cells[id.0 as usize];
        match cell {
            Cell::Pending(_) => Vacated(mem::replace(cell, Cell::Abandoned)),
            Cell::Ready(_) => self.cancel(id),
            Cell::Abandoned | Cell::Free(_) => {
                debug_assert!(false, "a reply is abandoned once");
                Vacated(Cell::Abandoned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_used_again_once_its_reply_was_fetched_or_abandoned() {
        let waker = &mut Registration::new(Waker::noop());
        let mut replies = ReplyTable::new();
        let first = replies.open().unwrap();
        assert!(replies.poll(first, waker).is_pending());
        assert!(replies.put(first, Ok(1)).unwrap().is_some());
        assert!(matches!(replies.poll(first, waker), Poll::Ready(Ok(1))));

        let second = replies.open().unwrap();
        assert_eq!(second, first);
        assert!(matches!(replies.abandon(second).0, Cell::Pending(None)));
        let third = replies.open().unwrap();
        assert_ne!(third, second, "its reply is still to be put");
        assert!(matches!(replies.put(second, Ok(2)), Err(Ok(2))));
        assert_eq!(replies.open().unwrap(), second);

        assert!(replies.put(third, Ok(3)).unwrap().is_none());
        assert!(matches!(replies.abandon(third).0, Cell::Ready(Ok(3))));
        assert_eq!(replies.open().unwrap(), third);
    }
}
