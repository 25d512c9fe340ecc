use super::Login;
use forebay::export::{Endpoint, EndpointGuard};
use forebay_example_support::{
    tls::Trust,
    usage::{Format, UsageError, text},
};
use forebay_testkit::receiver::Faults;
use http::{HeaderValue, Uri};
use lexopt::prelude::*;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What `--help` says.
pub const HELP: &str = "\
Gathers the numbers of its own process on a timer, and exports them as cumulative OTLP metrics, as a server says.

Usage: reporter [OPTIONS]

Without --config the configuration is served by this program, and so is the receiver that it names, which misbehaves as
--faults says; in the end its counts are compared with the reporter's.

Options:
  --config URL            where the configuration is fetched: JSON with endpoint, include, labels, refresh
  --gather-interval D     how often the numbers are gathered (default 5s)
  --export-interval D     how often what was gathered is exported (default 60s)
  --buffer-age D          how old a value may grow before it is dropped as expired (default 15min)
  --buffer-bytes N        how much may wait; the oldest go first (default 16777216)
  --resource-id ID        sent as X-HCP-Resource-Id with each export and each fetch of the configuration
  --token-url URL         fetch an OAuth token there (client credentials), and show it with each export and each fetch
                          of the configuration, which both need https then; the client is HCP_CLIENT_ID with
                          HCP_CLIENT_SECRET, two variables of the environment
  --audience TEXT         for which service the token is
  --ca FILE               authorities in PEM to trust, in place of the system's
  --allow-private         let the configuration name an endpoint on this machine or a private network
  --for D                 run so long, then report and end (default: until Ctrl-C or SIGTERM)
  --drain D               how long what waits may take to be exported in the end (default 10s)
  --faults SPEC           faults of the built-in receiver: none (default) | default | \"503:10,reset:1\" (percent)
  --seed N                makes faults and jitter repeatable (default 0)
  --report text|json      how it reports in the end (default text)
  --measure-buffer        print what the buffer costs, and end
  --compare               print what other ways to keep values through an outage cost and lose, and end
  --help                  this text

Exit status: 0 when every value that was gathered was delivered, 1 when some were lost, 2 when the arguments are wrong
or the report cannot be written.
";

/// What to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Report.
    Run(Box<Options>),
    /// Print what the buffer costs.
    Measure,
    /// Print how ways to keep values through an outage compare.
    Compare,
    /// Print [`HELP`].
    Help,
}

/// What to gather, how often, and how much may wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration is fetched; `None` serves one.
    pub config: Option<Uri>,
    /// How often the numbers are gathered.
    pub gather_interval: Duration,
    /// How often what was gathered is exported.
    pub export_interval: Duration,
    /// How old a value may grow before it is dropped as expired.
    pub buffer_age: Duration,
    /// How many bytes may wait.
    pub buffer_bytes: usize,
    /// Sent as `X-HCP-Resource-Id`.
    pub resource_id: Option<HeaderValue>,
    /// How a token is fetched, if one is needed.
    pub login: Option<Login>,
    /// Whose certificates servers may show; `None` for those that the system trusts.
    pub trust: Option<Trust>,
    /// The configuration may name an endpoint on this machine or a private network.
    pub allow_private: bool,
    /// How long to run; `None` until it is interrupted.
    pub run_for: Option<Duration>,
    /// How long the end may take: the last gathering, and what still waits.
    pub drain: Duration,
    /// How the built-in receiver misbehaves.
    pub faults: Faults,
    /// Makes faults and jitter repeatable.
    pub seed: u64,
    /// How the result is reported.
    pub format: Format,
}

// === impl Options ===

impl Options {
    /// What the configuration may name: a server must not send this process to its neighbours.
    pub(super) fn guard(&self) -> EndpointGuard {
        // A token is not sent in plain text.
        let guard = EndpointGuard::new();
        let guard = if self.login.is_some() { guard } else { guard.allow_plaintext() };
        // The built-in server is one of the neighbours, and named by this program itself.
        if self.allow_private || self.config.is_none() { guard.allow_private() } else { guard }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: None,
            gather_interval: Duration::from_secs(5),
            export_interval: Duration::from_secs(60),
            buffer_age: Duration::from_secs(15 * 60),
            buffer_bytes: 16 << 20,
            resource_id: None,
            login: None,
            trust: None,
            allow_private: false,
            run_for: None,
            drain: Duration::from_secs(10),
            faults: Faults::default(),
            seed: 0,
            format: Format::Text,
        }
    }
}

