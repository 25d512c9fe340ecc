use super::{
    books::{Books, Recovered},
    probe,
    record::{self, MAX_HEAD},
};
use crate::{
    batch::{Batch, Job},
    clock::unix_nanos,
    config::SpoolConfig,
    ledgers::{Entry, Ledgers},
    meters::Meters,
};
use forebay::core::{BoxError, DropReason};
use forebay_spool::{
    DiskSpool, Durability, Group, Lease, Limit, Overflow, Spool, SpoolBuilder, SpoolError, SpoolErrorKind,
};
use futures_util::future::join_all;
use std::{
    cmp::Reverse,
    error::Error,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// The spool; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct BatchSpool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spool: DiskSpool,
    config: SpoolConfig,
    books: Mutex<Books>,
    level: Mutex<Known>,
    meters: Arc<Meters>,
    /// `None` as long as batches can be written.
    broken: Mutex<Option<Broken>>,
    appended: Notify,
    /// The next round of replay begins with the newest.
    turn: AtomicBool,
}

/// How full the spool was when it was last looked at.
#[derive(Debug)]
struct Known {
    level: Level,
    at: Instant,
}

/// A batch could not be written, and no other as long as it since.
#[derive(Clone, Debug)]
struct Broken {
    why: String,
    bytes: u64,
    /// When the spool was tried last.
    tried: Instant,
}

/// What the spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Batches that wait for the sink.
    pub batches: u64,
    /// Batches that were given up. They stay until they are requeued, or make room.
    pub dead: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The larger of the shares of both bounds.
    pub fullness: f64,
}

/// Why a batch is not in the spool.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// The spool did not take it.
    Spool(SpoolError),
    /// The task that was to append it has panicked.
    Task(tokio::task::JoinError),
}

/// The name under which the sink leases.
pub(super) const SINK: &str = "sink";

/// The mark by which a spool that has failed is tried.
const PROBE: &str = "probe";

/// How long ago the spool was looked at, at most, while many append.
const LOOK: Duration = Duration::from_millis(50);

/// How long the end waits for settlements that are under way.
const CLOSE: Duration = Duration::from_secs(1);

/// Batches that are put aside at a time in the end: they share a few syncs.
const AT_ONCE: usize = 256;

// === impl BatchSpool ===

