//! The close hook of one client: with a deadline, and with its panics kept.

use crate::{
    CloseEnd, CloseReason, Event,
    bounds::{Client, Config, Key},
    edge::{Edge, Timer, now},
    hub::Hub,
    panics::guarded,
    table::Retired,
    trace,
};
use forebay_core::{BoxError, Observe};
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

type Hook = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
pub(crate) type OnClose<K, C> = Arc<dyn Fn(K, C) -> Hook + Send + Sync>;
pub(crate) type OnVacant<K> = Arc<dyn Fn(&K) + Send + Sync>;
pub(crate) type Observer<K, G> = Arc<dyn for<'a> Observe<Event<'a, K, G>> + Send + Sync>;

/// What the user of a registry has hung in.
pub(crate) struct Hooks<K, C, G> {
    pub(crate) on_close: Option<OnClose<K, C>>,
    pub(crate) on_vacant: Option<OnVacant<K>>,
    pub(crate) close_deadline: Duration,
    pub(crate) observer: Option<Observer<K, G>>,
}

/// Closes one client.
pub(crate) struct CloseTask<K: Key, C: Client, G: Config> {
    hooks: Arc<Hooks<K, C, G>>,
    /// Who is told; nobody, when the registry itself has gone.
    hub: Option<Arc<Hub<K, C, G>>>,
    key: K,
    generation: u64,
    began: Instant,
    timer: Option<Timer>,
    stage: Stage<C>,
}

enum Stage<C> {
    Waiting(C),
    Running(Hook),
    Over,
}

/// Closes one client in the future of whoever asked for it; goes on as a task if that is dropped.
pub(crate) struct Closing {
    task: Option<Pin<Box<dyn Future<Output = CloseEnd> + Send>>>,
    edge: Arc<Edge>,
}

// === impl Hooks ===

impl<K, C, G> Hooks<K, C, G> {
    pub(crate) fn closes(&self) -> bool {
        self.on_close.is_some()
    }

    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// An observer that panics is not allowed to take the host along.
    pub(crate) fn emit(&self, event: &Event<'_, K, G>) {
        trace::tell(event);
        if let Some(observer) = &self.observer {
            // The observer's own panic hook has said what there is to say.
            let _seen = guarded(|| {
                if observer.enabled() {
                    observer.observe(event);
                }
            });
        }
    }

    pub(crate) fn vacant(&self, key: &K) -> Result<(), Arc<str>> {
        match &self.on_vacant {
            Some(on_vacant) => guarded(|| on_vacant(key)),
            None => Ok(()),
        }
    }
}

// === impl CloseTask ===

impl<K: Key, C: Client, G: Config> CloseTask<K, C, G> {
    pub(crate) fn of(hub: Arc<Hub<K, C, G>>, retired: Retired<K, C>) -> Self {
        let Retired { key, generation, client, .. } = retired;
        Self::new(Arc::clone(&hub.hooks), Some(hub), key, generation, client)
    }

    fn new(hooks: Arc<Hooks<K, C, G>>, hub: Option<Arc<Hub<K, C, G>>>, key: K, generation: u64, client: C) -> Self {
        Self { hooks, hub, key, generation, began: now(), timer: None, stage: Stage::Waiting(client) }
    }

    /// The hook, begun; or the end, if there is none or if it panics at once.
    fn begin(&mut self, client: C) -> Result<Hook, CloseEnd> {
        self.began = now();
        let begun = guarded(|| match &self.hooks.on_close {
            Some(on_close) => Some(on_close(self.key.clone(), client)),
            None => {
                drop(client);
                None
            }
        });
        match begun {
            Ok(Some(hook)) => Ok(hook),
            Ok(None) => Err(CloseEnd::Done),
            Err(panic) => Err(CloseEnd::Panicked(panic)),
        }
    }

