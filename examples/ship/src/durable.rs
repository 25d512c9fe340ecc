//! `--spool`: lines are appended to a spool together with the position behind them, and shipped out of it.

use super::{
    Line, Lines, MAX_LINE, Options,
    input::Source,
    is_urgent,
    options::Input,
    run::{Ended, stack},
};
use bytes::Bytes;
use forebay::{
    core::{BoxError, Priority},
    export::{Counters, Exporter},
};
use forebay_example_support::stop::Interrupts;
use forebay_spool::{
    Codec, DiskSpool, ExporterSpool, Group, NewRecord, Overflow, Spool, SpoolError, SpoolErrorKind,
    replay::ReplayPolicy,
};
use std::{
    fmt,
    io::{self, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

/// What became of the lines of a run with a spool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Spooled {
    /// Lines that the spool held when the run began.
    pub found: u64,
    /// Lines that this run has read, and that were safe from then on.
    pub appended: u64,
    /// Lines that no record can hold.
    pub too_long: u64,
    /// Lines that the spool holds now; the next run sends them.
    pub pending: u64,
    /// Lines that the receiver refuses, which stay in the spool as dead letters.
    pub dead: u64,
    /// Requests and retries, and what was delivered.
    pub counters: Counters,
    /// From the first line to the last.
    pub elapsed: Duration,
    /// Why reading ended before the end of the inputs.
    pub input_error: Option<String>,
}

/// The spool of a shipper, which has one destination.
const DESTINATION: &str = "ship";

/// The longest line that a record holds; the spool takes no more.
const MAX_RECORD: usize = 16 << 20;

/// How much is appended together, so that it shares a sync.
const GROUP: (usize, usize) = (512, 1 << 20);

/// How often the state of the spool is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long a file must not have been written to before a last line without a line break is taken to be complete.
const QUIET: Duration = Duration::from_secs(1);

/// How long the counts of the exporter may be behind the spool.
const COUNTED: Duration = Duration::from_secs(1);

/// A line as a record: when it was read, and its bytes.
struct Record;

/// Where a file has been read up to, as the mark of a group.
struct Position {
    device: u64,
    inode: u64,
    offset: u64,
}

/// What is done with a last line that has no line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLine {
    /// It may still be being written: it stays in its file, and the position stays in front of it.
    Left,
    /// It is a line: its file has not grown any more.
    Taken,
}

/// What the thread that reads shares with the rest.
#[derive(Debug, Default)]
struct Progress {
    appended: AtomicU64,
    too_long: AtomicU64,
    stop: AtomicBool,
}

/// Ships what `options` say through the spool in `dir`, which is made if it does not exist.
///
/// The first of `interrupts` ends the reading and the sending; what is not delivered stays in the spool.
///
/// # Errors
///
/// When an input, the spool or the exporter cannot be opened.
pub async fn run_durably(options: &Options, dir: &Path, interrupts: &Interrupts) -> Result<Spooled, Ended> {
    let failed = |error: SpoolError| Ended::Spool(error.into());
    let inputs = options.inputs.iter().map(opened).collect::<Result<Vec<_>, _>>()?;
    let endpoint = options.endpoint.clone().unwrap_or_default();
    let spool = DiskSpool::builder(dir)
        .destination(DESTINATION, without_query(&endpoint))
        .max_record_bytes(MAX_RECORD)
        // What there is no room for stays in its file.
        .overflow(Overflow::Refuse)
        .open()
        .map_err(Ended::Spool)?;
    let (found, _) = held(&spool).await.map_err(failed)?;
    let policy = ReplayPolicy::write_ahead().backoff(Duration::from_millis(250), Duration::from_secs(5));
    let replay = ExporterSpool::new(spool.clone(), DESTINATION, Record).policy(policy).map_err(Ended::Config)?;
    let exporter: Exporter<Line> =
        stack(options, &endpoint).and_then(|stack| stack.write_ahead(replay).build()).map_err(Ended::Config)?;

    let (start, progress) = (Instant::now(), Arc::new(Progress::default()));
    let mut reading = {
        let (spool, progress, runtime) = (spool.clone(), Arc::clone(&progress), Handle::current());
        tokio::task::spawn_blocking(move || read_all(&inputs, &spool, &progress, &runtime))
    };
    let mut read = None;
    let shipping = async {
        read = Some((&mut reading).await);
        until_sent(&spool, &exporter, options.give_up_after).await?;
        let (left, _) = held(&spool).await?;
        until_counted(&exporter, (found + progress.appended.load(Relaxed)).saturating_sub(left)).await;
        Ok::<_, SpoolError>(())
    };
    tokio::select! {
        _sent = shipping => {}
        () = interrupts.reached(1) => {}
    }
    progress.stop.store(true, Relaxed);
    let read = match read {
        Some(read) => read,
        // It ends with the group that it has in hand: files do not block.
        None => reading.await,
    };
    let _report = exporter.shutdown(Duration::ZERO).await;
    let counters = exporter.counters();
    let (pending, dead) = held(&spool).await.map_err(failed)?;
    spool.close().await.map_err(failed)?;
    let input_error = match read {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panicked) => Some(panicked.to_string()),
    };
    let (appended, too_long) = (progress.appended.load(Relaxed), progress.too_long.load(Relaxed));
    Ok(Spooled { found, appended, too_long, pending, dead, counters, elapsed: start.elapsed(), input_error })
}

