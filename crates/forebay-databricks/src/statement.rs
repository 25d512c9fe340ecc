//! From the events of a statement to its log.

use crate::{
    ClientInfo, ConnectionParameters, Driver, ErrorInfo, FrontendLog, OperationDetail, SqlOperation, VolumeOperation,
    clock::unix_millis,
    own_logs::OwnLogs,
    redact::redact,
    wire::{ClientContext, Context, Entry, SqlDriverLog},
};
use forebay_collect::{End, Fold, Folded, Place};
use forebay_core::Priority;
use std::{sync::Arc, time::Duration};

/// A session, as its logs name it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) session_id: Option<String>,
    pub(crate) workspace_id: Option<i64>,
    pub(crate) parameters: Option<ConnectionParameters>,
    pub(crate) auth_type: Option<String>,
    /// Its logs that have no fate so far.
    pub(crate) own_logs: Arc<OwnLogs>,
}

/// A statement of a session; two sessions may use one id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatementKey {
    pub(crate) session: u64,
    pub(crate) statement: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) session: Arc<Session>,
    pub(crate) statement: Option<Arc<str>>,
    pub(crate) at_millis: u64,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Connection { operation: String, latency: Duration },
    Volume { operation: VolumeOperation, latency: Duration },
    Started { statement_type: Option<String>, operation_type: Option<String>, internal: bool },
    StatusCall { latency: Duration },
    Retried,
    ResultReady { latency: Duration, execution_result: Option<String>, compressed: Option<bool>, chunks: Option<u64> },
    Chunk { index: u64, latency: Duration },
    Consumed { latency: Duration },
    Completed { latency: Duration },
    Error { name: String, trace: String, terminal: bool },
}

/// What is held of a statement while it is open.
#[derive(Debug, Default)]
pub(crate) struct Held {
    session: Option<Arc<Session>>,
    at_millis: u64,
    operation: SqlOperation,
    latency: Option<Duration>,
}

/// Makes logs of events.
pub(crate) struct Logs {
    pub(crate) client: Arc<ClientInfo>,
    pub(crate) driver: Driver,
}

// === impl Event ===

impl Event {
    pub(crate) fn new(session: &Arc<Session>, statement: Option<&Arc<str>>, kind: Kind) -> Self {
        let session = Arc::clone(session);
        Self { session, statement: statement.cloned(), at_millis: unix_millis(), kind }
    }

    fn key(&self) -> Option<StatementKey> {
        let statement = Arc::clone(self.statement.as_ref()?);
        Some(StatementKey { session: self.session.number, statement })
    }
}

// === impl Logs ===

impl Fold<Event> for Logs {
    type Key = StatementKey;
    type Held = Held;
    type Item = FrontendLog;

    fn place(&self, event: &Event) -> Place<StatementKey> {
        match (&event.kind, event.key()) {
            (Kind::Error { terminal: true, .. }, key) => Place::Terminal(key),
            (Kind::Error { terminal: false, .. }, key) => Place::Retryable(key),
            (_, None) => Place::Alone(Priority::Normal),
            (Kind::Completed { .. }, Some(key)) => Place::Last(key),
            (_, Some(key)) => Place::Part(key),
        }
    }

    fn weigh(&self, event: &Event) -> usize {
        match &event.kind {
            Kind::Error { name, trace, .. } => size_of::<Event>() + name.len() + trace.len(),
            // It is added up in what is held already.
            _ => 0,
        }
    }

    fn open(&self, _: &StatementKey) -> Held {
        Held::default()
    }

