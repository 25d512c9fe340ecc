//! The futures that end with a lease.

use crate::{
    AcquireError, Lease,
    bounds::{Client, Config, Key},
    hub::Hub,
    wait::{Replacing, Wait, Waiting},
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

/// Future of [`Registry::acquire`](crate::Registry::acquire) and
/// [`acquire_with`](crate::Registry::acquire_with).
///
/// It is ready at its first poll when the client is there. It does nothing before that poll.
///
/// # Cancellation
///
/// When it is dropped, nothing of it is left behind. A client that is being made goes on being made while anybody waits
/// for it; with the last of those who wait, the making ends and its entry goes.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a, K, Q: ?Sized, C, G> {
    stage: Stage<'a, K, Q, C, G>,
}

/// Future of [`Registry::replace`](crate::Registry::replace) and
/// [`replace_with`](crate::Registry::replace_with).
///
/// # Cancellation
///
/// When it is dropped, the new client is not made and the old one stays.
#[must_use = "futures do nothing unless polled"]
pub struct Replace<'a, K, Q: ?Sized, C, G> {
    stage: Stage<'a, K, Q, C, G>,
}

enum Stage<'a, K, Q: ?Sized, C, G> {
    Start { hub: &'a Arc<Hub<K, C, G>>, key: &'a Q, config: &'a G },
    Waiting(Waiting<C>),
    Done,
}

// === impl Stage ===

impl<K, Q: ?Sized, C, G> Stage<'_, K, Q, C, G> {
    fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Waiting(_) => "waiting",
            Self::Done => "done",
        }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lease<C>, AcquireError>> {
        let Self::Waiting(waiting) = self else { return Poll::Pending };
        let polled = waiting.as_mut().poll(cx);
        if polled.is_ready() {
            *self = Self::Done;
        }
        polled.map_ok(Lease::new)
    }
}

// === impl Acquire ===

impl<'a, K, Q: ?Sized, C, G> Acquire<'a, K, Q, C, G> {
    #[inline]
    pub(crate) fn new(hub: &'a Arc<Hub<K, C, G>>, key: &'a Q, config: &'a G) -> Self {
        Self { stage: Stage::Start { hub, key, config } }
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
        if let Stage::Start { hub, key, config } = &self.stage
            && let Some(live) = hub.fast(*key, Some(*config))
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
    if let Stage::Start { hub, key, config } = stage {
        match Wait::begin(hub, *key, *config) {
            Ok(end) => {
                *stage = Stage::Done;
                return Poll::Ready(end.map(Lease::new));
            }
            Err(wait) => *stage = Stage::Waiting(Box::pin(wait)),
        }
    }
    stage.poll_waiting(cx)
}

impl<K, Q: ?Sized, C, G> fmt::Debug for Acquire<'_, K, Q, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("stage", &self.stage.name()).finish_non_exhaustive()
    }
}

// === impl Replace ===

impl<'a, K, Q: ?Sized, C, G> Replace<'a, K, Q, C, G> {
    pub(crate) fn new(hub: &'a Arc<Hub<K, C, G>>, key: &'a Q, config: &'a G) -> Self {
        Self { stage: Stage::Start { hub, key, config } }
    }
}

impl<K, Q, C, G> Future for Replace<'_, K, Q, C, G>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + Borrow<Q> + 'static,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    C: Send + Sync + 'static,
    G: PartialEq + Clone + Send + Sync + 'static,
{
    type Output = Result<Lease<C>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Start { hub, key, config } = &this.stage {
            this.stage = Stage::Waiting(Box::pin(Replacing::new(
                Arc::clone(hub),
                (*key).to_owned(),
                Arc::new((*config).clone()),
            )));
        }
        this.stage.poll_waiting(cx)
    }
}

impl<K, Q: ?Sized, C, G> fmt::Debug for Replace<'_, K, Q, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replace").field("stage", &self.stage.name()).finish_non_exhaustive()
    }
}
