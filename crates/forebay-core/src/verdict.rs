use crate::{BoxError, DropReason, cause_ref};
use std::{error::Error, fmt, io, sync::Arc, time::Duration};

/// What a caller must know of a failure besides what happened: whether the request was seen, and whether a retry is sensible.
///
/// Every error that a forebay layer adds has one as its [`source`](Error::source), so that a layer above finds it
/// with [`Verdict::of`] without knowing the layer below. The error of the layer's own inner service is, in turn,
/// the verdict's source: the chain has one link per sentence.
#[derive(Clone, Debug)]
pub struct Verdict {
    reason: DropReason,
    seen: Seen,
    advice: Advice,
    /// Shared by the clones of an error, which are rare: the last one gives it out by value.
    source: Option<Arc<BoxError>>,
}

/// Whether the server may have seen the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It was not sent: sending it later cannot double it.
    No,
    /// It was on its way when it failed: sending it again may double it.
    Maybe,
    /// The server responded.
    Yes,
}

/// Whether sending the same request again is sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Another attempt would most likely end in the same way.
    Never,
    /// At any time, with the caller's own backoff.
    Retry,
    /// Not before this much time has passed.
    RetryAfter(Duration),
}

// === impl Verdict ===

impl Verdict {
    /// A verdict without a cause of its own.
    #[must_use]
    pub const fn new(reason: DropReason, seen: Seen, advice: Advice) -> Self {
        Self { reason, seen, advice, source: None }
    }

    /// The same verdict with `cause` as its source.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<BoxError>) -> Self {
        self.source = Some(Arc::new(cause.into()));
        self
    }

    /// The outermost verdict in the chain of `error`.
    #[must_use]
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        cause_ref::<Self>(error)
    }

    /// The cause, by value.
    ///
    /// # Errors
    ///
    /// The verdict as it was, where it has no cause, or where a clone of it still needs the cause.
    pub fn into_cause(mut self) -> Result<BoxError, Self> {
        let Some(cause) = self.source.take() else { return Err(self) };
        Arc::try_unwrap(cause).map_err(|shared| Self { source: Some(shared), ..self })
    }

    /// The reason under which the items of the request are counted if no layer sends it again.
    #[must_use]
    pub fn reason(&self) -> DropReason {
        self.reason
    }

    /// Whether the server may have seen the request.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Whether a retry is sensible.
    #[must_use]
    pub fn advice(&self) -> Advice {
        self.advice
    }
}

// === impl Seen ===

impl Seen {
    /// Whether the server may have seen the request that ended with `error`.
    ///
    /// A [`Verdict`] in the chain says so. Without one the request was not seen if the chain says that there never was a
    /// connection (refused, no way to the address, or hyper-util's word for a failure to connect), or that an HTTP/2 server
    /// did not process the stream (`REFUSED_STREAM`, or a graceful `GOAWAY`, which ends only streams that the server has not
    /// looked at: [RFC 9113, 6.8 and 8.7]). In all other cases it may have been seen.
    ///
    /// [RFC 9113, 6.8 and 8.7]: https://www.rfc-editor.org/rfc/rfc9113#section-8.7
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(verdict) = Verdict::of(error) {
            return verdict.seen();
        }
        let mut link = Some(error);
        while let Some(error) = link {
            if never_connected(error) || says_unprocessed(error) {
                return Self::No;
            }
            link = error.source();
        }
        Self::Maybe
    }
}

fn never_connected(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(error.kind(), AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable)
    })
}

/// Whether hyper-util or h2 says that the request was never processed.
///
/// Their errors are read by their texts, because a downcast would tie this crate to one version of each. The words of h2
/// name the sender of the frame: only what was *received* is a statement of the server.
fn says_unprocessed(error: &(dyn Error + 'static)) -> bool {
    const WORDS: [&str; 3] = [
        "client error (Connect)",
        "stream error received: refused stream before processing any application logic",
        "connection error received: not a result of an error",
    ];
    let text = error.to_string();
    WORDS.iter().any(|words| text.starts_with(words))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.seen {
            Seen::No => "the request was not sent",
            Seen::Maybe => "the server may have seen the request",
            Seen::Yes => "the server responded",
        })?;
        match self.advice {
            Advice::Never => f.write_str("; a retry is not sensible"),
            Advice::Retry => f.write_str("; a retry is sensible"),
            Advice::RetryAfter(wait) => write!(f, "; a retry is sensible after {wait:?}"),
        }
    }
}

impl Error for Verdict {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| &**source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_a_connection_that_was_never_made_has_shown_nothing() {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        for (kind, seen) in [
            (ConnectionRefused, Seen::No),
            (HostUnreachable, Seen::No),
            (NetworkUnreachable, Seen::No),
            (ConnectionReset, Seen::Maybe),
            (BrokenPipe, Seen::Maybe),
            (TimedOut, Seen::Maybe),
        ] {
            assert_eq!(Seen::of(&io::Error::from(kind)), seen, "{kind}");
        }
        let verdict = Verdict::new(DropReason::Failed, Seen::Yes, Advice::Never);
        assert_eq!(Seen::of(&verdict.caused_by(io::Error::from(ConnectionRefused))), Seen::Yes, "a verdict says more");
    }

    #[test]
    fn d02_a_stream_that_an_http_2_server_did_not_process_was_not_seen() {
        for (words, seen) in [
            ("stream error received: refused stream before processing any application logic", Seen::No),
            ("connection error received: not a result of an error (b\"bye\")", Seen::No),
            ("client error (Connect)", Seen::No),
            ("stream error sent by user: refused stream before processing any application logic", Seen::Maybe),
            ("connection error detected: not a result of an error", Seen::Maybe),
            ("connection error received: unexpected internal error encountered", Seen::Maybe),
            ("client error (SendRequest)", Seen::Maybe),
        ] {
            assert_eq!(Seen::of(&io::Error::other(words)), seen, "{words}");
        }
    }

    #[test]
    fn the_outermost_verdict_wins_and_the_cause_stays_in_the_chain() {
        let inner = Verdict::new(DropReason::Full, Seen::No, Advice::Retry);
        let outer =
            Verdict::new(DropReason::RetriesExhausted, Seen::Maybe, Advice::Never).caused_by(io::Error::other(inner));
        let found = Verdict::of(&outer).unwrap();
        assert_eq!(found.reason(), DropReason::RetriesExhausted);
        assert!(crate::is_caused_by::<io::Error>(&outer));
    }

    #[test]
    fn the_cause_comes_out_by_value_once() {
        let none = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Never);
        assert_eq!(none.clone().into_cause().unwrap_err().reason(), DropReason::Failed);
        let verdict = none.caused_by(io::Error::from(io::ErrorKind::BrokenPipe));
        let clone = verdict.clone();
        let verdict = verdict.into_cause().unwrap_err();
        assert!(crate::is_caused_by::<io::Error>(&verdict), "a clone needs it, so it stays");
        drop(clone);
        let cause = verdict.into_cause().unwrap().downcast::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn display_says_seen_and_retry() {
        let wait = Duration::from_secs(12);
        let verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::RetryAfter(wait));
        assert_eq!(verdict.to_string(), "the request was not sent; a retry is sensible after 12s");
    }
}
