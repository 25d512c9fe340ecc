use crate::{
    Appended, BoxFuture, DeadLetter, Disposition, Engine, Group, Lease, Settled, Spool, SpoolBuilder, SpoolError,
    SpoolErrorKind, Stats, Verified, Want,
    builder::Settings,
    worker::{self, Command, Reply, Shared},
};
use bytes::Bytes;
use std::{fmt, io, path::PathBuf, sync::Arc, thread};
use tokio::sync::oneshot;

/// The embedded spool: files in a directory, and one thread that writes them.
///
/// A clone is another handle. With the last handle the spool closes by itself; [`close`](Self::close) says when and how. It
/// needs no runtime: its futures are woken by its own thread.
#[derive(Clone)]
pub struct DiskSpool {
    handle: Arc<Handle>,
}

/// Closes the spool when the last clone is dropped. Leases that are out do not keep it open.
struct Handle {
    shared: Arc<Shared>,
    max_waiting: usize,
}

// === impl DiskSpool ===

impl DiskSpool {
    /// Configures a spool in the directory `dir`.
    pub fn builder(dir: impl Into<PathBuf>) -> SpoolBuilder {
        SpoolBuilder::new(dir)
    }

    pub(crate) fn start(engine: Engine, settings: &Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, settings) = (Arc::clone(&shared), settings.clone());
        let max_waiting = settings.max_waiting_bytes;
        thread::Builder::new().name("forebay-spool".into()).spawn(move || worker::run(&theirs, engine, &settings))?;
        Ok(Self { handle: Arc::new(Handle { shared, max_waiting }) })
    }

    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> BoxFuture<'static, Result<T, SpoolError>> {
        let (reply, result) = oneshot::channel();
        let sent = self.handle.shared.send(command(reply), self.handle.max_waiting);
        Box::pin(async move {
            sent?;
            result.await.unwrap_or_else(|_closed| Err(SpoolError::new(SpoolErrorKind::Closed)))
        })
    }

    /// The value that was last committed under `name` by [`Group::mark`].
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: closed.
    #[must_use]
    pub fn mark(&self, name: &str) -> BoxFuture<'static, Result<Option<Bytes>, SpoolError>> {
        let name = name.to_owned();
        self.ask(move |reply| Command::Mark { name, reply })
    }

    /// Dead letters, of one destination or of all, the oldest first, `limit` at most.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: no such destination, closed.
    pub fn dead_letters(
        &self,
        destination: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DeadLetter>, SpoolError>> {
        let destination = destination.map(str::to_owned);
        self.ask(move |reply| Command::DeadLetters { destination, limit, reply })
    }

    /// Makes dead letters pending again in the normal lane: all of them, or those with the given ids. Returns how many.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: no such destination, no room, closed.
    pub fn requeue(
        &self,
        destination: Option<&str>,
        ids: Option<Vec<u64>>,
    ) -> BoxFuture<'static, Result<u64, SpoolError>> {
        let destination = destination.map(str::to_owned);
        self.ask(move |reply| Command::Requeue { destination, ids, reply })
    }

    /// Writes what waits, closes the files in good order, and lets another process have the directory.
    ///
    /// Calls of other handles end with `Closed` from now on. What is leased is pending again for the next process.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: not all of it could be written. The next opening verifies the files.
    ///
    /// # Cancellation
    ///
    /// The spool closes whether the future is dropped or not.
    #[must_use]
    pub fn close(&self) -> BoxFuture<'static, Result<(), SpoolError>> {
        let (reply, end) = oneshot::channel();
        self.handle.shared.close(Some(reply));
        Box::pin(async move { end.await.unwrap_or_else(|_ended| Err(SpoolError::new(SpoolErrorKind::Closed))) })
    }
}

impl Spool for DiskSpool {
    fn append(&self, group: Group) -> BoxFuture<'_, Result<Appended, SpoolError>> {
        let bytes = group.bytes();
        self.ask(move |reply| Command::Append { group, bytes, reply })
    }

    fn lease<'a>(&'a self, destination: &'a str, want: Want) -> BoxFuture<'a, Result<Option<Lease>, SpoolError>> {
        let destination = destination.to_owned();
        self.ask(move |reply| Command::Lease { destination, want, reply })
    }

    fn settle(&self, lease: Lease, dispositions: Vec<Disposition>) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        let (id, records) = lease.into_parts();
        drop(records);
        self.ask(move |reply| Command::Settle { lease: id.get(), dispositions, reply: Some(reply) })
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>> {
        self.ask(move |reply| Command::Stats { reply })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, SpoolError>> {
        self.ask(move |reply| Command::Verify { reply })
    }
}

impl fmt::Debug for DiskSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSpool").finish_non_exhaustive()
    }
}

// === impl Handle ===

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(None);
    }
}
