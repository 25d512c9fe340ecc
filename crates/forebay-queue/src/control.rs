use crate::{emit::Line, entry::Entry, shared::Shared};
use forebay_core::{ConfigError, DropReason, Priority};
use forebay_intake::{Intake, IntakeOwner, OfferMeta, Rejected, Ticket};
use std::{
    task::{Context, Poll},
    time::Duration,
};

/// What a queue stores as `E`, and what it owes to the callers: a channel stores plain items and has no callers, a service stores
/// calls and has a table of replies.
///
/// It is implemented by what stands beside the queue under its lock.
pub(crate) trait Replies<E>: Sized {
    /// What a host hands over.
    type Item;
    /// An item as it is stored, without a caller.
    fn stored(item: Self::Item) -> E;
    /// The item of what was stored.
    fn item(stored: E) -> Self::Item;
    /// The item of what left the queue without being processed; its caller gets an error. Called without the lock.
    fn dismiss(shared: &Shared<E, Self>, stored: E, reason: DropReason) -> Self::Item;
}

impl<T> Replies<T> for () {
    type Item = T;

    fn stored(item: T) -> T {
        item
    }

    fn item(stored: T) -> T {
        stored
    }

    fn dismiss(_: &Shared<T>, stored: T, _: DropReason) -> T {
        stored
    }
}

impl<E, R: Replies<E>> IntakeOwner for Shared<E, R> {
    type Item = R::Item;

    fn with_intake<Out>(&self, act: impl FnOnce(&mut Intake) -> Out) -> Out {
        act(&mut self.lock().state.intake)
    }

    fn queued(&self) -> usize {
        self.lock().state.queued()
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.set_max_age(age)
    }

    fn close(&self) {
        self.close();
    }

    fn abandon(&self) -> Vec<R::Item> {
        let stored = self.abandon();
        stored.into_iter().map(|stored| R::dismiss(self, stored, DropReason::Shutdown)).collect()
    }

    fn recovered(&self) -> Vec<R::Item> {
        let stored = std::mem::take(&mut self.lock().state.recovered);
        // Their callers have the error already.
        stored.into_iter().map(R::item).collect()
    }
}

impl<E, R: Replies<E>> Line<R::Item> for Shared<E, R> {
    fn poll_emit(
        &self,
        cx: &Context<'_>,
        entry: &mut Option<(R::Item, OfferMeta)>,
        ticket: &mut Option<Ticket>,
    ) -> Poll<Result<(), Rejected<R::Item>>> {
        let mut waiting = entry.take().map(|(item, meta)| Entry { item: R::stored(item), meta });
        let polled = self.poll_offer(cx, &mut waiting, ticket);
        *entry = waiting.map(|Entry { item, meta }| (R::item(item), meta));
        polled.map_err(|rejected| rejected.map(R::item))
    }

    fn stop_waiting(&self, ticket: Ticket, priority: Priority) {
        IntakeOwner::stop_waiting(self, ticket, priority);
    }
}