impl BatchSpool {
    /// Opens the spool, and finds what an earlier run has left in it. Reads and writes; call it before anything is served.
    ///
    /// With `intake`, batches are acknowledged once they are in the spool: what there is no room for is refused then, whatever it is.
    /// `max_body` is the largest request.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range, or the folder cannot be made, read or written.
    pub(crate) async fn open(
        config: SpoolConfig,
        intake: Option<Durability>,
        max_body: usize,
        ledgers: Arc<Ledgers>,
        meters: Arc<Meters>,
    ) -> Result<Self, BoxError> {
        let builder = match &config.storage {
            Some(storage) => SpoolBuilder::on(Arc::clone(storage)),
            None => {
                if let Some(parent) = config.folder.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                DiskSpool::builder(&config.folder)
            }
        };
        // An eighth is the largest share of the spool that one record may have.
        let largest = usize::try_from(config.bytes / 8).unwrap_or(usize::MAX).min(16 << 20);
        let builder = builder
            .destination(SINK, &*config.identity)
            .durability(intake.unwrap_or_default())
            .max_bytes(config.bytes)
            .max_records(config.batches.get())
            .max_record_bytes(max_body.saturating_add(MAX_HEAD).min(largest))
            .max_attempts(config.tries.get())
            .overflow(if intake.is_some() { Overflow::RefuseAll } else { Overflow::DropOldest });
        // It reads all files.
        let spool = spawn_blocking(move || builder.open()).await??;
        let level = Mutex::new(Known { level: Level::default(), at: Instant::now() });
        let (broken, appended, turn) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        let books = Mutex::new(Books::new(ledgers));
        let this = Self { shared: Arc::new(Shared { spool, config, books, level, meters, broken, appended, turn }) };
        this.refresh().await;
        Ok(this)
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        // Counting does not panic half way.
        self.shared.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken_now(&self) -> MutexGuard<'_, Option<Broken>> {
        // A value is replaced in one step.
        self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    pub(super) fn spool(&self) -> &DiskSpool {
        &self.shared.spool
    }

    pub(super) fn config(&self) -> &SpoolConfig {
        &self.shared.config
    }

    /// Whether this round of replay begins with the newest: each other one does.
    pub(super) fn turns_around(&self) -> bool {
        self.shared.turn.fetch_xor(true, Relaxed)
    }

    /// Waits until something was appended.
    pub(super) async fn appended(&self) {
        self.shared.appended.notified().await;
    }

    /// How full the spool is, as it was last seen.
    #[must_use]
    pub(crate) fn level(&self) -> Level {
        self.known().level
    }

    /// What an earlier run has left.
    #[must_use]
    pub(crate) fn recovered(&self) -> Recovered {
        self.books().recovered()
    }

    /// Counts what the spool holds, and what it has dropped to make room.
    pub(crate) async fn refresh(&self) {
        let quiet = self.books().quiet();
        if quiet.is_none() && self.known().at.elapsed() < LOOK {
            return;
        }
        // A spool that is closed holds what it held.
        let Ok(stats) = self.shared.spool.stats().await else { return };
        let own = stats.destinations.iter().find(|known| known.is_open && known.name == SINK);
        let (batches, dead) = own.map_or((0, 0), |own| (own.pending, own.dead));
        if let Some(quiet) = quiet {
            let evicted = self.books().reconcile(batches, quiet);
            for signal in evicted {
                self.shared.meters.dead_letter(signal, "evicted");
            }
        }
        let config = &self.shared.config;
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let fullness = share(stats.bytes, config.bytes).max(share(batches, config.batches.get()));
        let level = Level { batches, dead, bytes: stats.bytes, fullness };
        *self.known() = Known { level, at: Instant::now() };
    }

    /// Why batches cannot be written now; `None` as long as they can. While they cannot, a call tries it again, but not sooner after
    /// the last try than `probe_every`: a try writes as much as a batch, and senders that are refused come often.
    ///
    /// # Cancellation
    ///
    /// A try that has begun goes on.
    pub(crate) async fn broken(&self) -> Option<String> {
        let bytes = {
            let mut broken = self.broken_now();
            let last = broken.as_mut()?;
            if last.tried.elapsed() < self.shared.config.probe_every {
                return Some(last.why.clone());
            }
            // Others that come meanwhile get what is known, and do not try it too.
            last.tried = Instant::now();
            last.bytes
        };
        let failed = self.try_again(bytes).await.err().map(|error| said(&*error));
        *self.broken_now() = failed.clone().map(|why| Broken { why, bytes, tried: Instant::now() });
        failed
    }

    async fn try_again(&self, bytes: u64) -> Result<(), BoxError> {
        let config = &self.shared.config;
        if config.storage.is_none() {
            let folder: PathBuf = config.folder.clone();
            spawn_blocking(move || probe::room(&folder, bytes)).await??;
        }
        let mark = unix_nanos().to_le_bytes().to_vec();
        self.shared.spool.append(Group::default().mark(PROBE, mark)).await?;
        Ok(())
    }

    /// Whether the last batch could be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken_now().is_some()
    }

    /// Puts `batch` into the spool. When this returns it is durable, and its entry says so.
    ///
    /// # Errors
    ///
    /// When it does not fit, or cannot be written: it is dropped then, for the reason `otherwise`, or for that of the spool.
    ///
    /// # Cancellation
    ///
    /// The append goes on, and so does its entry.
    pub(crate) async fn keep(&self, batch: Batch, entry: Entry, otherwise: Option<DropReason>) -> Result<(), NotKept> {
        let this = self.clone();
        let kept = tokio::spawn(async move {
            let kept = this.append(&batch, entry, otherwise).await;
            this.refresh().await;
            kept
        });
        kept.await.map_err(NotKept::Task)?.map_err(NotKept::Spool)
    }

