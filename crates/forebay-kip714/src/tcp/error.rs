use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use std::{error::Error, fmt, sync::Arc};

/// A request could not be brought to a broker, or its response did not come back.
#[derive(Clone, Debug)]
pub struct TransportError {
    trouble: Trouble,
    broker: Option<Arc<str>>,
    verdict: Verdict,
}

/// What went wrong between a client and a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// No connection came about.
    Connect,
    /// The connection came about, and the two did not come to terms.
    Handshake,
    /// The broker refused the credentials; it may have said why.
    Authentication(String),
    /// The connection ended before the response came.
    Lost,
    /// What came is no response of the protocol.
    Malformed(String),
    /// Too many requests wait already.
    Busy,
    /// The task of the transport has ended, with its runtime.
    WorkerGone,
}

// === impl TransportError ===

impl TransportError {
    pub(super) fn connect(cause: impl Into<BoxError>) -> Self {
        Self::new(Trouble::Connect, Verdict::new(DropReason::Failed, Seen::No, Advice::Retry).caused_by(cause))
    }

    pub(super) fn connect_timeout() -> Self {
        Self::new(Trouble::Connect, Verdict::new(DropReason::Failed, Seen::No, Advice::Retry))
    }

    pub(super) fn authentication(said: impl Into<String>) -> Self {
        // Not again at once: a wrong password becomes no better, and some brokers lock out who insists.
        let verdict = Verdict::new(DropReason::Rejected, Seen::No, Advice::Never);
        Self::new(Trouble::Authentication(said.into()), verdict)
    }

    pub(super) fn lost(cause: impl Into<BoxError>) -> Self {
        Self::new(Trouble::Lost, Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Retry).caused_by(cause))
    }

    pub(super) fn malformed(what: impl fmt::Display) -> Self {
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Never);
        Self::new(Trouble::Malformed(what.to_string()), verdict)
    }

    pub(super) fn busy() -> Self {
        Self::new(Trouble::Busy, Verdict::new(DropReason::Full, Seen::No, Advice::Retry))
    }

    pub(super) fn worker_gone() -> Self {
        Self::new(Trouble::WorkerGone, Verdict::new(DropReason::Shutdown, Seen::Maybe, Advice::Never))
    }

    /// The same trouble before the request was sent.
    pub(super) fn in_handshake(self) -> Self {
        match self.trouble {
            Trouble::Lost | Trouble::Malformed(_) => {
                let verdict =
                    Verdict::new(DropReason::Failed, Seen::No, Advice::Retry).caused_by(self.without_broker());
                Self::new(Trouble::Handshake, verdict)
            }
            Trouble::Connect
            | Trouble::Handshake
            | Trouble::Authentication(_)
            | Trouble::Busy
            | Trouble::WorkerGone => self,
        }
    }

    pub(super) fn at(mut self, broker: &Arc<str>) -> Self {
        self.broker = Some(Arc::clone(broker));
        self
    }

    fn without_broker(mut self) -> Self {
        self.broker = None;
        self
    }

    fn new(trouble: Trouble, verdict: Verdict) -> Self {
        Self { trouble, broker: None, verdict }
    }

    /// What went wrong.
    #[must_use]
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// The broker it went wrong with, if it is known.
    #[must_use]
    pub fn broker(&self) -> Option<&str> {
        self.broker.as_deref()
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trouble {
            Trouble::Connect => f.write_str("cannot connect")?,
            Trouble::Handshake => f.write_str("no agreement")?,
            Trouble::Authentication(said) if said.is_empty() => f.write_str("authentication failed")?,
            Trouble::Authentication(said) => write!(f, "authentication failed: {said}")?,
            Trouble::Lost => f.write_str("the connection was lost")?,
            Trouble::Malformed(what) => write!(f, "what came is no response: {what}")?,
            Trouble::Busy => f.write_str("too many requests wait for the connection")?,
            Trouble::WorkerGone => f.write_str("the task of the connection has ended")?,
        }
        match &self.broker {
            Some(broker) => write!(f, " (broker {broker})"),
            None => Ok(()),
        }
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
