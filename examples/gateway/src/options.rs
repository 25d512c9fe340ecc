//! The command line.

use super::{Caps, Config, DeadLetterConfig, Pace, SoftRefusal, load::Load};
use forebay::queue::Limits;
use forebay_example_support::usage::{UsageError, text};
use lexopt::prelude::*;
use std::{ffi::OsString, fmt::Display, path::PathBuf, str::FromStr, time::Duration};

/// What `--help` says.
pub const HELP: &str = "\
Takes OTLP by HTTP and gRPC, and stores it in one SQLite file or forwards it; says what became of every record.

Usage: gateway [OPTIONS]

Without options it serves until Ctrl-C or SIGTERM, and keeps what it takes in ./gateway-data.

Where:
  --http ADDR             OTLP/HTTP, /healthz, /readyz, /metrics (default 127.0.0.1:4318)
  --grpc ADDR             OTLP/gRPC (default 127.0.0.1:4317)
  --data DIR              database and dead letters (default gateway-data)
  --forward URL           send on to this OTLP/HTTP receiver instead of storing
  --forward-patience D    how long to try there before a batch becomes a dead letter (default 30s)

Bounds:
  --items N               batches queued and in flight (default 10000)
  --bytes SIZE            their bytes (default 128MiB)
  --soft-limit SHARE      above it only errors and slow spans enter (default 0.9)
  --tenant-share SHARE    of the batches, for what is healthy of one tenant (default 0.3; 1 is off)
  --tenant-header NAME    says whose a request is (default x-tenant-id)
  --max-body SIZE         of one request, unpacked as well (default 4MiB)
  --workers N             batches that the sink is given at a time (default 2)

Answers:
  --slow D                a span this long is urgent (default 1s)
  --soft-refusal HOW      partial (default: OTLP's partial success) | success | 429
  --retry-after D         what a refused sender is told (default 1s)
  --synchronous           answer only when a batch is stored; SIGUSR1 changes it while running

What the sink does not take:
  --no-dead-letters       is dropped
  --dead-letter-files N   the most letters (default no bound but their bytes); the oldest go first
  --dead-letter-bytes S   and their bytes (default 500MiB)
  --dead-letter-tries N   replays before a letter is given up (default 10)
  --replay-every D        between rounds (default 5m)
  --replay-most N         letters per round (default 100)
  --drain D               how long the queue may take in the end (default 30s)

Load:
  --demo                  start on free ports, send itself ten times what the sink takes, and end with the books
  --load URL              be the senders of a gateway that runs elsewhere; --load-grpc URL for its other port
  --load-for D            for this long (default 5s)
  --load-rate N           batches per second (default 2000)
  --pace D                lets a worker wait so long before each batch is stored (default none; 10ms with --demo)

  --help                  this text

INGEST_ASYNC_ENABLED=false is --synchronous.

Exit status: 0 when every record is accounted for, and in a demonstration everything urgent is stored; 1 when not; 2 when
the arguments are wrong, it cannot start, or the report cannot be written.
";

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway's knobs.
    pub config: Config,
    /// Where batches end.
    pub into: Destination,
    /// How long to try to forward.
    pub patience: Duration,
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
}

/// What was given, before defaults that depend on each other.
#[derive(Default)]
struct Given {
    data: Option<PathBuf>,
    forward: Option<String>,
    no_dead_letters: bool,
    files: Option<std::num::NonZeroUsize>,
    bytes: Option<u64>,
    tries: Option<u32>,
    every: Option<Duration>,
    most: Option<std::num::NonZeroUsize>,
    demo: bool,
    load: Option<String>,
    load_grpc: Option<String>,
    time: Option<Duration>,
    rate: Option<u32>,
    pace: Option<Duration>,
    items: Option<usize>,
    http: Option<std::net::SocketAddr>,
    grpc: Option<std::net::SocketAddr>,
}

/// Reads the arguments, without the name of the program. `None` if help is asked for.
///
/// # Errors
///
/// What is wrong with them, or with a variable of the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Options>, UsageError> {
    let mut config = Config::default();
    let (mut limits, mut given, mut patience) =
        ((128_usize << 20, 0.9, 0.3), Given::default(), Duration::from_secs(30));
    config.synchronous = match environment("INGEST_ASYNC_ENABLED").as_deref() {
        None | Some("" | "true" | "1") => false,
        Some("false" | "0") => true,
        Some(other) => return Err(UsageError::of("INGEST_ASYNC_ENABLED", other, "true, false")),
    };
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
            "--forward-patience" => patience = duration(parser, &option)?,
            "--items" => given.items = Some(value(parser, &option, "1 and more")?),
            "--bytes" => limits.0 = size(parser, &option)?,
            "--soft-limit" => limits.1 = value(parser, &option, "a share from 0.0 to 1.0")?,
            "--tenant-share" => limits.2 = value(parser, &option, "a share above 0.0, to 1.0")?,
            "--tenant-header" => {
                let name: http::HeaderName = value(parser, &option, "the name of a header")?;
                config.tenant_header = name.as_str().to_owned();
            }
            "--max-body" => config.max_body = size(parser, &option)?,
            "--workers" => config.workers = value(parser, &option, "1 and more")?,
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
            "--no-dead-letters" => given.no_dead_letters = true,
            "--dead-letter-files" => given.files = Some(value(parser, &option, "1 and more")?),
            "--dead-letter-bytes" => given.bytes = Some(size(parser, &option)? as u64),
            "--dead-letter-tries" => given.tries = Some(value(parser, &option, "a number")?),
            "--replay-every" => given.every = Some(duration(parser, &option)?),
            "--replay-most" => given.most = Some(value(parser, &option, "1 and more")?),
            "--drain" => config.drain = duration(parser, &option)?,
            "--demo" => given.demo = true,
            "--load" => given.load = Some(text(parser, &option)?),
            "--load-grpc" => given.load_grpc = Some(text(parser, &option)?),
            "--load-for" => given.time = Some(duration(parser, &option)?),
            "--load-rate" => given.rate = Some(value(parser, &option, "1 and more")?),
            "--pace" => given.pace = Some(duration(parser, &option)?),
            "--help" => return Ok(None),
            _ => return Err(UsageError::new(format!("invalid option '{option}'; see --help"))),
        }
    }
    // A demonstration reaches its limits in a second, and leaves them in three.
    let items = given.items.unwrap_or(if given.demo { 500 } else { 10_000 });
    let (bytes, soft, share) = limits;
    config.limits = Limits::new().items(items).bytes(bytes).soft_limit(soft).fair_share(share);
    config.limits.validate()?;
    given.finish(config, patience).map(Some)
}

