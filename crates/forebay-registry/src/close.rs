//! The close of one client: its hook, with a deadline, and with its panics caught.

use crate::{
    CloseEnd,
    bounds::{Client, Config, Key},
    inner::{Inner, Retired},
    lease::CloseWait,
    runtime::{Timer, now},
    settings::Closing,
};
use forebay_core::panic::{catch, catch_poll};
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

/// Closes one client. However it ends, also by being dropped, the end is counted, reported, and followed by `on_vacant`.
pub(crate) struct CloseTask<K: Key, C: Client, G: Config> {
    inner: Arc<Inner<K, C, G>>,
    key: K,
    generation: u64,
    /// The caller that waits for the end, if one does.
    wait: Option<CloseWait>,
    /// When the hook began.
    began: Instant,
    /// The deadline; a hook that ends at its first poll needs none.
    timer: Option<Timer>,
    stage: Stage<C>,
}

enum Stage<C> {
    /// The hook has not begun.
    Waiting(C),
    /// The hook runs; `None` once it has ended.
    Running(Option<Closing>),
    /// The end has been reported.
    Over,
}

// === impl CloseTask ===

impl<K: Key, C: Client, G: Config> CloseTask<K, C, G> {
    pub(crate) fn new(inner: Arc<Inner<K, C, G>>, retired: Retired<K, C>, wait: Option<CloseWait>) -> Self {
        let Retired { key, generation, client, .. } = retired;
        Self { inner, key, generation, wait, began: now(), timer: None, stage: Stage::Waiting(client) }
    }

    /// Begins the hook, or drops the client where there is none.
    fn begin(&mut self, client: C) -> Result<Closing, CloseEnd> {
        self.began = now();
        match &self.inner.settings.on_close {
            Some(on_close) => catch(|| on_close(self.key.clone(), client)).map_err(CloseEnd::Panicked),
            None => Err(catch(|| drop(client)).map_or_else(CloseEnd::Panicked, |()| CloseEnd::Done)),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<CloseEnd> {
        loop {
            match &mut self.stage {
                // ## Waiting => Running
                Stage::Waiting(_) => {
                    let Stage::Waiting(client) = mem::replace(&mut self.stage, Stage::Running(None)) else { continue };
                    match self.begin(client) {
                        Ok(hook) => self.stage = Stage::Running(Some(hook)),
                        Err(end) => return Poll::Ready(end),
                    }
                }
                Stage::Running(hook) => {
                    return match catch_poll(Pin::new(hook), cx) {
                        Poll::Ready(Ok(Ok(()))) => Poll::Ready(CloseEnd::Done),
                        Poll::Ready(Ok(Err(error))) => Poll::Ready(CloseEnd::Failed(Arc::from(error))),
                        Poll::Ready(Err(panic)) => Poll::Ready(CloseEnd::Panicked(panic)),
                        Poll::Pending => {
                            let Self { inner, timer, .. } = self;
                            // CORRECTNESS: the hook and the timer have both registered this waker: either wakes the task.
                            let deadline = || inner.runtime.timer(inner.settings.close_deadline);
                            Pin::new(timer.get_or_insert_with(deadline))
                                .poll(cx)
                                .map(|()| self.abort(CloseEnd::TimedOut))
                        }
                    };
                }
                Stage::Over => return Poll::Pending,
            }
        }
    }

    /// Drops the client or the hook; a panic there counts more than the reason.
    fn abort(&mut self, reason: CloseEnd) -> CloseEnd {
        let stage = mem::replace(&mut self.stage, Stage::Running(None));
        catch(|| drop(stage)).map_or_else(CloseEnd::Panicked, |()| reason)
    }

    // ## Running => Over
    fn finish(&mut self, end: &CloseEnd) {
        self.stage = Stage::Over;
        let took = now().saturating_duration_since(self.began);
        // CORRECTNESS: the table learns the end first, so that a caller which waits for it finds the key vacant.
        self.inner.close_ended(&self.key, self.generation, took, end);
        if let Some(wait) = self.wait.take() {
            wait.complete(end.clone());
        }
    }
}

/// The hook and the timer have their own boxes, so that nothing is pinned by being in here.
impl<K: Key, C: Client, G: Config> Unpin for CloseTask<K, C, G> {}

impl<K: Key, C: Client, G: Config> Future for CloseTask<K, C, G> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end(cx).map(|end| self.finish(&end))
    }
}

/// CANCEL: a runtime that shuts down drops the task, perhaps before its first poll: an end like any other.
impl<K: Key, C: Client, G: Config> Drop for CloseTask<K, C, G> {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            let end = self.abort(CloseEnd::Aborted);
            self.finish(&end);
        }
    }
}
