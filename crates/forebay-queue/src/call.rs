use crate::{
    Abandoned, Evicted, Expired, Shed,
    control::Replies,
    replies::{Reply, ReplyId, ReplyTable},
    shared::Shared,
};
use forebay_core::{BoxError, DropReason, Seen, panic};
use forebay_intake::WakerSet;
use std::task::Waker;

/// A request in a [`Queue`](crate::Queue).
#[derive(Debug)]
pub(crate) struct Call<T> {
    pub(crate) request: T,
    /// Where the caller waits; `None` for an item that was offered without a call.
    pub(crate) reply: Option<ReplyId>,
}

/// A queue of requests, and the replies to them.
pub(crate) type CallQueue<T, Res> = Shared<Call<T>, ReplyTable<Res>>;

// === impl CallQueue ===

impl<T, Res> CallQueue<T, Res> {
    /// Replies to the caller, if there is one.
    pub(crate) fn reply(&self, id: Option<ReplyId>, reply: Reply<Res>) {
        let Some(id) = id else { return };
        let put = self.lock().replies.put(id, reply);
        self.wake_or_discard(put);
    }

    /// Wakes the caller, or drops a reply that no caller waits for. CORRECTNESS: both are user code, and run without the lock.
    #[inline]
    pub(crate) fn wake_or_discard(&self, put: Result<Option<Waker>, Reply<Res>>) {
        match put {
            Ok(caller) => WakerSet::one(caller).wake(),
            // The fate of the item is in the ledger all the same.
            Err(unwanted) => panic::discard(unwanted),
        }
    }

    /// The request of a call that left the queue without being processed, and whose fate is in the ledger; its caller gets an
    /// error.
    pub(crate) fn dismiss(&self, call: Call<T>, reason: DropReason) -> T {
        let error: BoxError = match reason {
            DropReason::Evicted => Evicted::new().into(),
            DropReason::Expired => Expired::new().into(),
            DropReason::Shed => Shed::new().into(),
            _ => Abandoned::new(Seen::No).into(),
        };
        self.reply(call.reply, Err(error));
        call.request
    }
}

impl<T, Res> Replies<Call<T>> for ReplyTable<Res> {
    type Item = T;

    fn stored(request: T) -> Call<T> {
        Call { request, reply: None }
    }

    fn item(call: Call<T>) -> T {
        call.request
    }

    fn dismiss(shared: &CallQueue<T, Res>, call: Call<T>, reason: DropReason) -> T {
        shared.dismiss(call, reason)
    }
}
