//! Inserts into SQLite that share a transaction: many callers insert one row each, and each gets the id of its row.
//!
//! A commit waits for the disk, whether it holds one row or five hundred. So the rows of callers that come at the same time go
//! in one transaction, and a row that breaks a constraint fails its own caller only.
//!
//! ```text
//! cargo run --release -p forebay-example-sqlite --bin batch_sqlite
//! ```

use forebay_batch::{Batch, BatchLayer, Batching, DropReason, Fate, Settlement};
use forebay_core::{BoxError, ItemFate};
use rusqlite::{Connection, TransactionBehavior};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt, service_fn};

/// Tasks that insert at the same time, each one row after the other.
const CALLERS: usize = 256;
/// The rows of each caller, batched.
const ROWS_EACH: usize = 80;
/// Rows that are inserted in transactions of their own, for comparison.
const ROWS_ALONE: usize = 1_024;

#[derive(Clone, Debug)]
struct Order {
    customer: String,
    cents: i64,
}

/// What the table has for one row: its id, or why the row was refused.
type Inserted = Result<i64, String>;

/// One connection, on which one transaction runs at a time, as SQLite wants it.
#[derive(Clone)]
struct Database(Arc<Mutex<Connection>>);

/// The folder of the database, removed in the end.
struct Folder(PathBuf);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    println!("{CALLERS} callers insert one row at a time, and wait for its id");
    let folder = Folder::create()?;
    let alone = Database::open(&folder.0.join("alone.db"))?;
    let shared = Database::open(&folder.0.join("shared.db"))?;

    let one_by_one = {
        let began = Instant::now();
        let rows = insert_from_many(ROWS_ALONE / CALLERS, move |order| insert_alone(alone.clone(), order)).await?;
        rate(rows.len(), began.elapsed())
    };
    println!("one by one:     {one_by_one:>7.0} rows/s, {ROWS_ALONE} transactions for {ROWS_ALONE} rows");

    let store = batched(shared.clone())?;
    let began = Instant::now();
    let inserts = store.clone();
    let rows = insert_from_many(ROWS_EACH, move |order| inserts.clone().oneshot(order)).await?;
    let together = rate(rows.len(), began.elapsed());
    let transactions = shared.transactions()?;
    println!("in batches:     {together:>7.0} rows/s, {transactions} transactions for {} rows", rows.len());
    println!("ratio:          {:>7.1}", together / one_by_one);

    // The id that a caller got is that of its own row.
    let mismatched = rows.iter().filter(|(id, order)| shared.customer(*id).as_deref() != Ok(order.customer.as_str()));
    let mismatched = mismatched.count();
    println!("ids:            {} callers have the id of their own row, {mismatched} do not", rows.len() - mismatched);

    // A row that breaks a constraint is its caller's alone.
    let (good, bad) = (Order { customer: "ann".into(), cents: 1 }, Order { customer: "bob".into(), cents: -1 });
    let (good, bad) = tokio::join!(store.clone().oneshot(good), store.clone().oneshot(bad));
    let refused = bad?.err().ok_or("a price below zero was stored")?;
    println!("one of two bad: the good one has row {}, the bad one: {refused}", good??);

    let report = store.handle().drain(Duration::from_secs(5)).await;
    println!("ledger:         {}", report.totals);

    let expected = (CALLERS * ROWS_EACH + 1) as u64;
    assert_eq!((report.totals.delivered, report.totals.dropped.get(DropReason::Rejected)), (expected, 1));
    assert_eq!(
        (mismatched, shared.rows()?),
        (0, expected),
        "each caller has the id of its own row, and no row is lost"
    );
    assert!(transactions * 10 < rows.len() as u64, "{transactions} transactions");
    assert!(together > 2.0 * one_by_one, "batches must be worth it");
    Ok(())
}

