use crate::{
    JetStreamBuilder,
    append::Append,
    builder::Settings,
    connection::Connection,
    dead, error,
    leases::{Leased, Leases},
    message,
    settle::Settle,
    streams::{Streams, dead_subject, lane_of},
};
use async_nats::Client;
use forebay_core::Priority;
use forebay_spool::{
    Appended, BoxFuture, DeadLetter, DestinationStats, Disposition, Group, Lease, Settled, Spool, SpoolError,
    SpoolErrorKind, Stats, Verified, Want,
};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};
use tokio::{runtime::Handle, sync::Semaphore};

/// The appends that are under way at once; others wait, in the order in which they came.
const APPENDS_AT_ONCE: usize = 32;
/// The bytes of the appends that wait or are under way, at most; one append goes whatever its size.
const MAX_WAITING_BYTES: u64 = 64 << 20;

/// A spool on NATS JetStream. A clone is the same spool.
///
/// Calls run on the runtime in which it was opened.
#[derive(Clone)]
pub struct JetStreamSpool {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    streams: Streams,
    settings: Settings,
    leases: Leases,
    runtime: Handle,
    next_id: AtomicU64,
    appends: Semaphore,
    waiting_bytes: AtomicU64,
    closed: AtomicBool,
    stats: Mutex<Stats>,
}

// === impl JetStreamSpool ===

impl JetStreamSpool {
    /// Configures a spool in `stream`, a name of letters, digits, `-` and `_`; its dead letters are in `<stream>-dead`.
    ///
    /// The client is yours: how it connects, with which credentials, and whether it retries at first.
    pub fn builder(client: Client, stream: impl Into<String>) -> JetStreamBuilder {
        JetStreamBuilder::new(client, stream.into())
    }

    pub(crate) fn start(connection: Connection, streams: Streams, settings: Settings, recovered: u64) -> Self {
        let mut stats = Stats::default();
        stats.recovered.records = recovered;
        let inner = Arc::new(Inner {
            leases: Leases::new(settings.max_leases),
            connection,
            streams,
            runtime: Handle::current(),
            // No two processes number their records alike: 2^64 is large beside what they append.
            next_id: AtomicU64::new(random()),
            appends: Semaphore::new(APPENDS_AT_ONCE),
            waiting_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stats: Mutex::new(stats),
            settings,
        });
        drop(tokio::spawn(renew(Arc::downgrade(&inner))));
        Self { inner }
    }

    /// Runs on the runtime of the spool, whether or not the future is polled.
    fn run<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> BoxFuture<'static, Result<T, SpoolError>>
    where
        F: Future<Output = Result<T, SpoolError>> + Send + 'static,
        T: Send + 'static,
    {
        if self.inner.closed.load(Relaxed) {
            return Box::pin(std::future::ready(Err(error::closed())));
        }
        let task = self.inner.runtime.spawn(work(Arc::clone(&self.inner)));
        // The runtime has ended, or the work has panicked: what it was about may have been done.
        Box::pin(async move { task.await.unwrap_or_else(|ended| Err(error::unclear(ended))) })
    }

    /// Dead letters, of one destination or of all, the oldest first, `limit` at most of each.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: no such destination, closed, no response.
    #[must_use]
    pub fn dead_letters(
        &self,
        destination: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DeadLetter>, SpoolError>> {
        let names = self.inner.names(destination);
        self.run(move |inner| async move {
            let mut letters = Vec::new();
            for name in names? {
                letters.extend(dead::letters(&inner.streams, &inner.settings.stream, &name, limit).await?);
            }
            Ok(letters)
        })
    }

    /// Makes dead letters pending again in the normal lane: all of them, or those with the given ids. Returns how many.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: no such destination, no room, closed, no response. Those before it are pending.
    #[must_use]
    pub fn requeue(
        &self,
        destination: Option<&str>,
        ids: Option<Vec<u64>>,
    ) -> BoxFuture<'static, Result<u64, SpoolError>> {
        let names = self.inner.names(destination);
        self.run(move |inner| async move {
            let mut requeued = 0_u64;
            for name in names? {
                let Inner { connection, streams, settings, .. } = &*inner;
                let one = dead::requeue(connection, streams, &settings.stream, &name, ids.as_deref()).await?;
                inner.count(|stats| stats.requeued = stats.requeued.saturating_add(one));
                requeued = requeued.saturating_add(one);
            }
            Ok(requeued)
        })
    }