// === impl Given ===

impl Given {
    fn finish(self, mut config: Config, patience: Duration) -> Result<Options, UsageError> {
        if self.demo && self.forward.is_some() {
            return Err(UsageError::new("--demo looks into the database, so it cannot --forward".to_owned()));
        }
        let free = |port| std::net::SocketAddr::from(([127, 0, 0, 1], if self.demo { 0 } else { port }));
        config.http = self.http.unwrap_or(free(4318));
        config.grpc = self.grpc.unwrap_or(free(4317));
        let data = self.data.unwrap_or_else(|| "gateway-data".into());
        if !self.no_dead_letters {
            let DeadLetterConfig { folder, caps, pace, probe_every } = DeadLetterConfig::new(data.join("dead-letters"));
            let interval = self.every.unwrap_or(pace.interval);
            let caps = Caps {
                files: self.files.unwrap_or(caps.files),
                bytes: self.bytes.unwrap_or(caps.bytes),
                retries: self.tries.unwrap_or(caps.retries),
                interval,
            };
            let pace = Pace { interval, most: self.most.unwrap_or(pace.most) };
            config.dead_letters = Some(DeadLetterConfig { folder, caps, pace, probe_every });
        }
        let load = Load {
            http: self.load.clone().unwrap_or_default(),
            grpc: self.load_grpc,
            time: self.time.unwrap_or(Duration::from_secs(5)),
            rate: self.rate.unwrap_or(2_000),
        };
        let role = match (self.demo, self.load) {
            (true, Some(_)) => return Err(UsageError::new("--demo sends to itself; --load is for another".to_owned())),
            (true, None) => Role::Demo(load),
            (false, Some(_)) => Role::Load(load),
            (false, None) => Role::Serve,
        };
        let pace = self.pace.unwrap_or(Duration::from_millis(if self.demo { 10 } else { 0 }));
        let into = self.forward.map_or(Destination::Folder(data), Destination::Forward);
        Ok(Options { config, into, patience, pace, role })
    }
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
    let parsed = humantime::parse_duration(&value).ok().filter(|duration| !duration.is_zero());
    parsed.ok_or_else(|| UsageError::of(option, &value, "a duration above zero, such as 500ms or 5m"))
}

fn size(parser: &mut lexopt::Parser, option: &str) -> Result<usize, UsageError> {
    let value = text(parser, option)?;
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
    let parsed = units.iter().find_map(|(unit, bytes)| {
        let number: usize = value.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    });
    let parsed = parsed.filter(|bytes| *bytes > 0);
    parsed.ok_or_else(|| UsageError::of(option, &value, "bytes, such as 65536, 512KiB or 128MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Option<Options>, UsageError> {
        parse(arguments.iter().map(OsString::from), |_| None)
    }

    #[test]
    fn everything_wrong_is_one_clear_line() {
        for (arguments, words) in [
            (&["--http", "localhost"][..], "--http is \"localhost\"; allowed: an address"),
            (&["--items", "0"], "items"),
            (&["--items"], "--items needs a value"),
            (&["--bytes", "12MB"], "--bytes"),
            (&["--bytes", "0"], "--bytes"),
            (&["--soft-limit", "1.5"], "soft_limit"),
            (&["--tenant-share", "0"], "fair_share"),
            (&["--tenant-header", "a b"], "the name of a header"),
            (&["--workers", "0"], "--workers"),
            (&["--soft-refusal", "no"], "allowed: partial, success, 429"),
            (&["--slow", "soon"], "--slow"),
            (&["--demo", "--forward", "http://h"], "--demo"),
            (&["--demo", "--load", "http://h"], "--demo"),
            (&["--verbose"], "--verbose"),
            (&["file"], "file"),
        ] {
            let error = of(arguments).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{arguments:?}: {error}");
        }
        let wrong = parse([], |_| Some("maybe".to_owned())).unwrap_err().to_string();
        assert!(wrong.contains("INGEST_ASYNC_ENABLED"), "{wrong}");
    }

    #[test]
    fn the_kill_switch_is_an_option_and_a_variable() {
        assert!(!of(&[]).unwrap().unwrap().config.synchronous);
        assert!(of(&["--synchronous"]).unwrap().unwrap().config.synchronous);
        let off = parse([], |name| (name == "INGEST_ASYNC_ENABLED").then(|| "false".to_owned()));
        assert!(off.unwrap().unwrap().config.synchronous);
    }

    #[test]
    fn the_help_names_every_option() {
        for option in HELP.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_end_matches([';', ':', ',', ')', '.']);
            let known = [&[option][..], &[option, "1"], &[option, "1s"], &[option, "127.0.0.1:1"], &[option, "429"]];
            let known = known.iter().any(|arguments| of(arguments).is_ok());
            assert!(known, "{option}");
        }
        assert!(of(&["--help"]).unwrap().is_none());
    }
}
