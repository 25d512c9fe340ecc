//! How long, and how much, the database keeps.

use super::{Database, unix_nanos};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

/// What the database keeps; without a bound it keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long after it was received a batch is kept.
    pub age: Option<Duration>,
    /// How many bytes of the file are used, at most; the oldest batches make room.
    pub bytes: Option<u64>,
}

/// What one round has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Batches, with all their rows.
    pub batches: u64,
}

/// Removes every minute what is not kept any more.
pub(super) struct Keeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

const EVERY: Duration = Duration::from_secs(60);

/// Batches that are removed in one transaction: the writer waits for it.
const CHUNK: u64 = 100;

const BYTES: &str = "SELECT (page_count - freelist_count) * page_size
  FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
/// The traces of the batches that are removed: some of them have no span left afterwards.
const TOUCHED: &str =
    "CREATE TEMP TABLE IF NOT EXISTS touched (tenant, trace_id, PRIMARY KEY (tenant, trace_id)) WITHOUT ROWID";
const TOUCH: &str = "INSERT OR IGNORE INTO touched SELECT tenant, trace_id FROM spans WHERE batch = ?1";
const LONE_TRACES: &str = "DELETE FROM traces WHERE (tenant, trace_id) IN (SELECT tenant, trace_id FROM touched)
  AND NOT EXISTS (SELECT 1 FROM spans WHERE spans.tenant = traces.tenant AND spans.trace_id = traces.trace_id)";

// === impl Keeper ===

impl Keeper {
    pub(super) fn start(database: Database, retention: Retention) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let rounds = async {
                loop {
                    let one = database.clone();
                    let round = spawn_blocking(move || one.retain(retention, unix_nanos())).await;
                    if !matches!(round, Ok(Ok(_))) {
                        database.0.counts.retention_failures.fetch_add(1, Relaxed);
                    }
                    sleep(EVERY).await;
                }
            };
            tokio::select! {
                () = rounds => {}
                // CANCEL: a round that has begun goes on, chunk by chunk; the lock of the database keeps it apart from others.
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        });
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // A panic in it ended it too.
        drop(self.task.await);
    }
}

// === impl Database ===

impl Database {
    /// Removes what `retention` does not keep at `now`, in nanoseconds since 1970: whole batches, the oldest first, by the
    /// time at which they were received.
    ///
    /// The file does not shrink: its free pages are used again.
    ///
    /// # Errors
    ///
    /// What SQLite says; what was removed before stays removed.
    pub fn retain(&self, retention: Retention, now: u64) -> rusqlite::Result<Removed> {
        let mut removed = Removed::default();
        loop {
            // The lock is free between two chunks, so that the writer has its turn.
            let mut connection = self.lock();
            connection.execute_batch(TOUCHED)?;
            let chunk = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut batches = match retention.age {
                Some(age) => {
                    let before = now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
                    oldest(&chunk, CHUNK, i64::try_from(before).unwrap_or(i64::MAX))?
                }
                None => Vec::new(),
            };
            if batches.is_empty()
                && let Some(most) = retention.bytes
            {
                batches = oldest(&chunk, too_many(&chunk, most)?, i64::MAX)?;
            }
            if batches.is_empty() {
                return Ok(removed);
            }
            remove(&chunk, &batches)?;
            chunk.commit()?;
            self.0.counts.bytes.store(used_bytes(&connection)?, Relaxed);
            self.0.counts.removed.fetch_add(batches.len() as u64, Relaxed);
            removed.batches += batches.len() as u64;
        }
    }
}

/// Bytes of the file that are in use.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(BYTES, [], |row| row.get::<_, i64>(0)).map(|bytes| u64::try_from(bytes).unwrap_or(0))
}

/// How many batches are to go next so that no more than `most` bytes are in use.
fn too_many(chunk: &Transaction<'_>, most: u64) -> rusqlite::Result<u64> {
    let used = used_bytes(chunk)?;
    if used <= most {
        return Ok(0);
    }
    let count: Option<i64> = chunk.query_row("SELECT count(*) FROM batches", [], |row| row.get(0)).optional()?;
    let count = count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    // As large a part of them as is too much, if all are alike; what is still too much goes in the next chunk.
    let part = u128::from(count) * u128::from(used - most) / u128::from(used.max(1));
    Ok(u64::try_from(part).unwrap_or(CHUNK).clamp(1, CHUNK))
}

fn oldest(chunk: &Transaction<'_>, most: u64, before: i64) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
    let mut oldest = chunk.prepare_cached(
        "SELECT received_ns, batch FROM batches WHERE received_ns < ?1 ORDER BY received_ns, batch LIMIT ?2",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    oldest.query_map(params![before, most], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn remove(chunk: &Transaction<'_>, batches: &[(i64, Vec<u8>)]) -> rusqlite::Result<()> {
    for (received, batch) in batches {
        chunk.prepare_cached(TOUCH)?.execute([batch])?;
        for table in ["spans", "logs", "points"] {
            chunk.prepare_cached(&format!("DELETE FROM {table} WHERE batch = ?1"))?.execute([batch])?;
        }
        chunk
            .prepare_cached("DELETE FROM batches WHERE received_ns = ?1 AND batch = ?2")?
            .execute(params![received, batch])?;
    }
    chunk.execute_batch(&format!("{LONE_TRACES}; DELETE FROM touched;"))
}