    /// Gives back what is leased. Calls of other handles end with `Closed` from now on; the connection stays open.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]: closed before.
    #[must_use]
    pub fn close(&self) -> BoxFuture<'static, Result<(), SpoolError>> {
        let closing = self.run(|inner| async move {
            for leased in inner.leases.take_all() {
                leased.give_back(&inner.connection).await;
            }
            Ok(())
        });
        self.inner.closed.store(true, Relaxed);
        closing
    }
}

impl Spool for JetStreamSpool {
    fn append(&self, group: Group) -> BoxFuture<'_, Result<Appended, SpoolError>> {
        // A record without a payload takes memory as well.
        let bytes = group.bytes().saturating_add(group.len().saturating_mul(128)) as u64;
        let before = self.inner.waiting_bytes.fetch_add(bytes, Relaxed);
        let waits = Waits { inner: Arc::clone(&self.inner), bytes };
        if before > 0 && before.saturating_add(bytes) > MAX_WAITING_BYTES {
            return Box::pin(std::future::ready(Err(SpoolError::new(SpoolErrorKind::Busy))));
        }
        self.run(move |inner| async move { inner.append(group, waits).await })
    }

    fn lease<'a>(&'a self, destination: &'a str, want: Want) -> BoxFuture<'a, Result<Option<Lease>, SpoolError>> {
        let destination = destination.to_owned();
        self.run(move |inner| async move { inner.lease(&destination, want).await })
    }

    fn settle(&self, lease: Lease, dispositions: Vec<Disposition>) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        let (id, records) = lease.into_parts();
        self.run(move |inner| async move {
            // A lease of another spool, or one that `close` has given back.
            let leased = inner.leases.take(id.get()).ok_or_else(error::closed)?;
            let Settings { stream, max_attempts, .. } = &inner.settings;
            let settle = Settle { connection: &inner.connection, stream, max_attempts: *max_attempts };
            let (settled, failed) = settle.all(leased, records, dispositions).await;
            inner.count(|stats| {
                stats.delivered = stats.delivered.saturating_add(settled.delivered);
                stats.dead_lettered = stats.dead_lettered.saturating_add(settled.dead);
            });
            failed.map_or(Ok(settled), Err)
        })
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>> {
        self.run(|inner| async move { inner.stats().await })
    }

    /// Reads each record once, one after the other: for an operator, not for a timer.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, SpoolError>> {
        self.run(|inner| async move { inner.verify().await })
    }
}

