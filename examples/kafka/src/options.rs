use forebay_example_support::{
    tls::{TlsError, Trust},
    usage::{UsageError, text},
};
use std::{error::Error, ffi::OsString, path::PathBuf, time::Duration};

/// What `--help` prints.
pub const HELP: &str = "\
kafka_client: sends the metrics of a pretended producer to a Kafka cluster, as its operator asks (KIP-714)

    kafka_client [--bootstrap HOST:PORT[,HOST:PORT]] [--for SECONDS] [--client-id ID] [--series N]
                 [--sasl PLAIN|SCRAM-SHA-256|SCRAM-SHA-512 --user USER --password-file FILE]
                 [--sasl OAUTHBEARER --token-file FILE|--token-command COMMAND [--token-valid-for SECONDS]]
                 [--tls | --ca FILE]

Without --bootstrap it starts a broker of its own, which asks for everything every half second, and fails now and then.
It runs for --for seconds (with a broker of its own: 4), or until SIGINT or SIGTERM; then it sends the terminating push.
--series adds that many series beside the KIP's standard ones. The status is 1 if the accounts do not balance or no push
was taken, and 2 if it cannot begin or the report cannot be written. With a real broker, ask for metrics with:

    kafka-client-metrics.sh --bootstrap-server HOST:PORT --alter --name all --metrics '*' --interval 1000

A token is read from its file, or from the output of its command, for each connection; the command is run by `sh -c`, as
long as an attempt to connect takes. --token-valid-for lets a connection be replaced, with a new token, before that time
is over. The broker of its own takes the first token that it is given that way, and no other.
--tls encrypts, and trusts the authorities of the system; --ca trusts those in FILE (PEM) alone. PLAIN and OAUTHBEARER
show their secret to the broker: without TLS they are for a network that is trusted.";

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
    /// How the client proves who it is, if the brokers ask for it.
    pub login: Option<Login>,
    /// Whose certificates brokers may show; `None` for a connection that is not encrypted.
    pub trust: Option<Trust>,
}

/// How the client proves who it is.
#[derive(Clone, Debug)]
pub enum Login {
    /// By a password.
    Password {
        /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        mechanism: Mechanism,
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By a token (`OAUTHBEARER`).
    Token {
        /// Where the token is had.
        from: TokenSource,
        /// How long it is valid from then on, if that is known.
        valid_for: Option<Duration>,
    },
}

/// The mechanisms with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password as it is.
    Plain,
    /// A proof of it, by SHA-256.
    ScramSha256,
    /// A proof of it, by SHA-512.
    ScramSha512,
}

/// Where a token is had, once for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The content of a file.
    File(PathBuf),
    /// What a command prints.
    Command(String),
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