/// A service that takes one order, and stores it together with those of other callers.
fn batched(database: Database) -> Result<Batch<Order, Inserted>, BoxError> {
    let insert_all = service_fn(move |orders: Vec<Order>| {
        let database = database.clone();
        async move { tokio::task::spawn_blocking(move || database.insert_all(&orders)).await? }
    });
    let layer = BatchLayer::builder()
        // No row waits for another: while one transaction runs, the rows of the next one gather.
        .batching(Batching::new().max_items(512).max_delay(Duration::ZERO))
        .weigh(|order: &Order| size_of::<Order>() + order.customer.len())
        // The ledger counts a row that was refused as rejected, although the transaction as a whole succeeded.
        .settle(|result: &Result<Vec<Inserted>, BoxError>, _| match result {
            Ok(rows) => Settlement::Each(rows.iter().map(|row| ItemFate::Final(fate(row))).collect()),
            Err(error) => Settlement::of_error(error),
        })
        .respond_per_item()
        .build()?;
    Ok(layer.layer(insert_all))
}

fn fate(row: &Inserted) -> Fate {
    match row {
        Ok(_) => Fate::Delivered,
        Err(_) => Fate::Dropped(DropReason::Rejected),
    }
}

async fn insert_alone(database: Database, order: Order) -> Result<Inserted, BoxError> {
    let rows = tokio::task::spawn_blocking(move || database.insert_all(&[order])).await??;
    rows.into_iter().next().ok_or_else(|| "a row without a result".into())
}

/// All callers insert `each` rows, and keep the ids.
async fn insert_from_many<F, Fut>(each: usize, insert: F) -> Result<Vec<(i64, Order)>, BoxError>
where
    F: Fn(Order) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Inserted, BoxError>> + Send,
{
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let insert = insert.clone();
        callers.spawn(async move {
            let mut rows = Vec::with_capacity(each);
            for number in 0..each {
                let order = Order { customer: format!("customer {caller}, order {number}"), cents: 499 };
                rows.push((insert(order.clone()).await??, order));
            }
            Ok::<_, BoxError>(rows)
        });
    }
    let mut all = Vec::with_capacity(CALLERS * each);
    while let Some(rows) = callers.join_next().await {
        all.extend(rows??);
    }
    Ok(all)
}

fn rate(rows: usize, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64()
}

// === impl Database ===

impl Database {
    fn open(path: &Path) -> Result<Self, BoxError> {
        let connection = Connection::open(path)?;
        // A commit is on the disk when it returns.
        connection.execute_batch(
            "pragma journal_mode = wal; pragma synchronous = full;
             create table orders (id integer primary key, customer text not null, cents integer not null check (cents >= 0));
             create table transactions (number integer not null);
             insert into transactions values (0);",
        )?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Inserts all orders in one transaction, and returns one result for each, in the same order.
    fn insert_all(&self, orders: &[Order]) -> Result<Vec<Inserted>, BoxError> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut inserted = Vec::with_capacity(orders.len());
        {
            let mut insert = transaction.prepare_cached("insert into orders (customer, cents) values (?, ?)")?;
            for Order { customer, cents } in orders {
                // A constraint that is broken undoes its own row only; the transaction goes on.
                inserted.push(match insert.insert((customer, cents)) {
                    Ok(id) => Ok(id),
                    Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                        Err(error.to_string())
                    }
                    Err(error) => return Err(error.into()),
                });
            }
        }
        transaction.execute("update transactions set number = number + 1", [])?;
        transaction.commit()?;
        Ok(inserted)
    }

    fn customer(&self, id: i64) -> rusqlite::Result<String> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.prepare_cached("select customer from orders where id = ?")?.query_row([id], |row| row.get(0))
    }

    fn transactions(&self) -> rusqlite::Result<u64> {
        self.number("select number from transactions")
    }

    fn rows(&self) -> rusqlite::Result<u64> {
        self.number("select count(*) from orders")
    }

    fn number(&self, sql: &str) -> rusqlite::Result<u64> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    }
}

// === impl Folder ===

impl Folder {
    fn create() -> Result<Self, BoxError> {
        let folder = std::env::temp_dir().join(format!("forebay-batch-sqlite-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}
