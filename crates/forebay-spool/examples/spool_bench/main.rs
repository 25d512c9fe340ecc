//! What a spool costs, beside redb as it is, and behind an exporter:
//! `cargo run --release -p forebay-spool --features export --example spool_bench [DIR] [disk|process|reopen|exporter]`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it measures, and says what it measured"
)]

#[cfg(feature = "export")]
mod exporter;

use forebay_spool::{
    Disposition, Durability, Engine, Group, NewRecord, SpoolBuilder, SpoolError, Want,
    storage::{LocalStorage, Storage, StorageFile},
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// The file system, with its syncs and written bytes counted.
#[derive(Debug)]
struct Counted {
    local: LocalStorage,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    written: AtomicU64,
}

#[derive(Debug)]
struct CountedFile(Arc<dyn StorageFile>, Arc<Counts>);

impl Storage for Counted {
    fn claim(&self) -> Result<(), SpoolError> {
        self.local.claim()
    }
    fn release(&self) {
        self.local.release();
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.local.list()
    }
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(CountedFile(self.local.open(name, create)?, Arc::clone(&self.counts))))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.local.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.local.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.local.sync()
    }
}

impl StorageFile for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.1.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.0.write_at(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.syncs.fetch_add(1, Ordering::Relaxed);
        self.0.sync()
    }
}

const BACKLOG: usize = 1000;

fn open(dir: &Path, durability: Durability, two_phase: bool) -> (Engine, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let storage = Counted { local: LocalStorage::new(dir), counts: Arc::clone(&counts) };
    let builder = SpoolBuilder::on(Arc::new(storage)).max_bytes(8 << 30).destination("main", "bench");
    let builder = builder.durability(durability).two_phase(two_phase);
    (builder.open_engine(SystemTime::now()).unwrap(), counts)
}

fn append(engine: &mut Engine, records: usize, bytes: usize) {
    let payload = bytes::Bytes::from(vec![7; bytes]);
    let group = Group::new((0..records).map(|_| NewRecord::new(payload.clone())));
    engine.append(vec![group], 0).remove(0).unwrap();
}

fn acknowledge(engine: &mut Engine, records: usize) {
    let want = Want { records, bytes: usize::MAX, ..Want::default() };
    let (lease, records) = engine.lease("main", want, 0).unwrap().unwrap();
    engine.settle(lease, &vec![Disposition::Delivered; records.len()]);
    engine.flush().unwrap();
}

/// Groups of `records` of `bytes`, appended and acknowledged in turn, over a backlog: records a second.
fn spool(dir: &Path, durability: Durability, two_phase: bool, records: usize, bytes: usize, rounds: usize) -> f64 {
    let (mut engine, counts) = open(dir, durability, two_phase);
    for _ in 0..BACKLOG.div_ceil(records) {
        append(&mut engine, records, bytes);
    }
    let (syncs, written) = (counts.syncs.load(Ordering::Relaxed), counts.written.load(Ordering::Relaxed));
    let (mut appending, mut acknowledging) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        let start = Instant::now();
        append(&mut engine, records, bytes);
        appending += start.elapsed();
        let start = Instant::now();
        acknowledge(&mut engine, records);
        acknowledging += start.elapsed();
    }
    let per = |count: u64| count as f64 / rounds as f64;
    println!(
        "  spool: {:.2} syncs and {:.2} times the payload written for a group; {:.0} us to append, {:.0} us to lease and acknowledge",
        per(counts.syncs.load(Ordering::Relaxed) - syncs),
        per(counts.written.load(Ordering::Relaxed) - written) / (records * bytes) as f64,
        appending.as_secs_f64() * 1e6 / rounds as f64,
        acknowledging.as_secs_f64() * 1e6 / rounds as f64,
    );
    let rate = (rounds * records) as f64 / (appending + acknowledging).as_secs_f64();
    engine.close().unwrap();
    rate
}

