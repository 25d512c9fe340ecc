use forebay::{
    core::ConfigError,
    export::{Compression, Endpoint},
    otlp::{Environment, Protocol, Signal},
};
use forebay_example_support::usage::{Format, UsageError, text};
use forebay_testkit::receiver::Faults;
use http::{HeaderName, HeaderValue};
use lexopt::prelude::*;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What `--help` says.
pub const HELP: &str = "\
Ships the lines of log files to an OTLP receiver, and says what became of each.

Usage: ship [OPTIONS] [FILE|-]...

Without FILE the recorded access log of the examples is shipped (with --spool, what the spool holds); - is standard input. Without an endpoint a receiver is
started on this machine, which misbehaves as --faults says, and its books are held against the shipper's in the end.

Options:
  --endpoint URL          where to send to; over HTTP /v1/logs is added to a URL without a path
  --protocol P            http/protobuf (default) | http/json | grpc
  --compression C         none (default) | gzip | zstd (in a build with the feature `zstd`)
  --faults SPEC           faults of the built-in receiver: none | default | \"503:10,429:5,reset:1,slow:2\" (percent)
  --seed N                makes faults and jitter repeatable (default 0)
  --spool DIR             keep lines in DIR until they are delivered, and the position in FILE with them: a run that was
                          stopped or killed goes on where it was safe (in a build with the feature `spool`; files only)
                          a last line without a line break is sent once its file has not grown for a second
  --give-up-after D       how old a line may grow before it is dropped as expired (default 30s)
  --report text|json      text draws a progress bar on a terminal (default); json prints one line, the last one
  --help                  this text

Environment: OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT, and the same with _PROTOCOL, _HEADERS,
_COMPRESSION, _INSECURE and _TIMEOUT, as the OpenTelemetry specification says: a value that cannot be used is ignored with a
warning, an endpoint is an error. An option goes before a variable.

Exit status: 0 when every line was delivered, 1 when lines were lost, 2 when the arguments are wrong, a file cannot be
read, or the report cannot be written. Ctrl-C and SIGTERM stop the reading, ship what was read, and report; the second
time at once.
";

/// What to ship, where to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The files, in order; empty for the recorded log.
    pub inputs: Vec<Input>,
    /// Where to send to; `None` starts a receiver.
    pub endpoint: Option<String>,
    /// The encoding.
    pub protocol: Protocol,
    /// How bodies are compressed.
    pub compression: Compression,
    /// Headers of every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How the built-in receiver misbehaves.
    pub faults: Faults,
    /// Makes faults and jitter repeatable.
    pub seed: u64,
    /// How old a line may grow.
    pub give_up_after: Duration,
    /// Where lines are kept until they are delivered; `None` keeps them in memory.
    pub spool: Option<PathBuf>,
    /// How the result is reported.
    pub format: Format,
    /// What of the environment could not be used, a line each.
    pub warnings: Vec<String>,
}

/// Something to read lines from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Standard,
    /// A file.
    File(PathBuf),
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
    let (mut endpoint, mut protocol, mut compression) = (None, None, None);
    let mut options = Options {
        inputs: Vec::new(),
        endpoint: None,
        protocol: Protocol::default(),
        compression: Compression::None,
        headers: Vec::new(),
        timeout: None,
        faults: Faults::lively(),
        seed: 0,
        give_up_after: Duration::from_secs(30),
        spool: None,
        format: Format::Text,
        warnings: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("endpoint") => endpoint = Some(text(&mut parser, "--endpoint")?),
            Long("protocol") => {
                let value = text(&mut parser, "--protocol")?;
                let wrong = |_| UsageError::of("--protocol", &value, "http/protobuf, http/json, grpc");
                protocol = Some(value.parse::<Protocol>().map_err(wrong)?);
            }
            Long("compression") => {
                let value = text(&mut parser, "--compression")?;
                let wrong = |_| UsageError::of("--compression", &value, &Compression::NAMES.join(", "));
                compression = Some(value.parse::<Compression>().map_err(wrong)?);
            }
            Long("faults") => {
                let value = text(&mut parser, "--faults")?;
                options.faults =
                    Faults::parse(&value).map_err(|error| UsageError::new(format!("--faults: {error}")))?;
            }
            Long("seed") => {
                let value = text(&mut parser, "--seed")?;
                let Ok(seed) = value.parse() else {
                    return Err(UsageError::of("--seed", &value, "a number from 0 to 2^64 - 1"));
                };
                options.seed = seed;
            }
            Long("give-up-after") => {
                let value = text(&mut parser, "--give-up-after")?;
                options.give_up_after = match humantime::parse_duration(&value) {
                    Ok(age) if !age.is_zero() => age,
                    _ => {
                        let allowed = "a duration above zero, such as 30s or 5min";
                        return Err(UsageError::of("--give-up-after", &value, allowed));
                    }
                };
            }
            Long("spool") if cfg!(feature = "spool") => options.spool = Some(parser.value()?.into()),
            Long("spool") => return Err(UsageError::new("--spool needs a build with the feature `spool`".to_owned())),
            Long("report") => {
                options.format = match text(&mut parser, "--report")?.as_str() {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    other => return Err(UsageError::of("--report", other, "text, json")),
                }
            }
            Long("help") | Short('h') => return Ok(None),
            Value(path) if path == "-" => options.inputs.push(Input::Standard),
            Value(path) => options.inputs.push(Input::File(path.into())),
            other => return Err(UsageError::new(format!("{}; see --help", other.unexpected()))),
        }
    }
    // What the endpoint of a variable means depends on the protocol, which an option may have named.
    let environment = Environment::of(Signal::Logs, |name| match protocol {
        Some(protocol) if name == "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL" => Some(protocol.to_string()),
        _ => environment(name),
    })?;
    options.protocol = environment.protocol.unwrap_or_default();
    options.endpoint = match endpoint {
        Some(url) if options.protocol == Protocol::Grpc => Some(url),
        Some(url) => Some(with_path(&url)?),
        None => environment.endpoint,
    };
    options.compression = compression.or(environment.compression).unwrap_or_default();
    (options.headers, options.timeout) = (environment.headers, environment.timeout);
    options.warnings = environment.warnings.iter().map(ToString::to_string).collect();
    if options.spool.is_some() && options.endpoint.is_none() {
        let why = "--spool needs --endpoint: the built-in receiver ends with the run";
        return Err(UsageError::new(why.to_owned()));
    }
    if options.spool.is_some() && options.inputs.contains(&Input::Standard) {
        return Err(UsageError::new("--spool needs files: standard input has no position to go on from".to_owned()));
    }
    if let Some(endpoint) = &options.endpoint {
        endpoint.parse::<Endpoint>()?;
    }
    Ok(Some(options))
}

