//! The command line, and the environment beside it.

mod help;

pub use self::help::HELP;

use super::{Config, Pace, SoftRefusal, SpoolConfig, load::Load, sink::Retention};
use forebay::queue::Limits;
use forebay_example_support::{
    tls::{Identity, TlsError, Trust},
    usage::{UsageError, text},
};
use forebay_spool::Durability;
use lexopt::prelude::*;
use std::{
    error::Error,
    ffi::OsString,
    fmt::Display,
    num::{NonZeroU8, NonZeroU64, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway's knobs.
    pub config: Config,
    /// Where batches end.
    pub into: Destination,
    /// How long to try to forward.
    pub patience: Duration,
    /// Whose certificates the receiver of forwarded batches may show; `None` for those that the system trusts.
    pub trust: Option<Trust>,
    /// What the database keeps.
    pub retention: Retention,
    /// How long a worker waits before each batch.
    pub pace: Duration,
    /// What the process is.
    pub role: Role,
}

/// Where batches end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// In a database in this folder.
    Folder(PathBuf),
    /// At this receiver.
    Forward(String),
}

/// What the process is.
#[derive(Clone, Debug)]
pub enum Role {
    /// A gateway.
    Serve,
    /// A gateway and its senders; their addresses are found out.
    Demo(Load),
    /// The senders of another process.
    Load(Load),
    /// A measurement of the SQLite sink.
    Measure,
}

/// What was given, before defaults that depend on each other.
#[derive(Default)]
struct Given {
    data: Option<PathBuf>,
    forward: Option<String>,
    forward_ca: Option<PathBuf>,
    patience: Option<Duration>,
    keep: Option<Option<Duration>>,
    keep_bytes: Option<Option<u64>>,
    no_spool: bool,
    batches: Option<NonZeroU64>,
    spool_bytes: Option<u64>,
    tries: Option<NonZeroU8>,
    every: Option<Duration>,
    most: Option<NonZeroUsize>,
    demo: bool,
    measure: bool,
    load: Option<String>,
    load_grpc: Option<String>,
    time: Option<Duration>,
    rate: Option<u32>,
    pace: Option<Duration>,
    items: Option<usize>,
    bytes: Option<usize>,
    soft_limit: Option<f64>,
    tenant_share: Option<f64>,
    workers: Option<NonZeroUsize>,
    http: Option<std::net::SocketAddr>,
    grpc: Option<std::net::SocketAddr>,
    certificates: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The most batches in the queue that can be asked for, as the pipeline this replaces has it.
const MOST_ITEMS: usize = 1_000_000;

/// The most workers that can be asked for, as the pipeline this replaces has it.
const MOST_WORKERS: usize = 256;

const ITEMS: &str = "1 to 1000000";
const WORKERS: &str = "1 to 256";

/// Reads the arguments, without the name of the program. `None` if help is asked for.
///
/// # Errors
///
/// What is wrong with them, or with a variable of the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Options>, UsageError> {
    let synchronous = match environment("INGEST_ASYNC_ENABLED").as_deref() {
        None | Some("" | "true" | "1") => false,
        Some("false" | "0") => true,
        Some(other) => return Err(UsageError::of("INGEST_ASYNC_ENABLED", other, "true, false")),
    };
    let mut config = Config { synchronous, ..Config::default() };
    let mut given = Given::from_environment(environment)?;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        let Long(name) = argument else {
            return match argument {
                Short('h') => Ok(None),
                other => Err(UsageError::new(format!("{}; see --help", other.unexpected()))),
            };
        };
        let option = format!("--{name}");
        let parser = &mut parser;
        match option.as_str() {
            "--http" => given.http = Some(value(parser, &option, "an address such as 127.0.0.1:4318")?),
            "--grpc" => given.grpc = Some(value(parser, &option, "an address such as 127.0.0.1:4317")?),
            "--data" => given.data = Some(text(parser, &option)?.into()),
            "--forward" => given.forward = Some(text(parser, &option)?),
            "--forward-patience" => given.patience = Some(duration(parser, &option)?),
            "--forward-ca" => given.forward_ca = Some(text(parser, &option)?.into()),
            "--tls-cert" => given.certificates = Some(text(parser, &option)?.into()),
            "--tls-key" => given.key = Some(text(parser, &option)?.into()),
            "--keep" => given.keep = Some(unless_all(parser, &option, parse_duration, DURATION)?),
            "--keep-bytes" => {
                given.keep_bytes = Some(unless_all(parser, &option, |text| Some(parse_size(text)? as u64), SIZE)?);
            }
            "--items" => given.items = Some(items(&option, &text(parser, &option)?)?),
            "--bytes" => given.bytes = Some(size(parser, &option)?),
            "--soft-limit" => given.soft_limit = Some(value(parser, &option, "a share from 0.0 to 1.0")?),
            "--tenant-share" => given.tenant_share = Some(value(parser, &option, "a share above 0.0, to 1.0")?),
            "--max-connections" => config.max_connections = value(parser, &option, "1 and more")?,
            "--tenant-header" => {
                let name: http::HeaderName = value(parser, &option, "the name of a header")?;
                config.tenant_header = name.as_str().to_owned();
            }
            "--max-body" => config.max_body = size(parser, &option)?,
            "--workers" => given.workers = Some(workers(&option, &text(parser, &option)?)?),
            "--slow" => config.slow = duration(parser, &option)?,
            "--soft-refusal" => {
                config.soft_refusal = match text(parser, &option)?.as_str() {
                    "partial" => SoftRefusal::Partial,
                    "success" => SoftRefusal::Success,
                    "429" => SoftRefusal::Throttle,
                    other => return Err(UsageError::of(&option, other, "partial, success, 429")),
                }
            }
            "--retry-after" => config.retry_after = duration(parser, &option)?,
            "--synchronous" => config.synchronous = true,
            "--durability" => {
                config.durability = match text(parser, &option)?.as_str() {
                    "memory" => None,
                    "process" => Some(Durability::Process),
                    "disk" => Some(Durability::DISK),
                    other => return Err(UsageError::of(&option, other, "memory, process, disk")),
                }
            }
            "--no-spool" => given.no_spool = true,
            "--spool-batches" => given.batches = Some(value(parser, &option, "1 and more")?),
            "--spool-bytes" => given.spool_bytes = Some(size(parser, &option)? as u64),
            "--dead-letter-tries" => given.tries = Some(value(parser, &option, "1 to 200")?),
            "--replay-every" => given.every = Some(duration(parser, &option)?),
            "--replay-most" => given.most = Some(value(parser, &option, "1 and more")?),
            "--drain" => config.drain = duration(parser, &option)?,
            "--demo" => given.demo = true,
            "--measure-sink" => given.measure = true,
            "--load" => given.load = Some(text(parser, &option)?),
            "--load-grpc" => given.load_grpc = Some(text(parser, &option)?),
            "--load-for" => given.time = Some(duration(parser, &option)?),
            "--load-rate" => given.rate = Some(value(parser, &option, "1 and more")?),
            "--pace" => given.pace = Some(duration(parser, &option)?),
            "--help" => return Ok(None),
            _ => return Err(UsageError::new(format!("invalid option '{option}'; see --help"))),
        }
    }
    given.finish(config).map(Some)
}

