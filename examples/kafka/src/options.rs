use std::{ffi::OsString, fmt, time::Duration};

/// What `--help` prints.
pub const HELP: &str = "\
kafka_client: sends the metrics of a pretended producer to a Kafka cluster, as its operator asks (KIP-714)

    kafka_client [--bootstrap HOST:PORT[,HOST:PORT]] [--for SECONDS] [--client-id ID] [--series N]
                 [--sasl PLAIN|SCRAM-SHA-256|SCRAM-SHA-512 --user USER --password-file FILE]

Without --bootstrap it starts a broker of its own, which asks for everything every half second, and fails now and then.
It runs for --for seconds (with a broker of its own: 4), or until SIGINT or SIGTERM; then it sends the terminating push.
--series adds that many series beside the KIP's standard ones. The status is 1 if the accounts do not balance or no push
was taken, and 2 if it cannot begin or the report cannot be written. With a real broker, ask for metrics with:

    kafka-client-metrics.sh --bootstrap-server HOST:PORT --alter --name all --metrics '*' --interval 1000";

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `host:port`, or several; none for a broker of our own.
    pub bootstrap: Option<String>,
    /// For how long; until a signal if there is none.
    pub duration: Option<Duration>,
    /// The client's id.
    pub client_id: String,
    /// Series beside the standard ones.
    pub series: u32,
    /// Mechanism, user and password.
    pub sasl: Option<(String, String, String)>,
}

/// The command line makes no sense.
#[derive(Debug)]
pub struct WrongOptions(String);

/// Reads the command line; `None` if help is asked for.
///
/// # Errors
///
/// When an option is unknown or has a value that it cannot have.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, WrongOptions> {
    use lexopt::prelude::*;
    let wrong = |error: lexopt::Error| WrongOptions(error.to_string());
    let mut options = Options { client_id: "forebay-example".to_owned(), ..Options::default() };
    let (mut mechanism, mut user, mut file) = (None, None, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("bootstrap") => options.bootstrap = Some(text(&mut parser)?),
            Long("client-id") => options.client_id = text(&mut parser)?,
            Long("sasl") => mechanism = Some(text(&mut parser)?),
            Long("user") => user = Some(text(&mut parser)?),
            Long("password-file") => file = Some(text(&mut parser)?),
            Long("for") => {
                let seconds: f64 = parser.value().and_then(|value| value.parse()).map_err(wrong)?;
                let duration = Duration::try_from_secs_f64(seconds).map_err(|error| WrongOptions(error.to_string()))?;
                options.duration = Some(duration);
            }
            Long("series") => options.series = parser.value().and_then(|value| value.parse()).map_err(wrong)?,
            other => return Err(wrong(other.unexpected())),
        }
    }
    options.sasl = match (mechanism, user, file) {
        (None, None, None) => None,
        (Some(mechanism), Some(user), Some(file)) => {
            let password = std::fs::read_to_string(&file).map_err(|error| WrongOptions(format!("{file}: {error}")))?;
            Some((mechanism, user, password.trim_end_matches(['\r', '\n']).to_owned()))
        }
        _ => return Err(WrongOptions("--sasl, --user and --password-file go together".to_owned())),
    };
    Ok(Some(options))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, WrongOptions> {
    let value = parser.value().map_err(|error| WrongOptions(error.to_string()))?;
    value.into_string().map_err(|value| WrongOptions(format!("{} is no text", value.display())))
}

impl fmt::Display for WrongOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongOptions {}
