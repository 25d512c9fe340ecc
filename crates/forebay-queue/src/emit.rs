use crate::Rejected;
use forebay_core::Priority;
use forebay_intake::{OfferMeta, Ticket};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The future of [`Queue::emit_or_wait`](crate::Queue::emit_or_wait) and [`Sender::emit_or_wait`](crate::Sender::emit_or_wait).
///
/// # Cancellation
///
/// A future that is dropped while it waits drops its item, and the ledger counts no offer.
#[must_use = "futures do nothing unless polled"]
pub struct EmitOrWait<'a, T> {
    /// Behind a pointer, so that the future of a queue and that of a channel are one type.
    line: &'a (dyn Line<T> + Sync),
    /// `None` once the item was admitted or handed back.
    entry: Option<(T, OfferMeta)>,
    /// The place in line, while there is one.
    ticket: Option<Ticket>,
    /// The lane that the item waits for.
    priority: Priority,
}

/// A line of items that wait for room.
pub(crate) trait Line<T> {
    /// `Pending` means that the item is in `entry` again, and waits in line with `ticket`.
    fn poll_emit(
        &self,
        cx: &Context<'_>,
        entry: &mut Option<(T, OfferMeta)>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<(), Rejected<T>>>;

    /// Gives the place in line back.
    fn stop_waiting(&self, ticket: Ticket, priority: Priority);
}

// === impl EmitOrWait ===

impl<'a, T> EmitOrWait<'a, T> {
    pub(crate) fn new(line: &'a (dyn Line<T> + Sync), item: T, meta: OfferMeta) -> Self {
        Self { line, entry: Some((item, meta)), ticket: None, priority: meta.priority }
    }
}

impl<T> Future for EmitOrWait<'_, T> {
    type Output = Result<(), Rejected<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.line.poll_emit(cx, &mut this.entry, &mut this.ticket)
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T> Unpin for EmitOrWait<'_, T> {}

impl<T> Drop for EmitOrWait<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.line.stop_waiting(ticket, self.priority);
        }
    }
}

impl<T> fmt::Debug for EmitOrWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitOrWait").field("waiting", &self.ticket.is_some()).finish_non_exhaustive()
    }
}
