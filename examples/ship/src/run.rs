use super::{
    Line, Lines, MAX_LINE, Options, Summary, input::Source, options::Input, progress::Progress, receiver::LocalReceiver,
};
use forebay::{
    batch::Batching,
    breaker::OpenFor,
    core::{ConfigError, Priority, time::saturating_mul},
    export::{Exporter, ExporterBuilder},
    otlp::{LogsEncoder, Protocol, Resource},
    queue::{Limits, Overflow},
    retry::Backoff,
};
use forebay_example_support::{
    client::{HttpClient, grpc_client, http_client},
    stop::Interrupts,
};
use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{runtime::Handle, time::Instant};

/// Why nothing was shipped, or not all of it was read; one line, for the user.
#[derive(Debug)]
pub enum Ended {
    /// The exporter could not be built.
    Config(ConfigError),
    /// An input could not be read; what had been read until then was shipped.
    Input {
        /// Its name.
        name: String,
        /// What the system says.
        error: io::Error,
        /// What became of the lines that were read.
        summary: Option<Box<Summary>>,
    },
    /// The built-in receiver could not be started.
    Receiver(io::Error),
    /// The spool could not be opened, or failed.
    #[cfg(feature = "spool")]
    Spool(forebay::core::BoxError),
}

/// The exporter of a shipper before it is built.
pub(super) type Stack = ExporterBuilder<Line, LogsEncoder, HttpClient, fn(&Line) -> usize, fn(&Line) -> Priority>;

/// How long one attempt may take where no option says otherwise: the OpenTelemetry specification's default.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What the thread that reads and the rest of the run share.
#[derive(Debug)]
struct Shared {
    inputs: Vec<Source>,
    /// Bytes read so far of each input.
    read: Vec<AtomicU64>,
    /// Nothing more is to be read.
    stop: AtomicBool,
}

/// Why reading ended early: the name of the input, and what the system says.
type ReadError = (String, io::Error);

/// Ships what `options` say, and says what became of it.
///
/// The first of `interrupts` ends the reading and ships what was read; the second ends that too.
///
/// # Errors
///
/// When the exporter or the receiver cannot be started, or an input cannot be read.
pub async fn run(options: Options, interrupts: &Interrupts) -> Result<Summary, Ended> {
    let inputs = if options.inputs.is_empty() { vec![Input::File(bundled())] } else { options.inputs.clone() };
    // All files are opened before anything is sent: a wrong name at the end must not be found after an hour.
    let inputs = inputs.iter().map(Source::of).collect::<Result<Vec<_>, _>>()?;
    let read = inputs.iter().map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { inputs, read, stop: AtomicBool::new(false) });
    let may_block = shared.inputs.iter().any(Source::may_block);
    let receiver = match options.endpoint {
        Some(_) => None,
        None => Some(LocalReceiver::start(options.faults.clone(), options.seed).await.map_err(Ended::Receiver)?),
    };
    let endpoint = options
        .endpoint
        .clone()
        .or_else(|| receiver.as_ref().map(|receiver| receiver.endpoint(options.protocol)))
        .unwrap_or_default();
    let exporter = exporter(&options, &endpoint).map_err(Ended::Config)?;

    let progress = Progress::new(options.format, &shared.inputs);
    let start = Instant::now();
    let mut reading = {
        let (shared, exporter, handle) = (Arc::clone(&shared), exporter.clone(), Handle::current());
        tokio::task::spawn_blocking(move || read_all(&exporter, &shared, &handle))
    };
    let mut read = None;
    let shipping = async {
        read = Some((&mut reading).await);
        exporter.flush().await;
    };
    tokio::select! {
        () = shipping => {}
        () = interrupts.reached(1) => {
            shared.stop.store(true, Relaxed);
            tokio::select! {
                _report = exporter.shutdown(options.give_up_after) => {}
                () = interrupts.reached(2) => {}
            }
        }
        () = hopeless(&exporter, &shared, &progress, options.give_up_after) => {
            // A pipe or a terminal is not read any further; a file is, so that each of its lines has its fate.
            shared.stop.store(may_block, Relaxed);
        }
    }
    let closed = exporter.shutdown(Duration::ZERO).await;
    // A thread that waits for a terminal or a pipe cannot be stopped; it is left behind.
    if read.is_none() && !may_block {
        read = Some(reading.await);
    }
    progress.end();
    let elapsed = start.elapsed();
    let audit = match receiver {
        Some(receiver) => receiver.audit(&shared.inputs, &shared.read).await,
        None => None,
    };
    let summary = Summary { totals: exporter.totals(), counters: closed.counters, elapsed, audit };
    match read.transpose() {
        Ok(None | Some(Ok(()))) => Ok(summary),
        Ok(Some(Err((name, error)))) => Err(Ended::Input { name, error, summary: Some(Box::new(summary)) }),
        Err(panicked) => {
            let error = io::Error::other(panicked);
            Err(Ended::Input { name: "the reader".to_owned(), error, summary: Some(Box::new(summary)) })
        }
    }
}

