use crate::signal::Signal;
use forebay_export::ServerText;
use std::fmt;

/// What a server said in the answer to a request that it took.
///
/// It is handed to the observer of an encoder. Text of the server is bounded and printable, so a notice can be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The server refused some items; they are dropped, not sent again.
    Rejected {
        /// The signal that was sent.
        signal: Signal,
        /// How many items the request had.
        items: usize,
        /// How many of them are counted as refused: what the server said, and at most all.
        ///
        /// For metrics the server counts data points, not metrics, and does not say of which; as many metrics are
        /// counted, so that none that may be lost counts as delivered.
        rejected: usize,
        /// Why, as the server says; empty if it does not.
        message: ServerText,
    },
    /// The server took everything, and has something to say.
    Warning {
        /// The signal that was sent.
        signal: Signal,
        /// What.
        message: ServerText,
    },
    /// The answer could not be read, so all items count as delivered.
    Unreadable {
        /// The signal that was sent.
        signal: Signal,
        /// Why not.
        reason: Unreadable,
    },
}

/// Why an answer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is neither protobuf nor JSON: an error page of a proxy, for example.
    ContentType,
    /// It is compressed, although the request did not ask for it.
    Compressed,
    /// It is not the message it should be, or not all of it.
    Malformed,
}

// === impl Notice ===

impl Notice {
    /// The signal that was sent.
    #[must_use]
    pub fn signal(&self) -> Signal {
        let (Self::Rejected { signal, .. } | Self::Warning { signal, .. } | Self::Unreadable { signal, .. }) = self;
        *signal
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { signal, items, rejected, message } => {
                write!(f, "the server refused {rejected} of {items} items of {signal}")?;
                if message.as_str().is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Self::Warning { signal, message } => write!(f, "the server took all {signal} with a warning: {message}"),
            Self::Unreadable { signal, reason } => write!(f, "the server took all {signal}, but its answer {reason}"),
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
