//! The embedded store: one SQLite file.

mod rows;

use super::Sink;
use crate::batch::Batch;
use forebay::{
    core::{Advice, BoxError, DropReason, Seen, Verdict},
    otlp::Signal,
    queue::Panicked,
};
use rusqlite::{Connection, OptionalExtension};
use std::{
    error::Error,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// The database behind the sink; clones are the same one.
#[derive(Clone)]
pub struct Database(Arc<Mutex<Connection>>);

/// A batch was not stored; nothing of it is in the database.
#[derive(Debug)]
pub struct StoreError(Verdict);

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

/// A sink that stores in `database`.
#[must_use]
pub fn sqlite(database: &Database) -> Sink {
    let database = database.clone();
    Sink::of_fn(move |batch| {
        let database = database.clone();
        async move {
            match spawn_blocking(move || database.store(&batch)).await {
                Ok(stored) => stored.map_err(BoxError::from),
                Err(error) if error.is_panic() => Err(Panicked::new().into()),
                Err(error) => Err(error.into()),
            }
        }
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
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let unnamed: i64 = connection.query_row(UNNAMED_SPANS, [], |row| row.get(0))?;
        if unnamed > 0 {
            connection.execute_batch(&format!("BEGIN; {KEEP_SPANS} {SCHEMA_OF_ROWS} {MOVE_SPANS} COMMIT;"))?;
        }
        connection.execute_batch(PRAGMAS)?;
        connection.execute_batch(SCHEMA_OF_ROWS)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
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
        let store = || -> Result<(), BoxError> {
            let mut connection = self.lock();
            // Rolled back where it is dropped, by a panic as well.
            let transaction = connection.transaction()?;
            match batch.signal {
                Signal::Traces => rows::traces(&transaction, batch)?,
                Signal::Logs => rows::logs(&transaction, batch)?,
                Signal::Metrics => rows::metrics(&transaction, batch)?,
            }
            Ok(transaction.commit()?)
        };
        store().map_err(StoreError::new)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock has rolled its transaction back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
