use super::{
    file,
    index::{Caps, Failed, Index},
    name::Name,
};
use crate::{
    batch::{Batch, Job},
    ledgers::{Entry, Ledgers},
    meters::Meters,
};
use forebay::core::{DropReason, Fate};
use std::{
    cmp::Reverse,
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::Instant};

/// The folder; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    index: Mutex<Index>,
    ledgers: Arc<Ledgers>,
    meters: Arc<Meters>,
    /// `None` as long as letters can be written.
    broken: Mutex<Option<Broken>>,
    /// How long after a try that failed the next may be.
    probe_every: Duration,
}

/// A letter could not be written, and no other as long as it since.
#[derive(Clone, Debug)]
struct Broken {
    why: String,
    bytes: u64,
    /// When the folder was tried last.
    tried: Instant,
}

/// Whether letters can be written, as far as it is known.
enum Known {
    Writable,
    /// Why not.
    Broken(String),
    /// It is time for the caller to try.
    Due,
}

/// How full the folder is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Letters in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The larger of the shares of both caps.
    pub fullness: f64,
}

/// What one round of replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Letters that the sink took.
    pub replayed: usize,
    /// Letters that it did not take.
    pub failed: usize,
}

/// Why a batch could not be put aside.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// It alone is larger than the folder may be.
    TooLarge,
    /// The disk did not take it.
    Io(io::Error),
}

// === impl DeadLetters ===

impl DeadLetters {
    /// Opens `folder`, makes it where there is none, and counts what an earlier run has left in it. Reads and writes;
    /// call it before anything is served.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, read or written.
    pub(crate) fn open(
        folder: &Path,
        caps: Caps,
        probe_every: Duration,
        ledgers: Arc<Ledgers>,
        meters: Arc<Meters>,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        file::probe(folder, 1)?;
        let mut index = Index::new(caps);
        let now = Instant::now();
        for file in fs::read_dir(folder)? {
            let file = file?;
            let text = file.file_name().to_string_lossy().into_owned();
            if text.ends_with(".otlp.partial") {
                // Of a write that a crash cut off: its batch was never acknowledged from here.
                fs::remove_file(file.path())?;
            } else if let Some(name) = Name::parse(&text) {
                ledgers.found(name.signal, name.records);
                index.insert(name, file.metadata()?.len(), now);
            }
        }
        let index = Mutex::new(index);
        let (folder, broken) = (folder.to_owned(), Mutex::default());
        let letters = Self { shared: Arc::new(Shared { folder, index, ledgers, meters, broken, probe_every }) };
        let evicted = letters.lock().trim_to_caps();
        evicted.into_iter().for_each(|letter| letters.shared.evict(letter.name));
        Ok(letters)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.shared.lock()
    }

    /// How full the folder is.
    #[must_use]
    pub(crate) fn level(&self) -> Level {
        let index = self.lock();
        Level { files: index.files(), bytes: index.bytes(), fullness: index.fullness() }
    }

    /// Why letters cannot be written now; `None` as long as they can. While they cannot, a call tries it again, but not sooner
    /// after the last try than `probe_every`: a try writes as much as a letter, and senders that are refused come often.
    ///
    /// # Cancellation
    ///
    /// A try that has begun goes on.
    pub(crate) async fn broken(&self) -> Option<String> {
        match self.shared.known(Instant::now()) {
            Known::Writable => return None,
            Known::Broken(why) => return Some(why),
            Known::Due => {}
        }
        let shared = Arc::clone(&self.shared);
        let tried = spawn_blocking(move || shared.try_again()).await;
        tried.unwrap_or_else(|error| Some(error.to_string()))
    }