    fn poll_hook(&mut self, mut hook: Hook, cx: &mut Context<'_>) -> Poll<CloseEnd> {
        let end = match guarded(|| hook.as_mut().poll(cx)) {
            Ok(Poll::Ready(Ok(()))) => CloseEnd::Done,
            Ok(Poll::Ready(Err(error))) => CloseEnd::Failed(Arc::from(error)),
            Err(panic) => CloseEnd::Panicked(panic),
            Ok(Poll::Pending) => {
                let Self { hub, hooks, timer, .. } = self;
                let timed_out = match hub {
                    // A hook that ends at its first poll needs no timer.
                    Some(hub) => {
                        let timer = timer.get_or_insert_with(|| hub.edge.timer(hooks.close_deadline));
                        Pin::new(timer).poll(cx).is_ready()
                    }
                    None => match timer {
                        Some(timer) => Pin::new(timer).poll(cx).is_ready(),
                        None => false,
                    },
                };
                if !timed_out {
                    self.stage = Stage::Running(hook);
                    return Poll::Pending;
                }
                CloseEnd::TimedOut
            }
        };
        // The hook is dropped before its end is told, and a panic then counts unless it panicked before.
        Poll::Ready(match guarded(|| drop(hook)) {
            Err(panic) if !matches!(end, CloseEnd::Panicked(_)) => CloseEnd::Panicked(panic),
            _ => end,
        })
    }

    fn finish(&self, end: &CloseEnd) {
        let took = now().saturating_duration_since(self.began);
        match &self.hub {
            Some(hub) => hub.close_ended(&self.key, self.generation, took, end),
            None => {
                let Self { key, generation, .. } = self;
                self.hooks.emit(&Event::Closed { key, generation: *generation, took, end });
                if self.hooks.on_vacant.is_some() {
                    let ran = self.hooks.vacant(key);
                    self.hooks.emit(&Event::Vacant { key, panicked: ran.is_err() });
                }
            }
        }
    }
}

/// Nothing in it is pinned by being in it: the hook and the timer have their own boxes.
impl<K: Key, C: Client, G: Config> Unpin for CloseTask<K, C, G> {}

impl<K: Key, C: Client, G: Config> Future for CloseTask<K, C, G> {
    type Output = CloseEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseEnd> {
        let this = &mut *self;
        let hook = match mem::replace(&mut this.stage, Stage::Over) {
            Stage::Waiting(client) => this.begin(client),
            Stage::Running(hook) => Ok(hook),
            // Polled after its end; it has said what it had to say.
            Stage::Over => return Poll::Pending,
        };
        let end = match hook {
            Ok(hook) => match this.poll_hook(hook, cx) {
                Poll::Ready(end) => end,
                Poll::Pending => return Poll::Pending,
            },
            Err(end) => end,
        };
        this.finish(&end);
        Poll::Ready(end)
    }
}

/// CANCEL: a close that is cut off is an end like another: counted, told, and followed by `on_vacant`.
impl<K: Key, C: Client, G: Config> Drop for CloseTask<K, C, G> {
    fn drop(&mut self) {
        let (dropped, was_owed) = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => return,
            Stage::Waiting(client) => (guarded(|| drop(client)), self.hooks.closes()),
            Stage::Running(hook) => (guarded(|| drop(hook)), true),
        };
        let end = match dropped {
            Err(panic) => CloseEnd::Panicked(panic),
            Ok(()) if was_owed => CloseEnd::Aborted,
            Ok(()) => CloseEnd::Done,
        };
        self.finish(&end);
    }
}

/// Closes a client of a registry that has gone: nobody has a handle or a lease.
pub(crate) fn bury<K: Key, C: Client, G: Config>(
    hooks: &Arc<Hooks<K, C, G>>,
    edge: &Edge,
    key: K,
    generation: u64,
    client: C,
) {
    hooks.emit(&Event::Closing { key: &key, generation, reason: CloseReason::Shutdown });
    let mut task = CloseTask::new(Arc::clone(hooks), None, key, generation, client);
    if edge.is_here() {
        task.timer = Some(edge.timer(hooks.close_deadline));
        let _spawned = edge.spawn(Box::pin(async move { drop(task.await) }));
    }
    // Without a runtime the task is dropped here, and says so.
}

// === impl Closing ===

impl Closing {
    pub(crate) fn new(task: Pin<Box<dyn Future<Output = CloseEnd> + Send>>, edge: Arc<Edge>) -> Self {
        Self { task: Some(task), edge }
    }
}

impl Future for Closing {
    type Output = CloseEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseEnd> {
        let Some(task) = &mut self.task else { return Poll::Pending };
        let polled = task.as_mut().poll(cx);
        if polled.is_ready() {
            self.task = None;
        }
        polled
    }
}

/// CANCEL: the hook goes on as a task; without a runtime it ends here, and is counted as `Aborted`.
impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let _spawned = self.edge.spawn(Box::pin(async move { drop(task.await) }));
        }
    }
}