// === impl Given ===

impl Given {
    /// What the variables of the environment say; an option counts before them.
    fn from_environment(environment: impl Fn(&str) -> Option<String>) -> Result<Self, UsageError> {
        // A variable that is empty is none.
        let variable = |name| environment(name).filter(|value| !value.is_empty());
        const QUEUE_SIZE: &str = "INGEST_PIPELINE_QUEUE_SIZE";
        const WORKER_COUNT: &str = "INGEST_PIPELINE_WORKERS";
        Ok(Self {
            items: variable(QUEUE_SIZE).map(|value| items(QUEUE_SIZE, &value)).transpose()?,
            workers: variable(WORKER_COUNT).map(|value| workers(WORKER_COUNT, &value)).transpose()?,
            ..Self::default()
        })
    }

    fn finish(self, mut config: Config) -> Result<Options, UsageError> {
        if self.demo && self.forward.is_some() {
            return Err(UsageError::new("--demo looks into the database, so it cannot --forward".to_owned()));
        }
        config.limits = self.limits()?;
        let default = if self.demo { const { NonZeroUsize::new(2).unwrap() } } else { config.workers };
        config.workers = self.workers.unwrap_or(default);
        config.identity = match (&self.certificates, &self.key) {
            (None, None) => None,
            (Some(certificates), Some(key)) => Some(Identity::read(certificates, key).map_err(|error| usage(&error))?),
            _ => return Err(UsageError::new("--tls-cert and --tls-key need each other".to_owned())),
        };
        let free = |port| std::net::SocketAddr::from(([127, 0, 0, 1], if self.demo { 0 } else { port }));
        config.http = self.http.unwrap_or(free(4318));
        config.grpc = self.grpc.unwrap_or(free(4317));
        let data = self.data.unwrap_or_else(|| "gateway-data".into());
        if self.no_spool && config.durability.is_some() {
            return Err(UsageError::new("--durability needs the spool that --no-spool leaves out".to_owned()));
        }
        if !self.no_spool {
            let default = SpoolConfig::new(data.join("spool"));
            let pace = Pace {
                interval: self.every.unwrap_or(default.pace.interval),
                most: self.most.unwrap_or(default.pace.most),
            };
            config.spool = Some(SpoolConfig {
                identity: self.forward.as_deref().map_or("sqlite", without_secret).to_owned(),
                bytes: self.spool_bytes.unwrap_or(default.bytes),
                batches: self.batches.unwrap_or(default.batches),
                tries: self.tries.unwrap_or(default.tries),
                pace,
                ..default
            });
        }
        let load = Load {
            http: self.load.clone().unwrap_or_default(),
            grpc: self.load_grpc,
            time: self.time.unwrap_or(Duration::from_secs(5)),
            rate: self.rate.unwrap_or(2_000),
        };
        let role = match (self.demo, self.load, self.measure) {
            (_, _, true) => Role::Measure,
            (true, Some(_), _) => {
                return Err(UsageError::new("--demo sends to itself; --load is for another".to_owned()));
            }
            (true, None, _) => Role::Demo(load),
            (false, Some(_), _) => Role::Load(load),
            (false, None, _) => Role::Serve,
        };
        let pace = self.pace.unwrap_or(Duration::from_millis(if self.demo { 10 } else { 0 }));
        Ok(Options {
            config,
            into: self.forward.map_or(Destination::Folder(data), Destination::Forward),
            patience: self.patience.unwrap_or(Duration::from_secs(30)),
            trust: self.forward_ca.map(|file| Trust::only(&file)).transpose().map_err(|error| usage(&error))?,
            retention: Retention {
                age: self.keep.unwrap_or(Some(Duration::from_secs(7 * 24 * 3600))),
                bytes: self.keep_bytes.unwrap_or(Some(8 << 30)),
            },
            pace,
            role,
        })
    }

