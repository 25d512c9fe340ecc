use http::{HeaderValue, StatusCode};
use std::time::Duration;

/// One way to mistreat a request.
///
/// *Processed* means that the records were taken in, whatever the response says. A fault that processes a request and
/// leaves its client without a complete response makes it [`Ambiguous`](super::Disposition::Ambiguous).
///
/// The faults below HTTP act on the connection: over HTTP/2 they hit every request that shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No fault: the request is processed and gets its response.
    #[default]
    None,
    /// Responds with `status`, 200 to 999. A 2xx is processed, every other is not.
    Status {
        /// The status of the response.
        status: StatusCode,
        /// One `Retry-After` header each.
        retry_after: Vec<RetryAfter>,
    },
    /// Processes at once and responds late. Ambiguous if the client hangs up first.
    Slow {
        /// The delay of the response.
        by: Duration,
    },
    /// Reads the request and never responds.
    BlackHole {
        /// Whether the records are taken in.
        processed: bool,
    },
    /// Reads only the head, never responds, and does not even notice when the client hangs up.
    Deaf,
    /// Resets the connection (TCP RST).
    Reset {
        /// How much of the request was read.
        when: ResetWhen,
    },
    /// Closes its own direction without a response, and goes on reading until the client closes too.
    HalfClose {
        /// Whether the records are taken in.
        processed: bool,
    },
    /// Responds with bytes that are no HTTP, and closes the connection.
    Garbage {
        /// Whether the records are taken in.
        processed: bool,
    },
    /// Processes, and closes the connection in the middle of the response body.
    Truncated,
    /// Processes, and sends the whole response, head included, byte by byte. Ambiguous if the client hangs up first.
    Trickle {
        /// The time from byte to byte.
        every: Duration,
    },
    /// Processes, and responds with a body of this many bytes; they are generated, not stored.
    Oversized {
        /// The length of the body, in bytes.
        bytes: u64,
    },
    /// Processes, and responds with a gzip body that decodes to this many zeros, about 1,000 times its own length.
    GzipBomb {
        /// The length of the decoded body, in bytes.
        bytes: u64,
    },
    /// Processes, and responds with this many extra headers.
    ManyHeaders {
        /// How many, at most [`Fault::MOST_HEADERS`].
        count: usize,
    },
    /// Redirects the client; nothing is processed.
    Redirect {
        /// Usually 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The target of the redirect.
        location: HeaderValue,
    },
    /// Processes all but the last records of the request, and says so.
    Partial {
        /// How many records the response calls rejected; a number above the records of the request, or below zero, is sent as it is.
        rejected: i64,
        /// The error message of the response.
        message: String,
    },
    /// Processes, and gives the right response the wrong `Content-Type`.
    WrongContentType {
        /// The type.
        content_type: HeaderValue,
    },
}

/// How much of a request was done when its connection was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetWhen {
    /// The body was not read.
    Unread,
    /// The body was read; the records were not taken in.
    Unprocessed,
    /// The records were taken in, and the client cannot know.
    Processed,
}

/// The value of one `Retry-After` header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// An HTTP date so many seconds after the time of the response; before it when negative.
    Date(i64),
    /// These bytes, sensible or not.
    Raw(HeaderValue),
}

// === impl Fault ===

impl Fault {
    /// The most headers that [`Fault::ManyHeaders`] adds; an `http::HeaderMap` holds little more.
    pub const MOST_HEADERS: usize = 24_000;

    /// `status`, without `Retry-After`.
    #[must_use]
    pub const fn status(status: StatusCode) -> Self {
        Self::Status { status, retry_after: Vec::new() }
    }

    /// `status`, and `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(status: StatusCode, seconds: u64) -> Self {
        Self::Status { status, retry_after: vec![RetryAfter::Seconds(seconds)] }
    }

    /// Whether the records of a request with this fault are taken in, if they are acceptable.
    #[must_use]
    pub fn processes(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_success(),
            Self::BlackHole { processed } | Self::HalfClose { processed } | Self::Garbage { processed } => *processed,
            Self::Reset { when } => *when == ResetWhen::Processed,
            Self::Deaf | Self::Redirect { .. } => false,
            Self::None
            | Self::Slow { .. }
            | Self::Truncated
            | Self::Trickle { .. }
            | Self::Oversized { .. }
            | Self::GzipBomb { .. }
            | Self::ManyHeaders { .. }
            | Self::Partial { .. }
            | Self::WrongContentType { .. } => true,
        }
    }
}