    /// Whether the last letter could be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.shared.broken().is_some()
    }

    /// Puts `batch` aside; the oldest letters make room for it. When this returns it is on disk, and its entry says so.
    ///
    /// # Errors
    ///
    /// When it does not fit, or cannot be written: it was not kept then, and is dropped for the reason `otherwise`.
    ///
    /// # Cancellation
    ///
    /// A write that has begun goes on, and so does its entry.
    pub(crate) async fn keep(&self, batch: Batch, entry: Entry, otherwise: DropReason) -> Result<(), NotKept> {
        let (shared, signal) = (Arc::clone(&self.shared), batch.signal);
        let kept = spawn_blocking(move || {
            shared.keep(&batch, entry, otherwise)?;
            file::sync(&shared.folder).map_err(NotKept::Io)
        });
        let kept = kept.await.unwrap_or_else(|error| Err(NotKept::Io(io::Error::other(error))));
        self.shared.meters.dead_letter(signal, if kept.is_ok() { "enqueued" } else { "enqueue_failed" });
        kept
    }

    /// Puts aside what there was no time for at the end: what is urgent first, then the newest, as many as the folder may
    /// hold. The others are dropped by shutdown; to write letters only to evict them would keep the process from ending.
    pub(crate) async fn keep_last(&self, mut jobs: Vec<Job>) {
        jobs.sort_by_key(|job| (Reverse(job.batch.priority()), Reverse(job.batch.received), Reverse(job.batch.id)));
        let caps = self.lock().caps();
        let mut bytes = 0;
        let fits = |(n, job): &(usize, Job)| {
            bytes += file::length(&job.batch);
            *n < caps.files.get() && bytes <= caps.bytes
        };
        let mut jobs = jobs.into_iter().enumerate();
        let mut kept: Vec<_> = jobs.by_ref().take_while(fits).map(|(_, job)| job).collect();
        // Their entries say what became of the rest. The oldest is written first, for it is the first to be evicted.
        drop(jobs);
        kept.sort_by_key(|job| (job.batch.received, job.batch.id));
        let shared = Arc::clone(&self.shared);
        let written = spawn_blocking(move || {
            for Job { batch, entry, .. } in kept {
                let result = match shared.keep(&batch, entry, DropReason::Shutdown) {
                    Ok(()) => "enqueued",
                    Err(_counted) => "enqueue_failed",
                };
                shared.meters.dead_letter(batch.signal, result);
            }
            // Once for all: each is a file already, only a crash of the system in this moment would lose its name.
            file::sync(&shared.folder)
        });
        // No sender waits any more; what was written is in the ledgers.
        drop(written.await);
    }

    /// The oldest letters that are due now, `most` of them.
    pub(super) fn due(&self, most: usize) -> Vec<Name> {
        self.lock().due(Instant::now(), most)
    }

    /// Reads a letter; `None` if it was evicted meanwhile, or cannot be read, in which case it is removed and counted.
    pub(super) async fn read(&self, name: Name) -> Option<Batch> {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || shared.read(name)).await.ok().flatten()
    }

    /// The sink has taken a letter.
    pub(super) async fn delivered(&self, name: Name) {
        self.settle(name, Fate::Delivered, "replayed").await;
    }

    async fn settle(&self, name: Name, fate: Fate, result: &'static str) {
        let shared = Arc::clone(&self.shared);
        // CANCEL: the settling goes on.
        drop(spawn_blocking(move || shared.settle(name, fate, result)).await);
    }

    /// The sink has not taken a letter.
    pub(super) async fn failed(&self, name: Name) {
        let shared = Arc::clone(&self.shared);
        drop(spawn_blocking(move || shared.failed(name)).await);
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Index> {
        // The index is changed in one step each.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self) -> MutexGuard<'_, Option<Broken>> {
        // A value is replaced in one step.
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the folder at `now`, without a try.
    fn known(&self, now: Instant) -> Known {
        let mut broken = self.broken();
        let Some(last) = broken.as_mut() else { return Known::Writable };
        if now.saturating_duration_since(last.tried) < self.probe_every {
            return Known::Broken(last.why.clone());
        }
        // Others that come meanwhile get what is known, and do not try it too.
        last.tried = now;
        Known::Due
    }

    /// Whether a letter as long as the one that could not be written can be written now; if not, why.
    fn try_again(&self) -> Option<String> {
        let Broken { bytes, .. } = self.broken().clone()?;
        let failed = file::probe(&self.folder, bytes).err().map(|error| error.to_string());
        *self.broken() = failed.clone().map(|why| Broken { why, bytes, tried: Instant::now() });
        failed
    }

    fn keep(&self, batch: &Batch, entry: Entry, otherwise: DropReason) -> Result<(), NotKept> {
        let head = file::head(batch);
        let bytes = file::length(batch);
        let Batch { id, signal, received, facts, .. } = *batch;
        let name = Name { received, id, signal, records: facts.records, attempts: 0 };
        // Held while writing: two writers together could put more on the disk than it may hold.
        let mut index = self.lock();
        let kept = index.make_room(bytes).map_err(|_too_large| NotKept::TooLarge).and_then(|evicted| {
            evicted.into_iter().for_each(|letter| self.evict(letter.name));
            let written = file::write(&self.folder, name, &head, &batch.body);
            let failed = written.as_ref().err().map(ToString::to_string);
            *self.broken() = failed.map(|why| Broken { why, bytes, tried: Instant::now() });
            written.map_err(NotKept::Io)
        });
        // CORRECTNESS: under the lock of the index, so that no letter is evicted or replayed before it is in the ledgers.
        match &kept {
            Ok(()) => {
                entry.settle(Fate::Spooled);
                index.insert(name, bytes, Instant::now());
            }
            Err(_) => entry.settle(Fate::Dropped(otherwise)),
        }
        kept
    }

    /// The letter is out of the index.
    fn evict(&self, name: Name) {
        self.forget(name, Fate::Dropped(DropReason::Evicted), "evicted");
    }

    fn forget(&self, name: Name, fate: Fate, result: &'static str) {
        // A file that stays is found at the next start, and counted again then.
        drop(fs::remove_file(self.folder.join(name.to_string())));
        self.ledgers.settle_spooled(name.signal, name.records, fate);
        self.meters.dead_letter(name.signal, result);
    }

    fn settle(&self, name: Name, fate: Fate, result: &'static str) {
        // The one that takes it out of the index settles it.
        let taken = self.lock().remove(name);
        if let Some(letter) = taken {
            self.forget(letter.name, fate, result);
        }
    }

    fn read(&self, name: Name) -> Option<Batch> {
        match file::read(&self.folder, name) {
            Ok(batch) => Some(batch),
            Err(error) if error.kind() == io::ErrorKind::InvalidData || error.kind() == io::ErrorKind::NotFound => {
                self.settle(name, Fate::Dropped(DropReason::Encode), "unreadable");
                None
            }
            Err(_) => {
                self.failed(name);
                None
            }
        }
    }

    fn failed(&self, name: Name) {
        let mut index = self.lock();
        match index.failed(name, Instant::now()) {
            Some(Failed::Again(again)) => {
                // Only the count of tries would be lost with a rename that fails, so the letter keeps its old name.
                if file::rename(&self.folder, name, again).is_err()
                    && let Some(letter) = index.remove(again)
                {
                    index.insert(name, letter.bytes, Instant::now());
                }
                self.meters.dead_letter(name.signal, "replay_failed");
            }
            Some(Failed::GiveUp) => {
                drop(index);
                self.forget(name, Fate::Dropped(DropReason::RetriesExhausted), "given_up");
            }
            None => {}
        }
    }
}

// === impl NotKept ===

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the batch is larger than the dead-letter folder"),
            Self::Io(_) => f.write_str("the dead letter could not be written"),
        }
    }
}

