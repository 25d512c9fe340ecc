use forebay_example_support::usage::{UsageError, text};
use lexopt::prelude::*;
use std::{ffi::OsString, time::Duration};

/// What `--help` says.
pub(crate) const HELP: &str = "\
Sends items to three receivers, of which any two die and return at random, and counts what arrives.

Usage: endpoints [OPTIONS]

Options:
  --for D         how long items are sent (default 30s, 24h at most)
  --rate N        items in a second (default 100000, 10 million at most)
  --failover      the receivers in their order; otherwise they share the load
  --seed N        which receivers die, and when (default 1)
  --help          this text

Exit status: 0 when every item arrived, none twice that was not in doubt, and no receiver had more than 1.2 times its normal load
beyond the catch-up; 1 otherwise, 2 when the arguments are wrong.
";

/// How the story goes.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How long items are sent.
    pub(crate) time: Duration,
    /// Items in a second.
    pub(crate) rate: u64,
    /// In order, rather than by load.
    pub(crate) failover: bool,
    /// Makes the deaths repeatable.
    pub(crate) seed: u64,
}

// === impl Options ===

impl Options {
    /// Reads the arguments, without the name of the program. `None` if help is asked for.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, UsageError> {
        let mut options = Self { time: Duration::from_secs(30), rate: 100_000, failover: false, seed: 1 };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("for") => {
                    let value = text(&mut parser, "--for")?;
                    let time = humantime::parse_duration(&value).ok();
                    let allowed = time.filter(|time| (Duration::from_secs(1)..=DAY).contains(time));
                    options.time = allowed.ok_or_else(|| UsageError::of("--for", &value, "1s to 24h"))?;
                }
                Long("rate") => {
                    let value = text(&mut parser, "--rate")?;
                    let rate = value.parse().ok().filter(|rate| (1..=10_000_000).contains(rate));
                    options.rate = rate.ok_or_else(|| UsageError::of("--rate", &value, "1 to 10000000"))?;
                }
                Long("failover") => options.failover = true,
                Long("seed") => {
                    let value = text(&mut parser, "--seed")?;
                    let seed = value.parse().ok();
                    options.seed =
                        seed.ok_or_else(|| UsageError::of("--seed", &value, "a number from 0 to 2^64 - 1"))?;
                }
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }

    /// How many items there may be at most.
    pub(crate) fn items(&self) -> u64 {
        self.rate.saturating_mul(self.time.as_secs().saturating_add(1))
    }
}

const DAY: Duration = Duration::from_secs(86_400);