    fn add(&self, held: &mut Held, event: Event) {
        held.session.get_or_insert(event.session);
        if held.at_millis == 0 {
            held.at_millis = event.at_millis;
        }
        let operation = &mut held.operation;
        match event.kind {
            Kind::Started { statement_type, operation_type, internal } => {
                operation.statement_type = statement_type;
                let detail = operation.operation_detail.get_or_insert_default();
                detail.operation_type = operation_type;
                detail.is_internal_call = Some(internal);
            }
            Kind::StatusCall { latency } => {
                let detail = operation.operation_detail.get_or_insert_default();
                detail.n_operation_status_calls += 1;
                let sum = &mut detail.operation_status_latency_millis;
                *sum = sum.saturating_add(millis(latency));
            }
            Kind::Retried => *operation.retry_count.get_or_insert(0) += 1,
            Kind::ResultReady { latency, execution_result, compressed, chunks } => {
                operation.execution_result = execution_result;
                operation.is_compressed = compressed;
                let result = operation.result_latency.get_or_insert_default();
                result.result_set_ready_latency_millis = Some(millis(latency));
                if chunks.is_some() {
                    operation.chunk_details.get_or_insert_default().total_chunks_present = chunks;
                }
            }
            Kind::Chunk { index, latency } => {
                let (chunks, latency) = (operation.chunk_details.get_or_insert_default(), millis(latency));
                operation.chunk_id = Some(index);
                chunks.initial_chunk_latency_millis.get_or_insert(latency);
                let slowest = chunks.slowest_chunk_latency_millis.get_or_insert(latency);
                *slowest = latency.max(*slowest);
                chunks.total_chunks_iterated += 1;
                chunks.sum_chunks_download_time_millis = chunks.sum_chunks_download_time_millis.saturating_add(latency);
            }
            Kind::Consumed { latency } => {
                let result = operation.result_latency.get_or_insert_default();
                result.result_set_consumption_latency_millis = Some(millis(latency));
            }
            Kind::Completed { latency } => held.latency = Some(latency),
            // They are never parts of a statement.
            Kind::Connection { .. } | Kind::Volume { .. } | Kind::Error { .. } => {}
        }
    }

    fn alone(&self, event: Event) -> Option<FrontendLog> {
        let Event { session, statement, at_millis, kind } = event;
        let mut log = self.log(&session, statement.as_deref(), at_millis);
        let driver = &mut log.entry.sql_driver_log;
        match kind {
            Kind::Connection { operation, latency } => {
                let operation_detail =
                    OperationDetail { operation_type: Some(operation), ..OperationDetail::default() };
                let operation = SqlOperation { operation_detail: Some(operation_detail), ..SqlOperation::default() };
                driver.sql_operation = Some(operation);
                driver.operation_latency_ms = Some(millis(latency));
            }
            Kind::Volume { operation, latency } => {
                driver.vol_operation = Some(operation);
                driver.operation_latency_ms = Some(millis(latency));
            }
            Kind::Error { name, trace, terminal } => {
                driver.error_info = Some(ErrorInfo { error_name: name, stack_trace: redact(&trace) });
                log.urgent = terminal;
            }
            // They always belong to a statement.
            _ => return None,
        }
        Some(log)
    }

    fn error(&self, _: &StatementKey, _: &mut Held, event: Event, end: End) -> Folded<FrontendLog> {
        let retryable = matches!(event.kind, Kind::Error { terminal: false, .. });
        if retryable && self.driver == Driver::CSharp && end == End::Complete {
            // It passed, and the statement has succeeded: the C# driver does not report it.
            return Folded::Unwanted;
        }
        self.alone(event).map_or(Folded::Unwanted, Folded::Out)
    }

    fn finish(&self, key: StatementKey, held: Held, _: End) -> Option<FrontendLog> {
        let Held { session, at_millis, operation, latency } = held;
        let session = session?;
        let mut log = self.log(&session, Some(&key.statement), at_millis);
        log.entry.sql_driver_log.sql_operation = Some(operation);
        log.entry.sql_driver_log.operation_latency_ms = latency.map(millis);
        Some(log)
    }
}

impl Logs {
    fn log(&self, session: &Session, statement: Option<&str>, at_millis: u64) -> FrontendLog {
        let client_context = ClientContext { timestamp_millis: at_millis, user_agent: self.client.full_user_agent() };
        let driver = SqlDriverLog {
            session_id: session.session_id.clone(),
            sql_statement_id: statement.map(str::to_owned),
            system_configuration: Some(self.client.system.clone()),
            driver_connection_params: session.parameters.clone(),
            auth_type: session.auth_type.clone(),
            ..SqlDriverLog::default()
        };
        FrontendLog {
            workspace_id: session.workspace_id,
            // Once, here: a log that is sent again is the same log.
            frontend_log_event_id: uuid::Uuid::new_v4().to_string(),
            context: Context { client_context },
            entry: Entry { sql_driver_log: driver },
            urgent: false,
            ticket: session.own_logs.ticket(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
