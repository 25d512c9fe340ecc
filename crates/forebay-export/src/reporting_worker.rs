use crate::{ExporterHandle, trace::Losses};
use forebay_core::panic;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The worker of an exporter. After each poll it also reports the losses and the metrics of the exporter.
///
/// The path on which the host hands an item over reports nothing.
pub(crate) struct ReportingWorker<W, T> {
    worker: W,
    handle: ExporterHandle<T>,
    losses: Losses,
}

// === impl ReportingWorker ===

impl<W, T> ReportingWorker<W, T> {
    pub(crate) fn new(worker: W, handle: ExporterHandle<T>) -> Self {
        Self { worker, handle, losses: Losses::default() }
    }
}

impl<W: Future<Output = ()> + Unpin, T> Future for ReportingWorker<W, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { worker, handle, losses } = self.get_mut();
        // The worker is polled first, so that the report below has the fates of this poll.
        let ended = Pin::new(worker).poll(cx);
        let telemetry = handle.telemetry();
        // A subscriber that panics loses its event; the worker goes on.
        let _reported = panic::catch(|| losses.look(&telemetry.name, &telemetry.bell, || handle.totals(), cx));
        // After its last poll a worker reports no more, so the final counts are recorded in any case.
        if telemetry.meters.are_due() || ended.is_ready() {
            telemetry.meters.record(handle);
        }
        ended
    }
}

// The worker is polled in place, and is `Unpin` itself.
impl<W: Unpin, T> Unpin for ReportingWorker<W, T> {}
