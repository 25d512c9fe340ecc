use crate::{
    Abandoned, Expired, Panicked,
    call::Call,
    parked::{Attempt, Delays},
    replies::{Reply, ReplyId, ReplyTable},
    shared::Locked,
    trace,
};
use forebay_core::{BoxError, DropReason, Fate, Seen, panic};
use forebay_intake::{Slot, WakerSet};
use std::task::Waker;

/// The request of an item that a worker has taken off the queue.
pub(crate) enum InHand<T> {
    /// The inner service has not got it.
    Unsent(T),
    /// The inner service has got it. A copy is kept where the queue parks.
    Sent(Option<T>),
}

/// What a worker knows of the item in hand, beside its request.
pub(crate) struct Item {
    /// The slot of the item. It is held until the item has its fate, or is parked with it.
    pub(crate) slot: Slot,
    /// Where the caller waits; `None` if the item was offered without a call.
    pub(crate) reply: Option<ReplyId>,
    /// The waits that are left to an item that was parked before; `None` on a first attempt.
    pub(crate) delays: Option<Delays>,
}

/// How an item in hand ends, before the ledger and its caller know.
///
/// One lock serves the end of an item and the start of the next, so a worker carries it there. The item itself stays in its place.
pub(crate) struct Done<T, Res> {
    fate: Fate,
    /// What the caller gets.
    result: Reply<Res>,
    /// A request that was let go, for a drain to return.
    unsent: Option<T>,
    /// How an attempt after the first has ended; `None` if there was none.
    attempt: Option<Attempt>,
}

// === impl InHand ===

impl<T> InHand<T> {
    /// Whether the inner service may have seen the request.
    fn seen(&self) -> Seen {
        match self {
            Self::Unsent(_) => Seen::No,
            Self::Sent(_) => Seen::Maybe,
        }
    }

    /// The request, as far as it can be sent again.
    #[inline]
    pub(crate) fn into_request(self) -> Option<T> {
        match self {
            Self::Unsent(request) => Some(request),
            Self::Sent(copy) => copy,
        }
    }
}

// === impl Done ===

impl<T, Res> Done<T, Res> {
    /// The result is final.
    #[inline(always)]
    pub(crate) fn with_result(
        fate: Fate,
        attempt: Attempt,
        result: Reply<Res>,
        request: Option<T>,
        item: &mut Item,
    ) -> Self {
        if let Some(request) = request {
            panic::discard(request);
        }
        Self::new(fate, result, item, attempt)
    }

    /// There is no result: the inner service has panicked, was let go, or was not called.
    #[cold]
    pub(crate) fn without_result(reason: DropReason, request: InHand<T>, item: &mut Item) -> Self {
        let error: BoxError = match reason {
            DropReason::Panicked => {
                trace::panicked();
                Panicked::new().into()
            }
            DropReason::Expired => Expired::new().into(),
            _ => Abandoned::new(request.seen()).into(),
        };
        // Neither says anything of the server.
        let withdrawn = matches!(reason, DropReason::Cancelled | DropReason::Expired);
        let attempt = if withdrawn { Attempt::Withdrawn } else { Attempt::Failed };
        let mut done = Self::new(Fate::Dropped(reason), Err(error), item, attempt);
        let request = request.into_request();
        if reason == DropReason::Shutdown {
            done.unsent = request;
        } else {
            panic::discard(request);
        }
        done
    }

    /// Another attempt was due, but the queue was abandoned.
    pub(crate) fn let_go(request: T, result: Reply<Res>) -> Self {
        Self { fate: Fate::Dropped(DropReason::Shutdown), result, unsent: Some(request), attempt: None }
    }

    #[inline(always)]
    fn new(fate: Fate, result: Reply<Res>, item: &mut Item, attempt: Attempt) -> Self {
        let attempt = item.delays.is_some().then_some(attempt);
        if let Some(delays) = item.delays.take() {
            panic::discard(delays);
        }
        Self { fate, result, unsent: None, attempt }
    }
}

// === impl Locked ===

impl<T, Res> Locked<Call<T>, ReplyTable<Res>> {
    /// Counts the fate of an item and puts the reply to its caller. Returns the caller to wake, or the reply that no caller waits
    /// for; both are for the time after the lock.
    #[inline(always)]
    pub(crate) fn finish(
        &mut self,
        item: &Item,
        done: Done<T, Res>,
        wakes: &mut WakerSet,
    ) -> Result<Option<Waker>, Reply<Res>> {
        let Done { fate, result, unsent, attempt } = done;
        self.state.settle(item.slot, fate, wakes);
        if let Some(request) = unsent {
            // CORRECTNESS: in one step with its fate. A drain that sees the item settled ends at once, and then returns the
            // recovered items.
            self.state.recovered.push(Call { request, reply: None });
        }
        if let Some(attempt) = attempt {
            self.state.unparked(attempt, wakes);
        }
        match item.reply {
            Some(id) => self.replies.put(id, result),
            None => Err(result),
        }
    }
}
