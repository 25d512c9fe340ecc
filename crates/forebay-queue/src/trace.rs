//! The events for `tracing`, each emitted without the lock, since a subscriber may hand it to this very queue.

use forebay_core::event;

const TARGET: &str = "forebay_queue";

/// The inner service panicked, and the item that it worked on is lost.
pub(crate) fn panicked() {
    event!(TARGET, "inner service panicked");
}

/// A worker was dropped, and so many items with it.
pub(crate) fn closed(items: usize) {
    event!(TARGET, "worker closed with losses", items = items);
}
