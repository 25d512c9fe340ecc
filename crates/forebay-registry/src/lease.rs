//! A counted right to a client.

use crate::{
    CloseEnd,
    runtime::{AtomicBool, Strong},
};
use forebay_core::single_flight::{InFlight, Polled, WaiterId};
use std::{
    fmt,
    future::poll_fn,
    ops::Deref,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};

/// A counted right to use a client.
///
/// It is a pointer to the client. A clone is another lease, and costs what the clone of an [`Arc`] costs. A lease ends
/// when it is dropped; nothing else ends it, so it cannot be ended twice. The last one to end gives the client back:
/// see [`RegistryBuilder::linger`](crate::RegistryBuilder::linger) and
/// [`on_close`](crate::RegistryBuilder::on_close).
///
/// A lease keeps the registry's inside alive, so the close hook of its client can run when all handles have been dropped.
#[must_use = "the client may be closed as soon as the lease is dropped"]
pub struct Lease<C> {
    live: Strong<Live<C>>,
}

/// What [`Lease::close`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// Other leases are there: the client stays.
    Shared,
    /// It was the last lease: the client was closed.
    Closed(CloseEnd),
}

/// A client with leases.
// In this order, so that the mark shares a cache line with the counts, which each lease writes anyway.
#[repr(C)]
pub(crate) struct Live<C> {
    /// Whether there was a new lease since the table last looked.
    used: AtomicBool,
    generation: u64,
    hook: Arc<dyn ReleaseHook<C>>,
    /// Taken when the last lease ends, and only then.
    client: Option<C>,
}

/// The end of a close, for the caller that waits for it.
pub(crate) type CloseWait = Arc<InFlight<(), CloseEnd>>;

/// Where a client goes when its last lease has ended.
pub(crate) trait ReleaseHook<C>: Send + Sync {
    /// Closes the client as a task; the end of the close goes to `wait` too.
    fn released(&self, generation: u64, client: C, wait: Option<CloseWait>);

    /// The registry gives up its own lease, if that is the last.
    fn give_up(&self, generation: u64) -> Option<Strong<Live<C>>>;
}

// === impl Lease ===

impl<C> Lease<C> {
    #[inline]
    pub(crate) fn new(live: Strong<Live<C>>) -> Self {
        Self { live }
    }

    /// Ends this lease, and if it was the last one, closes the client and waits for the end of the close hook.
    ///
    /// The client does not linger. A lease that is dropped closes the client just as well, without a wait for the end.
    ///
    /// # Cancellation
    ///
    /// The lease ends when the future is first polled or dropped. A hook that has begun goes on as a task when the
    /// future is dropped.
    pub async fn close(self) -> LeaseEnd {
        let (generation, hook) = (self.live.generation, Arc::clone(&self.live.hook));
        // CORRECTNESS: of all leases that end at once, `into_inner` gives the client to exactly one. Where clients
        // linger that may be the registry's own, which it gives up only if it is the last.
        let last = Strong::into_inner(self.live).or_else(|| hook.give_up(generation).and_then(Strong::into_inner));
        let Some(client) = last.and_then(|mut live| live.client.take()) else { return LeaseEnd::Shared };
        let wait: CloseWait = InFlight::awaited();
        hook.released(generation, client, Some(Arc::clone(&wait)));
        let mut waiter = WaiterId::default();
        poll_fn(|cx| match wait.poll(&mut waiter, cx, |_| CloseEnd::Aborted) {
            Polled::Ready(end) => Poll::Ready(LeaseEnd::Closed(end)),
            Polled::Pending | Polled::Circle(_) => Poll::Pending,
        })
        .await
    }

    /// The number of the client, which it shares with no other client of this registry.
    #[must_use]
    pub fn generation(this: &Self) -> u64 {
        this.live.generation
    }

    /// Whether both are leases of one client.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Strong::ptr_eq(&this.live, &other.live)
    }
}

impl<C> Deref for Lease<C> {
    type Target = C;

    #[inline]
    fn deref(&self) -> &C {
        match &self.live.client {
            Some(client) => client,
            None => unreachable!("it is taken when no lease is left"),
        }
    }
}

/// Another lease of the same client.
impl<C> Clone for Lease<C> {
    #[inline]
    fn clone(&self) -> Self {
        Self { live: Strong::clone(&self.live) }
    }
}

impl<C: fmt::Debug> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("generation", &self.live.generation).field("client", &**self).finish()
    }
}

// === impl Live ===

impl<C> Live<C> {
    pub(crate) fn new(client: C, generation: u64, hook: Arc<dyn ReleaseHook<C>>) -> Self {
        Self { used: AtomicBool::new(true), generation, hook, client: Some(client) }
    }

    /// A caller got a lease.
    // CORRECTNESS: relaxed, since nothing is read through the mark. One that is seen late makes a client look unused that a
    // caller has just got; then its count says so, or it drains until that lease ends.
    #[inline]
    pub(crate) fn mark(&self) {
        self.used.store(true, Relaxed);
    }

    /// Whether there was a mark; it is taken away.
    pub(crate) fn take_mark(&self) -> bool {
        self.used.swap(false, Relaxed)
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// The last lease has ended.
impl<C> Drop for Live<C> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.hook.released(self.generation, client, None);
        }
    }
}
