//! The embedded store: one SQLite file.

mod group;
mod retention;
mod rows;

pub use self::retention::{Removed, Retention};

use self::{group::Writer, retention::Keeper};
use super::{Number, Sink};
use crate::{
    batch::{Batch, BatchId},
    clock::unix_nanos,
};
use forebay::{
    core::{Advice, BoxError, DropReason, Seen, Verdict, panic},
    queue::Panicked,
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::{
    error::Error,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::task::spawn_blocking;

/// The database behind the sink; clones are the same one.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    connection: Mutex<Connection>,
    counts: Counts,
}

/// What the database has done since it was opened.
#[derive(Debug, Default)]
struct Counts {
    /// Transactions that were committed with batches in them.
    transactions: AtomicU64,
    /// Batches that the retention has removed.
    removed: AtomicU64,
    /// Rounds of the retention that failed.
    retention_failures: AtomicU64,
    /// Bytes in use after the last transaction.
    bytes: AtomicU64,
}

/// A batch was not stored; nothing of it is in the database.
#[derive(Debug)]
pub struct StoreError(Verdict);

/// The most batches of one transaction: a transaction is lost as a whole, and holds its pages in memory.
const MOST: usize = 64;

/// A span needs its trace, so the order of writing is not a matter of taste. A row is named by its batch and its
/// place in the batch: a replay of a batch stores nothing twice, and records that share their ids stay apart. What a
/// sender sends in two requests is stored twice.
const SCHEMA_OF_ROWS: &str = "
CREATE TABLE IF NOT EXISTS traces (
  tenant TEXT NOT NULL, trace_id BLOB NOT NULL, received_ns INTEGER NOT NULL,
  PRIMARY KEY (tenant, trace_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spans (
  batch BLOB NOT NULL, n INTEGER NOT NULL,
  tenant TEXT NOT NULL, trace_id BLOB NOT NULL, span_id BLOB NOT NULL, parent_span_id BLOB,
  service TEXT NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
  status INTEGER NOT NULL, status_message TEXT NOT NULL, attributes TEXT NOT NULL,
  PRIMARY KEY (batch, n),
  FOREIGN KEY (tenant, trace_id) REFERENCES traces (tenant, trace_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spans_by_trace ON spans (tenant, trace_id, span_id);
CREATE TABLE IF NOT EXISTS logs (
  batch BLOB NOT NULL, n INTEGER NOT NULL, tenant TEXT NOT NULL, time_ns INTEGER NOT NULL, severity INTEGER NOT NULL,
  service TEXT NOT NULL, body TEXT NOT NULL, trace_id BLOB, span_id BLOB, attributes TEXT NOT NULL,
  PRIMARY KEY (batch, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
  received_ns INTEGER NOT NULL, batch BLOB NOT NULL,
  PRIMARY KEY (received_ns, batch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points (
  batch BLOB NOT NULL, n INTEGER NOT NULL, tenant TEXT NOT NULL, time_ns INTEGER NOT NULL, service TEXT NOT NULL,
  name TEXT NOT NULL, unit TEXT NOT NULL, kind TEXT NOT NULL, value REAL, detail TEXT NOT NULL, attributes TEXT NOT NULL,
  PRIMARY KEY (batch, n)
) WITHOUT ROWID;
";

const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;";

/// Whether the table of spans is one of an earlier version, whose rows were named by the ids of their spans.
const UNNAMED_SPANS: &str = "SELECT (SELECT count(*) FROM pragma_table_info('spans')) > 0
  AND NOT EXISTS (SELECT 1 FROM pragma_table_info('spans') WHERE name = 'batch')";
const KEEP_SPANS: &str = "ALTER TABLE spans RENAME TO spans_by_id;";
/// The rows of that table are one batch, whose id no gateway gives.
const MOVE_SPANS: &str = "
INSERT INTO spans SELECT zeroblob(16), row_number() OVER (), spans_by_id.* FROM spans_by_id;
DROP TABLE spans_by_id;";

/// Whether batches are in the database that an earlier version has not written down in `batches`.
const UNLISTED: &str = "SELECT NOT EXISTS (SELECT 1 FROM pragma_table_info('batches'))
  AND EXISTS (SELECT 1 FROM pragma_table_info('logs'))";
/// An id begins with the time at which its gateway was started: no batch is older than that.
const LIST: &str =
    "SELECT DISTINCT batch FROM (SELECT batch FROM spans UNION SELECT batch FROM logs UNION SELECT batch FROM points)";

/// A sink that stores in `database`, the batches that wait at a time in one transaction.
#[must_use]
pub fn sqlite(database: &Database) -> Sink {
    sqlite_in_groups(database, MOST)
}

/// The same with `most` batches in one transaction: 1 is for measuring what more of them bring.
pub(crate) fn sqlite_in_groups(database: &Database, most: usize) -> Sink {
    let writer = Writer::new(database.clone(), most);
    let (closing, read) = (database.clone(), database.clone());
    Sink::of_fn(move |batch| writer.clone().store(batch))
        .numbers(move || read.numbers())
        .on_close(move |_| closing.settle())
}

/// The same, which also removes what `retention` does not keep: at the start, and every minute from then on.
#[must_use]
pub fn sqlite_with_retention(database: &Database, retention: Retention) -> Sink {
    let (keeper, closing) = (Keeper::start(database.clone(), retention), database.clone());
    sqlite(database).on_close(move |_| async move {
        keeper.stop().await;
        closing.settle().await;
    })
}

// === impl Database ===

impl Database {
    /// Opens the file at `path`, and makes what is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is no database.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let unnamed: i64 = connection.query_row(UNNAMED_SPANS, [], |row| row.get(0))?;
        let unlisted: bool = connection.query_row(UNLISTED, [], |row| row.get(0))?;
        // Before the pragmas: foreign keys would refuse to let a table be exchanged.
        let schema = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if unnamed > 0 {
            schema.execute_batch(&format!("{KEEP_SPANS} {SCHEMA_OF_ROWS} {MOVE_SPANS}"))?;
        }
        schema.execute_batch(SCHEMA_OF_ROWS)?;
        if unlisted {
            list_batches(&schema)?;
        }
        schema.commit()?;
        connection.execute_batch(PRAGMAS)?;
        let shared = Shared { connection: Mutex::new(connection), counts: Counts::default() };
        shared.counts.bytes.store(retention::used_bytes(&shared.lock())?, Relaxed);
        Ok(Self(Arc::new(shared)))
    }

    /// Runs any SQL: for reports and for tests.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.lock().execute_batch(sql)
    }

    /// The first number that `sql` selects, if any.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn number(&self, sql: &str) -> rusqlite::Result<Option<i64>> {
        self.lock().query_row(sql, [], |row| row.get(0)).optional()
    }

    /// Stores a batch in one transaction: traces, then spans, then logs; all of it or nothing.
    ///
    /// # Errors
    ///
    /// What SQLite says, or that the batch is no OTLP.
    pub fn store(&self, batch: &Batch) -> Result<(), StoreError> {
        self.store_all(std::slice::from_ref(batch)).pop().unwrap_or(Ok(()))
    }

    /// Stores batches in one transaction, each of them as a whole or not at all, and says of each whether it is stored.
    ///
    /// A batch that fails takes no other one with it. Where the transaction as a whole fails (the disk is full, say), each
    /// batch has a transaction of its own, so that those are stored for which there is room.
    #[must_use]
    pub fn store_all(&self, batches: &[Batch]) -> Vec<Result<(), StoreError>> {
        let mut connection = self.lock();
        let (results, transactions) = match store_together(&mut connection, batches) {
            Ok(results) => (results, 1),
            Err(error) if batches.len() == 1 => (vec![Err(error)], 0),
            Err(_each_says_its_own) => {
                let alone = |batch| {
                    store_together(&mut connection, std::slice::from_ref(batch)).and_then(|mut one| one.remove(0))
                };
                let results: Vec<_> = batches.iter().map(alone).collect();
                let stored = results.iter().filter(|result| result.is_ok()).count() as u64;
                (results, stored)
            }
        };
        self.0.counts.transactions.fetch_add(transactions, Relaxed);
        if let Ok(bytes) = retention::used_bytes(&connection) {
            self.0.counts.bytes.store(bytes, Relaxed);
        }
        drop(connection);
        results.into_iter().map(|result| result.map_err(StoreError::new)).collect()
    }

    /// Brings what was written into the file itself, so that a copy of it is all there is.
    async fn settle(self) {
        let all = move || self.execute("PRAGMA wal_checkpoint(TRUNCATE);");
        // Where it cannot be done the next start does it: nothing is lost with it.
        drop(spawn_blocking(all).await);
    }

    fn numbers(&self) -> Vec<Number> {
        let Counts { transactions, removed, retention_failures, bytes } = &self.0.counts;
        let number = |name, kind, help, value: &AtomicU64| Number { name, kind, help, value: value.load(Relaxed) };
        vec![
            number("store_transactions_total", "counter", "Transactions with batches in them.", transactions),
            number("store_removed_batches_total", "counter", "Batches that the retention has removed.", removed),
            number(
                "store_retention_failures_total",
                "counter",
                "Rounds of the retention that failed.",
                retention_failures,
            ),
            number("store_bytes", "gauge", "Bytes in use in the database.", bytes),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock has rolled its transaction back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores `batches` in one transaction; an error undoes all of it, one in the results its batch only.
fn store_together(connection: &mut Connection, batches: &[Batch]) -> Result<Vec<Result<(), BoxError>>, BoxError> {
    // The lock of the file is taken at the start: to wait for it in the middle would fail what was written before.
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(batches.len());
    for batch in batches {
        // Rolled back where it is dropped.
        let savepoint = transaction.savepoint()?;
        let stored = match panic::catch(|| rows::store(&savepoint, batch)) {
            Ok(stored) => stored,
            Err(_reported_by_the_hook) => Err(Panicked::new().into()),
        };
        match &stored {
            Ok(()) => savepoint.commit()?,
            Err(_) => drop(savepoint),
        }
        if transaction.is_autocommit() {
            // SQLite has undone the transaction by itself, and with it the batches before this one.
            return Err(stored.err().unwrap_or_else(|| "the transaction was undone".into()));
        }
        results.push(stored);
    }
    transaction.commit()?;
    Ok(results)
}

fn list_batches(schema: &Connection) -> rusqlite::Result<()> {
    let mut listed = schema.prepare(LIST)?;
    let ids: Vec<[u8; 16]> = listed.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        // The first half is the time.
        let received = u64::try_from(u128::from_be_bytes(id) >> 64).unwrap_or(u64::MAX);
        rows::list(schema, BatchId(u128::from_be_bytes(id)), received)?;
    }
    Ok(())
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database(..)")
    }
}

// === impl StoreError ===

impl StoreError {
    fn new(cause: BoxError) -> Self {
        Self(Verdict::new(DropReason::Failed, Seen::Yes, Advice::Retry).caused_by(cause))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch was not stored")
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
