use super::store::{Accepted, Store};
use std::sync::Arc;

/// A request whose records were taken in, and whose response the client does not have yet.
///
/// Dropping it means that the client cannot know: the request becomes ambiguous.
pub(super) struct Ticket {
    store: Arc<Store>,
    request: usize,
    accepted: Option<Accepted>,
}

// === impl Ticket ===

impl Ticket {
    pub(super) fn new(store: Arc<Store>, request: usize, accepted: Accepted) -> Self {
        Self { store, request, accepted: Some(accepted) }
    }

    /// The client has the response.
    pub(super) fn delivered(mut self) {
        self.accepted = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(accepted) = self.accepted.take() {
            self.store.ambiguous(self.request, &accepted);
        }
    }
}
