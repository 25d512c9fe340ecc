//! What the commands do.

use crate::{
    args::{Args, Command, HELP},
    progress::{Watched, bar},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use forebay_core::{BoxError, Priority};
use forebay_spool::{
    Engine, Record, SpoolBuilder, Stats,
    storage::{LocalStorage, SnapshotStorage, Storage},
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Prints how the program is used.
pub(crate) fn help() -> Result<bool, BoxError> {
    unless_closed(io::stdout().write_all(HELP.as_bytes()))?;
    Ok(true)
}

/// Runs a command; whether all is well.
pub(crate) fn run(args: &Args) -> Result<bool, BoxError> {
    if !args.dir.is_dir() {
        return Err(format!("{} is no directory", args.dir.display()).into());
    }
    if !["manifest-a", "manifest-b"].iter().any(|name| args.dir.join(name).exists()) && segments(args)? == 0 {
        return Err(format!("{} holds no spool", args.dir.display()).into());
    }
    let mut engine = open(args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let is_whole = match args.command {
        Command::Inspect => inspect(&engine, &mut out)?,
        Command::Verify => verify(&mut engine, &mut out)?,
        Command::Repair => repair(&mut engine, &mut out)?,
        Command::Export => export(&mut engine, args, &mut out)?,
        Command::Requeue => requeue(&mut engine, args, &mut out)?,
        Command::Stats => {
            writeln!(out, "{}", stats_json(&engine.stats()))?;
            true
        }
    };
    unless_closed(out.flush())?;
    engine.close()?;
    Ok(is_whole)
}

/// A pager that was closed has seen enough.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// How many files hold records.
fn segments(args: &Args) -> Result<u64, BoxError> {
    let mut segments = 0;
    for entry in std::fs::read_dir(&args.dir)? {
        segments += u64::from(entry?.path().extension().is_some_and(|extension| extension == "redb"));
    }
    Ok(segments)
}

/// Commands that only look work on a snapshot, whatever opening a spool repairs.
fn open(args: &Args) -> Result<Engine, BoxError> {
    let storage: Arc<dyn Storage> = if args.command.changes() {
        Arc::new(LocalStorage::new(&args.dir))
    } else {
        Arc::new(SnapshotStorage::new(&args.dir))
    };
    // Opening reads every file, which takes most of the time of the commands that only look.
    let bar = bar(segments(args)?, "files");
    let watched = Arc::new(Watched::new(storage, bar.clone()));
    // A tool never evicts: what it adds while it repairs or requeues may go beyond the limits of the program.
    let engine = SpoolBuilder::on(watched).max_bytes(u64::MAX / 4).open_engine(now());
    bar.finish_and_clear();
    engine
}

#[expect(clippy::disallowed_methods, reason = "a program is the edge at which the wall clock is read")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn inspect(engine: &Engine, out: &mut impl Write) -> Result<bool, BoxError> {
    let stats = engine.stats();
    writeln!(out, "records      {}", stats.records)?;
    writeln!(out, "bytes        {} in {} files", stats.bytes, stats.segments)?;
    if let Some(oldest) = stats.oldest {
        let age = now().duration_since(oldest).unwrap_or_default();
        writeln!(out, "oldest       {} s ago", age.as_secs())?;
    }
    writeln!(
        out,
        "last closed  {}",
        if stats.recovered.clean { "in good order" } else { "not at all: its process died" }
    )?;
    for destination in &stats.destinations {
        writeln!(
            out,
            "destination  {} ({}): {} pending, {} dead letters",
            printable(&destination.name),
            printable(&destination.identity),
            destination.pending,
            destination.dead
        )?;
    }
    let is_whole = damage(&stats, out)?;
    Ok(is_whole)
}

/// Prints what is damaged; returns whether nothing is.
fn damage(stats: &Stats, out: &mut impl Write) -> Result<bool, BoxError> {
    let recovered = &stats.recovered;
    if recovered.damaged_files > 0 {
        writeln!(
            out,
            "damaged      {} files: {} records read, {} lost",
            recovered.damaged_files, recovered.salvaged, recovered.lost
        )?;
    }
    if stats.unavailable > 0 {
        writeln!(out, "unreadable   {} files", stats.unavailable)?;
    }
    Ok(recovered.damaged_files == 0 && recovered.lost == 0 && stats.unavailable == 0)
}

fn verify(engine: &mut Engine, out: &mut impl Write) -> Result<bool, BoxError> {
    let bar = bar(engine.stats().records, "records");
    let verified = engine.read_all(|_, _| {
        bar.inc(1);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    writeln!(out, "read         {} records in {} files", verified.records, verified.segments)?;
    if verified.bad > 0 {
        writeln!(out, "bad          {} records", verified.bad)?;
    }
    Ok(damage(&engine.stats(), out)? && verified.bad == 0 && verified.unreadable == 0)
}

fn repair(engine: &mut Engine, out: &mut impl Write) -> Result<bool, BoxError> {
    engine.set_aside_unreadable();
    let bar = bar(engine.stats().records, "records");
    let verified = engine.read_all(|_, _| {
        bar.inc(1);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    if damage(&engine.stats(), out)? {
        writeln!(out, "nothing is damaged")?;
    }
    writeln!(out, "kept         {} records in {} files", verified.records, verified.segments)?;
    Ok(verified.bad == 0 && verified.unreadable == 0)
}

fn requeue(engine: &mut Engine, args: &Args, out: &mut impl Write) -> Result<bool, BoxError> {
    let ids = (!args.ids.is_empty()).then_some(&*args.ids);
    let dead: u64 = engine
        .stats()
        .destinations
        .iter()
        .filter(|known| args.to.as_ref().is_none_or(|to| *to == known.name))
        .map(|known| known.dead)
        .sum();
    let bar = bar(ids.map_or(dead, |ids| dead.min(ids.len() as u64)), "records");
    let requeued = engine.requeue(args.to.as_deref(), ids, |requeued| bar.inc(requeued))?;
    bar.finish_and_clear();
    writeln!(out, "requeued     {requeued} records")?;
    Ok(true)
}

fn export(engine: &mut Engine, args: &Args, out: &mut impl Write) -> Result<bool, BoxError> {
    if args.dead {
        for letter in engine.dead_letters(None, args.limit)? {
            let mut line = line(&letter.record, &[letter.destination]);
            line.insert("reason".into(), letter.reason.into());
            writeln!(out, "{}", Value::Object(line))?;
        }
        return Ok(true);
    }
    let bar = bar(engine.stats().records, "records");
    let mut left = args.limit;
    let mut wrote = Ok(());
    let dead: HashSet<u64> = engine.dead_letters(None, usize::MAX)?.iter().map(|letter| letter.record.id).collect();
    let verified = engine.read_all(|record, destinations| {
        bar.inc(1);
        if left == 0 {
            return ControlFlow::Break(());
        }
        if !dead.contains(&record.id) {
            left -= 1;
            wrote = writeln!(out, "{}", Value::Object(line(record, destinations)));
        }
        if wrote.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    bar.finish_and_clear();
    match wrote {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(verified.bad == 0 && verified.unreadable == 0 && engine.stats().recovered.lost == 0),
    }
}

fn line(record: &Record, destinations: &[String]) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("id".into(), record.id.into());
    line.insert("lane".into(), if record.priority == Priority::High { "high" } else { "normal" }.into());
    line.insert("destinations".into(), json!(destinations));
    line.insert("attempts".into(), record.attempts.into());
    line.insert("first_seen_ms".into(), millis(record.first_seen).into());
    line.insert("key".into(), String::from_utf8_lossy(&record.key).into());
    match std::str::from_utf8(&record.payload) {
        Ok(text) => line.insert("text".into(), text.into()),
        Err(_no_text) => line.insert("base64".into(), STANDARD.encode(&record.payload).into()),
    };
    line
}

fn stats_json(stats: &Stats) -> Value {
    let destinations: Vec<_> = stats
        .destinations
        .iter()
        .map(|d| json!({ "name": d.name, "identity": d.identity, "pending": d.pending, "dead": d.dead }))
        .collect();
    json!({
        "records": stats.records,
        "bytes": stats.bytes,
        "files": stats.segments,
        "unreadable_files": stats.unavailable,
        "oldest_ms": stats.oldest.map(millis),
        "clean": stats.recovered.clean,
        "damaged_files": stats.recovered.damaged_files,
        "salvaged": stats.recovered.salvaged,
        "lost": stats.recovered.lost,
        "destinations": destinations,
    })
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The text of a file must not control the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
