use crate::{ExporterHandle, trace::Losses};
use forebay_core::panic;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The worker of an exporter, which after each look at its work also looks at what there is to tell of it.
///
/// Nothing is told where an item is handed over: that path is the host's.
pub(crate) struct Watched<W, T> {
    worker: W,
    handle: ExporterHandle<T>,
    losses: Losses,
}

// === impl Watched ===

impl<W, T> Watched<W, T> {
    pub(crate) fn new(worker: W, handle: ExporterHandle<T>) -> Self {
        Self { worker, handle, losses: Losses::default() }
    }
}

impl<W: Future<Output = ()> + Unpin, T> Future for Watched<W, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { worker, handle, losses } = self.get_mut();
        let ended = Pin::new(worker).poll(cx);
        let journal = handle.journal();
        // A subscriber that panics costs what it would have been told, and not the worker.
        let _reported =
            panic::catch(|| losses.look(&journal.name, journal.loudness, &journal.bell, || handle.totals(), cx));
        if journal.meters.are_due() || ended.is_ready() {
            journal.meters.record(handle);
        }
        ended
    }
}

// The worker is polled where it is.
impl<W: Unpin, T> Unpin for Watched<W, T> {}
