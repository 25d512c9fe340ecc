use forebay_core::{Advice, DropReason, Seen, Verdict};
use std::{error::Error, fmt, io, path::PathBuf};

/// Why a spool did not do what it was asked for.
///
/// Its source is a [`Verdict`]: the reason under which an item counts that could not be spooled, whether the spool may hold it all
/// the same, and whether another attempt is sensible.
#[derive(Clone, Debug)]
pub struct SpoolError {
    kind: SpoolErrorKind,
    verdict: Verdict,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolErrorKind {
    /// There is no room. Nothing of the group is kept; the same group may fit later.
    Full {
        /// What is used up.
        limit: Limit,
    },
    /// A record, key or mark is larger than what may ever be kept. Nothing of the group is kept.
    TooLarge {
        /// What it has, in bytes.
        bytes: usize,
        /// What it may have, in bytes.
        max: usize,
    },
    /// Too many groups wait to be written. Nothing of this one is kept; the same group may be taken a moment later.
    Busy,
    /// The spool is closed.
    Closed,
    /// Another process has the spool open.
    InUse {
        /// Its process id, where it left one.
        holder: Option<u32>,
    },
    /// The directory, or a file in it, is not one that a spool may trust: a symbolic link, a foreign owner.
    Untrusted {
        /// What is not trusted.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The spool has no such destination.
    UnknownDestination {
        /// The name that was asked for.
        name: String,
    },
    /// This spool cannot do what the group asks for. Nothing of it is kept.
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// The storage failed. A group that was being appended may be kept all the same.
    Io,
}

/// What a spool may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The disk itself, or a quota of it.
    Disk,
    /// `max_bytes`.
    Bytes,
    /// `max_records`.
    Records,
    /// `max_leases`: too many leases are open at once.
    Leases,
}

// === impl SpoolError ===

impl SpoolError {
    /// The error of an implementation of [`Spool`](crate::Spool). The verdict follows from what happened.
    #[must_use]
    pub fn new(kind: SpoolErrorKind) -> Self {
        let verdict = kind.verdict();
        Self { kind, verdict }
    }

    /// The same with what caused it, as the last link of its chain of sources.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<forebay_core::BoxError>) -> Self {
        Self { verdict: self.verdict.caused_by(cause), ..self }
    }

    pub(crate) fn full(limit: Limit) -> Self {
        Self::new(SpoolErrorKind::Full { limit })
    }

    /// An error of the storage; a disk without room has a name of its own.
    pub(crate) fn of_io(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolErrorKind::Full { limit: Limit::Disk },
            _ => SpoolErrorKind::Io,
        };
        let verdict = kind.verdict().caused_by(error);
        Self { kind, verdict }
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &SpoolErrorKind {
        &self.kind
    }

    /// Whether the spool may hold the group all the same, and whether another attempt is sensible.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Error for SpoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

// === impl SpoolErrorKind ===

impl SpoolErrorKind {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Full { limit: Limit::Bytes } => Verdict::new(DropReason::Bytes, Seen::No, Advice::Retry),
            Self::Full { .. } | Self::Busy => Verdict::new(DropReason::Full, Seen::No, Advice::Retry),
            Self::TooLarge { .. } => Verdict::new(DropReason::TooLarge, Seen::No, Advice::Never),
            Self::Closed => Verdict::new(DropReason::Shutdown, Seen::No, Advice::Never),
            Self::InUse { .. } => Verdict::new(DropReason::Failed, Seen::No, Advice::Retry),
            Self::Untrusted { .. } | Self::UnknownDestination { .. } | Self::Unsupported { .. } => {
                Verdict::new(DropReason::Failed, Seen::No, Advice::Never)
            }
            Self::Io => Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Retry),
        }
    }
}

impl fmt::Display for SpoolErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit: Limit::Disk } => f.write_str("the disk is full"),
            Self::Full { limit: Limit::Bytes } => f.write_str("the spool holds as many bytes as it may"),
            Self::Full { limit: Limit::Records } => f.write_str("the spool holds as many records as it may"),
            Self::Full { limit: Limit::Leases } => f.write_str("as many leases are open as there may be"),
            Self::TooLarge { bytes, max } => write!(f, "{bytes} bytes are more than the {max} that may be spooled"),
            Self::Busy => f.write_str("too many groups wait to be written to the spool"),
            Self::Closed => f.write_str("the spool is closed"),
            Self::InUse { holder: Some(pid) } => write!(f, "process {pid} has the spool open"),
            Self::InUse { holder: None } => f.write_str("another process has the spool open"),
            Self::Untrusted { path, why } => write!(f, "{} cannot be trusted: {why}", path.display()),
            Self::UnknownDestination { name } => write!(f, "the spool has no destination {name:?}"),
            Self::Unsupported { what } => write!(f, "this spool has no {what}"),
            Self::Io => f.write_str("the storage of the spool failed"),
        }
    }
}
