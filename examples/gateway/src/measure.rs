//! What the SQLite sink stores per second, with one batch in each transaction and with those that wait at a time.

use super::{
    batch::{Batch, BatchId, Facts},
    load::parcel,
    sink::{Database, SinkService, sqlite_in_groups, store},
};
use forebay::core::BoxError;
use std::{fmt::Write, fs, path::Path, sync::Arc};
use tokio::{task::JoinSet, time::Instant};

const BATCHES: u64 = 16_000;

/// As many as the gateway has by default.
const WORKERS: u64 = 8;

/// Stores the batches of a load in a database of its own in `folder`, which is removed afterwards, and says how fast.
///
/// # Errors
///
/// When the folder cannot be used, or a batch is not stored.
pub async fn measure(folder: &Path) -> Result<String, BoxError> {
    fs::create_dir_all(folder)?;
    let mut table = String::from(
        "| batches of one transaction | batches | rows | transactions | rows/s |\n| --- | --- | --- | --- | --- |\n",
    );
    let batches: Arc<[Batch]> = (0..BATCHES).map(batch).collect();
    for most in [1, 64] {
        let file = folder.join(format!("measure-{}-{most}.db", std::process::id()));
        let database = Database::open(&file)?;
        let parts = sqlite_in_groups(&database, most).split();
        let begin = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(work(parts.service.clone(), Arc::clone(&batches), worker));
        }
        while let Some(stored) = workers.join_next().await {
            stored??;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let rows = database.number(
            "SELECT (SELECT count(*) FROM spans) + (SELECT count(*) FROM logs) + (SELECT count(*) FROM points)",
        )?;
        let rows = u32::try_from(rows.unwrap_or(0))?;
        let transactions =
            (parts.numbers)().iter().find(|number| number.kind == "counter").map_or(0, |number| number.value);
        let up_to = if most == 1 { "1" } else { "up to 8" };
        writeln!(table, "| {up_to} | {BATCHES} | {rows} | {transactions} | {:.0} |", f64::from(rows) / seconds)?;
        drop((parts, database));
        for suffix in ["", "-wal", "-shm"] {
            // The last connection has removed the others.
            drop(fs::remove_file(format!("{}{suffix}", file.display())));
        }
    }
    Ok(table)
}

async fn work(sink: SinkService, batches: Arc<[Batch]>, worker: u64) -> Result<(), BoxError> {
    for batch in batches.iter().skip(usize::try_from(worker)?).step_by(usize::try_from(WORKERS)?) {
        store(sink.clone(), batch.clone()).await?;
    }
    Ok(())
}

/// The `n`-th batch of a sender.
fn batch(n: u64) -> Batch {
    let parcel::Parcel { signal, body, .. } = parcel::Parcel::new(n, n);
    let facts = Facts { records: 10, ..Facts::default() };
    Batch { id: BatchId(n.into()), signal, tenant: "".into(), body, facts, received: n }
}