/// The same with redb alone: one row for each record, one commit to insert a group and one to read and remove it.
fn raw(dir: &Path, sync: redb::Durability, two_phase: bool, records: usize, bytes: usize, rounds: usize) -> f64 {
    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
    fs::create_dir_all(dir).unwrap();
    let db = Database::create(dir.join("raw.redb")).unwrap();
    let payload = vec![7; bytes];
    let mut next = 0_u64;
    let mut insert = || {
        let mut write = db.begin_write().unwrap();
        write.set_durability(sync).unwrap();
        write.set_two_phase_commit(two_phase);
        {
            let mut table = write.open_table(TABLE).unwrap();
            for _ in 0..records {
                table.insert(next, &*payload).unwrap();
                next += 1;
            }
        }
        write.commit().unwrap();
    };
    for _ in 0..BACKLOG.div_ceil(records) {
        insert();
    }
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let start = Instant::now();
        insert();
        let read = db.begin_read().unwrap();
        let table = read.open_table(TABLE).unwrap();
        let rows: Vec<(u64, Vec<u8>)> = table
            .iter()
            .unwrap()
            .take(records)
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).unwrap())
            .collect();
        let mut write = db.begin_write().unwrap();
        write.set_durability(sync).unwrap();
        {
            let mut table = write.open_table(TABLE).unwrap();
            for (key, _) in rows {
                table.remove(key).unwrap();
            }
        }
        write.commit().unwrap();
        spent += start.elapsed();
    }
    (rounds * records) as f64 / spent.as_secs_f64()
}

fn compare(
    dir: &Path,
    name: &str,
    durability: Durability,
    two_phase: bool,
    records: usize,
    bytes: usize,
    rounds: usize,
) {
    let phases = if two_phase { ", appended in two phases" } else { "" };
    println!("{name}: groups of {records} records of {bytes} bytes, {rounds} rounds{phases}");
    // Without a sync redb keeps what is committed in its own memory, where even the death of the process loses it.
    let sync = if durability == Durability::Process { redb::Durability::None } else { redb::Durability::Immediate };
    let mut rates = [0.0_f64; 2];
    // Taken in turn, the best of three: the machine is shared.
    for pass in 0..3 {
        let path = dir.join(format!("spool-{records}-{bytes}-{pass}"));
        rates[0] = rates[0].max(spool(&path, durability, two_phase, records, bytes, rounds));
        fs::remove_dir_all(&path).unwrap();
        let path = dir.join(format!("raw-{records}-{bytes}-{pass}"));
        rates[1] = rates[1].max(raw(&path, sync, two_phase, records, bytes, rounds));
        fs::remove_dir_all(&path).unwrap();
    }
    println!("  spool {:.0} records/s, redb {:.0} records/s: {:.2}", rates[0], rates[1], rates[0] / rates[1]);
}

fn reopen(dir: &Path, total: usize) {
    let path = dir.join("large");
    let (mut engine, _) = open(&path, Durability::Process, true);
    for _ in 0..total / (64 * 10_240) {
        append(&mut engine, 64, 10_240);
    }
    let stats = engine.stats();
    engine.close().unwrap();
    let start = Instant::now();
    let (engine, _) = open(&path, Durability::DISK, true);
    let clean = start.elapsed();
    let found = engine.stats().recovered;
    drop(engine);
    let start = Instant::now();
    let (engine, _) = open(&path, Durability::DISK, true);
    let unclean = start.elapsed();
    drop(engine);
    println!(
        "reopen: {} records, {} files of {} MB in all: {clean:.2?} after a clean end, {unclean:.2?} after an unclean one; {} recovered, {} lost",
        stats.records,
        stats.segments,
        stats.bytes >> 20,
        found.records,
        found.lost,
    );
    fs::remove_dir_all(&path).unwrap();
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("spool-bench-{}", std::process::id()));
    let only = args.next();
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    fs::create_dir_all(&dir).unwrap();
    let disk = Durability::Disk { every: Duration::ZERO, bytes: 0 };
    if is_wanted("disk") {
        for two_phase in [true, false] {
            compare(&dir, "Disk", disk, two_phase, 64, 10_240, 200);
        }
        compare(&dir, "Disk", disk, true, 512, 100, 200);
    }
    if is_wanted("process") {
        compare(&dir, "Process", Durability::Process, false, 64, 10_240, 200);
        compare(&dir, "Process", Durability::Process, false, 2048, 100, 200);
    }
    if is_wanted("reopen") {
        reopen(&dir, 1 << 30);
    }
    #[cfg(feature = "export")]
    if is_wanted("exporter") {
        exporter::emit(&dir);
        exporter::write_ahead(&dir, "Process", Durability::Process, 2_000_000);
        exporter::write_ahead(&dir, "Disk", Durability::DISK, 500_000);
    }
    fs::remove_dir_all(&dir).unwrap();
}