impl fmt::Debug for JetStreamSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamSpool").field("stream", &self.inner.settings.stream).finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    async fn append(&self, group: Group, _waits: Waits) -> Result<Appended, SpoolError> {
        if let Some(name) = &group.destination {
            self.names(Some(name))?;
        }
        let records = group.records.len() as u64;
        let first_id = self.next_id.fetch_add(records, Relaxed);
        let max_payload = self.connection.client.server_info().max_payload;
        let append = Append::new(&self.settings.stream, group, first_id, max_payload, now())?;
        // The semaphore is never closed.
        let Ok(_permit) = self.appends.acquire().await else { return Err(error::closed()) };
        append.send(&self.connection).await?;
        self.count(|stats| stats.appended = stats.appended.saturating_add(records));
        Ok(Appended::new(first_id, records))
    }

    async fn lease(self: Arc<Self>, destination: &str, want: Want) -> Result<Option<Lease>, SpoolError> {
        let Some(known) = self.streams.destination(destination) else { return Err(unknown(destination)) };
        let place = self.leases.place()?;
        let (lane, messages) = known.fetch(want, self.connection.timeout).await?;
        let (mut records, mut replies) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        for message in messages {
            let message = message.message;
            let Some(reply) = message.reply else { continue };
            match message::record(message.headers.as_ref(), message.payload.clone(), lane) {
                Ok(record) => {
                    records.push(record);
                    replies.push(reply);
                }
                Err(why) => {
                    // What is no record of a spool must not come again and again: it is kept where nothing waits for it.
                    let mut headers = message.headers.unwrap_or_default();
                    message::note_reason(&mut headers, why);
                    let stream = &self.settings.stream;
                    let buried = dead::bury(&self.connection, stream, destination, headers, message.payload).await;
                    // Where it cannot be put aside it comes again when its lease has ended, and stops none of the others.
                    if buried.is_err() || self.connection.acknowledge(&reply).await.is_err() {
                        continue;
                    }
                    self.count(|stats| stats.quarantined = stats.quarantined.saturating_add(1));
                }
            }
        }
        if records.is_empty() {
            return Ok(None);
        }
        let id = place.open(Leased { destination: destination.to_owned(), lane, replies });
        let spool = Arc::downgrade(&self);
        let release = move |id: forebay_spool::LeaseId| {
            // Without the spool nothing renews the lease, and it ends by itself.
            let Some(spool) = spool.upgrade() else { return };
            if let Some(leased) = spool.leases.take(id.get()) {
                let connection = spool.connection.clone();
                drop(spool.runtime.spawn(async move { leased.give_back(&connection).await }));
            }
        };
        Ok(Some(Lease::new(id, records, Box::new(release))))
    }

    async fn stats(&self) -> Result<Stats, SpoolError> {
        let pending = self.streams.pending.get_info().await.map_err(error::unclear)?.state;
        let mut dead = self.streams.dead.clone();
        let dead_bytes = dead.info().await.map_err(error::unclear)?.state.bytes;
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stats.bytes = pending.bytes.saturating_add(dead_bytes);
        stats.segments = 1;
        if pending.messages > 0 {
            stats.oldest = Some(SystemTime::from(pending.first_timestamp));
        }
        for destination in &self.streams.destinations {
            let mut one = DestinationStats::default();
            one.name.clone_from(&destination.name);
            one.identity.clone_from(&destination.identity);
            one.is_open = true;
            one.pending = destination.pending().await?;
            one.dead = self.dead_of(&destination.name).await?;
            stats.records = stats.records.max(one.pending.saturating_add(one.dead));
            stats.destinations.push(one);
        }
        Ok(stats)
    }

    async fn dead_of(&self, destination: &str) -> Result<u64, SpoolError> {
        let subject = dead_subject(&self.settings.stream, destination);
        let mut info = self.streams.dead.info_with_subjects(&subject).await.map_err(error::unclear)?;
        let mut dead = 0_u64;
        while let Some(next) = futures_util::StreamExt::next(&mut info).await {
            dead = dead.saturating_add(next.map_err(error::unclear)?.1 as u64);
        }
        Ok(dead)
    }

    async fn verify(&self) -> Result<Verified, SpoolError> {
        let mut verified = Verified::default();
        verified.segments = 1;
        for lane in [Priority::High, Priority::Normal] {
            let (subject, mut after) = (format!("{}.>", lane_of(&self.settings.stream, lane)), 0);
            while let Some(message) = dead::next(&self.streams.pending, &subject, after).await? {
                after = message.sequence;
                let read = message::record(Some(&message.headers), message.payload, lane);
                let count = if read.is_ok() { &mut verified.records } else { &mut verified.bad };
                *count = count.saturating_add(1);
            }
        }
        Ok(verified)
    }

    /// The destinations that a call is about.
    fn names(&self, destination: Option<&str>) -> Result<Vec<String>, SpoolError> {
        match destination {
            Some(name) if self.streams.destination(name).is_none() => Err(unknown(name)),
            Some(name) => Ok(vec![name.to_owned()]),
            None => Ok(self.streams.destinations.iter().map(|destination| destination.name.clone()).collect()),
        }
    }

    fn count(&self, count: impl FnOnce(&mut Stats)) {
        count(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// An append that waits or is under way.
struct Waits {
    inner: Arc<Inner>,
    bytes: u64,
}

// === impl Waits ===

impl Drop for Waits {
    fn drop(&mut self) {
        self.inner.waiting_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// Renews the leases of a spool for as long as it has a handle.
async fn renew(spool: Weak<Inner>) {
    loop {
        let Some(every) = spool.upgrade().map(|inner| inner.settings.renews_every()) else { return };
        tokio::time::sleep(every).await;
        let Some(inner) = spool.upgrade() else { return };
        inner.leases.renew(&inner.connection).await;
    }
}

fn unknown(destination: &str) -> SpoolError {
    SpoolError::new(SpoolErrorKind::UnknownDestination { name: destination.to_owned() })
}

#[expect(clippy::disallowed_methods, reason = "the time of the wall clock, which is written with a record")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A random number from the seed that the operating system gives each hash map.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
