use crate::{
    ConnectionParameters, Credentials, HostReport, Settings, VolumeOperation,
    gate::GateUse,
    statement::{Event, Kind, Session},
    telemetry::HostLease,
};
use forebay_core::panic;
use forebay_intake::within;
use futures_util::future::{join, select};
use std::{error::Error, fmt, pin::pin, sync::Arc, time::Duration};

/// What a connection's telemetry is opened with.
#[must_use = "it is for `DriverTelemetry::connect`"]
pub struct Connect {
    pub(crate) host: String,
    pub(crate) session_id: Option<String>,
    pub(crate) workspace_id: Option<i64>,
    pub(crate) parameters: Option<ConnectionParameters>,
    pub(crate) auth_type: Option<String>,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) settings: Option<Settings>,
}

/// The telemetry of one connection.
///
/// All its methods but [`flush`](Self::flush) and [`close`](Self::close) return at once; none fails, and none panics, whatever the
/// conversions and the `Display` of the caller do. Without telemetry they do nothing, and allocate nothing. When it ends, its open
/// statements are completed; the last connection of a host flushes, within [`close_timeout`](Settings::close_timeout), under the
/// credentials it still holds.
pub struct Connection {
    live: Option<Live>,
}

/// The telemetry of one statement, from its start until it is completed.
///
/// It may be cloned and sent to other threads: all code that knows the statement reports to it. A statement that is never
/// completed ends with its connection, or after [`statement_ttl`](Settings::statement_ttl).
#[derive(Clone)]
pub struct StatementContext {
    sender: Option<Sender>,
}

/// What became of the result of a statement, as far as it is known when it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultInfo {
    /// How the result comes: inline, as Arrow, by links.
    pub execution_result: Option<String>,
    /// Whether it is compressed.
    pub is_compressed: Option<bool>,
    /// How many chunks it has.
    pub total_chunks: Option<u64>,
}

/// How an error is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It will not pass: its statement is over, and all of it is sent at once, before everything else.
    Terminal,
    /// It may pass: it is sent with its statement.
    Retryable,
}

pub(crate) struct Live {
    pub(crate) client: HostLease,
    /// The number of its credentials in the store of its host.
    pub(crate) entry: Option<u64>,
    pub(crate) session: Arc<Session>,
    /// Its use of the flag, which may be asked for under its credentials.
    pub(crate) gate: Option<GateUse>,
}

#[derive(Clone)]
struct Sender {
    statements: forebay_collect::Aggregator<crate::statement::StatementKey, Event, crate::FrontendLog>,
    session: Arc<Session>,
    statement: Arc<str>,
}

// === impl Connect ===

