//! The worker of an exporter with a spool: the batches, and the replay beside them.

use crate::{Replayer, SpoolTask};
use forebay_core::panic;
use forebay_intake::{Timer, now};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};

/// Polls the worker and the replay in turn.
///
/// It ends with the worker; where everything is written ahead, it then goes on until all that the exporter has spooled is sent,
/// for as long as an item may wait.
pub(crate) struct SpoolWorker<W, T> {
    /// `None` once it has ended.
    worker: Option<W>,
    /// `None` once it has ended, or has panicked.
    replay: Option<SpoolTask<()>>,
    replayer: Replayer<T>,
    /// How long the replay goes on after the worker.
    linger: Duration,
    /// Until when it goes on, once the worker has ended.
    until: Option<Instant>,
    timer: Timer,
    /// Ends the replay before that: the shutdown is over.
    stop: Option<SpoolTask<()>>,
    /// Dropped with the worker, which ends a shutdown that waits for it.
    _running: watch::Sender<()>,
}

// === impl SpoolWorker ===

impl<W, T> SpoolWorker<W, T> {
    pub(crate) fn new(
        worker: W,
        replay: SpoolTask<()>,
        replayer: Replayer<T>,
        linger: Duration,
        stop: Arc<Notify>,
        running: watch::Sender<()>,
    ) -> Self {
        let (worker, replay, timer) = (Some(worker), Some(replay), Timer::default());
        let stop: SpoolTask<()> = Box::pin(async move { stop.notified().await });
        Self { worker, replay, replayer, linger, until: None, timer, stop: Some(stop), _running: running }
    }
}

impl<W: Future<Output = ()> + Unpin, T> Future for SpoolWorker<W, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // CORRECTNESS: the worker is polled first. What was appended is in the ledger before the replay can have sent it: the
        // spool replies to the append before it leases what was appended.
        if let Some(worker) = &mut this.worker
            && Pin::new(worker).poll(cx).is_ready()
        {
            this.worker = None;
            this.until = now().checked_add(this.linger);
        }
        if this.replay.is_some() {
            // The replay runs code of the user, such as a codec. The panic hook has reported a panic; what is spooled stays.
            let _ended = panic::catch_poll(Pin::new(&mut this.replay), cx);
        }
        if this.worker.is_some() {
            return Poll::Pending;
        }
        let has_more = !this.linger.is_zero() && this.replay.is_some() && this.replayer.spooled() > 0;
        let is_stopped = this.stop.is_none() || panic::catch_poll(Pin::new(&mut this.stop), cx).is_ready();
        if has_more && !is_stopped && this.timer.poll(this.until, cx).is_pending() {
            return Poll::Pending;
        }
        // Leases that are out are given back.
        panic::discard(this.replay.take());
        Poll::Ready(())
    }
}

// The worker is polled in place, and is `Unpin` itself.
impl<W: Unpin, T> Unpin for SpoolWorker<W, T> {}
