//! The gateway as a process: with its data folder, until it is interrupted; or with senders beside it.

use super::{
    Gateway, StartError, Summary,
    load::{Load, Sent, Stored},
    options::{Destination, Options},
    sink::{Database, Forward, Sink, forward, sqlite_with_retention},
};
use forebay::core::BoxError;
use std::{fmt, io, path::Path, time::Duration};
use tokio::{sync::Notify, time::sleep};
use tower::{ServiceExt, service_fn};

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// What became of everything that came.
    pub summary: Summary,
    /// What the senders of the demonstration saw, and what is stored.
    pub demo: Option<(Sent, Stored)>,
    /// The most memory the process ever had, where the system says.
    pub peak_bytes: Option<u64>,
}

/// The kill switch of a running process: SIGUSR1, where there are such signals.
struct Switch {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

/// How often a gateway looks whether it loses something.
const WATCH: Duration = Duration::from_secs(10);

/// Serves until `interrupt`; `say` gets lines for a person.
///
/// # Errors
///
/// When it cannot start.
pub async fn serve(options: Options, interrupt: &Notify, say: impl Fn(&str)) -> Result<Ended, BoxError> {
    let (sink, _) = sink(&options)?;
    let scheme = if options.config.identity.is_some() { "https" } else { "http" };
    let mut switch = Switch::new();
    let gateway = Gateway::start(options.config, sink).await?;
    say(&format!("OTLP/HTTP on {scheme}://{}, with /healthz, /readyz and /metrics", gateway.http()));
    say(&format!("OTLP/gRPC on {scheme}://{}", gateway.grpc()));
    watch(&gateway, interrupt, &mut switch, say).await;
    Ok(Ended { summary: gateway.stop().await, demo: None, peak_bytes: peak_bytes() })
}

/// Serves, and sends to itself what `load` says; ends by itself, or with `interrupt`.
///
/// # Errors
///
/// When it cannot start, or the database cannot be read.
pub async fn demo(options: Options, load: Load, interrupt: &Notify, say: impl Fn(&str)) -> Result<Ended, BoxError> {
    let (sink, database) = sink(&options)?;
    let database = database.ok_or("the demonstration needs the database, not another endpoint")?;
    let mut switch = Switch::new();
    let gateway = Gateway::start(options.config, sink).await?;
    let load =
        Load { http: format!("http://{}", gateway.http()), grpc: Some(format!("http://{}", gateway.grpc())), ..load };
    say(&format!("sending {} batches/s for {:?} to {} and {}", load.rate, load.time, gateway.http(), gateway.grpc()));
    let sent = tokio::select! {
        sent = load.run() => sent?,
        () = watch(&gateway, interrupt, &mut switch, &say) => return Err("interrupted".into()),
    };
    say("all is sent; the queue drains");
    let summary = gateway.stop().await;
    let stored = Stored::read(&database, &sent)?;
    Ok(Ended { summary, demo: Some((sent, stored)), peak_bytes: peak_bytes() })
}

/// Says now and then that something was lost, until `interrupt`.
async fn watch(gateway: &Gateway, interrupt: &Notify, switch: &mut Switch, say: impl Fn(&str)) {
    let lost = || gateway.summary().pages.iter().map(|page| page.records().dropped.total()).sum::<u64>();
    let mut before = lost();
    loop {
        tokio::select! {
            () = interrupt.notified() => return,
            () = switch.flipped() => {
                gateway.set_synchronous(!gateway.is_synchronous());
                say(if gateway.is_synchronous() { "senders wait for the sink now" } else { "senders do not wait now" });
            }
            () = sleep(WATCH) => {
                let now = lost();
                if now > before {
                    say(&format!("{} records dropped in the last {WATCH:?}; /metrics says why", now - before));
                }
                before = now;
            }
        }
    }
}

fn sink(options: &Options) -> Result<(Sink, Option<Database>), BoxError> {
    match &options.into {
        Destination::Forward(url) => {
            let (workers, patience, trust) = (options.config.workers, options.patience, options.trust.clone());
            Ok((forward(Forward { url: url.clone(), workers, patience, trust })?.0, None))
        }
        Destination::Folder(folder) => {
            let database = open(folder)?;
            let (sink, pace) = (sqlite_with_retention(&database, options.retention), options.pace);
            if pace.is_zero() {
                return Ok((sink, Some(database)));
            }
            let paced = sink.map(|inner| {
                service_fn(move |batch| {
                    let inner = inner.clone();
                    async move {
                        sleep(pace).await;
                        inner.oneshot(batch).await
                    }
                })
            });
            Ok((paced, Some(database)))
        }
    }
}

pub(super) fn open(folder: &Path) -> Result<Database, BoxError> {
    let unusable = |error: io::Error| StartError::io(folder.display(), error);
    std::fs::create_dir_all(folder).map_err(unusable)?;
    Ok(Database::open(&folder.join("telemetry.db"))?)
}

/// The peak of the resident memory of this process.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

// === impl Switch ===

impl Switch {
    /// From now on the signal is heard; until now it would have ended the process.
    fn new() -> Self {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            // Where it cannot be had there is only the option.
            #[cfg(unix)]
            signal: signal(SignalKind::user_defined1()).ok(),
        }
    }

    async fn flipped(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

// === impl Ended ===

impl Ended {
    /// Whether the ledgers balance, nothing is pending, and what was urgent is where it belongs.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let demo = self.demo.as_ref().is_none_or(|(sent, stored)| sent.is_sound() && stored.is_complete());
        demo && self.summary.balances() && self.summary.queue.pending == 0
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((sent, _)) = &self.demo {
            writeln!(f, "{sent}")?;
        }
        write!(f, "{}", self.summary)?;
        if let Some((_, stored)) = &self.demo {
            write!(f, "{stored}")?;
        }
        if let Some(bytes) = self.peak_bytes {
            writeln!(f, "peak memory: {} MiB", bytes >> 20)?;
        }
        Ok(())
    }
}