    async fn append(&self, batch: &Batch, entry: Entry, otherwise: Option<DropReason>) -> Result<(), SpoolError> {
        let place = self.books().append_begins(batch, entry);
        let appended = self.shared.spool.append(record::group(batch, SINK)).await;
        let refused = appended.as_ref().err();
        let reason = refused.map(|error| otherwise.unwrap_or(error.verdict().reason()));
        self.books().append_ends(batch, place, reason);
        let is_broken = refused
            .filter(|error| matches!(error.kind(), SpoolErrorKind::Full { limit: Limit::Disk } | SpoolErrorKind::Io));
        let bytes = record::length(batch);
        // Full, or too large for it: the spool itself works.
        *self.broken_now() = is_broken.map(|error| Broken { why: said(error), bytes, tried: Instant::now() });
        self.shared.meters.dead_letter(batch.signal, if appended.is_ok() { "enqueued" } else { "enqueue_failed" });
        self.shared.appended.notify_one();
        appended.map(drop)
    }

    /// Puts aside what there was no time for at the end: what is urgent first, then the newest, as many as the spool may hold. The
    /// others are dropped by shutdown; to write batches only to evict them would keep the process from ending.
    pub(crate) async fn keep_last(&self, mut jobs: Vec<Job>) {
        jobs.sort_by_key(|job| (Reverse(job.batch.priority()), Reverse(job.batch.received), Reverse(job.batch.id)));
        let (mut batches, mut bytes) = (0, 0);
        let fits = |job: &Job| {
            batches += 1;
            // A page of the engine is a power of two, so that a batch takes up to twice its size.
            bytes += 2 * record::length(&job.batch);
            batches <= self.shared.config.batches.get() && bytes <= self.shared.config.bytes
        };
        let mut jobs = jobs.into_iter();
        let mut kept: Vec<_> = jobs.by_ref().take_while(fits).collect();
        // Their entries say what became of the rest. The oldest is written first, for it is the first to be evicted.
        drop(jobs);
        kept.sort_by_key(|job| (job.batch.received, job.batch.id));
        while !kept.is_empty() {
            let rest = kept.split_off(kept.len().min(AT_ONCE));
            let appends = std::mem::replace(&mut kept, rest).into_iter().map(|Job { batch, entry, .. }| async move {
                self.append(&batch, entry, Some(DropReason::Shutdown)).await
            });
            // No sender waits any more; what was written is in the ledgers.
            drop(join_all(appends).await);
        }
        self.refresh().await;
    }

    /// Closes the spool, so that the next run finds it in good order.
    pub(crate) async fn close(&self) {
        let since = Instant::now();
        while self.books().quiet().is_none() && since.elapsed() < CLOSE {
            // A settlement that the end of the replay has left behind is counted a moment later.
            sleep(Duration::from_millis(1)).await;
        }
        self.refresh().await;
        // What was acknowledged is durable whether it closes well or not; the next opening verifies the files then.
        drop(self.shared.spool.close().await);
    }

    /// The next batches for the sink, `records` at most.
    pub(super) async fn lease(&self, want: forebay_spool::Want) -> Option<Lease> {
        // A spool that cannot be read at present is asked again by the next round.
        self.shared.spool.lease(SINK, want).await.ok().flatten()
    }
}

/// An error with its causes, in one line.
fn said(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

// === impl NotKept ===

impl NotKept {
    /// Under which reason a sender is refused that may come again later, or with less; `None` if the spool is broken.
    pub(crate) fn refusal(&self) -> Option<DropReason> {
        match self {
            Self::Spool(error) => match error.kind() {
                SpoolErrorKind::Full { limit: Limit::Disk } => None,
                SpoolErrorKind::Full { .. }
                | SpoolErrorKind::Busy
                | SpoolErrorKind::TooLarge { .. }
                | SpoolErrorKind::Closed => Some(error.verdict().reason()),
                _ => None,
            },
            Self::Task(_) => None,
        }
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch could not be put into the spool")
    }
}

impl Error for NotKept {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Spool(error) => Some(error),
            Self::Task(error) => Some(error),
        }
    }
}