/// Reads the arguments, without the name of the program, and the variables that they need.
///
/// # Errors
///
/// What is wrong with them.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Task, UsageError> {
    let (mut options, mut token_url, mut audience) = (Options::default(), None, None);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => {
                let value = text(&mut parser, "--config")?;
                let wrong = || UsageError::of("--config", &value, "an http or https URL");
                let uri: Uri = value.parse().map_err(|_error| wrong())?;
                if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
                    return Err(wrong());
                }
                options.config = Some(uri);
            }
            Long("gather-interval") => options.gather_interval = duration(&mut parser, "--gather-interval")?,
            Long("export-interval") => options.export_interval = duration(&mut parser, "--export-interval")?,
            Long("buffer-age") => options.buffer_age = duration(&mut parser, "--buffer-age")?,
            Long("for") => options.run_for = Some(duration(&mut parser, "--for")?),
            Long("drain") => options.drain = duration(&mut parser, "--drain")?,
            Long("buffer-bytes") => {
                let value = text(&mut parser, "--buffer-bytes")?;
                options.buffer_bytes = match value.parse() {
                    Ok(bytes) if bytes >= 4096 => bytes,
                    _ => return Err(UsageError::of("--buffer-bytes", &value, "a number of bytes, 4096 or more")),
                };
            }
            Long("resource-id") => {
                let value = text(&mut parser, "--resource-id")?;
                let id = HeaderValue::try_from(&value)
                    .map_err(|_error| UsageError::of("--resource-id", &value, "what the value of a header can be"))?;
                options.resource_id = Some(id);
            }
            Long("token-url") => {
                let value = text(&mut parser, "--token-url")?;
                let url: Endpoint =
                    value.parse().map_err(|_error| UsageError::of("--token-url", &value, "an https URL"))?;
                if url.is_exposed() {
                    return Err(UsageError::of("--token-url", &value, "https, or http on this machine"));
                }
                token_url = Some(url);
            }
            Long("audience") => audience = Some(text(&mut parser, "--audience")?),
            Long("ca") => {
                let file: PathBuf = text(&mut parser, "--ca")?.into();
                options.trust = Some(Trust::only(&file).map_err(|error| UsageError::new(format!("--ca: {error}")))?);
            }
            Long("allow-private") => options.allow_private = true,
            Long("faults") => {
                let value = text(&mut parser, "--faults")?;
                let faults = Faults::parse(&value);
                options.faults = faults.map_err(|error| UsageError::new(format!("--faults: {error}")))?;
            }
            Long("seed") => {
                let value = text(&mut parser, "--seed")?;
                let Ok(seed) = value.parse() else {
                    return Err(UsageError::of("--seed", &value, "a number from 0 to 2^64 - 1"));
                };
                options.seed = seed;
            }
            Long("report") => {
                options.format = match text(&mut parser, "--report")?.as_str() {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    other => return Err(UsageError::of("--report", other, "text, json")),
                }
            }
            Long("measure-buffer") => return Ok(Task::Measure),
            Long("compare") => return Ok(Task::Compare),
            Long("help") | Short('h') => return Ok(Task::Help),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if let Some(token_url) = token_url {
        let variable = |name| {
            let value = environment(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| UsageError::new(format!("--token-url needs {name} in the environment")))
        };
        let (client_id, client_secret) = (variable("HCP_CLIENT_ID")?, variable("HCP_CLIENT_SECRET")?);
        let exposed = options.config.as_ref().map(|uri| uri.to_string().parse::<Endpoint>());
        if !matches!(exposed, Some(Ok(endpoint)) if !endpoint.is_exposed()) {
            let allowed = "https, or http on this machine, for a token is shown there";
            return Err(UsageError::of(
                "--config",
                &options.config.map(|uri| uri.to_string()).unwrap_or_default(),
                allowed,
            ));
        }
        options.login = Some(Login { token_url, client_id, client_secret, audience });
    }
    Ok(Task::Run(Box::new(options)))
}

fn duration(parser: &mut lexopt::Parser, option: &str) -> Result<Duration, UsageError> {
    let value = text(parser, option)?;
    match humantime::parse_duration(&value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(UsageError::of(option, &value, "a duration above zero, such as 30s or 5min")),
    }
}
