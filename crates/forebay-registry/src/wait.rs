//! The wait for a client, and the making of one that replaces another.

use crate::{
    AcquireError, RegistryEvent,
    bounds::{Client, Config, Key},
    inner::{Completion, Found, Inner, Shared, Swap},
    runtime::now,
};
use forebay_core::{
    panic::catch_poll,
    single_flight::{Polled, WaiterId},
};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// A place among those that wait for the client of one key.
pub(crate) struct Wait<K: Key, C: Client, G: Config> {
    inner: Arc<Inner<K, C, G>>,
    key: K,
    config: Arc<G>,
    waiter: WaiterId,
    /// The id of the entry and what it waits for; `None` once the result is there.
    entry: Option<(u64, Shared<C, G>)>,
}

/// Ends with a client; boxed, since there is something to wait for.
pub(crate) type Waiting<C> = Pin<Box<dyn Future<Output = Found<C>> + Send + Sync>>;

// === impl Wait ===

impl<K: Key, C: Client, G: Config> Wait<K, C, G> {
    /// A lease or a refusal, else the wait for one.
    pub(crate) fn begin(inner: &Arc<Inner<K, C, G>>, key: K, config: Arc<G>) -> Result<Found<C>, Self> {
        let mut wait = Self { inner: Arc::clone(inner), key, config, waiter: WaiterId::default(), entry: None };
        wait.join().ok_or(wait)
    }

    /// `None`: there is something to wait for.
    fn join(&mut self) -> Option<Found<C>> {
        self.inner.join(&self.key, &self.config).map_err(|entry| self.entry = Some(entry)).ok()
    }

    fn leave(&mut self) {
        if let Some((id, _in_flight)) = self.entry.take() {
            self.inner.leave(&self.key, id);
        }
    }

    fn poll_completion(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found<C>>> {
        let Self { inner, key, config, waiter, entry } = self;
        let Some((id, in_flight)) = entry else { return Poll::Pending };
        let mut effects = None;
        // CORRECTNESS: the table learns the end inside of this poll, before any other waiter is woken: a caller that it wakes finds
        // the client, or asks the maker itself.
        let polled = in_flight.poll(waiter, cx, |end| {
            let (completion, made) = inner.complete(key, *id, end);
            effects = Some(made);
            completion
        });
        let completion = match polled {
            Polled::Pending => return Poll::Pending,
            Polled::Ready(completion) => completion,
            Polled::Circle(path) => {
                let error = AcquireError::circular(&path);
                inner.settings.emit_event(&RegistryEvent::Refused { key, error: &error });
                // Those around this poll wait on: the entry counts one waiter less.
                self.leave();
                return Poll::Ready(Some(Err(error)));
            }
        };
        // The entry does not count this waiter any more: the table has moved on with the completion.
        (*waiter, *entry) = (WaiterId::default(), None);
        let is_maker = effects.is_some();
        if let Some(effects) = effects {
            inner.apply(key, effects);
        }
        Poll::Ready(match completion {
            Completion::Client { live, config: first } => {
                if !is_maker {
                    inner.reused(key, &live);
                }
                if first != *config {
                    inner.diverged(key, live.generation(), &first, config);
                }
                Some(Ok(live))
            }
            Completion::Refused(error) => Some(Err(error)),
            // A caller that asked for the same gets the same response; one that asked for something else asks for itself, so
            // that a caller that is switched off, or cannot log in, never decides for another.
            Completion::Failed { error, config: first } if first == *config => Some(Err(error)),
            Completion::Failed { .. } | Completion::Again => None,
        })
    }
}

/// The work has its own box, so that nothing is pinned by being in here.
impl<K: Key, C: Client, G: Config> Unpin for Wait<K, C, G> {}

impl<K: Key, C: Client, G: Config> Future for Wait<K, C, G> {
    type Output = Found<C>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Found<C>> {
        loop {
            let Poll::Ready(completed) = self.poll_completion(cx) else { return Poll::Pending };
            if let Some(found) = completed.or_else(|| self.join()) {
                return Poll::Ready(found);
            }
        }
    }
}

/// CANCEL: the entry counts one waiter less, and with the last one the entry and the work are dropped.
impl<K: Key, C: Client, G: Config> Drop for Wait<K, C, G> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Makes a client in the place of the one that `key` has.
///
/// CANCEL: the work is dropped, and with `swap` the right to the place.
pub(crate) async fn replace<K: Key, C: Client, G: Config>(
    inner: Arc<Inner<K, C, G>>,
    key: K,
    config: Arc<G>,
) -> Found<C> {
    if let Some(swap) = Swap::begin(&inner, &key) {
        let began = now();
        // Never locked: a mutex makes what is only `Send` also `Sync`.
        let mut work = Mutex::new(Some(inner.make(key.clone(), Arc::clone(&config))));
        let end = poll_fn(|cx| {
            let work = work.get_mut().unwrap_or_else(PoisonError::into_inner);
            catch_poll(Pin::new(work), cx)
        })
        .await;
        let took = now().saturating_duration_since(began);
        let found = match end {
            Ok(Ok(client)) => swap.made(&config, client, took),
            Ok(Err(error)) => swap.failed(AcquireError::made(error), took),
            Err(panic) => swap.failed(AcquireError::panicked(&panic), took),
        };
        if let Some(found) = found {
            return found;
        }
    }
    match Wait::begin(&inner, key, config) {
        Ok(found) => found,
        Err(wait) => wait.await,
    }
}