fn exporter(options: &Options, endpoint: &str) -> Result<Exporter<Line>, ConfigError> {
    let stack = stack(options, endpoint)?;
    stack.build()
}

/// The stack of a shipper: it waits where others drop, for it can leave the lines where they are.
pub(super) fn stack(options: &Options, endpoint: &str) -> Result<Stack, ConfigError> {
    let resource = Resource::new().attribute("service.name", "ship");
    let encoder = LogsEncoder::builder().protocol(options.protocol).resource(resource).build()?;
    let backoff = Backoff::exponential(Duration::from_millis(50)).cap(Duration::from_secs(2)).seed(options.seed);
    let park_backoff = Backoff::exponential(Duration::from_millis(250)).cap(Duration::from_secs(5)).seed(options.seed);
    let mut builder = Exporter::builder()
        .endpoint(endpoint)
        .encoder(encoder)
        .client(if options.protocol == Protocol::Grpc { grpc_client() } else { http_client() })
        .compression(options.compression)
        // Few lines are read ahead: in the file they do not grow old. There is one reader, so no lane is kept free.
        .limits(Limits::new().items(8_192).bytes(64 << 20).item_bytes(MAX_LINE).soft_limit(1.0))
        .overflow(Overflow::Wait)
        .batching(Batching::new().max_items(512).max_bytes(1 << 20).max_delay(Duration::from_millis(200)))
        .weigh(Line::weight as fn(&Line) -> usize)
        .priority(priority as fn(&Line) -> Priority)
        .retry(|retry| retry.backoff(backoff))
        // An outage is over when it is over: what is lost by waiting is only time.
        .breaker(|breaker| {
            breaker.open_for(OpenFor::new(Duration::from_secs(2)).growth(1.5).cap(Duration::from_secs(5)))
        })
        .park_backoff(park_backoff)
        .max_age(options.give_up_after)
        .attempt_timeout(options.timeout.unwrap_or(ATTEMPT.min(options.give_up_after)));
    for (name, value) in &options.headers {
        builder = builder.header(name.clone(), value.clone());
    }
    Ok(builder)
}

fn priority(line: &Line) -> Priority {
    if line.urgent { Priority::High } else { Priority::Normal }
}

fn read_all(exporter: &Exporter<Line>, shared: &Shared, runtime: &Handle) -> Result<(), ReadError> {
    for (input, read) in shared.inputs.iter().zip(&shared.read) {
        let failed = |error| (input.name().to_owned(), error);
        let mut lines = Lines::new(input.reader().map_err(failed)?);
        loop {
            if shared.stop.load(Relaxed) {
                return Ok(());
            }
            let Some(line) = lines.next_line().map_err(failed)? else { break };
            read.store(lines.bytes(), Relaxed);
            // A line that is refused is in the ledger, with the reason.
            drop(runtime.block_on(exporter.emit_or_wait(line)));
        }
    }
    Ok(())
}

/// Ends when something has been under way for half as long again as `patience` without a single delivery.
///
/// By then every line that was there at the beginning of that time is too old; those that were read later have no server to go to.
async fn hopeless(exporter: &Exporter<Line>, shared: &Shared, progress: &Progress, patience: Duration) {
    let (mut delivered, mut since) = (0, Instant::now());
    let mut ticks = tokio::time::interval(patience.clamp(Duration::from_millis(1), Duration::from_millis(100)));
    loop {
        ticks.tick().await;
        let totals = exporter.totals();
        progress.show(shared.read.iter().map(|read| read.load(Relaxed)).sum(), &totals);
        if totals.delivered != delivered || totals.pending == 0 {
            (delivered, since) = (totals.delivered, Instant::now());
        } else if since.elapsed() >= saturating_mul(patience, 1.5) {
            return;
        }
    }
}

/// The recorded log, beside the source of this program.
fn bundled() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/access.log")
}

// === impl Ended ===

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            // The name may hold anything a file name can.
            Self::Input { name, error, .. } => write!(f, "cannot read {}: {error}", name.escape_debug()),
            Self::Receiver(error) => write!(f, "cannot start the built-in receiver: {error}"),
            #[cfg(feature = "spool")]
            Self::Spool(error) => write!(f, "the spool: {error}"),
        }
    }
}

impl std::error::Error for Ended {}