/// Waits until the spool is empty, or until nothing has left it for so long.
async fn until_sent(spool: &DiskSpool, exporter: &Exporter<Line>, patience: Duration) -> Result<(), SpoolError> {
    let (mut replayed, mut since) = (0, Instant::now());
    loop {
        if held(spool).await?.0 == 0 {
            return Ok(());
        }
        let now = exporter.counters().replayed;
        if now != replayed {
            (replayed, since) = (now, Instant::now());
        } else if since.elapsed() >= patience {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// Waits until the exporter has counted what has left the spool: it does so a moment after it has settled it there.
async fn until_counted(exporter: &Exporter<Line>, lines: u64) {
    let since = Instant::now();
    loop {
        let Counters { replayed, quarantined, evicted, .. } = exporter.counters();
        if replayed + quarantined + evicted >= lines || since.elapsed() >= COUNTED {
            return;
        }
        sleep(LOOK).await;
    }
}

/// How many lines are pending, and how many are dead letters.
async fn held(spool: &DiskSpool) -> Result<(u64, u64), SpoolError> {
    let stats = spool.stats().await?;
    let own = stats.destinations.iter().find(|known| known.is_open && known.name == DESTINATION);
    Ok(own.map_or((0, 0), |own| (own.pending, own.dead)))
}

/// The identity of the destination: a query may hold a secret, and no secret reaches the disk.
fn without_query(endpoint: &str) -> &str {
    endpoint.split(['?', '#']).next().unwrap_or_default()
}

/// A file, with the path under which its position is known.
fn opened(input: &Input) -> Result<(PathBuf, Source), Ended> {
    let source = Source::of(input)?;
    let failed = |error| Ended::Input { name: source.name().to_owned(), error, summary: None };
    let Input::File(path) = input else {
        return Err(failed(io::Error::other("it has no position to go on from")));
    };
    if source.may_block() {
        return Err(failed(io::Error::other("it is no file, and has no position to go on from")));
    }
    let path = path.canonicalize().map_err(failed)?;
    Ok((path, source))
}

/// Reads the inputs in their order, and each last line that has no line break when its file has not grown for [`QUIET`].
fn read_all(
    inputs: &[(PathBuf, Source)],
    spool: &DiskSpool,
    progress: &Progress,
    runtime: &Handle,
) -> Result<(), Ended> {
    for input in inputs {
        read_file(input, LastLine::Left, spool, progress, runtime)?;
    }
    for input in inputs {
        let mut last = LastLine::Left;
        // What is written meanwhile is read, for its beginning was there when the run began.
        while !progress.stop.load(Relaxed) && read_file(input, last, spool, progress, runtime)? {
            last = if until_quiet(&input.1, progress, runtime) { LastLine::Taken } else { LastLine::Left };
        }
    }
    Ok(())
}

/// Waits until the file has not been written to for [`QUIET`], and says so; or for a little of that time.
fn until_quiet(source: &Source, progress: &Progress, runtime: &Handle) -> bool {
    let quiet = || source.metadata().ok().and_then(|found| found.modified().ok()?.elapsed().ok());
    match quiet() {
        Some(quiet) if quiet < QUIET && !progress.stop.load(Relaxed) => {
            runtime.block_on(sleep(LOOK.min(QUIET.saturating_sub(quiet))));
            false
        }
        // A file that says nothing of its time, or one from the future, is not waited for.
        _ => true,
    }
}

/// Reads a file from where the spool has it; whether a line without a line break is left at its end.
fn read_file(
    (path, source): &(PathBuf, Source),
    last: LastLine,
    spool: &DiskSpool,
    progress: &Progress,
    runtime: &Handle,
) -> Result<bool, Ended> {
    let failed = |error| Ended::Input { name: source.name().to_owned(), error, summary: None };
    let name = path.display().to_string();
    let known = runtime.block_on(spool.mark(&name)).map_err(|error| Ended::Spool(error.into()))?;
    let mut position = Position::of(source).map_err(failed)?;
    position.resume(known.as_deref(), source.len());
    let mut lines = Lines::behind(source.reader_from(position.offset).map_err(failed)?, position.offset);
    loop {
        let (mut urgent, mut normal, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut too_long, mut at_end, mut is_left) = (0, false, false);
        while urgent.len() + normal.len() < GROUP.0 && bytes < GROUP.1 {
            position.offset = lines.bytes();
            let Some(line) = lines.next_line().map_err(failed)? else {
                at_end = true;
                break;
            };
            if !lines.is_whole() && last == LastLine::Left {
                (at_end, is_left) = (true, true);
                break;
            }
            position.offset = lines.bytes();
            // A line without a body was passed over by the reader.
            if line.length > MAX_LINE.min(MAX_RECORD - size_of::<u64>()) {
                too_long += 1;
                continue;
            }
            bytes += line.body.len();
            let lane = if line.urgent { &mut urgent } else { &mut normal };
            lane.push(NewRecord::new(Record::payload(&line)));
        }
        let appended = (urgent.len() + normal.len()) as u64;
        if appended > 0 || too_long > 0 {
            let urgent = Group::new(urgent).priority(Priority::High);
            let normal = Group::new(normal);
            // CORRECTNESS: the position is committed with the group that is appended last. Between the two a kill makes urgent
            // lines arrive twice, and no line is passed over.
            let (first, second) = if normal.is_empty() { (normal, urgent) } else { (urgent, normal) };
            let second = second.mark(&name, position.value());
            if !(first.is_empty() || append(spool, &first, progress, runtime)?)
                || !append(spool, &second, progress, runtime)?
            {
                return Ok(false);
            }
        }
        progress.appended.fetch_add(appended, Relaxed);
        progress.too_long.fetch_add(too_long, Relaxed);
        if at_end {
            return Ok(is_left);
        }
    }
}

/// Appends lines, and the position behind them where they bear it, which both survive or neither; whether it was done before the end.
///
/// CORRECTNESS: the next group is not appended before this one is safe, so that no position is ahead of its lines.
fn append(spool: &DiskSpool, group: &Group, progress: &Progress, runtime: &Handle) -> Result<bool, Ended> {
    loop {
        if progress.stop.load(Relaxed) {
            return Ok(false);
        }
        let error = match runtime.block_on(spool.append(group.clone())) {
            Ok(_appended) => return Ok(true),
            Err(error) => error,
        };
        match error.kind() {
            // The lines are safe in their file until there is room.
            SpoolErrorKind::Full { .. } | SpoolErrorKind::Busy => runtime.block_on(sleep(LOOK)),
            _ => return Err(Ended::Spool(error.into())),
        }
    }
}

// === impl Position ===

impl Position {
    #[cfg(unix)]
    fn of(source: &Source) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = source.metadata()?;
        Ok(Self { device: found.dev(), inode: found.ino(), offset: 0 })
    }

    #[cfg(not(unix))]
    fn of(source: &Source) -> io::Result<Self> {
        source.metadata().map(|_found| Self { device: 0, inode: 0, offset: 0 })
    }

    /// Goes on where `known` says, if that is about the same file, and the file is as long as it was.
    fn resume(&mut self, known: Option<&[u8]>, len: Option<u64>) {
        let text = known.and_then(|known| std::str::from_utf8(known).ok()).unwrap_or_default();
        let mut numbers = text.split(' ').map(str::parse::<u64>);
        if let (Some(Ok(device)), Some(Ok(inode)), Some(Ok(offset))) = (numbers.next(), numbers.next(), numbers.next())
            && (device, inode) == (self.device, self.inode)
            && len.is_some_and(|len| offset <= len)
        {
            self.offset = offset;
        }
    }

    fn value(&self) -> Bytes {
        format!("{} {} {}", self.device, self.inode, self.offset).into()
    }
}

// === impl Source ===

impl Source {
    fn metadata(&self) -> io::Result<std::fs::Metadata> {
        match self {
            Self::File { file, .. } => file.metadata(),
            Self::Stream { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn reader_from(&self, offset: u64) -> io::Result<Box<dyn io::BufRead + Send>> {
        if let Self::File { file, .. } = self {
            // The reader shares the place in the file.
            (&*file).seek(SeekFrom::Start(offset))?;
        }
        self.reader()
    }
}

// === impl Record ===

impl Record {
    fn payload(line: &Line) -> Vec<u8> {
        [&line.read_at.to_le_bytes()[..], &line.body].concat()
    }
}

impl Codec<Line> for Record {
    fn encode(&self, line: &Line, payload: &mut Vec<u8>) -> Result<(), BoxError> {
        *payload = Self::payload(line);
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<Line, BoxError> {
        let (read_at, body) = payload.split_first_chunk().ok_or("it is too short for a line")?;
        let (read_at, urgent) = (u64::from_le_bytes(*read_at), is_urgent(body));
        Ok(Line { body: body.to_vec(), length: body.len(), read_at, urgent })
    }
}

// === impl Spooled ===

impl Spooled {
    /// Whether everything that was read is delivered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending == 0 && self.counters.quarantined == 0 && self.too_long == 0
    }

    /// What is not delivered, in one line.
    #[must_use]
    pub fn why_incomplete(&self) -> Option<String> {
        let why = [
            (self.pending, "are in the spool, and sent by the next run"),
            (self.counters.quarantined, "were refused for good, and are dead letters of the spool"),
            (self.too_long, "were longer than a record may be, and are not kept"),
        ];
        let why: Vec<_> =
            why.iter().filter(|(lines, _)| *lines > 0).map(|(lines, what)| format!("{lines} lines {what}")).collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// The report in one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { found, appended, too_long, pending, dead, elapsed, .. } = self;
        let Counters { requests, retries, replayed, quarantined, .. } = self.counters;
        format!(r#"{{"found":{found},"appended":{appended},"too_long":{too_long},"replayed":{replayed},"#)
            + &format!(
                r#""quarantined":{quarantined},"pending":{pending},"dead":{dead},"requests":{requests},"retries":{retries},"seconds":{:.3}}}"#,
                elapsed.as_secs_f64()
            )
    }
}

impl fmt::Display for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, appended, pending, dead, elapsed, .. } = self;
        let Counters { requests, retries, replayed, .. } = self.counters;
        writeln!(f, "found      {found:>10}")?;
        writeln!(f, "appended   {appended:>10}")?;
        writeln!(f, "delivered  {replayed:>10}")?;
        writeln!(f, "in spool   {pending:>10}  {dead} dead letters beside them")?;
        writeln!(f, "requests   {requests:>10}  {retries} of them retries")?;
        writeln!(f, "time       {:>9.2}s", elapsed.as_secs_f64())
    }
}
