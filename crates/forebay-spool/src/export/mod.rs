//! A spool behind an exporter of `forebay-export`.

mod books;
mod driver;

use self::{books::Books, driver::Driver};
use crate::{Group, NewRecord, Spool, SpoolErrorKind, replay::ReplayPolicy};
use bytes::Bytes;
use forebay_core::{BoxError, ConfigError, Priority, panic};
use forebay_export::{ExportSpool, Items, Replayer, Skipped, SpoolTask};
use std::{
    fmt,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Turns an item into the payload of a record and back.
///
/// It runs on the task of the exporter. A panic in it costs the item that it was about.
pub trait Codec<T>: Send + Sync + 'static {
    /// Appends the item to `payload`, which is empty.
    ///
    /// # Errors
    ///
    /// The item is dropped as one that cannot be encoded.
    fn encode(&self, item: &T, payload: &mut Vec<u8>) -> Result<(), BoxError>;

    /// The item of a payload, which an earlier version of the program may have written.
    ///
    /// # Errors
    ///
    /// The record becomes a dead letter, and the error its reason.
    fn decode(&self, payload: &[u8]) -> Result<T, BoxError>;
}

/// One destination of a spool as that of an exporter: each item is a record.
///
/// Give it to `overflow_to` or `write_ahead` of an exporter's builder. The destination's identity should say where the exporter
/// sends to; it is not read from the exporter, whose endpoint may change.
///
/// What the spool holds when the exporter starts counts as recovered there, and so does what another part of the program
/// appends. An exporter counts as evicted what the spool holds less than it must, and takes it for the oldest.
///
/// What an exporter spools waits for its own destination only, so that several exporters may share a spool.
/// [`for_every_destination`](Self::for_every_destination) changes that.
#[must_use = "it does nothing until an exporter has it"]
pub struct ExporterSpool<C> {
    spool: Arc<dyn Spool>,
    destination: String,
    codec: Arc<C>,
    policy: ReplayPolicy,
    /// Whether what is spooled waits for all destinations of the spool.
    for_all: bool,
    shared: Arc<Shared>,
}

/// What the appends and the replay share.
struct Shared {
    /// The key of the records that this exporter has spooled in this process.
    own: Bytes,
    books: Mutex<Books>,
    /// Something was appended.
    appended: Notify,
}

// === impl ExporterSpool ===

impl<C> ExporterSpool<C> {
    /// Uses `destination` of `spool`, such as a clone of a [`DiskSpool`](crate::DiskSpool); one exporter for each destination.
    pub fn new(spool: impl Spool, destination: impl Into<String>, codec: C) -> Self {
        let shared = Arc::new(Shared {
            // Distinguishes this exporter from those of earlier processes, and from others of this one.
            own: crate::builder::random().to_le_bytes().to_vec().into(),
            books: Mutex::default(),
            appended: Notify::new(),
        });
        let (destination, policy) = (destination.into(), ReplayPolicy::default());
        Self { spool: Arc::new(spool), destination, codec: Arc::new(codec), policy, for_all: false, shared }
    }

    /// What this exporter spools waits for every destination of the spool, each of which sends it by itself.
    ///
    /// It is for `write_ahead`: one exporter takes the items, and others, which are offered none, replay them elsewhere.
    pub fn for_every_destination(self) -> Self {
        Self { for_all: true, ..self }
    }

    /// How what is spooled is sent; [`ReplayPolicy::default`] by default.
    ///
    /// With `write_ahead` everything is sent that way: [`ReplayPolicy::write_ahead`] is made for it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a value that makes no sense.
    pub fn policy(self, policy: ReplayPolicy) -> Result<Self, ConfigError> {
        Ok(Self { policy: policy.check()?, ..self })
    }
}

impl<T: Send + Sync + 'static, C: Codec<T>> ExportSpool<T> for ExporterSpool<C> {
    fn append(&self, items: Items<T>, priority: Priority) -> SpoolTask<Result<Skipped, BoxError>> {
        // One buffer for all payloads: an allocation for each of them takes longer than its copy.
        let (mut all, mut ends) = (Vec::new(), Vec::with_capacity(items.len()));
        let (mut payload, mut places, mut skipped) = (Vec::new(), Vec::with_capacity(items.len()), Vec::new());
        for (place, item) in items.iter().enumerate() {
            payload.clear();
            match panic::catch(|| self.codec.encode(item, &mut payload)) {
                Ok(Ok(())) => {
                    all.extend_from_slice(&payload);
                    ends.push(all.len());
                    places.push(place);
                }
                // Counted by the exporter as an item that cannot be encoded.
                Ok(Err(_)) | Err(_) => skipped.push(place),
            }
        }
        drop(items);
        if ends.is_empty() {
            return Box::pin(ready(Ok(Skipped(skipped))));
        }
        let (all, mut start) = (Bytes::from(all), 0);
        let record = |end| {
            let payload = all.slice(std::mem::replace(&mut start, end)..end);
            NewRecord::new(payload).key(self.shared.own.clone())
        };
        let mut records: Vec<_> = ends.into_iter().map(record).collect();
        let (spool, shared) = (Arc::clone(&self.spool), Arc::clone(&self.shared));
        let only_for = (!self.for_all).then(|| self.destination.clone());
        Box::pin(async move {
            let group_of = |records: &[NewRecord]| {
                let group = Group::new(records.to_vec()).priority(priority);
                match &only_for {
                    Some(destination) => group.destination(destination.clone()),
                    None => group,
                }
            };
            let appending = Appending::begin(&shared);
            let mut count = records.len();
            loop {
                match spool.append(group_of(&records)).await {
                    Ok(appended) => {
                        appending.end(appended.records);
                        skipped.sort_unstable();
                        return Ok(Skipped(skipped));
                    }
                    Err(error) => {
                        let SpoolErrorKind::TooLarge { max, .. } = *error.kind() else { return Err(error.into()) };
                        // A record that is too large must not cost the others of its group.
                        let mut place = places.iter();
                        records.retain(|record| {
                            let (fits, place) = (record.payload.len() <= max, place.next());
                            skipped.extend(place.filter(|_| !fits));
                            fits
                        });
                        if records.len() == count {
                            return Err(error.into());
                        }
                        if records.is_empty() {
                            skipped.sort_unstable();
                            return Ok(Skipped(skipped));
                        }
                        places.retain(|place| !skipped.contains(place));
                        count = records.len();
                    }
                }
            }
        })
    }

    fn replay(self: Arc<Self>, replayer: Replayer<T>) -> SpoolTask<()> {
        let Self { spool, destination, codec, policy, shared, .. } = &*self;
        let (spool, codec, shared) = (Arc::clone(spool), Arc::clone(codec), Arc::clone(shared));
        Box::pin(Driver::new(spool, destination.clone(), codec, policy.clone(), shared, replayer).run())
    }
}

impl<C> fmt::Debug for ExporterSpool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterSpool").field("destination", &self.destination).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        // No user code runs under the lock, so what it guards is whole.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An append that the books do not know the end of.
struct Appending<'a>(&'a Shared);

// === impl Appending ===

impl<'a> Appending<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.books().append_begins();
        Self(shared)
    }

    /// So many records were appended.
    fn end(&self, records: u64) {
        self.0.books().appended(records);
        self.0.appended.notify_one();
    }
}

impl Drop for Appending<'_> {
    /// CANCEL: records of an append whose future is dropped are found by the next look at the spool, as recovered.
    fn drop(&mut self) {
        self.0.books().append_ends();
    }
}
