//! The command line.

use forebay_core::BoxError;
use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};
use std::path::PathBuf;

/// What to do, and to what.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) dir: PathBuf,
    /// Export dead letters.
    pub(crate) dead: bool,
    /// Export so many at most.
    pub(crate) limit: usize,
    /// Requeue those of one destination.
    pub(crate) to: Option<String>,
    /// Requeue those with these ids.
    pub(crate) ids: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Inspect,
    Verify,
    Repair,
    Export,
    Requeue,
    Stats,
}

pub(crate) const HELP: &str = "\
Looks into a spool that no process has open.

  forebay-spool inspect DIR                          what it holds
  forebay-spool verify DIR                           reads every record; status 1 if anything is damaged
  forebay-spool repair DIR                           sets damaged files aside and takes over what can be read
  forebay-spool export DIR [--dead] [--limit N]      records as JSON lines
  forebay-spool requeue DIR [--to NAME] [--id ID]... dead letters are pending again
  forebay-spool stats DIR                            one JSON object

Only repair and requeue change anything.
";

// === impl Args ===

impl Args {
    /// `None` where only help is asked for.
    pub(crate) fn parse() -> Result<Option<Self>, BoxError> {
        let mut parser = Parser::from_env();
        let (mut command, mut dir, mut dead, mut limit, mut to, mut ids) =
            (None, None, false, usize::MAX, None, Vec::new());
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Long("dead") => dead = true,
                Long("limit") => limit = parser.value()?.parse()?,
                Long("to") => to = Some(parser.value()?.string()?),
                Long("id") => ids.push(parser.value()?.parse()?),
                Value(word) if command.is_none() && word == "help" => return Ok(None),
                Value(word) if command.is_none() => command = Some(Command::of(&word.string()?)?),
                Value(path) if dir.is_none() => dir = Some(PathBuf::from(path)),
                other => return Err(other.unexpected().into()),
            }
        }
        let command = command.ok_or("a command is missing")?;
        let dir = dir.ok_or("the directory of the spool is missing")?;
        if command != Command::Export && (dead || limit != usize::MAX) {
            return Err("--dead and --limit belong to export".into());
        }
        if command != Command::Requeue && (to.is_some() || !ids.is_empty()) {
            return Err("--to and --id belong to requeue".into());
        }
        Ok(Some(Self { command, dir, dead, limit, to, ids }))
    }
}

// === impl Command ===

impl Command {
    fn of(word: &str) -> Result<Self, BoxError> {
        Ok(match word {
            "inspect" => Self::Inspect,
            "verify" => Self::Verify,
            "repair" => Self::Repair,
            "export" => Self::Export,
            "requeue" => Self::Requeue,
            "stats" => Self::Stats,
            other => return Err(format!("there is no command {other:?}").into()),
        })
    }

    /// Whether it may change the spool.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Repair | Self::Requeue)
    }
}
