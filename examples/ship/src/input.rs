use super::{Ended, options::Input};
use std::{
    fs::File,
    io::{self, BufRead},
};

/// An input of a run.
#[derive(Debug)]
pub(super) enum Source {
    /// A regular file: reading it ends, and it can be read again.
    File { name: String, file: File },
    /// Anything else, such as standard input, a pipe or a device: reading it may wait for ever, even opening it may.
    Stream { name: String, input: Input },
}

// === impl Source ===

impl Source {
    /// Opens `input` where that does not wait, so that a wrong name is found before anything is sent.
    pub(super) fn of(input: &Input) -> Result<Self, Ended> {
        let Input::File(path) = input else {
            return Ok(Self::Stream { name: "standard input".to_owned(), input: Input::Standard });
        };
        let name = path.display().to_string();
        let opened = path.metadata().and_then(|found| match found.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false if found.is_file() => File::open(path).map(Some),
            // A pipe without a writer waits for one where it is opened: that is for the thread that reads it.
            false => Ok(None),
        });
        match opened {
            Ok(Some(file)) => Ok(Self::File { name, file }),
            Ok(None) => Ok(Self::Stream { name, input: input.clone() }),
            Err(error) => Err(Ended::Input { name, error, summary: None }),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Stream { name, .. } => name,
        }
    }

    /// Whether reading may wait for something that never comes.
    pub(super) fn may_block(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    /// How many bytes there are to read, where that is known.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::File { file, .. } => file.metadata().ok().map(|found| found.len()),
            Self::Stream { .. } => None,
        }
    }

    /// Where its lines come from; waits for the other end of a pipe.
    pub(super) fn reader(&self) -> io::Result<Box<dyn BufRead + Send>> {
        const BUFFER: usize = 256 << 10;
        let file = match self {
            Self::File { file, .. } => file.try_clone()?,
            Self::Stream { input: Input::Standard, .. } => return Ok(Box::new(io::BufReader::new(io::stdin()))),
            Self::Stream { input: Input::File(path), .. } => File::open(path)?,
        };
        Ok(Box::new(io::BufReader::with_capacity(BUFFER, file)))
    }
}