impl Error for NotKept {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLarge => None,
            Self::Io(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchId, Facts};
    use forebay::otlp::Signal;
    use std::num::NonZeroUsize;

    #[tokio::test]
    async fn letters_of_the_same_instant_have_files_of_their_own() {
        let folder = std::env::temp_dir().join(format!("forebay-letters-{}", std::process::id()));
        let caps = Caps { files: NonZeroUsize::MAX, bytes: 1 << 20, retries: 1, interval: Duration::ZERO };
        let ledgers = Arc::<Ledgers>::default();
        let letters = DeadLetters::open(&folder, caps, Duration::ZERO, Arc::clone(&ledgers), Arc::default()).unwrap();
        for n in 0..3 {
            let batch = Batch {
                id: BatchId(n),
                signal: Signal::Logs,
                tenant: "".into(),
                body: bytes::Bytes::from_static(b"body"),
                facts: Facts { records: 1, ..Facts::default() },
                // A coarse clock says the same for each of them.
                received: 7,
            };
            letters.keep(batch, ledgers.open(Signal::Logs, 1), DropReason::Failed).await.unwrap();
        }
        assert_eq!((fs::read_dir(&folder).unwrap().count(), letters.level().files), (3, 3));
        fs::remove_dir_all(&folder).unwrap();
    }
}