/// A URL without a path is taken for the base of a receiver.
fn with_path(url: &str) -> Result<String, ConfigError> {
    let endpoint: Endpoint = url.parse()?;
    Ok(match endpoint.uri().path() {
        "" | "/" => endpoint.extended(Signal::Logs.path())?.uri().to_string(),
        _ => url.to_owned(),
    })
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
            (&["--endpoint", "localhost:4318"][..], "endpoint"),
            (&["--endpoint", "http://u:secret@h/"], "user name"),
            (&["--endpoint"], "--endpoint needs a value"),
            (&["--protocol", "grpc\n"], "--protocol is \"grpc\\n\"; allowed: http/protobuf, http/json, grpc"),
            (&["--compression", "lz4"], "allowed: none, gzip"),
            (&["--faults", "503:200"], "--faults"),
            (&["--seed", "-1"], "--seed"),
            (&["--give-up-after", "0s"], "--give-up-after"),
            (&["--give-up-after", "soon"], "--give-up-after"),
            (&["--report", "xml"], "allowed: text, json"),
            (&["--verbose"], "--verbose"),
        ] {
            let error = of(arguments).unwrap_err().to_string();
            assert!(error.contains(words), "{arguments:?}: {error}");
            assert!(!error.contains('\n') && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn options_go_before_the_environment() {
        let variables = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://env:4318".to_owned()),
            "OTEL_EXPORTER_OTLP_COMPRESSION" => Some("gzip".to_owned()),
            _ => None,
        };
        let options = parse([], variables).unwrap().unwrap();
        assert_eq!(options.endpoint.as_deref(), Some("http://env:4318/v1/logs"));
        assert_eq!(options.compression, Compression::gzip());
        let arguments = ["--endpoint", "http://arg:1", "--compression", "none", "-", "a.log"].map(OsString::from);
        let options = parse(arguments, variables).unwrap().unwrap();
        assert_eq!(options.endpoint.as_deref(), Some("http://arg:1/v1/logs"));
        assert_eq!(options.compression, Compression::None);
        assert_eq!(options.inputs, [Input::Standard, Input::File("a.log".into())]);
        let grpc = parse(["--protocol".into(), "grpc".into()], variables).unwrap().unwrap();
        assert_eq!((grpc.protocol, grpc.endpoint.as_deref()), (Protocol::Grpc, Some("http://env:4318")));
        let wrong = parse([], |name| (name == "OTEL_EXPORTER_OTLP_TIMEOUT").then(|| "soon".to_owned()));
        assert!(wrong.unwrap().unwrap().warnings[0].contains("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let wrong = parse([], |name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "soon".to_owned()));
        assert!(wrong.unwrap_err().to_string().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    }

    #[test]
    fn a_path_is_only_added_where_there_is_none() {
        let with_path = |url| with_path(url).unwrap();
        assert_eq!(with_path("http://h:1"), "http://h:1/v1/logs");
        assert_eq!(with_path("http://h:1/"), "http://h:1/v1/logs");
        assert_eq!(with_path("http://h:1/?token=a"), "http://h:1/v1/logs?token=a");
        assert_eq!(with_path("http://h:1/own/logs"), "http://h:1/own/logs");
        assert!(of(&["--help"]).unwrap().is_none());
    }
}