    fn limits(&self) -> Result<Limits, UsageError> {
        // One file takes less than a receiver, so less may wait for it; a demonstration reaches its limits in a second, and
        // leaves them in three.
        let (items, bytes) = match (self.demo, self.forward.is_some()) {
            (true, _) => (500, 128 << 20),
            (false, false) => (10_000, 128 << 20),
            (false, true) => (50_000, 512 << 20),
        };
        let limits = Limits::new().items(self.items.unwrap_or(items)).bytes(self.bytes.unwrap_or(bytes));
        let limits = limits.soft_limit(self.soft_limit.unwrap_or(0.9)).fair_share(self.tenant_share.unwrap_or(0.3));
        limits.validate()?;
        Ok(limits)
    }
}

fn items(name: &str, text: &str) -> Result<usize, UsageError> {
    let items = text.parse().ok().filter(|items| (1..=MOST_ITEMS).contains(items));
    items.ok_or_else(|| UsageError::of(name, text, ITEMS))
}

fn workers(name: &str, text: &str) -> Result<NonZeroUsize, UsageError> {
    let workers: Option<NonZeroUsize> =
        text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= MOST_WORKERS);
    workers.ok_or_else(|| UsageError::of(name, text, WORKERS))
}

/// The error in one line, with what caused it.
fn usage(error: &TlsError) -> UsageError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    UsageError::new(format!("{error}{cause}"))
}

const DURATION: &str = "a duration above zero, such as 500ms or 5m";
const SIZE: &str = "bytes, such as 65536, 512KiB or 128MiB";

/// What `parse` makes of the value; nothing if it is `all`.
fn unless_all<T>(
    parser: &mut lexopt::Parser,
    option: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    allowed: &str,
) -> Result<Option<T>, UsageError> {
    let value = text(parser, option)?;
    if value == "all" {
        return Ok(None);
    }
    parse(&value).map(Some).ok_or_else(|| UsageError::of(option, &value, &format!("all, or {allowed}")))
}

fn value<T: FromStr>(parser: &mut lexopt::Parser, option: &str, allowed: &str) -> Result<T, UsageError>
where
    T::Err: Display,
{
    let value = text(parser, option)?;
    value.parse().map_err(|_what_is_allowed_says_more| UsageError::of(option, &value, allowed))
}

fn duration(parser: &mut lexopt::Parser, option: &str) -> Result<Duration, UsageError> {
    let value = text(parser, option)?;
    parse_duration(&value).ok_or_else(|| UsageError::of(option, &value, DURATION))
}

/// The URL as the identity of the spool's destination: a user name and a query may be secrets, and no secret reaches the disk.
fn without_secret(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero())
}

fn size(parser: &mut lexopt::Parser, option: &str) -> Result<usize, UsageError> {
    let value = text(parser, option)?;
    parse_size(&value).ok_or_else(|| UsageError::of(option, &value, SIZE))
}

fn parse_size(text: &str) -> Option<usize> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
    let parsed = units.iter().find_map(|(unit, bytes)| {
        let number: usize = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    });
    parsed.filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests;
