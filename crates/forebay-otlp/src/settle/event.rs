use crate::signal::Signal;
use forebay_export::ServerText;
use std::fmt;

/// What a server reports in the response to a request that it accepted.
///
/// The observer of an encoder receives it. Text of the server is bounded and printable, so an event can be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtlpEvent {
    /// The server refused some items; they are dropped, not sent again.
    Rejected {
        /// The signal that was sent.
        signal: Signal,
        /// How many items the request had.
        items: usize,
        /// How many of them count as refused: the number that the server gave, and at most all.
        ///
        /// For metrics the server counts data points, and does not name their metrics; as many metrics count as refused, so
        /// that no metric that may be lost counts as delivered.
        rejected: usize,
        /// The reason that the server gave; empty if it gave none.
        message: ServerText,
    },
    /// The server accepted all items, and sent a message.
    Warning {
        /// The signal that was sent.
        signal: Signal,
        /// The message.
        message: ServerText,
    },
    /// The response could not be read, so all items count as delivered.
    Unreadable {
        /// The signal that was sent.
        signal: Signal,
        /// Why it could not be read.
        reason: Unreadable,
    },
}

/// Why a response could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is neither protobuf nor JSON: an error page of a proxy, for example.
    ContentType,
    /// It is compressed, although the request did not allow it.
    Compressed,
    /// It is not a valid message, or not a complete one.
    Malformed,
}

// === impl OtlpEvent ===

impl OtlpEvent {
    /// The signal that was sent.
    #[must_use]
    pub fn signal(&self) -> Signal {
        let (Self::Rejected { signal, .. } | Self::Warning { signal, .. } | Self::Unreadable { signal, .. }) = self;
        *signal
    }
}

impl fmt::Display for OtlpEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { signal, items, rejected, message } => {
                write!(f, "the server refused {rejected} of {items} items of {signal}")?;
                if message.as_str().is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Self::Warning { signal, message } => {
                write!(f, "the server accepted all {signal} with a warning: {message}")
            }
            Self::Unreadable { signal, reason } => {
                write!(f, "the server accepted all {signal}, but its response {reason}")
            }
        }
    }
}

// === impl Unreadable ===

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContentType => "is neither protobuf nor JSON",
            Self::Compressed => "is compressed",
            Self::Malformed => "is malformed",
        })
    }
}