impl Connect {
    /// A connection to this host, as the user wrote it.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            session_id: None,
            workspace_id: None,
            parameters: None,
            auth_type: None,
            credentials: None,
            settings: None,
        }
    }

    /// Sets the session's id.
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Sets the workspace.
    pub fn workspace_id(mut self, id: i64) -> Self {
        self.workspace_id = Some(id);
        self
    }

    /// Sets how it is connected.
    pub fn parameters(mut self, parameters: ConnectionParameters) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// Sets how it is authenticated, by the name of the method.
    pub fn auth_type(mut self, auth_type: impl Into<String>) -> Self {
        self.auth_type = Some(auth_type.into());
        self
    }

    /// Sets the credentials that its logs are sent with; without them, logs have no names in them.
    pub fn credentials(mut self, credentials: impl Credentials) -> Self {
        self.credentials = Some(Arc::new(credentials));
        self
    }

    /// Sets other settings than the process has. The first connection of a host decides; a notice says so of others.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The host is as the user wrote it, and may hold a password.
        f.debug_struct("Connect").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(live: Option<Live>) -> Self {
        Self { live }
    }

    /// Whether there is telemetry for it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.live.is_some()
    }

    /// The telemetry of a statement.
    #[must_use]
    pub fn statement(&self, id: &str) -> StatementContext {
        let sender = self.live.as_ref().map(|live| Sender {
            statements: live.client.statements.clone(),
            session: Arc::clone(&live.session),
            statement: id.into(),
        });
        StatementContext { sender }
    }

    /// The session was opened, closed, or did something else that belongs to no statement: sent with the next batch.
    pub fn operation(&self, operation: impl Into<String>, latency: Duration) {
        self.record(|| Kind::Connection { operation: text(|| operation.into()), latency });
    }

    /// Something was done with a volume.
    pub fn volume(&self, operation: VolumeOperation, latency: Duration) {
        self.record(|| Kind::Volume { operation, latency });
    }

    /// The session failed, with all causes of the error.
    pub fn error(&self, name: impl Into<String>, error: &(dyn Error + 'static), severity: Severity) {
        self.record(|| error_kind(text(|| name.into()), &chain(error), severity));
    }

    /// The session failed with a stack trace; it is redacted before it is sent.
    pub fn error_with_trace(&self, name: impl Into<String>, trace: &str, severity: Severity) {
        self.record(|| error_kind(text(|| name.into()), trace, severity));
    }

    /// Sends what its host has now: when it returns, everything that was reported before has a fate, but for open
    /// statements.
    ///
    /// # Cancellation
    /// What is on its way goes on.
    pub async fn flush(&self) {
        if let Some(live) = &self.live {
            live.client.exporter.flush().await;
        }
    }

    /// What became of all telemetry of its host; `None` if there is none.
    #[must_use]
    pub fn report(&self) -> Option<HostReport> {
        Some(self.live.as_ref()?.client.report())
    }

    /// Ends it: its statements are completed, its logs are sent, and it waits until each of them has a fate, and not for those of
    /// other connections; at most for [`close_timeout`](Settings::close_timeout). The last connection of a host also waits for the
    /// host's last flush, within the same time.
    ///
    /// A connection that is dropped ends just as well, without a wait. Logs that have no fate by the end of the time keep their place
    /// in the exporter of the host, as long as others use it.
    ///
    /// # Cancellation
    /// What is on its way goes on, and so does the last flush, as a task.
    pub async fn close(mut self) {
        let Some(live) = self.live.take() else { return };
        live.leave();
        let Live { client, session, gate, .. } = live;
        drop(gate);
        let (exporter, patience) = (client.exporter.clone(), client.close_timeout());
        let own_logs = async {
            let (settled, flush) = (pin!(session.own_logs.settled()), pin!(exporter.flush()));
            // Nothing is flushed for a connection whose logs all have a fate. A flush that has ended before is just as good.
            select(settled, flush).await;
        };
        // Of both ends, the later one counts: the host's own has its own timeout, of the same length.
        let (_in_time, _end) = join(within(patience, own_logs), client.close()).await;
    }

    fn record(&self, kind: impl FnOnce() -> Kind) {
        if let Some(live) = &self.live {
            live.client.statements.record(Event::new(&live.session, None, kind()));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.leave();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("enabled", &self.is_enabled()).finish_non_exhaustive()
    }
}

// === impl Live ===

impl Live {
    /// Completes what the session has open, and takes its credentials out, unless they are the last.
    fn leave(&self) {
        self.client.statements.complete_where(|key| key.session == self.session.number);
        if let Some(entry) = self.entry {
            self.client.store.leave(entry);
        }
    }
}

// === impl StatementContext ===

impl StatementContext {
    /// It was sent. `internal` says that the driver itself asked for it.
    pub fn started(&self, statement_type: Option<&str>, operation_type: Option<&str>, internal: bool) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        self.record(|| Kind::Started {
            statement_type: owned(statement_type),
            operation_type: owned(operation_type),
            internal,
        });
    }

    /// The driver asked how it stands.
    pub fn status_call(&self, latency: Duration) {
        self.record(|| Kind::StatusCall { latency });
    }

    /// One of its requests was tried again.
    pub fn retried(&self) {
        self.record(|| Kind::Retried);
    }

    /// Its result is there.
    pub fn result_ready(&self, latency: Duration, info: ResultInfo) {
        let ResultInfo { execution_result, is_compressed: compressed, total_chunks: chunks } = info;
        self.record(|| Kind::ResultReady { latency, execution_result, compressed, chunks });
    }

    /// A chunk of its result was read.
    pub fn chunk(&self, index: u64, latency: Duration) {
        self.record(|| Kind::Chunk { index, latency });
    }

    /// Its result was read to the end.
    pub fn consumed(&self, latency: Duration) {
        self.record(|| Kind::Consumed { latency });
    }

    /// It failed, with all causes of the error.
    pub fn error(&self, name: impl Into<String>, error: &(dyn Error + 'static), severity: Severity) {
        self.record(|| error_kind(text(|| name.into()), &chain(error), severity));
    }

    /// It failed with a stack trace; it is redacted before it is sent.
    pub fn error_with_trace(&self, name: impl Into<String>, trace: &str, severity: Severity) {
        self.record(|| error_kind(text(|| name.into()), trace, severity));
    }

    /// It is over: all that was collected of it is one log now.
    pub fn completed(&self, latency: Duration) {
        self.record(|| Kind::Completed { latency });
    }

    fn record(&self, kind: impl FnOnce() -> Kind) {
        if let Some(sender) = &self.sender {
            sender.statements.record(Event::new(&sender.session, Some(&sender.statement), kind()));
        }
    }
}

impl fmt::Debug for StatementContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementContext").field("enabled", &self.sender.is_some()).finish_non_exhaustive()
    }
}

fn error_kind(name: String, trace: &str, severity: Severity) -> Kind {
    // What is beyond this is never sent; a trace of a megabyte is not held.
    let end = (0..=trace.len().min(16 * crate::MAX_TRACE)).rev().find(|at| trace.is_char_boundary(*at)).unwrap_or(0);
    Kind::Error { name, trace: trace[..end].to_owned(), terminal: severity == Severity::Terminal }
}

/// The words of an error and its causes, up to the length that is looked at. A panic of the caller's `Display` or `source` costs the
/// words from there on, and neither the event nor the caller.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = text(|| error.to_string());
    let mut link = error;
    // A chain may be a circle; what is beyond the longest text that is sent is not asked for.
    while words.len() < 16 * crate::MAX_TRACE {
        let Ok(Some(cause)) = panic::catch(|| link.source()) else { break };
        words.push_str("\ncaused by: ");
        words.push_str(&text(|| cause.to_string()));
        link = cause;
    }
    words
}

/// A text that the code of the caller makes; what stands in its place if that panics.
fn text(make: impl FnOnce() -> String) -> String {
    panic::catch(make).unwrap_or_else(|_reported| "(its text panicked)".to_owned())
}
