//! A counted right to a client.

use crate::{
    CloseEnd,
    close::Closing,
    sync::{Strong, Weak},
    table::Handle,
};
use std::{fmt, ops::Deref, sync::Arc};

/// A counted right to use a client.
///
/// It is a pointer to the client. A clone is another lease, and costs what the clone of an [`Arc`] costs. A lease ends
/// when it is dropped; nothing else ends it, so it cannot be ended twice. The last one to end gives the client back:
/// see [`RegistryBuilder::linger`](crate::RegistryBuilder::linger) and
/// [`on_close`](crate::RegistryBuilder::on_close).
///
/// A lease keeps the registry's inside alive, so the close hook of its client can run when all handles are gone.
#[must_use = "the client may be closed as soon as the lease is dropped"]
pub struct Lease<C> {
    live: Strong<Live<C>>,
}

/// What [`Lease::close`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// Others have leases, or wait for one: the client stays.
    Shared,
    /// It was the last lease: the client was closed.
    Closed(CloseEnd),
}

/// A client with leases.
pub(crate) struct Live<C> {
    /// Taken when the last lease ends, and only then.
    client: Option<C>,
    generation: u64,
    home: Arc<dyn Home<C>>,
}

/// Where a client goes when its last lease has ended.
pub(crate) trait Home<C>: Send + Sync {
    /// It stays there, or is closed by a task.
    fn released(&self, generation: u64, client: C);

    /// It stays with those who wait for it, or is closed by the returned future; it does not linger.
    fn close(&self, generation: u64, client: C) -> Option<Closing>;
}

// === impl Lease ===

impl<C> Lease<C> {
    #[inline]
    pub(crate) fn new(live: Strong<Live<C>>) -> Self {
        Self { live }
    }

    /// Ends this lease, and if it was the last one, closes the client and waits for the end of the close hook.
    ///
    /// The client does not linger. Without this, a lease that is dropped closes the client just as well, and nobody
    /// waits.
    ///
    /// # Cancellation
    ///
    /// The lease has ended when this is called. A hook that has begun goes on as a task when the future is dropped.
    pub async fn close(self) -> LeaseEnd {
        // CORRECTNESS: of all leases that end at once, `into_inner` gives the client to exactly one.
        let Some(mut live) = Strong::into_inner(self.live) else { return LeaseEnd::Shared };
        let Some(client) = live.client.take() else { return LeaseEnd::Shared };
        match live.home.close(live.generation, client) {
            Some(closing) => LeaseEnd::Closed(closing.await),
            None => LeaseEnd::Shared,
        }
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
    pub(crate) fn new(client: C, generation: u64, home: Arc<dyn Home<C>>) -> Self {
        Self { client: Some(client), generation, home }
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
            self.home.released(self.generation, client);
        }
    }
}

// === impl Handle ===

impl<C> Handle for Weak<Live<C>> {
    type Lease = Strong<Live<C>>;

    fn upgrade(&self) -> Option<Self::Lease> {
        self.upgrade()
    }

    fn leases(&self) -> usize {
        self.strong_count()
    }
}
