//! The future that ends with a lease.

use crate::{
    AcquireError, Lease,
    bounds::{Client, Config, Key},
    inner::Inner,
    wait::{Wait, Waiting, replace},
};
use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Future of [`Registry::acquire`](crate::Registry::acquire) and [`replace`](crate::Registry::replace), with or without a
/// configuration.
///
/// An `acquire` is ready at its first poll when the client is there. Nothing happens before that poll.
///
/// # Cancellation
///
/// When it is dropped, nothing of it is left behind. A client that is being made goes on being made while another call waits
/// for it; with the last of those that wait, the making ends and its entry is removed. A replacement that is dropped leaves the old
/// client.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a, K, Q: ?Sized, C, G> {
    stage: Stage<'a, K, Q, C, G>,
}

enum Stage<'a, K, Q: ?Sized, C, G> {
    Start { inner: &'a Arc<Inner<K, C, G>>, key: &'a Q, config: &'a G, replace: bool },
    Waiting(Waiting<C>),
    Done,
}

// === impl Acquire ===

impl<'a, K, Q: ?Sized, C, G> Acquire<'a, K, Q, C, G> {
    #[inline]
    pub(crate) fn new(inner: &'a Arc<Inner<K, C, G>>, key: &'a Q, config: &'a G, replace: bool) -> Self {
        Self { stage: Stage::Start { inner, key, config, replace } }
    }
}

impl<K, Q, C, G> Future for Acquire<'_, K, Q, C, G>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + Borrow<Q> + 'static,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    C: Send + Sync + 'static,
    G: PartialEq + Clone + Send + Sync + 'static,
{
    type Output = Result<Lease<C>, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Start { inner, key, config, replace: false } = &self.stage
            && let Some(live) = inner.fast(*key, Some(*config))
        {
            self.stage = Stage::Done;
            return Poll::Ready(Ok(Lease::new(live)));
        }
        poll_slow(&mut self.stage, cx)
    }
}

#[inline(never)]
fn poll_slow<K, Q, C, G>(
    stage: &mut Stage<'_, K, Q, C, G>,
    cx: &mut Context<'_>,
) -> Poll<Result<Lease<C>, AcquireError>>
where
    K: Key + Borrow<Q>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    C: Client,
    G: Config,
{
    if let Stage::Start { inner, key, config, replace: replaces } = stage {
        // The key and the configuration are cloned only here, where the fast path has found no client.
        let (key, config) = ((*key).to_owned(), Arc::new(G::clone(config)));
        let waiting: Waiting<C> = if *replaces {
            Box::pin(replace(Arc::clone(inner), key, config))
        } else {
            match Wait::begin(inner, key, config) {
                Ok(found) => {
                    *stage = Stage::Done;
                    return Poll::Ready(found.map(Lease::new));
                }
                Err(wait) => Box::pin(wait),
            }
        };
        *stage = Stage::Waiting(waiting);
    }
    let Stage::Waiting(waiting) = stage else { return Poll::Pending };
    let polled = waiting.as_mut().poll(cx);
    if polled.is_ready() {
        // What has waited is dropped here, and not with the future: it holds a pointer to the registry.
        *stage = Stage::Done;
    }
    polled.map_ok(Lease::new)
}

impl<K, Q: ?Sized, C, G> fmt::Debug for Acquire<'_, K, Q, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Start { .. } => "start",
            Stage::Waiting(_) => "waiting",
            Stage::Done => "done",
        };
        f.debug_struct("Acquire").field("stage", &stage).finish_non_exhaustive()
    }
}
