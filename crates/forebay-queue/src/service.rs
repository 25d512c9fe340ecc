use crate::{EmitOrWait, Offer, Overflow, QueueHandle, Rejected, ResponseFuture, call::CallQueue, caller::Caller};
use forebay_core::BoxError;
use forebay_intake::Describe;
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// A bounded queue with a priority lane, in front of a service whose response is `Res`.
///
/// See the [crate documentation](crate) for when slots are taken and given back. The queue closes when the last clone
/// is dropped; the items in it are still processed.
pub struct Queue<T, Res> {
    caller: Caller<T, Res>,
    describe: Describe<T>,
}

// === impl Queue ===

impl<T, Res> Queue<T, Res> {
    pub(crate) fn new(shared: Arc<CallQueue<T, Res>>, describe: Describe<T>, overflow: Overflow) -> Self {
        Self { caller: Caller::new(shared, overflow), describe }
    }

    /// Hands an item over, and asks for no reply. Never waits, whatever the overflow policy.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the queue is closed.
    #[inline]
    pub fn emit(&self, offer: impl Into<Offer<T>>) -> Result<(), Rejected<T>> {
        let offer = offer.into();
        let meta = self.describe.meta(&offer);
        self.caller.emit(offer.item, meta)
    }

    /// As [`emit`](Self::emit), but waits in line while there is no room.
    ///
    /// # Errors
    ///
    /// Hands the item back when it is too large or above its fair share, or when the queue is closed.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped while it waits drops its item, and the ledger counts no offer.
    pub fn emit_or_wait(&self, offer: impl Into<Offer<T>>) -> EmitOrWait<'_, T>
    where
        T: Send + 'static,
        Res: Send,
    {
        let offer = offer.into();
        let meta = self.describe.meta(&offer);
        EmitOrWait::new(&*self.caller.shared, offer.item, meta)
    }

    /// A handle that reads and changes the queue, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<T>
    where
        T: Send + 'static,
        Res: Send + 'static,
    {
        QueueHandle::new(Arc::clone(&self.caller.shared) as _).with_panics(self.describe.panics())
    }
}

impl<T: Send + 'static, Res> Service<T> for Queue<T, Res> {
    type Response = Res;
    type Error = BoxError;
    type Future = ResponseFuture<T, Res>;

    /// Ready at once, since `call` refuses where there is no room; under [`Overflow::Wait`] when there is room. No slot is taken
    /// here.
    ///
    /// A closed queue is ready, so that no caller waits in vain: the call hands the item back.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.caller.poll_ready(cx).map(Ok)
    }

    /// Takes the slot, or refuses: the future then ends with a [`Rejected`] that hands the item back.
    ///
    /// CANCEL: an item whose future is dropped before the inner service has begun it is not begun (see
    /// [`run_cancelled`](crate::QueueBuilder::run_cancelled)); one that was begun runs to its end.
    #[inline]
    fn call(&mut self, item: T) -> Self::Future {
        let offer = Offer::new(item);
        let meta = self.describe.meta(&offer);
        self.caller.call(offer.item, meta, BoxError::from)
    }
}

/// A clone shares the queue, and never the readiness.
impl<T, Res> Clone for Queue<T, Res> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), describe: self.describe.clone() }
    }
}

impl<T, Res> fmt::Debug for Queue<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("caller", &self.caller).finish_non_exhaustive()
    }
}