/// Reads the command line; `None` if help is asked for.
///
/// # Errors
///
/// When an option is unknown or has a value that it cannot have.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, UsageError> {
    use lexopt::prelude::*;
    let mut options = Options { client_id: "forebay-example".to_owned(), ..Options::default() };
    let (mut mechanism, mut user, mut file) = (None, None, None);
    let (mut token_file, mut token_command, mut valid_for) = (None, None, None);
    let (mut tls, mut ca) = (false, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("bootstrap") => options.bootstrap = Some(text(&mut parser, "--bootstrap")?),
            Long("client-id") => options.client_id = text(&mut parser, "--client-id")?,
            Long("sasl") => mechanism = Some(text(&mut parser, "--sasl")?),
            Long("user") => user = Some(text(&mut parser, "--user")?),
            Long("password-file") => file = Some(text(&mut parser, "--password-file")?),
            Long("token-file") => token_file = Some(PathBuf::from(text(&mut parser, "--token-file")?)),
            Long("token-command") => token_command = Some(text(&mut parser, "--token-command")?),
            Long("token-valid-for") => valid_for = Some(seconds(&mut parser, "--token-valid-for")?),
            Long("tls") => tls = true,
            Long("ca") => ca = Some(PathBuf::from(text(&mut parser, "--ca")?)),
            Long("for") => options.duration = Some(seconds(&mut parser, "--for")?),
            Long("series") => {
                let value = text(&mut parser, "--series")?;
                options.series =
                    value.parse().map_err(|_error| UsageError::of("--series", &value, "a number of series"))?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let source = match (token_file, token_command) {
        (Some(file), None) => Some(TokenSource::File(file)),
        (None, Some(command)) => Some(TokenSource::Command(command)),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(together("--token-file and --token-command exclude each other")),
    };
    options.login = login((mechanism, user, file), (source, valid_for))?;
    options.trust = match (tls, ca) {
        (false, None) => None,
        (_, ca) => Some(Trust::of(ca.as_deref()).map_err(|error| in_one_line(&error))?),
    };
    if options.trust.is_some() && options.bootstrap.is_none() {
        return Err(together("--tls and --ca need --bootstrap: the broker of its own speaks no TLS"));
    }
    Ok(Some(options))
}

type Password = (Option<String>, Option<String>, Option<String>);

fn login(
    (mechanism, user, file): Password,
    (source, valid_for): (Option<TokenSource>, Option<Duration>),
) -> Result<Option<Login>, UsageError> {
    let Some(mechanism) = mechanism else {
        return match (user, file, source, valid_for) {
            (None, None, None, None) => Ok(None),
            _ => Err(together("credentials need --sasl")),
        };
    };
    let of_password = match mechanism.as_str() {
        "PLAIN" => Mechanism::Plain,
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "SCRAM-SHA-512" => Mechanism::ScramSha512,
        "OAUTHBEARER" => {
            return match (user, file, source) {
                (None, None, Some(from)) => Ok(Some(Login::Token { from, valid_for })),
                _ => Err(together("--sasl OAUTHBEARER goes with --token-file or --token-command alone")),
            };
        }
        other => {
            return Err(UsageError::of("--sasl", other, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"));
        }
    };
    let (Some(user), Some(file), None, None) = (user, file, source, valid_for) else {
        return Err(together(&format!("--sasl {mechanism} goes with --user and --password-file alone")));
    };
    let password = std::fs::read_to_string(&file).map_err(|error| UsageError::new(format!("{file}: {error}")))?;
    let password = Secret(password.trim_end_matches(['\r', '\n']).to_owned());
    Ok(Some(Login::Password { mechanism: of_password, user, password }))
}

fn seconds(parser: &mut lexopt::Parser, option: &str) -> Result<Duration, UsageError> {
    let value = text(parser, option)?;
    let wrong = || UsageError::of(option, &value, "seconds, such as 4 or 0.5");
    let seconds: f64 = value.parse().map_err(|_error| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_error| wrong())
}

fn together(text: &str) -> UsageError {
    UsageError::new(text.to_owned())
}

fn in_one_line(error: &TlsError) -> UsageError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    UsageError::new(format!("{error}{cause}"))
}

// === impl Secret ===

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Option<Options>, UsageError> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn credentials_that_do_not_go_together_are_one_clear_line() {
        for (arguments, words) in [
            (&["--sasl", "GSSAPI"][..], "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"),
            (&["--sasl", "OAUTHBEARER"], "--token-file or --token-command"),
            (&["--sasl", "OAUTHBEARER", "--user", "u", "--token-file", "f"], "alone"),
            (&["--sasl", "OAUTHBEARER", "--token-file", "f", "--token-command", "c"], "exclude each other"),
            (&["--sasl", "PLAIN", "--user", "u"], "--password-file"),
            (&["--sasl", "PLAIN", "--user", "u", "--password-file", "none"], "none: "),
            (&["--token-file", "f"], "--sasl"),
            (&["--token-valid-for", "soon"], "--token-valid-for"),
            (&["--tls"], "--bootstrap"),
            (&["--bootstrap", "h:1", "--ca", "none.pem"], "none.pem cannot be used for TLS"),
            (&["--series", "many"], "--series"),
            (&["--verbose"], "--verbose"),
        ] {
            let error = of(arguments).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_token_comes_from_a_file_or_a_command() {
        let arguments = ["--sasl", "OAUTHBEARER", "--token-command", "cat x", "--token-valid-for", "1.5"];
        match of(&arguments).unwrap().unwrap().login {
            Some(Login::Token { from, valid_for }) => {
                assert_eq!(
                    (from, valid_for),
                    (TokenSource::Command("cat x".into()), Some(Duration::from_millis(1500)))
                );
            }
            other => unreachable!("{other:?}"),
        }
    }
}
